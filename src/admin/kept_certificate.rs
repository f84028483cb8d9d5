//! A certificate that serves on as it was, because its files cannot be used.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::moment;
use super::reload_report::{ReloadDiagnostic, diagnostic};
use crate::snapshot::Snapshot;

/// One certificate that serves as it was before its files changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCertificateReport {
    /// Its name in the configuration.
    pub certificate: String,
    /// The file that cannot be used.
    pub file: PathBuf,
    /// Since when, in RFC 3339.
    pub since: String,
    /// Why, and where the configuration names it.
    pub diagnostics: Vec<ReloadDiagnostic>,
}

impl KeptCertificateReport {
    /// Those of a generation, in the order of the configuration.
    #[must_use]
    pub fn all(snapshot: &Snapshot) -> Vec<Self> {
        let kept = snapshot.kept().iter();
        kept.map(|kept| Self {
            certificate: kept.name.to_string(),
            file: kept.file.clone(),
            since: moment::text(kept.since),
            diagnostics: kept
                .faults
                .iter()
                .map(|fault| diagnostic(fault.clone(), snapshot.sources()))
                .collect(),
        })
        .collect()
    }
}
