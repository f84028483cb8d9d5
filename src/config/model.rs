//! The configuration after validation: what the rest of the program sees.
//!
//! Plain data without serde, rustls or sockets. Every reference by name has been resolved to an
//! index, every default filled in, every limit checked; nothing is checked again later.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::certificate::Certificate;
use super::diagnostic::Location;
use super::forwarding::Forwarding;
use super::listener::Listener;
use super::log::Log;
use super::policy::Policy;
use super::reload::Reload;
use super::route::Route;
use super::upstream::Upstream;

/// One configuration, whole and consistent.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[[listeners]]`, at least one.
    pub listeners: Vec<Listener>,
    /// `[tls.NAME]`; the first is the built-in policy, named `default`.
    pub policies: Vec<Policy>,
    /// `[certificates.NAME]` and those given inline at a listener.
    pub certificates: Vec<Certificate>,
    /// `[[routes]]`
    pub routes: Vec<Route>,
    /// `[upstreams.NAME]` and those given inline at a route.
    pub upstreams: Vec<Upstream>,
    /// `[timeouts]`
    pub timeouts: Timeouts,
    /// `[limits]`
    pub limits: Limits,
    /// `[forwarding]`
    pub forwarding: Forwarding,
    /// `[reload]`
    pub reload: Reload,
    /// `[shutdown]`
    pub shutdown: Shutdown,
    /// `[log]`
    pub log: Log,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[admin]`
    pub admin: Admin,
    /// `[health]`
    pub health: Health,
}

macro_rules! index {
    ($(#[$doc:meta] $name:ident)+) => {$(
        #[$doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub usize);
    )+};
}

index! {
    /// Index into [`Config::policies`].
    PolicyId
    /// Index into [`Config::certificates`].
    CertificateId
    /// Index into [`Config::upstreams`].
    UpstreamId
    /// Index into [`Config::routes`].
    RouteId
}

/// `[runtime]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Worker threads; 0 (the default) is one per core.
    pub workers: usize,
}

/// `[timeouts]`, towards clients
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// `request_header`, default 10 s: first byte of a request head to its last. Past it: 408 and
    /// close.
    pub request_header: Duration,
    /// `request_body_idle`, default 30 s: no progress on a request body. Past it: 408 or abort.
    pub request_body_idle: Duration,
    /// `response_idle`, default 30 s: the client takes nothing. Past it: close.
    pub response_idle: Duration,
    /// `keep_alive`, default 75 s: between requests. Past it: close.
    pub keep_alive: Duration,
    /// `tunnel_idle`, default 1 h: no byte either way after an upgrade. Past it: close.
    pub tunnel_idle: Duration,
    /// `connection_max_age`, default 24 h. Past it: drained.
    pub connection_max_age: Duration,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `connections`, default 20000, over all listeners. Past it connections wait in the backlog.
    pub connections: usize,
    /// `connections_per_ip`, of one IPv4 address or IPv6 /64; `None` (the default) is unlimited.
    /// Past it: closed at once.
    pub connections_per_ip: Option<usize>,
    /// `handshakes`, default 256: that compute or wait to, after a whole ClientHello. Past it:
    /// alert 80 and close.
    pub handshakes: usize,
    /// `request_line`, default 8 KiB. Past it: 414.
    pub request_line: usize,
    /// `request_headers`, default 32 KiB. Past it: 431.
    pub request_headers: usize,
    /// `request_header_count`, default 100. Past it: 431.
    pub request_header_count: usize,
    /// `request_body`, in bytes; `None` (the default) is unlimited. Past it: 413.
    pub request_body: Option<u64>,
    /// `h2_streams`, default 128 at once on a connection. Past it: REFUSED_STREAM.
    pub h2_streams: u32,
    /// `h2_resets`, default 100 in 10 s: streams that an HTTP/2 client resets, and as many that it
    /// makes us reset. Past it: GOAWAY with ENHANCE_YOUR_CALM.
    pub h2_resets: Budget,
    /// `h2_control_frames`, default 1000 in 10 s: frames of an HTTP/2 client that carry nothing of
    /// a message. Past it: GOAWAY with ENHANCE_YOUR_CALM.
    pub h2_control_frames: Budget,
}

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// `count`: so many times, ...
    pub count: u32,
    /// `per`: ... in a window of this length, which begins with the first time. Then a new one
    /// begins with the next.
    pub per: Duration,
}

/// `[shutdown]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// `drain_delay`; `None` (not set): 5 s, 0 on a terminal. Not ready, still accepting.
    pub drain_delay: Option<Duration>,
    /// `drain_timeout`, default 30 s: for open requests, then connections are closed.
    pub drain_timeout: Duration,
}

/// `[metrics]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// `per_sni`, default [`PerSni::Configured`]
    pub per_sni: PerSni,
    /// `exemplars`, default true: whether OpenMetrics text names a connection for each bucket of
    /// the handshake durations.
    pub exemplars: bool,
}

/// Which server names are values of the label `server_name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerSni {
    /// `configured`: those in the configuration; any other is `other`.
    Configured,
    /// `off`: none; every name is `other`.
    Off,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Admin {
    /// `address`; `None` (the default): off. Loopback only without `token_file`.
    pub address: Option<AdminAddress>,
    /// `token_file`; `None` (the default): whoever reaches `address` may look.
    pub token_file: Option<TokenFile>,
    /// `socket`; `None` (the default): off.
    pub socket: Option<PathBuf>,
}

/// A file with a bearer token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    /// Its path.
    pub path: PathBuf,
    /// Where it is given.
    pub location: Location,
}

/// `[health]`
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Health {
    /// `address`; `None` (the default): off.
    pub address: Option<AdminAddress>,
}

/// Where the admin or the health listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminAddress {
    /// The address and port.
    pub address: SocketAddr,
    /// Where it is given.
    pub location: Location,
}

impl Config {
    /// The policy at `id`.
    #[must_use]
    pub fn policy(&self, id: PolicyId) -> &Policy {
        &self.policies[id.0]
    }

    /// Whether `address` may serve the admin API without a token: loopback only.
    #[must_use]
    pub fn is_private_admin(address: IpAddr) -> bool {
        address.is_loopback()
    }
}
