//! The signal that work should come to an end: told once, heard by every task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

/// The telling side. Dropping it drains too, so that nothing outlives its owner.
#[derive(Debug)]
pub struct DrainSender {
    signal: watch::Sender<bool>,
    held: Arc<Held>,
}

/// The hearing side; cheap to clone. While a clone that came from [`Drain::hold`] lives,
/// [`DrainSender::finished`] waits.
#[derive(Clone, Debug)]
pub struct Drain {
    signal: watch::Receiver<bool>,
    held: Arc<Held>,
}

/// Proof that something still runs.
#[derive(Debug)]
pub struct Hold(Arc<Held>);

#[derive(Debug, Default)]
struct Held {
    /// The signal was given.
    draining: AtomicBool,
    count: AtomicUsize,
    zero: Notify,
}

/// A new signal, not given yet.
#[must_use]
pub fn channel() -> (DrainSender, Drain) {
    let (sender, receiver) = watch::channel(false);
    let held = Arc::new(Held::default());
    (
        DrainSender {
            signal: sender,
            held: held.clone(),
        },
        Drain {
            signal: receiver,
            held,
        },
    )
}

impl Drop for DrainSender {
    fn drop(&mut self) {
        self.drain();
    }
}

impl DrainSender {
    /// A hearing side.
    #[must_use]
    pub fn hearing(&self) -> Drain {
        Drain {
            signal: self.signal.subscribe(),
            held: self.held.clone(),
        }
    }

    /// Gives the signal. Giving it again changes nothing.
    pub fn drain(&self) {
        self.held.draining.store(true, Ordering::Release);
        self.signal.send_replace(true);
    }

    /// Waits until nothing is held any more. Callers set the deadline.
    pub async fn finished(&self) {
        loop {
            let notified = self.held.zero.notified();
            if self.held.count.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }

    /// How many holds there are.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.count.load(Ordering::Acquire)
    }
}

impl Drain {
    /// Waits for the signal.
    pub async fn signaled(&mut self) {
        // An error means that the sender is gone, which drains too.
        let _ = self.signal.wait_for(|&drain| drain).await;
    }

    /// Whether the signal was given.
    #[must_use]
    pub fn is_signaled(&self) -> bool {
        self.held.draining.load(Ordering::Acquire)
    }

    /// How many holds there are.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.count.load(Ordering::Acquire)
    }

    /// Keeps [`DrainSender::finished`] waiting until the result is dropped.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.held.count.fetch_add(1, Ordering::AcqRel);
        Hold(self.held.clone())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.zero.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn finished_waits_for_every_hold() {
        let (sender, mut drain) = channel();
        let first = drain.hold();
        let second = drain.clone().hold();
        assert!(!drain.is_signaled());
        sender.drain();
        drain.signaled().await;
        assert!(drain.is_signaled());
        assert_eq!(sender.held(), 2);
        let finished = tokio::spawn(async move { sender.finished().await });
        drop(first);
        assert!(!finished.is_finished());
        drop(second);
        finished.await.unwrap();
    }

    #[tokio::test]
    async fn a_lost_sender_drains() {
        let (sender, mut drain) = channel();
        drop(sender);
        drain.signaled().await;
        assert!(drain.is_signaled());
    }
}
