//! What rustls spends its time on, told by hooks through a thread-local.
//!
//! rustls is synchronous: between the moment a record is handed to it and its next IO call
//! nothing else runs on the thread. So a thread-local that is reset at the hand-over and taken
//! at the next IO call holds the work on exactly that record, without a handle in the hooks
//! (which rustls shares between connections).

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::key_log::CaptureId;
use super::timestamp::Timestamp;
use crate::report::{Part, Parts};

/// The work done since the last [`begin`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// Time by part; [`Part::Other`] stays empty here, it is the rest.
    pub(super) parts: Parts,
    /// Whether a key agreement was completed: marks the ClientKeyExchange of TLS 1.2.
    pub(super) key_agreed: bool,
    /// The key type of the certificate that signed.
    pub(super) signed: Option<&'static str>,
    /// What became of the sessions that were offered.
    pub(super) sessions: SessionFacts,
    /// What sessions that are made now depend on.
    pub(super) session: SessionContext,
    /// Tickets that were looked at.
    pub(super) tickets: u8,
    /// Whether a session was made: sealed into a ticket, or stored.
    pub(super) made: bool,
}

/// What became of the sessions that a handshake offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SessionFacts {
    /// The verdict on the one that came furthest; `None` when none was looked at.
    pub(super) verdict: Option<Verdict>,
    /// The age of the one that opened.
    pub(super) age: Option<Duration>,
}

/// What became of one session that was offered: the further down, the further it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// The store has no such session.
    CacheMiss,
    /// The ticket was sealed with a key that is not ours, or not any more.
    UnknownKey,
    /// The ticket is not what its key sealed.
    Corrupt,
    /// The ticket is of another policy.
    Scope,
    /// The session is past its lifetime.
    Expired,
    /// Here it is; whether it fits the handshake is for rustls to say.
    Opened,
}

/// What hooks need to know of the connection whose record is worked on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SessionContext {
    /// Whether the client takes tickets in TLS 1.2 (RFC 5077).
    pub(super) takes_tickets: bool,
    /// When the full handshake was whose session this one resumes.
    pub(super) began: Option<Timestamp>,
    /// The capture of the key log that this connection's secrets go to.
    pub(super) capture: Option<CaptureId>,
}

impl SessionFacts {
    /// Adds a verdict.
    pub(super) fn saw(&mut self, verdict: Verdict) {
        self.verdict = self.verdict.max(Some(verdict));
    }

    /// Adds what was seen later.
    pub(super) fn merge(&mut self, later: Self) {
        self.verdict = self.verdict.max(later.verdict);
        self.age = later.age.or(self.age);
    }
}

const NOTHING: Work = Work {
    parts: Parts::ZERO,
    key_agreed: false,
    signed: None,
    sessions: SessionFacts {
        verdict: None,
        age: None,
    },
    session: SessionContext {
        takes_tickets: false,
        began: None,
        capture: None,
    },
    tickets: 0,
    made: false,
};

thread_local! {
    static WORK: Cell<Work> = const { Cell::new(NOTHING) };
}

/// Forgets all work: a record of the connection with `session` is about to be handed over.
pub(super) fn begin(session: SessionContext) {
    WORK.set(Work { session, ..NOTHING });
}

/// Takes the work since [`begin`].
pub(super) fn take() -> Work {
    WORK.replace(NOTHING)
}

/// What sessions that are made now depend on.
pub(super) fn session() -> SessionContext {
    WORK.get().session
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
        begin(SessionContext::default());
        timed(Part::Ticket, || std::hint::black_box(1));
        note(|work| work.key_agreed = true);
        let work = take();
        assert_eq!(work.parts.nanos(Part::Sign), 0);
        assert!(work.parts.nanos(Part::Ticket) > 0);
        assert!(work.key_agreed);
        assert!(!take().key_agreed);
    }
}
