//! `[certificates.NAME]`, and the certificate given inline at a listener.

use std::collections::HashMap;
use std::sync::Arc;

use super::certificate::{Certificate, CertificatePair, PemSource};
use super::diagnostic::{Diagnostic, Location};
use super::model::{CertificateId, PolicyId};
use super::reading::Reading;
use super::references::References;
use super::table::{Named, Table};
use super::value::Value;
use super::wording::quoted;
use crate::host::HostPattern;

/// What messages show as a certificate's path.
const EXAMPLE_CHAIN: &str = "\"/etc/handfast/fullchain.pem\"";
const EXAMPLE_KEY: &str = "\"/etc/handfast/privkey.pem\"";

/// A certificate made in memory, which listeners refer to by name as to one with a table.
///
/// `handfast dev` has no files; its configuration says `certificates = ["dev"]` all the same.
#[derive(Clone)]
pub struct MemoryCertificate {
    /// The name that listeners refer to.
    pub name: Arc<str>,
    /// The chain, leaf first, as PEM.
    pub chain: Arc<str>,
    /// The key of the leaf, as PEM.
    pub key: Arc<str>,
}

/// The certificates read so far.
pub(super) struct Certificates {
    pub(super) list: Vec<Certificate>,
    pub(super) references: References,
    /// Where each explicit name of each certificate stands.
    names: HashMap<CertificateId, Vec<(HostPattern, Location)>>,
}

impl Certificates {
    /// Reads `[certificates.NAME]` beside those in memory.
    pub(super) fn read(
        root: &mut Table<'_>,
        policies: &References,
        memory: &[MemoryCertificate],
    ) -> Self {
        let mut certificates = Self {
            list: Vec::new(),
            references: References::new("certificate", "certificates"),
            names: HashMap::new(),
        };
        for made in memory {
            certificates.insert(Certificate {
                name: made.name.clone(),
                names: None,
                name_locations: Vec::new(),
                pairs: vec![CertificatePair {
                    chain: PemSource::Memory(made.chain.clone()),
                    key: PemSource::Memory(made.key.clone()),
                    ocsp: None,
                }],
                policy: None,
                location: Location::default(),
            });
        }
        for named in root.named_tables("certificates", "example") {
            certificates.read_one(named, policies);
        }
        certificates
    }

    fn insert(&mut self, certificate: Certificate) -> CertificateId {
        let index = self.list.len();
        self.references.insert(&certificate.name, index);
        self.list.push(certificate);
        CertificateId(index)
    }

    fn read_one(&mut self, named: Named<'_>, policies: &References) {
        let Named {
            name,
            name_location,
            mut table,
        } = named;
        if self.references.contains(name) {
            let message = format!("the certificate {} exists already", quoted(name));
            table.reading.refuse(Diagnostic::at(name_location, message));
        }
        let names = table.value("names").and_then(host_names);
        let pairs = pairs(&mut table);
        let policy = table
            .value("tls")
            .and_then(|value| value.text("the name of a tls policy"))
            .and_then(|name| policies.resolve(&name))
            .map(PolicyId);
        let location = table.location;
        table.finish();
        let id = self.insert(Certificate {
            name: name.into(),
            names: names
                .as_ref()
                .map(|names| names.iter().map(|(name, _)| name.clone()).collect()),
            name_locations: names
                .iter()
                .flatten()
                .map(|(_, location)| *location)
                .collect(),
            pairs,
            policy,
            location,
        });
        self.names.insert(id, names.unwrap_or_default());
    }

    /// Reads `certificate = { chain, key }` of a listener of that name.
    pub(super) fn read_inline(
        &mut self,
        listener: &Table<'_>,
        listener_name: &str,
        value: Value<'_>,
    ) -> Option<CertificateId> {
        let mut table = listener.inline("certificate", value)?;
        let pair = pair(&mut table);
        let (location, reading) = (table.location, table.reading);
        table.finish();
        if self.references.contains(listener_name) {
            let name = quoted(listener_name);
            let message = format!(
                "this certificate is called {name} like its listener, and a certificate of that \
                 name exists already"
            );
            let help = "give the listener another `name`";
            reading.refuse(Diagnostic::at(location, message).help(help));
            return None;
        }
        // Not referred to by name from elsewhere.
        self.list.push(Certificate {
            name: listener_name.into(),
            names: None,
            name_locations: Vec::new(),
            pairs: pair.into_iter().collect(),
            policy: None,
            location,
        });
        Some(CertificateId(self.list.len() - 1))
    }

    /// Reports names that two of a listener's certificates have: which would be served is
    /// anyone's guess.
    pub(super) fn check_names(&self, of_listener: &[CertificateId], reading: &Reading<'_>) {
        let mut seen: HashMap<&HostPattern, CertificateId> = HashMap::new();
        for id in of_listener {
            for (name, location) in self.names.get(id).into_iter().flatten() {
                let Some(first) = seen.insert(name, *id) else {
                    continue;
                };
                if first == *id {
                    continue;
                }
                let owner = self.list.get(first.0).map_or("", |first| &*first.name);
                let message = format!(
                    "{} is a name of the certificate {} already, at the same listener",
                    quoted(&name.to_string()),
                    quoted(owner)
                );
                let help = "chains of several key types for one name belong into `pairs` of one \
                            certificate";
                reading.refuse(Diagnostic::at(*location, message).help(help));
            }
        }
    }
}

fn host_names(value: Value<'_>) -> Option<Vec<(HostPattern, Location)>> {
    let elements = value.list("a list of names such as [\"example.com\"]")?;
    if elements.is_empty() {
        let help = "leave `names` out to take them from the certificate";
        value.refuse(Diagnostic::new("expected names, found an empty list").help(help));
    }
    let mut names: Vec<(HostPattern, Location)> = Vec::new();
    for element in elements {
        let name = element
            .text("a name such as \"example.com\"")
            .and_then(|text| text.read(host_pattern));
        match name {
            Some(name) if names.iter().any(|(other, _)| *other == name) => {
                let message = format!("{} is given twice", quoted(&name.to_string()));
                element.refuse(Diagnostic::new(message));
            }
            Some(name) => names.push((name, element.location)),
            None => {}
        }
    }
    Some(names)
}

/// Reads a host name or a wildcard.
pub(super) fn host_pattern(text: &str) -> Result<HostPattern, Diagnostic> {
    HostPattern::parse(text).map_err(|error| {
        let refused = Diagnostic::new(format!("{} is no host name: {error}", quoted(text)));
        let bare = text.rsplit("://").next().unwrap_or(text);
        let end = bare.find(['/', ':']).unwrap_or(bare.len());
        match HostPattern::parse(&bare[..end]) {
            Ok(name) if end > 0 => refused.help(format!("write \"{name}\"")),
            _ => refused,
        }
    })
}

fn pairs(table: &mut Table<'_>) -> Vec<CertificatePair> {
    let Some(list) = table.value("pairs") else {
        return pair(table).into_iter().collect();
    };
    for key in ["chain", "key", "ocsp"] {
        if let Some(value) = table.value(key) {
            let message = format!("`{key}` and `pairs` exclude each other");
            let help = "one chain with its key: `chain` and `key`; several: `pairs`";
            value.refuse(Diagnostic::new(message).help(help));
        }
    }
    let Some(elements) = list.list("a list of tables { chain = …, key = … }") else {
        return Vec::new();
    };
    if elements.is_empty() {
        let message = "a certificate needs a chain and a key, found an empty list";
        list.refuse(Diagnostic::new(message));
    }
    elements
        .into_iter()
        .filter_map(|element| {
            let mut element = table.element("pairs", element)?;
            let pair = pair(&mut element);
            element.finish();
            pair
        })
        .collect()
}

fn pair(table: &mut Table<'_>) -> Option<CertificatePair> {
    let pair = key_pair(table);
    let ocsp = table.value("ocsp").and_then(pem_file);
    Some(CertificatePair { ocsp, ..pair? })
}

/// Reads `chain` and `key`.
pub(super) fn key_pair(table: &mut Table<'_>) -> Option<CertificatePair> {
    let chain = table.required("chain", EXAMPLE_CHAIN).and_then(pem_file);
    let key = table.required("key", EXAMPLE_KEY).and_then(pem_file);
    Some(CertificatePair {
        chain: chain?,
        key: key?,
        ocsp: None,
    })
}

/// Reads the path of a PEM file.
pub(super) fn pem_file(value: Value<'_>) -> Option<PemSource> {
    Some(PemSource::File {
        path: value.path()?,
        location: value.location,
    })
}
