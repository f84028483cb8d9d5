//! What the network had to do with a handshake: round trips, flights, and whose the waits were.

use std::time::Duration;

use super::handshake::HandshakeReport;
use super::phase::{Phase, PhaseKind};

/// What the kernel knew of the connection when the handshake ended, and how much went over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The smoothed round trip time. Its samples hold what the client's kernel delayed its
    /// acknowledgements by.
    pub rtt: Option<Duration>,
    /// The shortest round trip time seen, that of the SYN included.
    pub min_rtt: Option<Duration>,
    /// The bytes that a segment carries at most.
    pub segment_size: Option<u32>,
    /// What came until the first ClientHello was whole.
    pub client_flight: u32,
    /// What we wrote before anything of the client's flight came, a HelloRetryRequest included.
    pub server_flight: u32,
}

impl Network {
    /// The segments that so many bytes need.
    #[must_use]
    pub const fn segments(&self, bytes: u32) -> Option<u32> {
        match self.segment_size {
            Some(size) if size > 0 => Some(bytes.div_ceil(size)),
            _ => None,
        }
    }
}

/// Why a handshake took a round trip more than the one that each takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtraRoundTrip {
    /// A HelloRetryRequest (RFC 8446 section 4.1.4).
    Retry,
    /// A full handshake of TLS 1.2 in which the client waited for our Finished (RFC 7918).
    NoFalseStart,
    /// Our flight was larger than the congestion window: the rest waited for acknowledgements.
    CongestionWindow,
    /// The client's flight came in parts, a round trip of a millisecond or more apart.
    SplitFlight,
}

impl ExtraRoundTrip {
    /// Every reason.
    pub const ALL: [Self; 4] = [
        Self::Retry,
        Self::NoFalseStart,
        Self::CongestionWindow,
        Self::SplitFlight,
    ];

    /// The name in metrics, events and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::NoFalseStart => "no_false_start",
            Self::CongestionWindow => "congestion_window",
            Self::SplitFlight => "split_flight",
        }
    }
}

/// One wait for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The phase it is.
    pub phase: Phase,
    /// How long it took.
    pub total: Duration,
    /// What the network took of it at least: the shortest round trip. The rest is the client's.
    /// `None` where that is not known: inside of a flight a loss looks like a pause.
    pub network: Option<Duration>,
    /// How much more of it the network may have taken: up to the smoothed round trip.
    pub uncertainty: Option<Duration>,
}

/// Whose time most of a handshake was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Ours: queues, computing, writing.
    Ours,
    /// The network's, as far as it is known.
    Network,
    /// The client's, and what is not known to be the network's.
    Client,
}

impl Verdict {
    /// The name in events and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Network => "network",
            Self::Client => "client",
        }
    }
}

impl HandshakeReport {
    /// Round trips until the client could send its request.
    #[must_use]
    pub fn round_trips(&self) -> usize {
        1 + self.extra_round_trips.len()
    }

    /// Its waits for the client, in wire order.
    pub fn waits(&self) -> impl Iterator<Item = Wait> + '_ {
        self.phases
            .iter()
            .filter(|&(phase, nanos)| phase.kind() == PhaseKind::Client && nanos > 0)
            .map(|(phase, nanos)| self.wait(phase, Duration::from_nanos(nanos)))
    }

    fn wait(&self, phase: Phase, total: Duration) -> Wait {
        let (least, most) = match phase {
            // Both begin with our last write and end with the answer to it.
            Phase::RetryWait | Phase::ClientFlightWait => (self.network.min_rtt, self.network.rtt),
            // Its first byte could have come with the acknowledgement that made the connection.
            Phase::ClientHelloWait => (Some(Duration::ZERO), None),
            _ => (None, None),
        };
        let network = least.map(|least| least.min(total));
        Wait {
            phase,
            total,
            network,
            uncertainty: network.map(|network| {
                most.map_or(Duration::ZERO, |most| most.min(total))
                    .saturating_sub(network)
            }),
        }
    }

    /// Whose most of the time was; where it is even, ours before the network's before the
    /// client's.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let waited: Duration = self.waits().map(|wait| wait.total).sum();
        let network: Duration = self.waits().filter_map(|wait| wait.network).sum();
        let client = waited - network;
        let ours = self.total.saturating_sub(waited);
        if ours >= network && ours >= client {
            Verdict::Ours
        } else if network >= client {
            Verdict::Network
        } else {
            Verdict::Client
        }
    }

    /// What each extra round trip cost, as far as it is known: what was waited where that is a
    /// phase of its own, else the shortest round trip.
    pub fn avoidable(&self) -> impl Iterator<Item = (ExtraRoundTrip, Duration)> + '_ {
        self.extra_round_trips.iter().map(|&cause| {
            let cost = match cause {
                ExtraRoundTrip::Retry => self.phases.nanos(Phase::RetryWait),
                ExtraRoundTrip::SplitFlight => self.phases.nanos(Phase::ClientFlightRead),
                ExtraRoundTrip::NoFalseStart | ExtraRoundTrip::CongestionWindow => {
                    return (cause, self.network.min_rtt.unwrap_or_default());
                }
            };
            (cause, Duration::from_nanos(cost))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Phases;
    use crate::report::handshake::sample;

    fn report(times: &[(Phase, u64)], network: Network) -> HandshakeReport {
        let mut phases = Phases::default();
        for &(phase, millis) in times {
            phases.add(phase, Duration::from_millis(millis));
        }
        HandshakeReport {
            total: Duration::from_nanos(phases.sum()),
            phases,
            network,
            ..sample()
        }
    }

    const FAR: Network = Network {
        rtt: Some(Duration::from_millis(50)),
        min_rtt: Some(Duration::from_millis(40)),
        segment_size: Some(1448),
        client_flight: 517,
        server_flight: 4344,
    };

    #[test]
    fn a_wait_is_split_at_the_round_trip() {
        let report = report(
            &[
                (Phase::ClientHelloWait, 3),
                (Phase::ClientHelloRead, 7),
                (Phase::ServerFlight, 2),
                (Phase::RetryWait, 20),
                (Phase::ClientFlightWait, 45),
            ],
            FAR,
        );
        let ms = Duration::from_millis;
        let waits: Vec<_> = report
            .waits()
            .map(|wait| (wait.phase, wait.total, wait.network, wait.uncertainty))
            .collect();
        assert_eq!(
            waits,
            [
                (Phase::ClientHelloWait, ms(3), Some(ms(0)), Some(ms(0))),
                (Phase::ClientHelloRead, ms(7), None, None),
                (Phase::RetryWait, ms(20), Some(ms(20)), Some(ms(0))),
                (Phase::ClientFlightWait, ms(45), Some(ms(40)), Some(ms(5))),
            ]
        );
        assert_eq!(report.verdict(), Verdict::Network);
    }

    #[test]
    fn the_verdict_is_the_largest_share() {
        for (times, network, verdict) in [
            (
                &[(Phase::ReadQueue, 80), (Phase::ClientFlightWait, 50)][..],
                FAR,
                Verdict::Ours,
            ),
            (
                &[(Phase::Admission, 41), (Phase::ClientFlightWait, 79)],
                FAR,
                Verdict::Ours,
            ),
            (
                &[(Phase::ServerFlight, 1), (Phase::ClientFlightWait, 60)],
                FAR,
                Verdict::Network,
            ),
            (
                &[(Phase::ServerFlight, 1), (Phase::ClientFlightWait, 90)],
                FAR,
                Verdict::Client,
            ),
            (
                &[(Phase::ServerFlight, 1), (Phase::ClientFlightRead, 2)],
                FAR,
                Verdict::Client,
            ),
            (
                &[(Phase::ServerFlight, 1), (Phase::ClientFlightWait, 60)],
                Network::default(),
                Verdict::Client,
            ),
            (&[], Network::default(), Verdict::Ours),
        ] {
            assert_eq!(report(times, network).verdict(), verdict, "{times:?}");
        }
    }

    #[test]
    fn extra_round_trips_cost_what_they_took() {
        let mut report = report(
            &[(Phase::RetryWait, 60), (Phase::ClientFlightRead, 41)],
            FAR,
        );
        assert_eq!(report.round_trips(), 1);
        report.extra_round_trips = ExtraRoundTrip::ALL.to_vec();
        assert_eq!(report.round_trips(), 5);
        let cost: Vec<_> = report
            .avoidable()
            .map(|(_, cost)| cost.as_millis())
            .collect();
        assert_eq!(cost, [60, 40, 40, 41]);
        assert_eq!(FAR.segments(FAR.server_flight), Some(3));
        assert_eq!(FAR.segments(4345), Some(4));
        assert_eq!(Network::default().segments(1), None);
    }
}
