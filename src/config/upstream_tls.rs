//! `tls` of `[upstreams.NAME]`: how upstream servers are spoken to over TLS.

use std::path::Path;
use std::sync::Arc;

use toml::de::DeValue;

use super::certificate::{CertificatePair, PemSource};
use super::certificates::{key_pair, pem_file};
use super::diagnostic::{Diagnostic, Location};
use super::table::Table;
use super::value::{Text, Value};
use super::wording::quoted;
use crate::host;

/// `tls` of an upstream. Where it is given does not make it another one.
#[derive(Clone, Debug, Default)]
pub struct UpstreamTls {
    /// `server_name`: what servers are asked for (SNI) and their certificates must be for; a name
    /// or an IP address. `None` (the default): each server's own host. A server at a unix socket has
    /// none, so it is required then.
    pub server_name: Option<Arc<str>>,
    /// `ca`: the only issuers that are trusted. `None` (the default): the system's.
    pub ca: Option<PemSource>,
    /// `certificate`: what is shown to servers that ask for one. Default none.
    pub certificate: Option<CertificatePair>,
    /// `verify`, default true: whether a server's certificate must be valid.
    pub verify: bool,
    /// Where it is given.
    pub location: Location,
}

impl UpstreamTls {
    /// All defaults, as `https://…` at a route means.
    pub(super) fn at(location: Location) -> Self {
        Self {
            verify: true,
            location,
            ..Self::default()
        }
    }

    /// Where the configuration names `file`; where there is no such place, that of `tls`.
    #[must_use]
    pub fn place_of(&self, file: &Path) -> Location {
        let pair = self.certificate.iter();
        let mut sources = pair
            .flat_map(|pair| [&pair.chain, &pair.key])
            .chain(&self.ca);
        let named = sources.find_map(|source| match source {
            PemSource::File { path, location } if path == file => Some(*location),
            _ => None,
        });
        named.unwrap_or(self.location)
    }
}

impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        self.server_name == other.server_name
            && self.ca == other.ca
            && self.certificate == other.certificate
            && self.verify == other.verify
    }
}

impl Eq for UpstreamTls {}

/// Reads `tls` of `upstream`; `None` is in the clear. `nameless`: a server is at a unix socket, which
/// has no host to ask for.
pub(super) fn upstream_tls(upstream: &mut Table<'_>, nameless: bool) -> Option<UpstreamTls> {
    let value = upstream.value("tls")?;
    let name_is_missing = || {
        let message = "`tls` needs `server_name`: a server at a unix socket has no host of its own";
        let help = "write tls = { server_name = \"apps.internal\" }, say";
        value.refuse(Diagnostic::new(message).help(help));
    };
    match value.raw {
        DeValue::Boolean(given) => {
            if *given && nameless {
                name_is_missing();
            }
            return given.then(|| UpstreamTls::at(value.location));
        }
        DeValue::Table(_) => {}
        _ => {
            value.mismatch("a table or true", Some("write tls = true".to_owned()));
            return None;
        }
    }
    let mut table = upstream.inline("tls", value)?;
    let mut read = UpstreamTls::at(table.location);
    let name = table.value("server_name");
    if nameless && name.is_none() {
        name_is_missing();
    }
    read.server_name = name
        .and_then(|value| value.text("a host name such as \"apps.internal\""))
        .and_then(server_name);
    let verify = table.value("verify");
    read.verify = verify.and_then(|value| value.boolean()).unwrap_or(true);
    let ca = table.value("ca");
    if let (false, Some(value)) = (read.verify, ca) {
        let message = "`ca` has no effect while `verify` is false";
        let help = "leave `verify` out, or `ca`";
        value.refuse(Diagnostic::new(message).help(help));
    }
    read.ca = ca.and_then(pem_file);
    let certificate = table.value("certificate");
    read.certificate = certificate.and_then(|value| pair(&table, value));
    table.finish();
    Some(read)
}

fn pair(tls: &Table<'_>, value: Value<'_>) -> Option<CertificatePair> {
    let mut table = tls.inline("certificate", value)?;
    let pair = key_pair(&mut table);
    table.finish();
    pair
}

fn server_name(text: Text<'_>) -> Option<Arc<str>> {
    // Bare IPv6 addresses have colons, which names have not.
    if let Ok(address) = text.text.parse::<std::net::IpAddr>() {
        return Some(address.to_string().into());
    }
    text.read(|text| {
        host::normalize(text)
            .map_err(|error| Diagnostic::new(format!("{} is no host name: {error}", quoted(text))))
    })
    .map(Arc::from)
}
