//! `handfast check`: everything that is wrong with a configuration, at once.

use std::path::Path;

use super::cli::{complain, say};
use super::exit::Exit;
use crate::config;
use crate::snapshot::Snapshot;
use crate::telemetry::Metrics;

/// Checks the configuration at `path`: its text, and unless `no_files` all that `run` would
/// build from it, certificates included. Publishes nothing. Warnings alone do not fail it.
pub(super) fn check(path: &Path, no_files: bool) -> Exit {
    let built = config::load(path).and_then(|loaded| {
        if no_files {
            return Ok(config::Diagnostics::default());
        }
        let snapshot = Snapshot::build(&loaded, &Metrics::default(), None)?;
        Ok(snapshot.warnings().clone())
    });
    match built {
        Ok(mut warnings) => {
            for warning in &mut warnings.items {
                warning.message.insert_str(0, "warning: ");
            }
            if !warnings.is_empty() {
                complain(&warnings.to_string());
            }
            say(&format!("{}: ok", path.display()));
            Exit::Ok
        }
        Err(diagnostics) => {
            complain(diagnostics.to_string().trim_end());
            Exit::Config
        }
    }
}
