//! Metrics of one listener: its connections and its handshakes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::accept_fault::AcceptFault;
use super::composition::{CompositionMetrics, Compositions};
use super::counts::Counts;
use super::exemplar::{Exemplar, Exemplars};
use super::labelled::Labelled;
use super::listener_counters::{
    AVOIDABLE, AVOIDED, CONNECTIONS, COUNTERS, DURATIONS, FALSE_START, FIRST_REQUEST_WAIT,
    HELLO_RETRY, HTTP2_ABUSE, HTTP2_OPEN, IN_FLIGHT, PROBES, REQUESTS_OPEN, STARTED, TUNNELS,
    UNDETERMINED, WEBSOCKETS, duration, duration_index, part, phase, resumption,
};
use super::metrics_settings::MetricsSettings;
use super::mix::Mix;
use super::server_name_metrics::ServerNameMetrics;
use super::shard::Block;
use crate::config::PerSni;
use crate::report::{
    HandshakeKind, HandshakeReport, Http2Limit, Outcome, Phase, ProtocolVersion, Resumption,
    ServerNameLabel,
};

/// Metrics of one listener. Recording takes no lock, and allocates only when a server name
/// or a negotiated combination is seen for the first time.
#[derive(Debug)]
pub struct ListenerMetrics {
    pub(super) counters: Block,
    pub(super) server_names: Labelled<ServerNameLabel, ServerNameMetrics>,
    pub(super) negotiated: Labelled<Negotiated, Block>,
    protocols: Labelled<(&'static str, &'static str), Block>,
    compositions: CompositionMetrics,
    pub(super) accept_errors: [AtomicU64; AcceptFault::ALL.len()],
    pub(super) exemplars: Box<[Exemplars; DURATIONS]>,
    pub(super) settings: Arc<MetricsSettings>,
}

/// Handshakes of one listener so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandshakeTotals {
    /// Running now.
    pub in_flight: u64,
    /// Complete.
    pub complete: u64,
    /// Failed.
    pub failed: u64,
    /// Connections that sent nothing.
    pub probes: u64,
}

/// What is under way at one moment, and what a drain waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Handshakes.
    pub handshakes: u64,
    /// Requests whose answer is not whole; not those that have become tunnels.
    pub requests: u64,
    /// Connections that speak HTTP/2.
    pub http2_connections: u64,
    /// Tunnels that carry WebSocket.
    pub websockets: u64,
    /// Tunnels of other upgrades.
    pub other_tunnels: u64,
}

/// Handshakes of one listener and server name so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerNameTotals {
    /// The configured name, or that it was none of them.
    pub name: ServerNameLabel,
    /// Complete, with a new session.
    pub full: u64,
    /// Complete, with one of before.
    pub resumed: u64,
    /// Failed.
    pub failed: u64,
}

type Negotiated = (ProtocolVersion, &'static str, &'static str);

/// Names past this count are counted as `other`: a bound on memory and series in case of reloads
/// that keep bringing new names.
const MAX_SERVER_NAMES: usize = 1024;
/// More than the suites and groups of any TLS library multiply to.
const MAX_NEGOTIATED: usize = 512;

impl ListenerMetrics {
    /// `connections_open` +1.
    pub fn connection_opened(&self) {
        self.counters.lane().add(CONNECTIONS, 1);
    }

    /// `connections_open` -1.
    pub fn connection_closed(&self) {
        self.counters.lane().decrement(CONNECTIONS);
    }

    /// `tunnels_open` +1, and whether it carries WebSocket.
    pub fn tunnel_opened(&self, websocket: bool) {
        let lane = self.counters.lane();
        lane.add(TUNNELS, 1);
        if websocket {
            lane.add(WEBSOCKETS, 1);
        }
    }

    /// `tunnels_open` -1, as it was opened.
    pub fn tunnel_closed(&self, websocket: bool) {
        let lane = self.counters.lane();
        lane.decrement(TUNNELS);
        if websocket {
            lane.decrement(WEBSOCKETS);
        }
    }

    /// A connection begins to speak HTTP/2.
    pub fn http2_opened(&self) {
        self.counters.lane().add(HTTP2_OPEN, 1);
    }

    /// It is over.
    pub fn http2_closed(&self) {
        self.counters.lane().decrement(HTTP2_OPEN);
    }

    /// A request has come.
    pub fn request_began(&self) {
        self.counters.lane().add(REQUESTS_OPEN, 1);
    }

    /// Its answer is whole, or it has become a tunnel.
    pub fn request_ended(&self) {
        self.counters.lane().decrement(REQUESTS_OPEN);
    }

    /// `tls_handshakes_started_total` and `tls_handshakes_in_flight` +1.
    pub fn handshake_started(&self) {
        let lane = self.counters.lane();
        lane.add(STARTED, 1);
        lane.add(IN_FLIGHT, 1);
    }

    /// Takes the handshake out of flight and counts its outcome, phases and parts.
    ///
    /// Durations, phases and parts are those of complete handshakes. A phase or part of zero
    /// nanoseconds did not happen (no retry, no client certificate, …) and is not observed: a
    /// histogram's count is the number of handshakes that had the phase.
    pub fn handshake_finished(&self, report: &HandshakeReport) {
        let lane = self.counters.lane();
        lane.decrement(IN_FLIGHT);
        if report.hello_retry {
            lane.add(HELLO_RETRY, 1);
        }
        match &report.outcome {
            Outcome::Probe => lane.add(PROBES, 1),
            Outcome::Failed(failure) => {
                if failure.details.undetermined {
                    lane.add(UNDETERMINED, 1);
                }
                self.server_name(&report.server_name_label, |name| {
                    name.failed(failure.class, failure.side);
                });
            }
            Outcome::Ok => self.handshake_complete(report),
        }
    }

    /// The first plaintext of the client came this long after the handshake: phase
    /// `first_request_wait`, with kind `unknown`. Zero, with False Start, is observed too.
    pub fn first_request_wait(&self, wait: Duration) {
        FIRST_REQUEST_WAIT.observe(self.counters.lane(), wait);
    }

    /// As [`Self::first_request_wait`], where the kind of the handshake is at hand.
    pub fn first_request_wait_of(&self, kind: HandshakeKind, wait: Duration) {
        phase(kind, Phase::FirstRequestWait).observe(self.counters.lane(), wait);
    }

    /// `accept_errors_total{listener,class}`.
    pub fn accept_error(&self, fault: AcceptFault) {
        self.accept_errors[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// `http2_abuse_total{listener,limit}`.
    pub fn http2_abuse(&self, limit: Http2Limit) {
        self.counters.lane().add(HTTP2_ABUSE + limit as usize, 1);
    }

    /// Connections that are open now.
    #[must_use]
    pub fn connections_open(&self) -> u64 {
        self.counters.gauge(CONNECTIONS)
    }

    /// What is under way now.
    #[must_use]
    pub fn under_way(&self) -> UnderWay {
        let websockets = self.counters.gauge(WEBSOCKETS);
        UnderWay {
            handshakes: self.counters.gauge(IN_FLIGHT),
            requests: self.counters.gauge(REQUESTS_OPEN),
            http2_connections: self.counters.gauge(HTTP2_OPEN),
            websockets,
            other_tunnels: self.counters.gauge(TUNNELS).saturating_sub(websockets),
        }
    }

    /// How its handshakes ended so far.
    #[must_use]
    pub fn handshakes(&self) -> HandshakeTotals {
        let names = self.server_names.sorted(|_| ());
        HandshakeTotals {
            in_flight: self.counters.gauge(IN_FLIGHT),
            complete: names.iter().map(|(_, name)| name.complete_sum()).sum(),
            failed: names.iter().map(|(_, name)| name.failed_sum()).sum(),
            probes: self.counters.sum(PROBES),
        }
    }

    /// Adds how the time of its handshakes is made up.
    pub(super) fn add_compositions_to(&self, compositions: &mut Compositions) {
        self.compositions.add_to(compositions);
    }

    /// Adds what was negotiated.
    pub(super) fn add_mix_to(&self, mix: &mut Mix) {
        for ((version, cipher, group), count) in self.negotiated.sorted(|key| *key) {
            mix.add_negotiated(version, cipher, group, count.sum(0));
        }
        for ((alpn, certificate), count) in self.protocols.sorted(|key| *key) {
            mix.add_protocol(alpn, certificate, count.sum(0));
        }
    }

    /// How its handshakes ended by server name, in the order of the names.
    #[must_use]
    pub fn server_names(&self) -> Vec<ServerNameTotals> {
        let names = self.server_names.sorted(|name| name.as_str().to_owned());
        let totals = names.iter().map(|(name, counters)| {
            let mut counts = Counts::default();
            counters.add_to(&mut counts);
            ServerNameTotals {
                name: name.clone(),
                full: counts.full,
                resumed: counts.resumed,
                failed: counts.failed(),
            }
        });
        totals.collect()
    }

    /// Adds what was counted here.
    pub(super) fn add_to(&self, counts: &mut Counts) {
        let block = &self.counters;
        for (_, name) in self.server_names.sorted(|_| ()) {
            name.add_to(counts);
        }
        counts.probes += block.sum(PROBES);
        counts.in_flight += block.gauge(IN_FLIGHT);
        counts.retries += block.sum(HELLO_RETRY);
        for (sums, first) in [
            (&mut counts.false_starts, FALSE_START),
            (&mut counts.avoidable, AVOIDED),
            (&mut counts.avoidable_nanos, AVOIDABLE),
        ] {
            for (sum, counter) in sums.iter_mut().zip(first..) {
                *sum += block.sum(counter);
            }
        }
        for version in ProtocolVersion::ALL {
            for result in Resumption::ALL {
                counts.resumptions[result as usize] += block.sum(resumption(version, result));
            }
            for kind in HandshakeKind::ALL {
                let reading = duration(version, kind).read(block);
                for (sum, count) in counts.durations.iter_mut().zip(reading.counts) {
                    *sum += count;
                }
            }
        }
        for kind in HandshakeKind::ALL {
            for (sum, which) in counts.phases.iter_mut().zip(Phase::ALL) {
                *sum = sum.wrapping_add(phase(kind, which).sum(block));
            }
        }
    }

    fn handshake_complete(&self, report: &HandshakeReport) {
        // Both are known of a complete handshake.
        let (Some(version), Some(kind)) = (report.version, report.kind) else {
            return;
        };
        let lane = self.counters.lane();
        lane.add(FALSE_START + report.false_start.index(), 1);
        lane.add(resumption(version, report.resumption), 1);
        for (cause, wait) in report.avoidable() {
            let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
            lane.add(AVOIDABLE + cause as usize, nanos);
            lane.add(AVOIDED + cause as usize, 1);
        }
        duration(version, kind).observe(lane, report.total);
        if self.settings.exemplars() {
            self.exemplars[duration_index(version, kind)].keep(Exemplar::of(report));
        }
        for (which, nanos) in report.phases.iter().filter(|&(_, nanos)| nanos > 0) {
            phase(kind, which).observe_nanos(lane, nanos);
        }
        for (which, nanos) in report.parts.iter().filter(|&(_, nanos)| nanos > 0) {
            part(which).observe_nanos(lane, nanos);
        }
        self.server_name(&report.server_name_label, |name| {
            name.complete(version, kind);
        });
        let negotiated = (
            version,
            report.cipher.unwrap_or("none"),
            report.group.unwrap_or("none"),
        );
        self.negotiated.with(
            &negotiated,
            || Block::new(1),
            |count| count.lane().add(0, 1),
        );
        let protocol = (
            report.alpn.unwrap_or("none"),
            report.certificate_type.unwrap_or("none"),
        );
        self.protocols
            .with(&protocol, || Block::new(1), |count| count.lane().add(0, 1));
        self.compositions.observe(kind, report);
    }

    fn server_name(&self, label: &ServerNameLabel, count: impl Fn(&ServerNameMetrics)) {
        let label = match (label, self.settings.per_sni()) {
            (ServerNameLabel::Configured(_), PerSni::Off) => &ServerNameLabel::Other,
            (label, _) => label,
        };
        // `other` and `none` are there from the start, so the second look-up always finds one.
        if self
            .server_names
            .with(label, ServerNameMetrics::new, &count)
            .is_none()
        {
            self.server_names
                .with(&ServerNameLabel::Other, ServerNameMetrics::new, &count);
        }
    }
}

impl ListenerMetrics {
    pub(super) fn new(settings: Arc<MetricsSettings>) -> Self {
        let server_names = Labelled::new(MAX_SERVER_NAMES);
        for label in [ServerNameLabel::None, ServerNameLabel::Other] {
            server_names.with(&label, ServerNameMetrics::new, |_| ());
        }
        Self {
            counters: Block::new(COUNTERS),
            server_names,
            negotiated: Labelled::new(MAX_NEGOTIATED),
            protocols: Labelled::new(MAX_NEGOTIATED),
            compositions: CompositionMetrics::new(),
            accept_errors: <[AtomicU64; AcceptFault::ALL.len()]>::default(),
            exemplars: Box::default(),
            settings,
        }
    }
}
