//! `[forwarding]`: what upstreams are told about clients.

use super::diagnostic::Diagnostic;
use super::model::Forwarding;
use super::table::Table;
use super::wording::quoted;

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

/// Keys that are planned.
const LATER: &[&str] = &["trusted_proxies", "headers", "server_timing"];

/// Reads `[forwarding]`.
pub(super) fn forwarding(mut table: Table<'_>) -> Forwarding {
    let mut tls_headers = Vec::new();
    let elements = table
        .value("tls_headers")
        .and_then(|value| value.list("a list such as [\"verify\", \"subject\"]"));
    for element in elements.unwrap_or_default() {
        match element.choice(TlsHeader::NAMES, &[]) {
            Some(header) if tls_headers.contains(&header) => {
                let name = element.raw.as_str().unwrap_or_default();
                element.refuse(Diagnostic::new(format!("{} is given twice", quoted(name))));
            }
            Some(header) => tls_headers.push(header),
            None => {}
        }
    }
    table.later(LATER);
    table.finish();
    Forwarding {
        tls_headers,
        ..Forwarding::default()
    }
}
