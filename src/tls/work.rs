//! What rustls spends its time on, told by hooks through a thread-local.
//!
//! rustls is synchronous: between the moment a record is handed to it and its next IO call
//! nothing else runs on the thread. So a thread-local that is reset at the hand-over and taken
//! at the next IO call holds the work on exactly that record, without a handle in the hooks
//! (which rustls shares between connections).

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::report::{Part, Parts};

/// The work done since the last [`begin`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    /// Time by part; [`Part::Other`] stays empty here, it is the rest.
    pub(super) parts: Parts,
    /// Whether a key agreement was completed: marks the ClientKeyExchange of TLS 1.2.
    pub(super) key_agreed: bool,
    /// What the ticketer and the session store were asked and answered.
    pub(super) sessions: SessionFacts,
}

/// What the ticketer and the session store saw of a handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SessionFacts {
    /// A ticket came that did not open.
    pub(super) ticket_refused: bool,
    /// A ticket came and opened.
    pub(super) ticket_opened: bool,
    /// The store was asked and had nothing.
    pub(super) store_missed: bool,
    /// The store was asked and had the session.
    pub(super) store_hit: bool,
}

impl SessionFacts {
    /// Adds what was seen later.
    pub(super) fn merge(&mut self, later: Self) {
        self.ticket_refused |= later.ticket_refused;
        self.ticket_opened |= later.ticket_opened;
        self.store_missed |= later.store_missed;
        self.store_hit |= later.store_hit;
    }
}

thread_local! {
    static WORK: Cell<Work> = const { Cell::new(Work {
        parts: Parts::ZERO,
        key_agreed: false,
        sessions: SessionFacts {
            ticket_refused: false,
            ticket_opened: false,
            store_missed: false,
            store_hit: false,
        },
    }) };
}

/// Forgets all work: a record is about to be handed over.
pub(super) fn begin() {
    WORK.set(Work::default());
}

/// Takes the work since [`begin`].
pub(super) fn take() -> Work {
    WORK.take()
}

/// Runs `f` and adds its time to `part`.
pub(super) fn timed<T>(part: Part, f: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = f();
    add(part, start.elapsed());
    result
}

/// Notes a fact about the work.
pub(super) fn note(f: impl FnOnce(&mut Work)) {
    let mut work = WORK.get();
    f(&mut work);
    WORK.set(work);
}

fn add(part: Part, time: Duration) {
    note(|work| work.parts.add(part, time));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_what_happened_since_begin() {
        timed(Part::Sign, || std::hint::black_box(1));
        begin();
        timed(Part::Ticket, || std::hint::black_box(1));
        note(|work| work.key_agreed = true);
        let work = take();
        assert_eq!(work.parts.nanos(Part::Sign), 0);
        assert!(work.parts.nanos(Part::Ticket) > 0);
        assert!(work.key_agreed);
        assert!(!take().key_agreed);
    }
}
