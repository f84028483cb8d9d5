//! Metrics of one upstream, and the closed list of ways it can fail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::exposition::{Exposition, Kind};
use super::histogram::{HTTP, Histogram};
use super::shard::Block;

/// Metrics of one upstream.
#[derive(Debug)]
pub struct UpstreamMetrics {
    counters: Block,
    /// Set now and then, by one task.
    servers: AtomicU64,
    healthy: AtomicU64,
}

/// What was counted of one upstream so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTotals {
    /// Connections that are open, idle ones included.
    pub connections_open: u64,
    /// Requests handed over.
    pub requests: u64,
    /// Of those, on a kept connection.
    pub reused: u64,
    /// Requests tried again on another connection or server.
    pub retries: u64,
    /// Servers; each address of a name is one.
    pub servers: u64,
    /// Those of them that are neither ejected nor unhealthy.
    pub healthy: u64,
    /// Failed exchanges by reason, those that occurred.
    pub failures: Vec<(UpstreamFailure, u64)>,
    /// The mean time until the head of a response; `None` before the first.
    pub first_byte: Option<Duration>,
    /// The mean time to connect, TLS handshake included; `None` before the first.
    pub connect: Option<Duration>,
}

const CONNECTIONS: usize = 0;
const EJECTIONS: usize = 1;
const REQUESTS_NEW: usize = 2;
const REQUESTS_REUSED: usize = 3;
const HANDSHAKES_FULL: usize = 4;
const HANDSHAKES_RESUMED: usize = 5;
const FAILURES: usize = 6;
const RETRIES: usize = FAILURES + UpstreamFailure::ALL.len();
const CHECKS: usize = RETRIES + RetryReason::ALL.len();
const FIRST_BYTE: usize = CHECKS + CheckResult::ALL.len();
const CONNECT: usize = FIRST_BYTE + HTTP.counters();
const COUNTERS: usize = CONNECT + HTTP.counters();

static FIRST_BYTE_TIME: Histogram = Histogram::at(&HTTP, FIRST_BYTE);
static CONNECT_TIME: Histogram = Histogram::at(&HTTP, CONNECT);

impl UpstreamMetrics {
    /// A request goes to a server, on a new or a kept connection.
    pub fn request(&self, reused: bool) {
        let counter = if reused {
            REQUESTS_REUSED
        } else {
            REQUESTS_NEW
        };
        self.counters.lane().add(counter, 1);
    }

    /// The head of the response came this long after the request was handed over.
    pub fn first_byte(&self, wait: Duration) {
        FIRST_BYTE_TIME.observe(self.counters.lane(), wait);
    }

    /// A TLS handshake succeeded.
    pub fn handshake(&self, resumed: bool) {
        let counter = if resumed {
            HANDSHAKES_RESUMED
        } else {
            HANDSHAKES_FULL
        };
        self.counters.lane().add(counter, 1);
    }

    /// A connection was made in this time, TLS handshake included.
    pub fn connected(&self, wait: Duration) {
        CONNECT_TIME.observe(self.counters.lane(), wait);
    }

    /// `upstream_connections_open` +1.
    pub fn connection_opened(&self) {
        self.counters.lane().add(CONNECTIONS, 1);
    }

    /// `upstream_connections_open` -1.
    pub fn connection_closed(&self) {
        self.counters.lane().decrement(CONNECTIONS);
    }

    /// A request is tried again.
    pub fn retry(&self, reason: RetryReason) {
        self.counters.lane().add(RETRIES + reason as usize, 1);
    }

    /// A server was taken out because requests to it failed.
    pub fn ejection(&self) {
        self.counters.lane().add(EJECTIONS, 1);
    }

    /// A health check ended.
    pub fn check(&self, result: CheckResult) {
        self.counters.lane().add(CHECKS + result as usize, 1);
    }

    /// So many servers there are, and so many of them get requests.
    pub fn servers(&self, all: usize, healthy: usize) {
        self.servers.store(all as u64, Ordering::Relaxed);
        self.healthy.store(healthy as u64, Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub fn totals(&self) -> UpstreamTotals {
        let sum = |counter| self.counters.sum(counter);
        let mean = |histogram: &Histogram| {
            let reading = histogram.read(&self.counters);
            let nanos = reading.sum.checked_div(reading.count());
            nanos.map(Duration::from_nanos)
        };
        let failures = UpstreamFailure::ALL.into_iter();
        let failures = failures.map(|failure| (failure, sum(FAILURES + failure as usize)));
        UpstreamTotals {
            connections_open: self.counters.gauge(CONNECTIONS),
            requests: sum(REQUESTS_NEW) + sum(REQUESTS_REUSED),
            reused: sum(REQUESTS_REUSED),
            retries: RetryReason::ALL
                .map(|it| sum(RETRIES + it as usize))
                .iter()
                .sum(),
            servers: self.servers.load(Ordering::Relaxed),
            healthy: self.healthy.load(Ordering::Relaxed),
            failures: failures.filter(|(_, count)| *count > 0).collect(),
            first_byte: mean(&FIRST_BYTE_TIME),
            connect: mean(&CONNECT_TIME),
        }
    }

    /// An exchange failed.
    pub fn failure(&self, failure: UpstreamFailure) {
        self.counters.lane().add(FAILURES + failure as usize, 1);
    }
}

impl Default for UpstreamMetrics {
    fn default() -> Self {
        Self {
            counters: Block::new(COUNTERS),
            servers: AtomicU64::new(0),
            healthy: AtomicU64::new(0),
        }
    }
}

/// How an exchange with an upstream failed: the label of `upstream_failures_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamFailure {
    /// The name does not resolve.
    Resolve,
    /// TCP connect was refused or unreachable.
    Connect,
    /// TCP connect and TLS handshake took longer than `timeouts.connect`.
    ConnectTimeout,
    /// The TLS handshake failed, or TLS itself later, before the head of the response.
    Tls,
    /// The server's certificate is not accepted.
    TlsVerify,
    /// The pool stayed full for `pool.wait`.
    PoolFull,
    /// The server closed or reset before the head of the response.
    Closed,
    /// No head of the response within `timeouts.first_byte`.
    FirstByteTimeout,
    /// What came is no HTTP response.
    BadResponse,
    /// The body broke off.
    Truncated,
    /// No progress on the body within `timeouts.idle`.
    IdleTimeout,
}

impl UpstreamFailure {
    /// Every failure.
    pub const ALL: [Self; 11] = [
        Self::Resolve,
        Self::Connect,
        Self::ConnectTimeout,
        Self::Tls,
        Self::TlsVerify,
        Self::PoolFull,
        Self::Closed,
        Self::FirstByteTimeout,
        Self::BadResponse,
        Self::Truncated,
        Self::IdleTimeout,
    ];

    /// The name in metrics and the access log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resolve => "upstream_resolve",
            Self::Connect => "upstream_connect",
            Self::ConnectTimeout => "upstream_connect_timeout",
            Self::Tls => "upstream_tls",
            Self::TlsVerify => "upstream_tls_verify",
            Self::PoolFull => "upstream_pool_full",
            Self::Closed => "upstream_closed",
            Self::FirstByteTimeout => "upstream_first_byte_timeout",
            Self::BadResponse => "upstream_bad_response",
            Self::Truncated => "upstream_truncated",
            Self::IdleTimeout => "upstream_idle_timeout",
        }
    }
}

/// Why a request is tried again: the label of `upstream_retries_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryReason {
    /// No connection could be made to a server: the next one is asked.
    Connect,
    /// The connection closed before anything of the request was written, or before anything of an
    /// answer came to one that may be sent twice.
    Closed,
    /// The server says that it has not acted on the request (RFC 9113 section 8.7).
    Refused,
}

impl RetryReason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Connect, Self::Closed, Self::Refused];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Closed => "closed",
            Self::Refused => "refused",
        }
    }
}

/// How a health check ended: the label of `upstream_health_checks_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// 2xx or 3xx came.
    Ok,
    /// Another status came.
    Status,
    /// No connection.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// Not over within `health.timeout`.
    Timeout,
    /// The server closed, or what came is no HTTP.
    Broken,
}

impl CheckResult {
    /// Every result.
    pub const ALL: [Self; 6] = [
        Self::Ok,
        Self::Status,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Broken,
    ];

    /// The name in metrics and the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Status => "status",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
        }
    }
}

/// Writes the families of all upstreams.
pub(super) fn write(out: &mut Exposition, upstreams: &[(&str, &UpstreamMetrics)]) {
    out.family(
        "upstream_connections_open",
        Kind::Gauge,
        "Connections to an upstream's servers, idle ones included.",
        |family| {
            for (name, upstream) in upstreams {
                family.sample(&[("upstream", name)], upstream.counters.gauge(CONNECTIONS));
            }
        },
    );
    out.family(
        "upstream_requests",
        Kind::Counter,
        "Requests handed to an upstream, on new and on kept connections.",
        |family| {
            for (name, upstream) in upstreams {
                for (reused, counter) in [("false", REQUESTS_NEW), ("true", REQUESTS_REUSED)] {
                    let labels = [("upstream", *name), ("reused", reused)];
                    family.sample(&labels, upstream.counters.sum(counter));
                }
            }
        },
    );
    out.family(
        "upstream_tls_handshakes",
        Kind::Counter,
        "TLS handshakes with an upstream's servers that succeeded.",
        |family| {
            for (name, upstream) in upstreams {
                for (kind, counter) in [("full", HANDSHAKES_FULL), ("resumed", HANDSHAKES_RESUMED)]
                {
                    let labels = [("upstream", *name), ("kind", kind)];
                    family.sample(&labels, upstream.counters.sum(counter));
                }
            }
        },
    );
    out.family(
        "upstream_retries",
        Kind::Counter,
        "Requests tried again on another connection or server, by reason.",
        |family| {
            for (name, upstream) in upstreams {
                for reason in RetryReason::ALL {
                    let labels = [("upstream", *name), ("reason", reason.name())];
                    family.sample(&labels, upstream.counters.sum(RETRIES + reason as usize));
                }
            }
        },
    );
    write_servers(out, upstreams);
    out.family(
        "upstream_failures",
        Kind::Counter,
        "Failed exchanges with an upstream by reason.",
        |family| {
            for (name, upstream) in upstreams {
                for failure in UpstreamFailure::ALL {
                    let labels = [("upstream", *name), ("reason", failure.name())];
                    family.sample(&labels, upstream.counters.sum(FAILURES + failure as usize));
                }
            }
        },
    );
    for (base, help, histogram) in [
        (
            "upstream_first_byte_seconds",
            "From the request handed over to the head of the response.",
            &FIRST_BYTE_TIME,
        ),
        (
            "upstream_connect_seconds",
            "Time to make a connection to an upstream's server, TLS handshake included.",
            &CONNECT_TIME,
        ),
    ] {
        out.family(base, Kind::Histogram, help, |family| {
            for (name, upstream) in upstreams {
                let reading = histogram.read(&upstream.counters);
                family.histogram(&[("upstream", name)], &HTTP, &reading);
            }
        });
    }
}

/// Writes how the servers of all upstreams are.
fn write_servers(out: &mut Exposition, upstreams: &[(&str, &UpstreamMetrics)]) {
    for (base, help, of) in [
        (
            "upstream_servers",
            "Servers of an upstream, each address of a name is one.",
            (|upstream| &upstream.servers) as fn(&UpstreamMetrics) -> &AtomicU64,
        ),
        (
            "upstream_healthy",
            "Servers of an upstream that are neither ejected nor unhealthy.",
            |upstream| &upstream.healthy,
        ),
    ] {
        out.family(base, Kind::Gauge, help, |family| {
            for (name, upstream) in upstreams {
                let value = of(upstream).load(Ordering::Relaxed);
                family.sample(&[("upstream", name)], value);
            }
        });
    }
    out.family(
        "upstream_ejections",
        Kind::Counter,
        "Servers taken out because requests to them failed in a row.",
        |family| {
            for (name, upstream) in upstreams {
                family.sample(&[("upstream", name)], upstream.counters.sum(EJECTIONS));
            }
        },
    );
    out.family(
        "upstream_health_checks",
        Kind::Counter,
        "Health checks of an upstream's servers by result.",
        |family| {
            for (name, upstream) in upstreams {
                for result in CheckResult::ALL {
                    let labels = [("upstream", *name), ("result", result.name())];
                    family.sample(&labels, upstream.counters.sum(CHECKS + result as usize));
                }
            }
        },
    );
}
