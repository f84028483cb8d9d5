//! `GET /api/summary`: the daemon in a few numbers, and what it is about.

use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::kept_certificate::KeptCertificateReport;
use super::moment;
use super::reload_report::ReloadReport;
use super::respond::{self, Reply};
use super::state::AdminState;
use super::upstream_summary::{UpstreamSummary, upstreams};
use super::window::WindowSummary;
use crate::telemetry::{RingUsage, Totals};
use crate::tls::KeyLogStatus;

/// The answer to `GET /api/summary`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Of handfast.
    pub version: String,
    /// Since the start.
    pub uptime_seconds: f64,
    /// Which configuration this is since the start, counted from 1.
    pub generation: u64,
    /// `starting`, `ready` or `draining`.
    pub readiness: String,
    /// Client connections.
    pub connections_open: u64,
    /// Handshakes since the start.
    pub handshakes: HandshakeCounts,
    /// Finished requests since the start.
    pub requests: u64,
    /// The listeners, in the order of the configuration.
    pub listeners: Vec<ListenerSummary>,
    /// The upstreams, in the order of the configuration.
    #[serde(default)]
    pub upstreams: Vec<UpstreamSummary>,
    /// The last reload; `None` before the first.
    pub last_reload: Option<ReloadReport>,
    /// The certificates that serve as they were, because their files cannot be used.
    #[serde(default)]
    pub kept_certificates: Vec<KeptCertificateReport>,
    /// What the shutdown waits for; `None` while there is none.
    pub drain: Option<DrainSummary>,
    /// The running key log.
    pub key_log: Option<KeyLogSummary>,
    /// What is kept for `GET /api/handshakes`.
    pub ring: RingSummary,
    /// The last 10 s, minute and quarter of an hour.
    pub windows: Vec<WindowSummary>,
}

/// The handshakes that are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingSummary {
    /// How many; one that is both recent and among the slowest counts twice.
    pub handshakes: usize,
    /// An estimate of their memory.
    pub bytes: usize,
    /// Its bound.
    pub max_bytes: usize,
}

/// Handshakes by how they ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandshakeCounts {
    /// Not ended yet.
    pub in_flight: u64,
    /// Complete.
    pub ok: u64,
    /// Failed.
    pub failed: u64,
    /// Connections that sent nothing.
    pub probes: u64,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerSummary {
    /// Its name.
    pub name: String,
    /// Where it listens, as in the configuration; with the port that it got. Several addresses have
    /// commas between them.
    pub address: String,
    /// Its open connections.
    pub connections_open: u64,
}

/// A shutdown that is under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainSummary {
    /// What it waits for.
    pub stage: DrainStage,
    /// Connections that are open; all that follows is on them.
    pub connections: u64,
    /// Of these, those that speak HTTP/2.
    #[serde(default)]
    pub http2_connections: u64,
    /// Handshakes.
    #[serde(default)]
    pub handshakes: u64,
    /// Requests whose answer is not whole.
    #[serde(default)]
    pub requests: u64,
    /// Tunnels that carry WebSocket.
    #[serde(default)]
    pub websockets: u64,
    /// Tunnels of other upgrades.
    #[serde(default)]
    pub other_tunnels: u64,
    /// For how long at most.
    pub seconds_left: f64,
}

impl DrainSummary {
    /// What still holds on, for people: `2 websockets, 1 h2 connection, 3 requests`. Connections
    /// without anything on them end by themselves, and are told where there is nothing else.
    #[must_use]
    pub fn holding(&self) -> String {
        let kinds = [
            (self.websockets, "websocket"),
            (self.other_tunnels, "tunnel"),
            (self.http2_connections, "h2 connection"),
            (self.requests, "request"),
            (self.handshakes, "handshake"),
        ];
        let told: Vec<String> = kinds
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(counted)
            .collect();
        match told.is_empty() {
            true => counted((self.connections, "connection")),
            false => told.join(", "),
        }
    }
}

fn counted((count, noun): (u64, &str)) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// What a shutdown waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DrainStage {
    /// For load balancers to notice (`shutdown.drain_delay`); still accepting.
    Delay,
    /// For connections to end (`shutdown.drain_timeout`).
    Connections,
}

/// A running key log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLogSummary {
    /// The clients' network.
    pub client: String,
    /// Where secrets are written.
    pub file: PathBuf,
    /// When it ends by itself, in RFC 3339.
    pub until: String,
    /// The user who asked for it.
    pub uid: Option<u32>,
    /// Handshakes whose secrets are in the file.
    pub sessions: u64,
    /// Lines lost because the file was too slow.
    pub dropped: u64,
}

/// The summary as of now.
pub(super) fn summary(state: &AdminState) -> Reply {
    let metrics = &state.telemetry.metrics;
    let Totals {
        connections_open,
        handshakes,
        requests,
    } = metrics.totals();
    let listeners = state.status.listeners();
    let listeners = listeners.iter().map(|(name, addresses)| ListenerSummary {
        name: name.to_string(),
        address: addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        connections_open: metrics.listener(name).connections_open(),
    });
    let summary = Summary {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: seconds(state.started.elapsed()),
        generation: metrics.generation(),
        readiness: state.readiness.state().name().to_owned(),
        connections_open,
        handshakes: HandshakeCounts {
            in_flight: handshakes.in_flight,
            ok: handshakes.complete,
            failed: handshakes.failed,
            probes: handshakes.probes,
        },
        requests,
        listeners: listeners.collect(),
        upstreams: upstreams(&state.snapshots.load()),
        last_reload: state.status.last_reload(),
        kept_certificates: KeptCertificateReport::all(&state.snapshots.load()),
        drain: state.status.drain(metrics),
        key_log: state.key_log.status().map(KeyLogSummary::from),
        ring: RingSummary::from(state.telemetry.ring.usage()),
        windows: state
            .telemetry
            .windows()
            .iter()
            .map(WindowSummary::from)
            .collect(),
    };
    respond::json(StatusCode::OK, &summary)
}

/// Milliseconds are enough for people.
pub(super) fn seconds(time: Duration) -> f64 {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).as_secs_f64()
}

impl From<RingUsage> for RingSummary {
    fn from(usage: RingUsage) -> Self {
        Self {
            handshakes: usage.handshakes,
            bytes: usage.bytes,
            max_bytes: usage.max_bytes,
        }
    }
}

impl From<KeyLogStatus> for KeyLogSummary {
    fn from(status: KeyLogStatus) -> Self {
        Self {
            client: status.clients.to_string(),
            file: status.file,
            until: moment::text(status.until),
            uid: status.uid,
            sessions: status.sessions,
            dropped: status.dropped,
        }
    }
}
