//! The configuration after validation: what the rest of the program sees.
//!
//! Plain data without serde, rustls or sockets. Every reference by name has been resolved to an
//! index, every default filled in, every limit checked; nothing is checked again later.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::client_auth::ClientAuth;
use super::diagnostic::Location;
use super::field_edits::FieldEdits;
use super::fixed_response::FixedResponse;
use super::forwarding::{ForwardingHeader, TlsHeader};
use super::log::Log;
use super::names::{CipherSuite, Group};
use super::peer_set::PeerSet;
use super::redirect::Redirect;
use super::reload::Reload;
use super::upstream::{Upstream, UpstreamTimeouts};
use crate::host::HostPattern;
use crate::report::ProtocolVersion;

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

/// `[[listeners]]`
#[derive(Clone, Debug)]
pub struct Listener {
    /// `name`, by default the address as written. A metric label.
    pub name: Arc<str>,
    /// `address`
    pub address: ListenAddress,
    /// Where `address` stands, for errors when binding.
    pub location: Location,
    /// What is spoken on it.
    pub mode: ListenerMode,
    /// `redirect`; `None` (the default): requests are served. Only a plain listener has one.
    pub redirect: Option<Redirect>,
    /// `proxy_protocol_from`, default none: peers whose connections begin with a PROXY header. From
    /// others one is refused.
    pub proxy_protocol_from: PeerSet,
    /// `backlog`, default 4096.
    pub backlog: u32,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// An IP address and port; port 0 is a free one.
    Tcp(SocketAddr),
    /// `unix:PATH`
    Unix(PathBuf),
    /// `systemd:NAME`: the sockets that the service manager opened under this name
    /// (`FileDescriptorName=`, systemd.socket(5)).
    Systemd(Arc<str>),
}

impl ListenAddress {
    /// Whether it stands for another address each time.
    #[must_use]
    pub fn is_ephemeral(&self) -> bool {
        matches!(self, Self::Tcp(address) if address.port() == 0)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// What a listener speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerMode {
    /// TLS.
    Tls {
        /// `tls`, by default the built-in policy.
        policy: PolicyId,
        /// `certificates` in order; the first serves clients that send no name. Never empty.
        certificates: Vec<CertificateId>,
    },
    /// `tls = false`
    Plain,
}

/// `[tls.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The table's name; `default` for the built-in one.
    pub name: Arc<str>,
    /// `versions`, by default the preset's; never empty.
    pub versions: Vec<ProtocolVersion>,
    /// `cipher_suites` in server order, by default the preset's; one at least per version.
    pub cipher_suites: Vec<&'static CipherSuite>,
    /// `groups`, by default the preset's; never empty.
    pub groups: Vec<&'static Group>,
    /// `alpn` in server order, default `h2`, `http/1.1`; empty: none is negotiated.
    pub alpn: Vec<Alpn>,
    /// `unknown_sni`, default [`SniAction::Reject`]
    pub unknown_sni: SniAction,
    /// `missing_sni`, default [`SniAction::DefaultCertificate`]
    pub missing_sni: SniAction,
    /// `handshake_timeout`, default 10 s: one deadline from accept to handshake complete.
    pub handshake_timeout: Duration,
    /// `resumption`
    pub resumption: Resumption,
    /// `client_auth`; `None` (the default) is `mode = "off"`.
    pub client_auth: Option<ClientAuth>,
    /// `false_start`, default [`FalseStartMode::Allow`]
    pub false_start: FalseStartMode,
    /// `certificate_compression`, default true: zlib, for TLS 1.3 clients that ask (RFC 8879).
    pub certificate_compression: bool,
}

/// `false_start` of a policy: what to do about clients that send application data before the
/// handshake of TLS 1.2 is complete (RFC 7918).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FalseStartMode {
    /// Accept it.
    Allow,
    /// Negotiate no ALPN in TLS 1.2, without which browsers hold back (and lose h2).
    Discourage,
    /// End such a handshake with `unexpected_message`.
    Refuse,
}

/// `resumption` of a policy
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumption {
    /// `mode`, default [`ResumptionMode::Tickets`]
    pub mode: ResumptionMode,
    /// `lifetime`, default 12 h: from the full handshake on, however often the session was resumed
    /// since. Past it: a full handshake.
    pub lifetime: Duration,
    /// `tickets` sent after each full TLS 1.3 handshake, default 2, 0 to 8; after a resumed one it is
    /// one, if it is any.
    pub tickets: usize,
    /// `cache_size` in bytes, default 16 MiB: the session store. Past it: the oldest session goes.
    pub cache_size: usize,
}

/// `mode` of resumption, and the keys that one of them needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResumptionMode {
    /// `tickets`: state is sealed and given to the client (RFC 5077, RFC 8446 section 4.6.1); the
    /// store serves TLS 1.2 clients that take no tickets.
    Tickets(TicketKeys),
    /// `cache`: all state is in the store.
    Cache,
    /// `off`: every handshake is a full one.
    Off,
}

/// Where the keys of tickets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketKeys {
    /// Made by the daemon, a new one each time; old ones open tickets as long as those live.
    Rotated(Rotation),
    /// `key_dir`: files, shared by a fleet.
    Directory(KeyDirectory),
}

impl TicketKeys {
    /// A new key `every` so often, which ends with the process.
    #[must_use]
    pub const fn rotated(every: Duration) -> Self {
        Self::Rotated(Rotation { every, file: None })
    }
}

/// How a policy's own keys change, and where they stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// `rotate`, default 6 h.
    pub every: Duration,
    /// A file of the policy's own in `runtime.state_dir`, where the keys outlive the process; `None`
    /// without such a directory.
    pub file: Option<PathBuf>,
}

/// `key_dir` and where it is given, which does not count when two are compared: a policy whose
/// text has moved is the same policy.
#[derive(Clone, Debug)]
pub struct KeyDirectory {
    /// The directory.
    pub path: PathBuf,
    /// Where it is given.
    pub location: Location,
}

impl PartialEq for KeyDirectory {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for KeyDirectory {}

/// An application protocol (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// `h2` (RFC 9113).
    H2,
    /// `http/1.1` (RFC 9112).
    Http11,
}

impl Alpn {
    /// The protocol's name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::H2 => "h2",
            Self::Http11 => "http/1.1",
        }
    }
}

/// What to do with a client whose server name is not configured, or that sends none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SniAction {
    /// Refuse with `unrecognized_name` (RFC 6066 section 3).
    Reject,
    /// Answer with the listener's first certificate.
    DefaultCertificate,
}

/// `[certificates.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The table's name, or the listener's for one given inline.
    pub name: Arc<str>,
    /// `names`; `None` (the default): read from the certificate's subjectAltName.
    pub names: Option<Vec<HostPattern>>,
    /// Where each of `names` stands, in the same order.
    pub name_locations: Vec<Location>,
    /// The chains with their keys; several of different key types for the same names. Never empty.
    pub pairs: Vec<CertificatePair>,
    /// `tls`: the policy of this certificate's names, by default the listener's.
    pub policy: Option<PolicyId>,
    /// Where the table stands.
    pub location: Location,
}

/// A chain and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePair {
    /// The chain, leaf first, as PEM.
    pub chain: PemSource,
    /// The key of the leaf, as PEM.
    pub key: PemSource,
    /// `ocsp`: an OCSP response for the leaf, as DER, stapled for clients that ask.
    pub ocsp: Option<PemSource>,
}

/// Where PEM text comes from. Its `Debug` never shows a key, and where a path is given does not
/// make it another file.
#[derive(Clone)]
pub enum PemSource {
    /// A file, and where its path is given.
    File {
        /// The path.
        path: PathBuf,
        /// Where it is given.
        location: Location,
    },
    /// Made in memory, by `handfast dev`.
    Memory(Arc<str>),
}

impl PartialEq for PemSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { path, .. }, Self::File { path: other, .. }) => path == other,
            (Self::Memory(text), Self::Memory(other)) => text == other,
            _ => false,
        }
    }
}

impl Eq for PemSource {}

impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, location } => f
                .debug_struct("File")
                .field("path", path)
                .field("location", location)
                .finish(),
            Self::Memory(_) => f.write_str("Memory(..)"),
        }
    }
}

/// `[[routes]]`
#[derive(Clone, Debug)]
pub struct Route {
    /// What metrics and the access log call it: host and path as written, e.g. `example.com/api/`
    /// or `*/` for a route without a host.
    pub name: Arc<str>,
    /// `host`; `None` (the default): any.
    pub host: Option<HostPattern>,
    /// `path`, default `/`
    pub path: PathPattern,
    /// What the route does.
    pub action: RouteAction,
    /// What is changed of requests that it forwards; nothing where it forwards none.
    pub request: RequestRules,
    /// `response_headers`: on every response of the route, those of our own too.
    pub response_fields: FieldEdits,
    /// Where the table stands.
    pub location: Location,
}

/// `path` of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// `"/api/"`: this prefix. A prefix without a final slash matches whole segments only:
    /// `/api` matches `/api` and `/api/x`, never `/apix`.
    Prefix(Arc<str>),
    /// `"=/exact"`: this path alone.
    Exact(Arc<str>),
}

/// What a route does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAction {
    /// `upstream`
    Upstream(UpstreamId),
    /// `redirect`
    Redirect(Redirect),
    /// `respond`
    Respond(FixedResponse),
}

/// What a route changes of the requests that it forwards.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RequestRules {
    /// `request_headers`
    pub fields: FieldEdits,
    /// `strip_prefix` and `replace_prefix`; `None` (the default): the path is forwarded as it is.
    pub path: Option<PrefixRewrite>,
    /// `timeouts`, with the upstream's for those that are not given; `None` (the default): the
    /// upstream's.
    pub timeouts: Option<UpstreamTimeouts>,
    /// `request_body`, default [`BodyLimit::Global`]
    pub body: BodyLimit,
}

/// What takes the place of a route's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixRewrite {
    /// So many bytes at the start of the path go: the prefix without its final slash, or an exact
    /// path.
    pub cut: usize,
    /// This takes their place: a path; its final slash stands only where nothing follows.
    pub put: Arc<str>,
}

/// How large a request body may be. Past it: 413.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BodyLimit {
    /// As `limits.request_body` says.
    #[default]
    Global,
    /// `"unlimited"`
    Unlimited,
    /// So many bytes.
    Bytes(u64),
}

impl BodyLimit {
    /// The bytes that a body may have where `global` is `limits.request_body`; `None`: any number.
    #[must_use]
    pub const fn bytes(self, global: Option<u64>) -> Option<u64> {
        match self {
            Self::Global => global,
            Self::Unlimited => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }
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

/// `[forwarding]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// `trusted_proxies`, default none: peers whose `X-Forwarded-*` and `Forwarded` are believed.
    pub trusted_proxies: PeerSet,
    /// `headers`, default all but `Forwarded`: what upstreams are told about the client.
    pub headers: Vec<ForwardingHeader>,
    /// Whether requests carry `x-handfast-connection`, the id that events and the API use. Set by
    /// `handfast dev` for its demo upstream; there is no key for it. Inbound copies are always
    /// removed.
    pub connection_id: bool,
    /// `tls_headers`, default none: what requests over TLS carry. Inbound copies are always
    /// removed.
    pub tls_headers: Vec<TlsHeader>,
    /// `server_timing`, default false: whether a connection's first response has `Server-Timing`
    /// with the times of the handshake.
    pub server_timing: bool,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self {
            trusted_proxies: PeerSet::default(),
            headers: ForwardingHeader::DEFAULT.to_vec(),
            connection_id: false,
            tls_headers: Vec::new(),
            server_timing: false,
        }
    }
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
