//! Every default and every bound, in one place.
//!
//! The bounds keep later arithmetic from overflowing and refuse what can only be a slip of the
//! pen; they are no advice.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::Method;

use super::log::{
    AccessFormat, ClientIp, HandshakeEvents, HandshakeLog, Log, LogFormat, LogLevel, LogTarget,
};
use super::model::{Budget, Limits, Metrics, PerSni, Timeouts};
use super::names::Preset;
use super::policy::{Alpn, FalseStartMode, SniAction};
use super::upstream::{Balance, Eject, Pool, UpstreamTimeouts};

/// `runtime.workers`: one per core.
pub const WORKERS: usize = 0;

/// `listeners.backlog`: connections that wait to be accepted; the kernel caps it at
/// `net.core.somaxconn`.
pub const BACKLOG: u32 = 4096;

/// `reload.watch`
pub const WATCH: bool = true;

/// The name of the built-in policy, which `[tls.default]` changes.
pub const POLICY: &str = "default";

/// `tls.NAME.preset`
pub const PRESET: Preset = Preset::Intermediate58;

/// `tls.NAME.alpn`
pub const ALPN: [Alpn; 2] = [Alpn::H2, Alpn::Http11];

/// `tls.NAME.unknown_sni`: a name that was sent and is not served here.
pub const UNKNOWN_SNI: SniAction = SniAction::Reject;

/// `tls.NAME.missing_sni`: no name was sent.
pub const MISSING_SNI: SniAction = SniAction::DefaultCertificate;

/// `tls.NAME.handshake_timeout`
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// `tls.NAME.resumption.lifetime`
pub const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// `tls.NAME.resumption.tickets`: a browser opens two connections at once.
pub const TICKETS: usize = 2;

/// `tls.NAME.resumption.rotate`
pub const ROTATE: Duration = Duration::from_secs(6 * 60 * 60);

/// `tls.NAME.resumption.cache_size`: some 40,000 sessions.
pub const CACHE_SIZE: usize = 16 << 20;

/// `tls.NAME.false_start`
pub const FALSE_START: FalseStartMode = FalseStartMode::Allow;

/// `tls.NAME.certificate_compression`
pub const CERTIFICATE_COMPRESSION: bool = true;

/// `routes.path`
pub const PATH: &str = "/";

/// `redirect.public_port` of routes and listeners
pub const HTTPS_PORT: u16 = 443;

/// `upstreams.NAME.servers.weight`
pub const WEIGHT: u32 = 1;

/// `upstreams.NAME.timeouts`
pub const UPSTREAM_TIMEOUTS: UpstreamTimeouts = UpstreamTimeouts {
    connect: Duration::from_secs(2),
    first_byte: Duration::from_secs(30),
    idle: Duration::from_secs(60),
};

/// `upstreams.NAME.pool`. The idle timeout stays below the 5 s after which common servers close.
pub const POOL: Pool = Pool {
    max_connections: 1024,
    max_idle: 64,
    idle_timeout: Duration::from_secs(4),
    wait: Duration::from_secs(1),
    max_waiting: 1024,
};

/// `upstreams.NAME.balance`
pub const BALANCE: Balance = Balance::RoundRobin;

/// `upstreams.NAME.retries.attempts`
pub const RETRY_ATTEMPTS: u32 = 1;

/// `upstreams.NAME.retries.methods`
pub const RETRY_METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::OPTIONS];

/// `upstreams.NAME.eject`
pub const EJECT: Eject = Eject {
    failures: 5,
    period: Duration::from_secs(10),
};

/// `upstreams.NAME.health.interval`
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// `upstreams.NAME.health.timeout`
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// `upstreams.NAME.health.healthy_after`
pub const HEALTHY_AFTER: u32 = 2;

/// `upstreams.NAME.health.unhealthy_after`
pub const UNHEALTHY_AFTER: u32 = 3;

/// `upstreams.NAME.resolve_interval`
pub const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);

/// `timeouts`
pub const TIMEOUTS: Timeouts = Timeouts {
    request_header: Duration::from_secs(10),
    request_body_idle: Duration::from_secs(30),
    response_idle: Duration::from_secs(30),
    keep_alive: Duration::from_secs(75),
    tunnel_idle: Duration::from_secs(60 * 60),
    connection_max_age: Duration::from_secs(24 * 60 * 60),
};

/// `limits`
pub const LIMITS: Limits = Limits {
    connections: 20_000,
    connections_per_ip: None,
    handshakes: 256,
    request_line: 8 << 10,
    request_headers: 32 << 10,
    request_header_count: 100,
    request_body: None,
    h2_streams: 128,
    h2_resets: Budget {
        count: 100,
        per: Duration::from_secs(10),
    },
    h2_control_frames: Budget {
        count: 1000,
        per: Duration::from_secs(10),
    },
};

/// `shutdown.drain_delay` where it is not set and no terminal is attached.
pub const DRAIN_DELAY: Duration = Duration::from_secs(5);

/// `shutdown.drain_timeout`
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// `log`
pub const LOG: Log = Log {
    level: LogLevel::Info,
    format: LogFormat::Auto,
    target: LogTarget::Stderr,
    access: Some(AccessFormat::Json),
    handshake: HandshakeLog {
        events: HandshakeEvents::Failures,
        sample: WHOLE_SAMPLE / 100,
        client_ip: ClientIp::Full,
        failures_per_second: Some(100),
    },
};

/// A sample of everything, in millionths.
pub const WHOLE_SAMPLE: u32 = 1_000_000;

/// Bounds of `log.handshake.failures_per_second` where it is not unlimited.
pub(super) const FAILURES_PER_SECOND_RANGE: RangeInclusive<u64> = 1..=1_000_000;

/// `[metrics]`
pub const METRICS: Metrics = Metrics {
    per_sni: PerSni::Configured,
    exemplars: true,
};

/// The largest file that is read as configuration, in bytes.
pub const FILE_SIZE: u64 = 4 << 20;

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Bounds of deadlines: a deadline of 0 would refuse everything.
pub(super) const DEADLINE: RangeInclusive<Duration> = Duration::from_millis(1)..=YEAR;

/// Bounds of `resumption.lifetime`: RFC 8446 section 4.6.1 permits a week.
pub(super) const SESSION_LIFETIME_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 60 * 60);

/// Bounds of `resumption.rotate`.
pub(super) const ROTATE_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 60 * 60);

/// How often keys may change within a lifetime: each that still opens tickets is kept.
pub(super) const ROTATIONS: u128 = 64;

/// Bounds of `resumption.tickets`.
pub(super) const TICKETS_RANGE: RangeInclusive<u64> = 0..=8;

/// Bounds of `resumption.cache_size`.
pub(super) const CACHE_SIZE_RANGE: RangeInclusive<u64> = 64 << 10..=1 << 40;

/// Bounds of delays.
pub(super) const DELAY: RangeInclusive<Duration> = Duration::ZERO..=YEAR;

/// Bounds of `runtime.workers`.
pub(super) const WORKERS_RANGE: RangeInclusive<u64> = 0..=1024;

/// Bounds of `listeners.backlog`.
pub(super) const BACKLOG_RANGE: RangeInclusive<u64> = 1..=65_535;

/// Bounds of `upstreams.NAME.servers.weight`.
pub(super) const WEIGHT_RANGE: RangeInclusive<u64> = 1..=1000;

/// Bounds of `limits.connections`, `connections_per_ip` and `handshakes`, and of
/// `upstreams.NAME.pool.max_connections`.
pub(super) const CONNECTIONS_RANGE: RangeInclusive<u64> = 1..=1_000_000;

/// Bounds of `upstreams.NAME.pool.max_waiting`; 0 lets none wait.
pub(super) const MAX_WAITING_RANGE: RangeInclusive<u64> = 0..=1_000_000;

/// Bounds of `upstreams.NAME.retries.attempts`.
pub(super) const RETRY_ATTEMPTS_RANGE: RangeInclusive<u64> = 0..=10;

/// Bounds of `upstreams.NAME.eject.failures`, and of `healthy_after` and `unhealthy_after` of
/// `health`.
pub(super) const IN_A_ROW_RANGE: RangeInclusive<u64> = 1..=1000;

/// Bounds of `upstreams.NAME.eject.for`: 16 times as long must not overflow.
pub(super) const EJECT_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);

/// Bounds of `upstreams.NAME.pool.max_idle`; 0 keeps no connection.
pub(super) const MAX_IDLE_RANGE: RangeInclusive<u64> = 0..=1_000_000;

/// Bounds of `limits.request_line`.
pub(super) const REQUEST_LINE_RANGE: RangeInclusive<u64> = 64..=1 << 20;

/// Bounds of `limits.request_headers`; the HTTP/1.1 parser has no buffer below 8 KiB.
pub(super) const REQUEST_HEADERS_RANGE: RangeInclusive<u64> = 8 << 10..=1 << 20;

/// Bounds of `limits.request_header_count`.
pub(super) const REQUEST_HEADER_COUNT_RANGE: RangeInclusive<u64> = 1..=10_000;

/// Bounds of `limits.request_body` where it is not unlimited.
pub(super) const REQUEST_BODY_RANGE: RangeInclusive<u64> = 1..=1 << 50;

/// Bounds of `limits.h2_streams`.
pub(super) const H2_STREAMS_RANGE: RangeInclusive<u64> = 1..=10_000;

/// Bounds of `count` in `limits.h2_resets` and `limits.h2_control_frames`: every connection needs
/// some of them.
pub(super) const BUDGET_COUNT_RANGE: RangeInclusive<u64> = 10..=1_000_000;

/// Bounds of `per` beside it.
pub(super) const BUDGET_PER_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(60 * 60);
