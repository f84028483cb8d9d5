//! The configuration files of the tests: one shape, varied by field.

use std::net::SocketAddr;
use std::path::Path;

/// A configuration with three TLS listeners' worth of names: `https` (ECDSA, with a wildcard
/// certificate beside it) and `rsa`, all requests forwarded to one origin.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where requests go.
    pub(crate) origin: SocketAddr,
    /// `address` of the listener `https`.
    pub(crate) https: String,
    /// Lines of `[tls.default]`.
    pub(crate) policy: String,
    /// Fields of the origin's `timeouts`.
    pub(crate) upstream_timeouts: String,
    /// More lines of `[upstreams.origin]`.
    pub(crate) upstream: String,
    /// Lines of `[reload]`: by default only what asks for a reload makes one.
    pub(crate) reload: String,
    /// `drain_delay`
    pub(crate) drain_delay: String,
    /// `drain_timeout`
    pub(crate) drain_timeout: String,
    /// `level` of `[log]`
    pub(crate) log_level: String,
    /// Lines of `[log]`
    pub(crate) log: String,
    /// Lines of `[admin]`
    pub(crate) admin: String,
    /// Whole tables, appended.
    pub(crate) more: String,
}

impl Settings {
    /// Everything forwarded to `origin`.
    pub(crate) fn new(origin: SocketAddr) -> Self {
        Self {
            origin,
            https: "127.0.0.1:0".to_owned(),
            policy: String::new(),
            upstream_timeouts: r#"first_byte = "20s""#.to_owned(),
            upstream: String::new(),
            reload: "watch = false".to_owned(),
            drain_delay: "10ms".to_owned(),
            drain_timeout: "10s".to_owned(),
            log_level: "info".to_owned(),
            log: "handshake = { events = \"all\", sample = 1.0 }".to_owned(),
            admin: String::new(),
            more: String::new(),
        }
    }

    /// With this address for the listener `https`.
    pub(crate) fn https(mut self, address: &str) -> Self {
        self.https = address.to_owned();
        self
    }

    /// With these lines in `[tls.default]`.
    pub(crate) fn policy(mut self, lines: &str) -> Self {
        self.policy = lines.to_owned();
        self
    }

    /// With these lines for the origin.
    pub(crate) fn upstream(mut self, lines: &str) -> Self {
        self.upstream = lines.to_owned();
        self
    }

    /// With these lines in `[reload]` instead of none but the requested ones.
    pub(crate) fn reload(mut self, lines: &str) -> Self {
        self.reload = lines.to_owned();
        self
    }

    /// With these lines in `[log]` instead of every event.
    pub(crate) fn log(mut self, lines: &str) -> Self {
        self.log = lines.to_owned();
        self
    }

    /// With these tables besides.
    pub(crate) fn more(mut self, tables: &str) -> Self {
        self.more.push_str(tables);
        self.more.push('\n');
        self
    }

    /// The file, with certificates in `dir`.
    pub(crate) fn render(&self, dir: &Path) -> String {
        let Self {
            origin,
            https,
            policy,
            upstream_timeouts,
            upstream,
            reload,
            drain_delay,
            drain_timeout,
            log_level,
            log,
            admin,
            more,
        } = self;
        let dir = dir.display();
        format!(
            r#"
[[listeners]]
name = "https"
address = "{https}"
certificates = ["main", "wild"]

[[listeners]]
name = "rsa"
address = "127.0.0.1:0"
certificates = ["rsa"]

[tls.default]
{policy}

[certificates.main]
chain = "{dir}/main.pem"
key = "{dir}/main.key"

[certificates.wild]
chain = "{dir}/wild.pem"
key = "{dir}/wild.key"

[certificates.rsa]
chain = "{dir}/rsa.pem"
key = "{dir}/rsa.key"

[[routes]]
upstream = "origin"

[upstreams.origin]
servers = [{{ address = "{origin}" }}]
timeouts = {{ {upstream_timeouts} }}
{upstream}

[reload]
{reload}

[shutdown]
drain_delay = "{drain_delay}"
drain_timeout = "{drain_timeout}"

[log]
level = "{log_level}"
{log}

[admin]
address = "127.0.0.1:0"
socket = "admin.sock"
{admin}

{more}
"#
        )
    }
}
