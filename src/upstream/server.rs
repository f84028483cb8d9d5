//! One server of a cluster, and the right to ask it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::endpoint::Endpoint;
use super::error::ExchangeError;
use super::pool::Pool;
use super::servers::Servers;
use super::standing::Standing;
use super::streams::StreamPool;
use crate::config::Upstream;
use crate::telemetry::{UpstreamFailure, UpstreamMetrics};

/// The host of servers at unix sockets, which have none of their own: what others say to them, too.
pub(super) const LOCAL_HOST: &str = "localhost";

/// One server at one place, with its connections.
#[derive(Debug)]
pub(super) struct Server {
    /// Its place in the configuration's list: a name has one there for all its addresses.
    pub(super) spec: usize,
    pub(super) endpoint: Endpoint,
    /// The same, as the access log has it.
    pub(super) label: Arc<str>,
    pub(super) pool: Arc<Pool>,
    pub(super) streams: Arc<StreamPool>,
    /// It chose HTTP/1.1 the last time it could choose.
    pub(super) prefers_http1: AtomicBool,
    pub(super) standing: Standing,
    in_flight: AtomicUsize,
    /// Of the time to the first byte, in nanoseconds; 0 before the first.
    latency: AtomicU64,
}

/// One exchange with a server: open from before there is a connection to the end of the response,
/// or of the tunnel that it becomes.
#[derive(Debug)]
pub(super) struct Turn {
    server: Arc<Server>,
    servers: Arc<Servers>,
}

impl Server {
    /// The server at `endpoint`, which is one of those that the server at `spec` in the
    /// configuration has.
    pub(super) fn new(upstream: &Upstream, spec: usize, endpoint: Endpoint) -> Self {
        Self {
            spec,
            label: endpoint.to_string().into(),
            endpoint,
            pool: Pool::new(&upstream.pool),
            streams: StreamPool::new(upstream.pool.idle_timeout),
            prefers_http1: AtomicBool::new(false),
            standing: Standing::default(),
            in_flight: AtomicUsize::new(0),
            latency: AtomicU64::new(0),
        }
    }

    /// What stands for a host that the client did not name.
    pub(super) fn host(&self) -> &str {
        match self.endpoint {
            Endpoint::Tcp(_) => &self.label,
            Endpoint::Unix(_) => LOCAL_HOST,
        }
    }

    /// Its open exchanges.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The mean time to the first byte of the last eight exchanges or so; `None` before the first.
    pub(super) fn latency(&self) -> Option<Duration> {
        match self.latency.load(Ordering::Relaxed) {
            0 => None,
            nanoseconds => Some(Duration::from_nanos(nanoseconds)),
        }
    }

    /// It is no longer one of the cluster's: what is open may end, nothing is kept.
    pub(super) fn retire(&self) {
        self.pool.close();
        self.streams.close();
    }
}

impl Turn {
    pub(super) fn new(server: Arc<Server>, servers: Arc<Servers>) -> Self {
        server.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { server, servers }
    }

    pub(super) const fn server(&self) -> &Arc<Server> {
        &self.server
    }

    pub(super) fn metrics(&self) -> &Arc<UpstreamMetrics> {
        self.servers.metrics()
    }

    /// The head of the response came so long after the request was handed over.
    pub(super) fn first_byte(&self, wait: Duration) {
        self.metrics().first_byte(wait);
        let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX).max(1);
        // Two at once may lose one of both: it is a mean.
        let mean = match self.server.latency.load(Ordering::Relaxed) {
            0 => wait,
            mean => mean - mean / 8 + wait / 8,
        };
        self.server.latency.store(mean, Ordering::Relaxed);
    }

    /// A response came: its first piece, all of it, or the switch to another protocol.
    pub(super) fn succeeded(&self) {
        self.server.standing.succeeded();
    }

    /// The exchange failed. Counts it, and holds it against the server where it is to blame.
    pub(super) fn failed(&self, error: ExchangeError) -> ExchangeError {
        if let Some(failure) = error.failure() {
            self.broke(failure);
        }
        error
    }

    /// As [`Turn::failed`], by the failure to count.
    pub(super) fn broke(&self, failure: UpstreamFailure) {
        self.metrics().failure(failure);
        if !matches!(
            failure,
            UpstreamFailure::PoolFull | UpstreamFailure::Resolve
        ) {
            self.servers.failed(&self.server);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.server.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
