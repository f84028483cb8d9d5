//! `[upstreams.NAME]` after validation.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::upstream_tls::UpstreamTls;

/// `[upstreams.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The table's name, or the URL of one given inline. A metric label.
    pub name: Arc<str>,
    /// `servers`, never empty.
    pub servers: Vec<UpstreamServer>,
    /// `protocol`, default [`UpstreamProtocol::Http1`]
    pub protocol: UpstreamProtocol,
    /// `balance`, default [`Balance::RoundRobin`]
    pub balance: Balance,
    /// `timeouts`
    pub timeouts: UpstreamTimeouts,
    /// `pool`, for each server
    pub pool: Pool,
    /// `retries`
    pub retries: Retries,
    /// `eject`; `None`: `false`.
    pub eject: Option<Eject>,
    /// `health`; `None` (the default): servers are not asked how they are.
    pub health: Option<HealthCheck>,
    /// `resolve_interval`, default 30 s: how often names of servers are resolved again.
    pub resolve_interval: Duration,
    /// `tls`; `None` (the default): in the clear.
    pub tls: Option<UpstreamTls>,
}

/// `balance` of an upstream: which server a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// `round-robin`: in turn, as often as the weights say.
    RoundRobin,
    /// `least-connections`: the one with the fewest open requests for its weight.
    LeastConnections,
    /// `random-two`: of two that are drawn by weight, the one with fewer open requests for its
    /// weight.
    RandomTwo,
    /// `hash:client-ip`: each client's requests go to the same server, while that is there.
    HashClientIp,
}

/// `retries` of an upstream: when a request is sent once more. One whose body has begun, or that
/// may have been acted on by another method than these, never is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// `attempts`, default 1, 0 to 10: how many times more.
    pub attempts: u32,
    /// `methods`, default GET, HEAD and OPTIONS; also PUT, DELETE and TRACE may be named, the
    /// idempotent ones (RFC 9110 section 9.2.2).
    pub methods: Vec<Method>,
}

/// `eject` of an upstream: servers that fail get no requests for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eject {
    /// `failures`, default 5, 1 to 1000: so many in a row.
    pub failures: u32,
    /// `for`, default 10 s; twice as long each further time in a row, at most 16 times as long.
    pub period: Duration,
}

/// `health` of an upstream: a request of our own to each server, now and then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// `path`, required: what is asked for with GET. 2xx and 3xx are good.
    pub path: Arc<str>,
    /// `interval`, default 5 s: from one check to the next.
    pub interval: Duration,
    /// `timeout`, default 1 s: connect, TLS handshake and head of the response. Past it: bad.
    pub timeout: Duration,
    /// `healthy_after`, default 2: good checks in a row bring a server back.
    pub healthy_after: u32,
    /// `unhealthy_after`, default 3: bad checks in a row take a server out.
    pub unhealthy_after: u32,
}

/// `protocol` of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// `http1`: HTTP/1.1.
    Http1,
    /// `http2`: by ALPN over TLS, else by prior knowledge (RFC 9113 section 3.3).
    Http2,
    /// `auto`: what the server chooses by ALPN. Over TLS only.
    Auto,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamServer {
    /// `address`: `host:port`, where host is an IP address or a name; or `unix:PATH`.
    pub address: ServerAddress,
    /// `weight`, default 1, 1 to 1000.
    pub weight: u32,
}

/// Where an upstream server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// An IP address and port.
    Ip(SocketAddr),
    /// A name to resolve, and a port.
    Name(Arc<str>, u16),
    /// The path of a unix socket, absolute.
    Unix(PathBuf),
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `timeouts` of an upstream
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// `connect`, default 2 s: connect and TLS handshake. Past it: 504 (the next server is tried where safe).
    pub connect: Duration,
    /// `first_byte`, default 30 s: request written to head of the response. Past it: 504.
    pub first_byte: Duration,
    /// `idle`, default 60 s: no progress on a response body. Past it: the response is aborted.
    pub idle: Duration,
}

/// `pool` of an upstream, for each server
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// `max_connections`, default 1024. Past it requests wait.
    pub max_connections: usize,
    /// `max_idle`, default 64. Past it a connection is closed after its response.
    pub max_idle: usize,
    /// `idle_timeout`, default 4 s.
    pub idle_timeout: Duration,
    /// `wait`, default 1 s: for a connection below `max_connections`. Past it: 503.
    pub wait: Duration,
    /// `max_waiting`, default 1024: requests that wait so, and as many for the first addresses of
    /// names. Past it: 503 at once.
    pub max_waiting: usize,
}
