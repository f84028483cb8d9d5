//! `handfast check`: everything that is wrong with a configuration, at once.

use std::path::Path;

use super::cli::{complain, say};
use super::exit::Exit;
use crate::config;
use crate::snapshot::Snapshot;
use crate::telemetry::Metrics;

/// Checks the configuration at `path`: its text, and unless `no_files` all that `run` would
/// build from it, certificates included. Publishes nothing.
pub(super) fn check(path: &Path, no_files: bool) -> Exit {
    let built = config::load(path).and_then(|loaded| {
        if no_files {
            return Ok(());
        }
        Snapshot::build(&loaded, &Metrics::default(), None).map(drop)
    });
    match built {
        Ok(()) => {
            say(&format!("{}: ok", path.display()));
            Exit::Ok
        }
        Err(diagnostics) => {
            complain(diagnostics.to_string().trim_end());
            Exit::Config
        }
    }
}
