//! `[forwarding]`: what upstreams are told about clients.

use super::diagnostic::Diagnostic;
use super::peer_set::{PeerSet, peer_set};
use super::table::Table;
use super::value::Value;
use super::wording::quoted;

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

/// A fact of the TLS connection that upstreams can be told, as a field of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsHeader {
    /// `X-TLS-Version`: `1.2`, `1.3`.
    Version,
    /// `X-TLS-Cipher`: IANA's name of the suite.
    Cipher,
    /// `X-TLS-Group`: the key exchange group; left out where no keys were exchanged.
    Group,
    /// `X-TLS-Server-Name`: left out where the client sent none.
    ServerName,
    /// `X-TLS-Kind`: `full`, `resumed`.
    Kind,
    /// `X-TLS-Client-Verify`: `success` with a client certificate, `none` without.
    Verify,
    /// `X-TLS-Client-Subject`: of the client's certificate, as RFC 4514 writes it.
    Subject,
    /// `X-TLS-Client-SAN`: the names of the client's certificate, such as `DNS:a.example`, with
    /// commas between them.
    San,
    /// `Client-Cert`: the client's certificate (RFC 9440 section 2.2).
    ClientCert,
}

impl TlsHeader {
    /// The names in `tls_headers`.
    pub(super) const NAMES: &[(&str, Self)] = &[
        ("version", Self::Version),
        ("cipher", Self::Cipher),
        ("group", Self::Group),
        ("server-name", Self::ServerName),
        ("kind", Self::Kind),
        ("verify", Self::Verify),
        ("subject", Self::Subject),
        ("san", Self::San),
        ("client-cert", Self::ClientCert),
    ];
}

/// A field that tells upstreams about the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardingHeader {
    /// `X-Forwarded-For`: the addresses on the way, the client's first.
    For,
    /// `X-Forwarded-Proto`: `https` or `http`.
    Proto,
    /// `X-Forwarded-Host`: the host that the client asked for.
    Host,
    /// `Forwarded` (RFC 7239): all of that.
    Forwarded,
}

impl ForwardingHeader {
    /// The names in `headers`.
    pub(super) const NAMES: &[(&str, Self)] = &[
        ("x-forwarded-for", Self::For),
        ("x-forwarded-proto", Self::Proto),
        ("x-forwarded-host", Self::Host),
        ("forwarded", Self::Forwarded),
    ];
    /// What applies when `headers` is left out.
    pub(super) const DEFAULT: [Self; 3] = [Self::For, Self::Proto, Self::Host];
}

/// Reads `[forwarding]`.
pub(super) fn forwarding(mut table: Table<'_>) -> Forwarding {
    let default = Forwarding::default();
    let forwarding = Forwarding {
        trusted_proxies: table
            .value("trusted_proxies")
            .map(peer_set)
            .unwrap_or_default(),
        headers: table
            .value("headers")
            .and_then(|value| value.list("a list such as [\"x-forwarded-for\"]"))
            .map_or(default.headers, |it| names(it, ForwardingHeader::NAMES)),
        tls_headers: table
            .value("tls_headers")
            .and_then(|value| value.list("a list such as [\"verify\", \"subject\"]"))
            .map_or(default.tls_headers, |it| names(it, TlsHeader::NAMES)),
        server_timing: table
            .value("server_timing")
            .and_then(|value| value.boolean())
            .unwrap_or(default.server_timing),
        connection_id: default.connection_id,
    };
    table.finish();
    forwarding
}

/// The names in a list, each once.
fn names<T: Copy + PartialEq>(elements: Vec<Value<'_>>, options: &[(&str, T)]) -> Vec<T> {
    let mut found = Vec::new();
    for element in elements {
        match element.choice(options, &[]) {
            Some(name) if found.contains(&name) => {
                let text = element.raw.as_str().unwrap_or_default();
                element.refuse(Diagnostic::new(format!("{} is given twice", quoted(text))));
            }
            Some(name) => found.push(name),
            None => {}
        }
    }
    found
}
