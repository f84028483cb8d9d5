//! The phases of a handshake and the parts of its computation, as accumulators.
//!
//! A phase answers "whom did this nanosecond belong to": the client, the kernel, a queue of ours
//! or our CPU. Phases never overlap and leave no gap, so they add up to the total. Parts cut the
//! CPU phases another way, by what was computed.

use std::time::Duration;

/// Where a nanosecond of a handshake went. The order is the order on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// `accept` returned, and the connection task has not run yet.
    AcceptQueue,
    /// Waiting for the PROXY protocol header, where one is configured.
    ProxyHeaderWait,
    /// Waiting for the first byte of the ClientHello.
    ClientHelloWait,
    /// Waiting between the first and the last byte of the ClientHello.
    ClientHelloRead,
    /// Bytes lay unread in the socket buffer, taken off the wait that they ended.
    ReadQueue,
    /// Parsing the ClientHello, choosing policy and certificate.
    Select,
    /// Waiting for a crypto slot.
    Admission,
    /// rustls at work on the ClientHello, both of them after a HelloRetryRequest.
    ServerFlight,
    /// From the first write of the server's flight until the kernel took all of it.
    ServerFlightWrite,
    /// HelloRetryRequest sent, second ClientHello not whole yet.
    RetryWait,
    /// Server flight sent, waiting for the first byte of the client's flight.
    ClientFlightWait,
    /// Waiting for more bytes inside the client's flight.
    ClientFlightRead,
    /// Checking the client's certificate and its CertificateVerify.
    ClientAuth,
    /// TLS 1.2 full handshakes: computing the premaster secret and the keys.
    ClientKeyExchange,
    /// The rest of the work on the client's flight.
    ClientFinished,
    /// Writing ChangeCipherSpec and Finished (TLS 1.2) or the tickets (TLS 1.3).
    ServerFinishWrite,
    /// Handshake done, no plaintext of the client yet. Outside of the total.
    FirstRequestWait,
}

impl Phase {
    /// How many phases count towards the total: all but [`Phase::FirstRequestWait`].
    pub const COUNTED: usize = 16;

    /// Every phase that counts towards the total, in wire order.
    pub const ALL: [Self; Self::COUNTED] = [
        Self::AcceptQueue,
        Self::ProxyHeaderWait,
        Self::ClientHelloWait,
        Self::ClientHelloRead,
        Self::ReadQueue,
        Self::Select,
        Self::Admission,
        Self::ServerFlight,
        Self::ServerFlightWrite,
        Self::RetryWait,
        Self::ClientFlightWait,
        Self::ClientFlightRead,
        Self::ClientAuth,
        Self::ClientKeyExchange,
        Self::ClientFinished,
        Self::ServerFinishWrite,
    ];

    /// The name in metrics, events and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcceptQueue => "accept_queue",
            Self::ProxyHeaderWait => "proxy_header_wait",
            Self::ClientHelloWait => "client_hello_wait",
            Self::ClientHelloRead => "client_hello_read",
            Self::ReadQueue => "read_queue",
            Self::Select => "select",
            Self::Admission => "admission",
            Self::ServerFlight => "server_flight",
            Self::ServerFlightWrite => "server_flight_write",
            Self::RetryWait => "retry_wait",
            Self::ClientFlightWait => "client_flight_wait",
            Self::ClientFlightRead => "client_flight_read",
            Self::ClientAuth => "client_auth",
            Self::ClientKeyExchange => "client_key_exchange",
            Self::ClientFinished => "client_finished",
            Self::ServerFinishWrite => "server_finish_write",
            Self::FirstRequestWait => "first_request_wait",
        }
    }

    /// What kind of time this phase is.
    #[must_use]
    pub const fn kind(self) -> PhaseKind {
        match self {
            Self::AcceptQueue | Self::ReadQueue | Self::Admission => PhaseKind::Queue,
            Self::ProxyHeaderWait
            | Self::ClientHelloWait
            | Self::ClientHelloRead
            | Self::RetryWait
            | Self::ClientFlightWait
            | Self::ClientFlightRead
            | Self::FirstRequestWait => PhaseKind::Client,
            Self::Select
            | Self::ServerFlight
            | Self::ClientAuth
            | Self::ClientKeyExchange
            | Self::ClientFinished => PhaseKind::Cpu,
            Self::ServerFlightWrite | Self::ServerFinishWrite => PhaseKind::Io,
        }
    }
}

/// Whose time a phase is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseKind {
    /// Ours: waiting for a worker or a slot.
    Queue,
    /// The client's or the network's.
    Client,
    /// Ours: computing.
    Cpu,
    /// The kernel's send path.
    Io,
}

impl PhaseKind {
    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Client => "client",
            Self::Cpu => "cpu",
            Self::Io => "io",
        }
    }
}

/// Nanoseconds by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases([u64; Phase::COUNTED]);

impl Phases {
    /// Adds `time` to `phase`. [`Phase::FirstRequestWait`] is outside of the total and ignored.
    pub fn add(&mut self, phase: Phase, time: Duration) {
        if let Some(slot) = self.0.get_mut(phase as usize) {
            *slot = slot.saturating_add(nanos(time));
        }
    }

    /// Nanoseconds spent in `phase`.
    #[must_use]
    pub fn nanos(&self, phase: Phase) -> u64 {
        self.0.get(phase as usize).copied().unwrap_or(0)
    }

    /// The phases in wire order with their nanoseconds, zeroes included.
    pub fn iter(&self) -> impl Iterator<Item = (Phase, u64)> + '_ {
        Phase::ALL.iter().map(|&phase| (phase, self.nanos(phase)))
    }

    /// The sum of all phases, in nanoseconds.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// What was computed, across phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Key generation and agreement.
    KeyExchange,
    /// Signing with the certificate's key.
    Sign,
    /// Sealing and opening tickets, session store look-ups.
    Ticket,
    /// Verifying client certificates and their signatures.
    Verify,
    /// The rest of the CPU phases: parsing, key schedule, records.
    Other,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 5] = [
        Self::KeyExchange,
        Self::Sign,
        Self::Ticket,
        Self::Verify,
        Self::Other,
    ];

    /// The name in metrics, events and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyExchange => "key_exchange",
            Self::Sign => "sign",
            Self::Ticket => "ticket",
            Self::Verify => "verify",
            Self::Other => "other",
        }
    }
}

/// Nanoseconds by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts([u64; 5]);

impl Parts {
    /// Nothing computed.
    pub const ZERO: Self = Self([0; 5]);

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (slot, more) in self.0.iter_mut().zip(other.0) {
            *slot = slot.saturating_add(more);
        }
    }

    /// Adds `time` to `part`.
    pub fn add(&mut self, part: Part, time: Duration) {
        let slot = &mut self.0[part as usize];
        *slot = slot.saturating_add(nanos(time));
    }

    /// Nanoseconds spent on `part`.
    #[must_use]
    pub fn nanos(&self, part: Part) -> u64 {
        self.0[part as usize]
    }

    /// All parts with their nanoseconds.
    pub fn iter(&self) -> impl Iterator<Item = (Part, u64)> + '_ {
        Part::ALL.iter().map(|&part| (part, self.nanos(part)))
    }

    /// The sum of all parts, in nanoseconds.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_keep_their_index_and_names() {
        for (index, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, index, "{}", phase.name());
        }
        let mut names: Vec<_> = Phase::ALL.iter().map(|phase| phase.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Phase::COUNTED);
    }

    #[test]
    fn the_first_request_wait_is_outside_the_sum() {
        let mut phases = Phases::default();
        phases.add(Phase::Select, Duration::from_nanos(7));
        phases.add(Phase::Select, Duration::from_nanos(3));
        phases.add(Phase::FirstRequestWait, Duration::from_secs(1));
        assert_eq!(phases.nanos(Phase::Select), 10);
        assert_eq!(phases.sum(), 10);
    }
}
