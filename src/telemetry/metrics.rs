//! Counters, gauges and histograms.

use std::sync::Arc;
use std::time::Duration;

use super::access_log::HttpProtocol;
use crate::report::HandshakeReport;

/// All metrics of the process.
#[derive(Debug, Default)]
pub struct Metrics {}

impl Metrics {
    /// The listener's metrics, made at first use and kept for good.
    #[must_use]
    pub fn listener(&self, _name: &str) -> Arc<ListenerMetrics> {
        Arc::default()
    }
    /// Request counters of one listener and route (`none` where no route matched).
    #[must_use]
    pub fn requests(&self, _listener: &str, _route: &str) -> Arc<RequestMetrics> {
        Arc::default()
    }
    /// An upstream's metrics.
    #[must_use]
    pub fn upstream(&self, _name: &str) -> Arc<UpstreamMetrics> {
        Arc::default()
    }
    /// `limit{limit}`: the configured value of a limit.
    pub fn limit(&self, _limit: &'static str, _value: u64) {}
    /// `tls_certificate_not_after_timestamp_seconds{certificate}`.
    pub fn certificate_not_after(&self, _certificate: &str, _unix_seconds: i64) {}
    /// `config_reloads_total{result}`.
    pub fn config_reload(&self, _ok: bool) {}
}

/// Metrics of one listener.
#[derive(Debug, Default)]
pub struct ListenerMetrics {}

impl ListenerMetrics {
    /// `connections_open` +1.
    pub fn connection_opened(&self) {}
    /// `connections_open` -1.
    pub fn connection_closed(&self) {}
    /// `tls_handshakes_started_total` and `tls_handshakes_in_flight` +1.
    pub fn handshake_started(&self) {}
    /// Takes the handshake out of flight and counts its outcome, phases and parts.
    pub fn handshake_finished(&self, _report: &HandshakeReport) {}
    /// The first plaintext of the client came this long after the handshake.
    pub fn first_request_wait(&self, _wait: Duration) {}
    /// `accept_errors_total{listener,class}`.
    pub fn accept_error(&self, _class: &'static str) {}
}

/// Request counters of one listener and route.
#[derive(Debug, Default)]
pub struct RequestMetrics {}

impl RequestMetrics {
    /// Counts a request; `status` is `None` when the client was gone before there was one (499).
    pub fn record(&self, _status: Option<u16>, _protocol: HttpProtocol, _duration: Duration) {}
}

/// Metrics of one upstream.
#[derive(Debug, Default)]
pub struct UpstreamMetrics {}

impl UpstreamMetrics {
    /// A request goes to a server, on a new or a kept connection.
    pub fn request(&self, _reused: bool) {}
    /// The head of the response came this long after the request was handed over.
    pub fn first_byte(&self, _wait: Duration) {}
    /// A connection was made in this time.
    pub fn connected(&self, _wait: Duration) {}
    /// `upstream_connections_open` +1.
    pub fn connection_opened(&self) {}
    /// `upstream_connections_open` -1.
    pub fn connection_closed(&self) {}
    /// A request was sent again on another connection.
    pub fn retry(&self) {}
    /// An exchange failed.
    pub fn failure(&self, _failure: UpstreamFailure) {}
}

/// How an exchange with an upstream failed: the label of `upstream_failures_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamFailure {
    /// The name does not resolve.
    Resolve,
    /// TCP connect was refused or unreachable.
    Connect,
    /// TCP connect took longer than `timeouts.connect`.
    ConnectTimeout,
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
    pub const ALL: [Self; 9] = [
        Self::Resolve,
        Self::Connect,
        Self::ConnectTimeout,
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
            Self::PoolFull => "upstream_pool_full",
            Self::Closed => "upstream_closed",
            Self::FirstByteTimeout => "upstream_first_byte_timeout",
            Self::BadResponse => "upstream_bad_response",
            Self::Truncated => "upstream_truncated",
            Self::IdleTimeout => "upstream_idle_timeout",
        }
    }
}
