//! `[certificates.NAME]` after validation.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::diagnostic::Location;
use super::model::PolicyId;
use crate::host::HostPattern;

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
