//! `client_auth` of a policy: whether clients show a certificate, and whose is accepted.

use std::net::IpAddr;
use std::sync::Arc;

use super::certificate::PemSource;
use super::certificates::{host_pattern, pem_file};
use super::diagnostic::Diagnostic;
use super::table::Table;
use super::value::{Text, Value};
use super::wording::quoted;
use crate::host::HostPattern;

/// `client_auth` with a `mode` other than `off`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// `mode`
    pub mode: ClientAuthMode,
    /// `ca`: the certificates that issue those of clients, as PEM.
    pub ca: PemSource,
    /// `crl`: revocation lists, as PEM; `None` (the default): revocation is not checked.
    pub crl: Option<PemSource>,
    /// `allow`
    pub allow: AllowList,
    /// `resumption`, default false: whether sessions resume, which skips the client's proof that
    /// it still has the key.
    pub resumption: bool,
}

/// `mode` of `client_auth`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthMode {
    /// A client may show a certificate; one that it shows must be valid.
    Optional,
    /// A client that shows no certificate is refused.
    Required,
}

/// `allow`: the certificates that are accepted among those of the CA. One entry that matches is
/// enough; a list without entries (the default) accepts all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    /// `san`: names in the certificate's subjectAltName.
    pub san: Vec<SanPattern>,
    /// `cn`: commonName of the subject, in the same case.
    pub cn: Vec<Arc<str>>,
    /// `o`: organizationName of the subject, in the same case.
    pub o: Vec<Arc<str>>,
}

/// An entry of `allow.san`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SanPattern {
    /// A DNS name, or a wildcard of one label.
    Dns(HostPattern),
    /// An IP address.
    Ip(IpAddr),
    /// A URI, character by character.
    Uri(Arc<str>),
}

impl AllowList {
    /// Whether every certificate of the CA is accepted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.san.is_empty() && self.cn.is_empty() && self.o.is_empty()
    }
}

const MODES: &[(&str, Option<ClientAuthMode>)] = &[
    ("off", None),
    ("optional", Some(ClientAuthMode::Optional)),
    ("required", Some(ClientAuthMode::Required)),
];

/// Reads `client_auth` of `policy`; `None` is `mode = "off"`.
pub(super) fn client_auth(policy: &mut Table<'_>) -> Option<ClientAuth> {
    let value = policy.value("client_auth")?;
    let mut table = policy.inline("client_auth", value)?;
    let given = table.value("mode");
    let mode = given.and_then(|value| value.choice(MODES, &[]));
    let read = match mode.flatten() {
        // A mode that was refused is reported already, and says nothing about the other keys.
        None if given.is_none() || mode.is_some() => {
            refuse_all(&mut table);
            None
        }
        mode => {
            let example = "\"/etc/handfast/clients-ca.pem\"";
            let ca = table.required("ca", example).and_then(pem_file);
            let crl = table.value("crl").and_then(pem_file);
            let allow = allow_list(table.table("allow"));
            let resumption = table.value("resumption").and_then(|value| value.boolean());
            mode.zip(ca).map(|(mode, ca)| ClientAuth {
                mode,
                ca,
                crl,
                allow,
                resumption: resumption.unwrap_or(false),
            })
        }
    };
    table.finish();
    read
}

/// Where no certificate is asked for, keys about them would be ignored in silence.
fn refuse_all(table: &mut Table<'_>) {
    for key in ["ca", "crl", "allow", "resumption"] {
        if let Some(value) = table.value(key) {
            let message = format!("`{key}` has no effect while `mode` is \"off\"");
            let help = "add mode = \"required\" or mode = \"optional\"";
            value.refuse(Diagnostic::new(message).help(help));
        }
    }
}

fn allow_list(mut table: Table<'_>) -> AllowList {
    let list = AllowList {
        san: entries(&mut table, "san", |text| text.read(san_pattern)),
        cn: entries(&mut table, "cn", subject_part),
        o: entries(&mut table, "o", subject_part),
    };
    table.finish();
    list
}

fn entries<'t, T: PartialEq>(
    table: &mut Table<'t>,
    key: &'static str,
    read: impl Fn(Text<'t>) -> Option<T>,
) -> Vec<T> {
    let elements: Vec<Value<'t>> = table
        .value(key)
        .and_then(|value| value.list("a list of texts"))
        .unwrap_or_default();
    let mut found = Vec::with_capacity(elements.len());
    for element in elements {
        let Some(entry) = element.text("a text").and_then(&read) else {
            continue;
        };
        if found.contains(&entry) {
            let name = element.raw.as_str().unwrap_or_default();
            element.refuse(Diagnostic::new(format!("{} is given twice", quoted(name))));
        }
        found.push(entry);
    }
    found
}

fn subject_part(text: Text<'_>) -> Option<Arc<str>> {
    if text.text.is_empty() {
        text.refuse(Diagnostic::new("expected a text, found an empty one"));
        return None;
    }
    Some(text.text.into())
}

fn san_pattern(text: &str) -> Result<SanPattern, Diagnostic> {
    if text.contains("://") {
        return Ok(SanPattern::Uri(text.into()));
    }
    if let Ok(address) = text.parse() {
        return Ok(SanPattern::Ip(address));
    }
    host_pattern(text).map(SanPattern::Dns)
}
