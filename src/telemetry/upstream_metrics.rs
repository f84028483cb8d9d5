//! Metrics of one upstream, and the closed list of ways it can fail.

use std::time::Duration;

use super::exposition::{Exposition, Kind};
use super::histogram::{HTTP, Histogram};
use super::shard::Block;

/// Metrics of one upstream.
#[derive(Debug)]
pub struct UpstreamMetrics {
    counters: Block,
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
    /// Requests sent again on another connection.
    pub retries: u64,
    /// Failed exchanges by reason, those that occurred.
    pub failures: Vec<(UpstreamFailure, u64)>,
    /// The mean time until the head of a response; `None` before the first.
    pub first_byte: Option<Duration>,
    /// The mean time to connect, TLS handshake included; `None` before the first.
    pub connect: Option<Duration>,
}

const CONNECTIONS: usize = 0;
const RETRIES: usize = 1;
const REQUESTS_NEW: usize = 2;
const REQUESTS_REUSED: usize = 3;
const HANDSHAKES_FULL: usize = 4;
const HANDSHAKES_RESUMED: usize = 5;
const FAILURES: usize = 6;
const FIRST_BYTE: usize = FAILURES + UpstreamFailure::ALL.len();
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

    /// A request was sent again on another connection.
    pub fn retry(&self) {
        self.counters.lane().add(RETRIES, 1);
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
            retries: sum(RETRIES),
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
        "Requests sent again on another connection.",
        |family| {
            for (name, upstream) in upstreams {
                family.sample(&[("upstream", name)], upstream.counters.sum(RETRIES));
            }
        },
    );
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
