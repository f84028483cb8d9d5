//! A certificate that serves on while its files are broken.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::Diagnostic;

/// A certificate of an earlier generation, in place of one whose files cannot be used.
#[derive(Clone, Debug)]
pub struct KeptCertificate {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The file that cannot be used.
    pub file: PathBuf,
    /// Why, and where the configuration names it.
    pub faults: Vec<Diagnostic>,
    /// Since when.
    pub since: SystemTime,
}
