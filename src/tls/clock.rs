//! The stopwatch of a handshake: always in exactly one phase.
//!
//! Every reading charges the time since the last one to the phase that was running, so phases
//! can neither overlap nor leave a gap. The total is taken apart from that, from the two
//! instants at the ends.

use std::time::{Duration, Instant};

use super::key_log::CaptureId;
use super::work::{self, SessionContext, SessionFacts};
use crate::report::{Part, Parts, Phase, PhaseKind, Phases};

/// The stopwatch of one handshake.
#[derive(Debug)]
pub(super) struct Clock {
    accepted: Instant,
    last: Instant,
    running: Running,
    phases: Phases,
    parts: Parts,
    signed: Option<&'static str>,
    sessions: SessionFacts,
    session: SessionContext,
}

/// What the time since the last reading belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Running {
    /// One phase.
    Phase(Phase),
    /// rustls at work on a record, begun in this phase: split by what the hooks saw.
    Work(Phase),
}

impl Clock {
    /// Starts in [`Phase::AcceptQueue`] at the moment `accept` returned.
    pub(super) fn start(accepted: Instant) -> Self {
        Self {
            accepted,
            last: accepted,
            running: Running::Phase(Phase::AcceptQueue),
            phases: Phases::default(),
            parts: Parts::default(),
            signed: None,
            sessions: SessionFacts::default(),
            session: SessionContext::default(),
        }
    }

    /// The key type of the certificate that signed; `None` before, and where a session is resumed.
    pub(super) const fn signed(&self) -> Option<&'static str> {
        self.signed
    }

    /// The phase that is running.
    pub(super) const fn phase(&self) -> Phase {
        match self.running {
            Running::Phase(phase) | Running::Work(phase) => phase,
        }
    }

    /// The client said in its ClientHello whether it takes tickets in TLS 1.2.
    pub(super) const fn client_takes_tickets(&mut self, takes: bool) {
        self.session.takes_tickets = takes;
    }

    /// Secrets go to this capture of the key log, if to any.
    pub(super) const fn log_keys(&mut self, capture: Option<CaptureId>) {
        self.session.capture = capture;
    }

    /// What the ticketer and the session store saw.
    pub(super) const fn sessions(&self) -> SessionFacts {
        self.sessions
    }

    /// From now on time belongs to `phase`. Where it is the running one nothing is charged yet: a
    /// wait that goes on may turn out to have ended before now.
    pub(super) fn enter(&mut self, phase: Phase, now: Instant) {
        if self.running == Running::Phase(phase) {
            return;
        }
        self.charge(now);
        self.running = Running::Phase(phase);
    }

    /// Bytes of the client are read now that the kernel has had since `arrival`. Where a wait for
    /// them is running, it ended then; since then they lay unread, which is our time.
    pub(super) fn received(&mut self, arrival: Instant, now: Instant) {
        if self.phase().kind() != PhaseKind::Client {
            return;
        }
        self.charge(arrival.min(now));
        let unread = now.saturating_duration_since(self.last);
        self.last = self.last.max(now);
        self.phases.add(Phase::ReadQueue, unread);
    }

    /// The running phase turns out to be another one: the time since the last reading is its.
    pub(super) const fn relabel(&mut self, phase: Phase) {
        self.running = Running::Phase(phase);
    }

    /// rustls gets a record: from now on time belongs to `phase`, less what hooks claim.
    pub(super) fn hand_over(&mut self, phase: Phase, now: Instant) {
        self.charge(now);
        work::begin(self.session);
        self.running = Running::Work(phase);
    }

    /// Ends the handshake: phases, parts and the total from accept to now.
    pub(super) fn stop(&mut self, now: Instant) -> (Phases, Parts, Duration) {
        self.charge(now);
        let mut parts = self.parts;
        let computed: u64 = self
            .phases
            .iter()
            .filter(|(phase, _)| phase.kind() == PhaseKind::Cpu)
            .map(|(_, nanos)| nanos)
            .sum();
        parts.add(
            Part::Other,
            Duration::from_nanos(computed.saturating_sub(parts.sum())),
        );
        (self.phases, parts, now.duration_since(self.accepted))
    }

    fn charge(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.last);
        self.last = self.last.max(now);
        match self.running {
            Running::Phase(phase) => self.phases.add(phase, elapsed),
            Running::Work(phase) => self.charge_work(phase, elapsed),
        }
    }

    /// Work on the client's flight is split by the edges that the hooks saw: verification first,
    /// then, where the record held the ClientKeyExchange of TLS 1.2, the rest is its.
    fn charge_work(&mut self, phase: Phase, elapsed: Duration) {
        let work = work::take();
        self.parts.merge(&work.parts);
        self.signed = work.signed.or(self.signed);
        self.sessions.merge(work.sessions);
        // We sign in full handshakes only: then a session that opened was not used after all.
        let full = work.parts.nanos(Part::Sign) > 0;
        self.session.began = work.session.began.filter(|_| !full);
        if phase != Phase::ClientFinished {
            self.phases.add(phase, elapsed);
            return;
        }
        let verify = Duration::from_nanos(work.parts.nanos(Part::Verify)).min(elapsed);
        self.phases.add(Phase::ClientAuth, verify);
        let rest = if work.key_agreed {
            Phase::ClientKeyExchange
        } else {
            Phase::ClientFinished
        };
        self.phases.add(rest, elapsed.saturating_sub(verify));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_lay_unread_are_no_wait_for_the_client() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut clock = Clock::start(start);
        clock.enter(Phase::ClientHelloWait, at(10));
        // They had come before anyone waited.
        clock.received(at(4), at(30));
        clock.enter(Phase::ClientHelloRead, at(30));
        clock.enter(Phase::ClientHelloRead, at(90));
        clock.received(at(70), at(95));
        // In a queue of our own nothing is taken off.
        clock.enter(Phase::Admission, at(100));
        clock.received(at(110), at(120));
        // Never after they are read.
        clock.enter(Phase::ClientFlightWait, at(130));
        clock.received(at(150), at(140));
        let (phases, _, total) = clock.stop(at(140));
        assert_eq!(total, Duration::from_micros(140));
        assert_eq!(phases.sum(), 140_000);
        assert_eq!(phases.nanos(Phase::AcceptQueue), 10_000);
        assert_eq!(phases.nanos(Phase::ClientHelloWait), 0);
        assert_eq!(phases.nanos(Phase::ClientHelloRead), 40_000 + 5_000);
        assert_eq!(phases.nanos(Phase::ReadQueue), 20_000 + 25_000);
        assert_eq!(phases.nanos(Phase::Admission), 30_000);
        assert_eq!(phases.nanos(Phase::ClientFlightWait), 10_000);
    }

    #[test]
    fn phases_add_up_and_work_is_split() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut clock = Clock::start(start);
        clock.enter(Phase::ClientHelloWait, at(3));
        clock.hand_over(Phase::ServerFlight, at(10));
        clock.enter(Phase::ServerFlightWrite, at(400));
        clock.enter(Phase::ClientFlightWait, at(410));
        clock.hand_over(Phase::ClientFinished, at(500));
        work::note(|work| {
            work.parts.add(Part::Verify, Duration::from_micros(20));
            work.parts.add(Part::KeyExchange, Duration::from_micros(30));
            work.key_agreed = true;
        });
        clock.hand_over(Phase::ClientFinished, at(580));
        clock.enter(Phase::ServerFinishWrite, at(600));
        let (phases, parts, total) = clock.stop(at(605));
        assert_eq!(total, Duration::from_micros(605));
        assert_eq!(phases.sum(), 605_000);
        assert_eq!(phases.nanos(Phase::ClientAuth), 20_000);
        assert_eq!(phases.nanos(Phase::ClientKeyExchange), 60_000);
        assert_eq!(phases.nanos(Phase::ClientFinished), 20_000);
        assert_eq!(parts.nanos(Part::Other), 390_000 + 100_000 - 50_000);
    }
}
