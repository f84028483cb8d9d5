//! What the daemon says of itself, for everybody who asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::reload_report::ReloadReport;
use super::summary::{DrainStage, DrainSummary, seconds};
use crate::bearer::BearerToken;
use crate::config::ListenAddress;
use crate::drain::Drain;
use crate::telemetry::{Metrics, UnderWay};

/// The names of listeners and where they listen: on several addresses, where the service manager
/// opened several sockets of one name.
pub type Listening = Vec<(Arc<str>, Vec<ListenAddress>)>;

/// What the daemon says of itself: written by the daemon, read at every request.
#[derive(Debug, Default)]
pub struct DaemonStatus {
    /// Oldest first, [`RELOADS_KEPT`] at most.
    reloads: ArcSwap<Vec<ReloadReport>>,
    listeners: ArcSwap<Listening>,
    shutdown: ArcSwapOption<Shutdown>,
    token: ArcSwapOption<BearerToken>,
}

#[derive(Debug)]
struct Shutdown {
    connections: Drain,
    accepts_until: Instant,
    closes_at: Instant,
}

/// How many reloads are remembered.
const RELOADS_KEPT: usize = 16;

impl DaemonStatus {
    /// A reload is over.
    #[allow(clippy::needless_pass_by_value, reason = "it is kept")]
    pub fn reloaded(&self, report: ReloadReport) {
        self.reloads.rcu(|reloads| {
            let more_than_fit = (reloads.len() + 1).saturating_sub(RELOADS_KEPT);
            let kept = reloads.iter().skip(more_than_fit).cloned();
            kept.chain([report.clone()]).collect::<Vec<_>>()
        });
    }

    /// These are the listeners from now on.
    pub fn listening(&self, listeners: Listening) {
        self.listeners.store(Arc::new(listeners));
    }

    /// The shutdown has begun: it waits for `delay`, and then for what holds `connections`, for
    /// `timeout` at most.
    pub fn draining(&self, connections: Drain, delay: Duration, timeout: Duration) {
        let accepts_until = Instant::now() + delay;
        self.shutdown.store(Some(Arc::new(Shutdown {
            connections,
            accepts_until,
            closes_at: accepts_until + timeout,
        })));
    }

    /// Requests over TCP to the admin listener have to show this from now on. Nothing takes it
    /// back: the address may be a public one.
    pub fn admin_token(&self, token: Arc<BearerToken>) {
        self.token.store(Some(token));
    }

    pub(super) fn token(&self) -> Option<Arc<BearerToken>> {
        self.token.load_full()
    }

    pub(super) fn last_reload(&self) -> Option<ReloadReport> {
        self.reloads.load().last().cloned()
    }

    /// The last reloads, oldest first.
    pub(super) fn reloads(&self) -> Arc<Vec<ReloadReport>> {
        self.reloads.load_full()
    }

    pub(super) fn listeners(&self) -> Arc<Listening> {
        self.listeners.load_full()
    }

    /// The shutdown that is under way, and what `metrics` say holds on.
    #[must_use]
    pub fn drain(&self, metrics: &Metrics) -> Option<DrainSummary> {
        let shutdown = self.shutdown.load();
        let shutdown = shutdown.as_ref()?;
        let (stage, end) = match shutdown.connections.is_signaled() {
            false => (DrainStage::Delay, shutdown.accepts_until),
            true => (DrainStage::Connections, shutdown.closes_at),
        };
        let UnderWay {
            handshakes,
            requests,
            http2_connections,
            websockets,
            other_tunnels,
        } = metrics.under_way();
        Some(DrainSummary {
            stage,
            connections: shutdown.connections.held() as u64,
            http2_connections,
            handshakes,
            requests,
            websockets,
            other_tunnels,
            seconds_left: seconds(end.saturating_duration_since(Instant::now())),
        })
    }
}
