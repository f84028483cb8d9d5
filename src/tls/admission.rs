//! Crypto slots: how many handshakes compute at once, so that everybody else gets a turn.
//!
//! The server's flight is computed in one piece, for half a millisecond with RSA. When many
//! ClientHellos are ready at once, their tasks would fill a worker's queue with such pieces, and a
//! request on an open connection would wait behind all of them. So there is one slot a worker, and
//! a slot is given back only after its worker has looked for IO and run what was ready: between
//! two pieces all other tasks have their turn.

use std::future::poll_fn;
use std::pin::pin;

use tokio::sync::{Semaphore, SemaphorePermit};

/// The slots of a process. Waiting for one counts as [`crate::report::Phase::Admission`] and is
/// bounded by the handshake's deadline; who waits is in order of arrival.
#[derive(Debug)]
pub struct Admission {
    slots: Semaphore,
}

/// The right to compute one flight.
#[derive(Debug)]
pub(super) struct Slot<'a>(#[expect(dead_code, reason = "held for its drop")] SemaphorePermit<'a>);

impl Admission {
    /// One slot for each of `workers`; at least one.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            slots: Semaphore::new(workers.clamp(1, Semaphore::MAX_PERMITS)),
        }
    }

    /// Waits for a slot.
    pub(super) async fn slot(&self) -> Option<Slot<'_>> {
        // The semaphore is never closed.
        self.slots.acquire().await.ok().map(Slot)
    }
}

impl Slot<'_> {
    /// Drives `future`, and gives the slot back when its worker has gone once around: yielding
    /// tasks are woken after the worker has looked for IO.
    pub(super) async fn drive<F: Future>(self, future: F) -> F::Output {
        let mut slot = Some(self);
        let mut future = pin!(future);
        let mut turn = pin!(tokio::task::yield_now());
        poll_fn(|cx| {
            let result = future.as_mut().poll(cx);
            if slot.is_some() && (result.is_ready() || turn.as_mut().poll(cx).is_ready()) {
                slot = None;
            }
            result
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn others_have_a_turn_between_two_pieces() {
        let admission = Admission::new(1);
        let log = RefCell::new(Vec::new());
        let piece = async |name| {
            let slot = admission.slot().await.unwrap();
            log.borrow_mut().push(name);
            slot.drive(tokio::task::yield_now()).await;
        };
        let light = async {
            for _ in 0..3 {
                log.borrow_mut().push("light");
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(piece("a"), piece("b"), light);
        let log = log.into_inner();
        let (a, b) = (
            log.iter().position(|name| *name == "a").unwrap(),
            log.iter().position(|name| *name == "b").unwrap(),
        );
        assert!(log[a..b].contains(&"light"), "{log:?}");
        assert_eq!(admission.slots.available_permits(), 1);
    }
}
