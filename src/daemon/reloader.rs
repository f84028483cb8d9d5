//! A reload from its file to its report, whoever asked for it.

use std::error::Error;
use std::sync::Arc;

use super::reload::{Listeners, ReloadError};
use crate::admin::{DaemonStatus, ReloadReport};
use crate::config::{AdminAddress, Config, Diagnostics, Loaded};
use crate::telemetry::{Metrics, TelemetryGuard};

/// What reloads need beside the listeners.
pub(super) struct Reloader<'a> {
    /// The configuration of the start: some of it holds until the end.
    pub(super) first: &'a Config,
    /// Reads the configuration again.
    pub(super) load: &'a dyn Fn() -> Result<Loaded, Diagnostics>,
    /// The log, which follows the configuration.
    pub(super) log: &'a TelemetryGuard,
    /// Where reloads are counted.
    pub(super) metrics: &'a Metrics,
    /// Where the report is kept.
    pub(super) status: Arc<DaemonStatus>,
}

impl Reloader<'_> {
    /// Reloads. `None` beside the report: the old configuration serves on.
    pub(super) fn reload(&self, listeners: &mut Listeners) -> (ReloadReport, Option<Loaded>) {
        let applied = (self.load)()
            .map_err(ReloadError::Config)
            .and_then(|next| listeners.apply(&next).map(|()| next));
        self.metrics.config_reload(applied.is_ok());
        let generation = self.metrics.generation();
        let (report, next) = match applied {
            Ok(next) => {
                warn_of_what_needs_a_restart(self.first, &next.config);
                if let Some(token) = listeners.admin_token() {
                    self.status.admin_token(token);
                }
                match self.log.reconfigure(&next.config.log) {
                    Ok(()) => tracing::info!("configuration reloaded"),
                    Err(error) => {
                        tracing::error!(error = %chain(&error), "log keeps its old target");
                    }
                }
                (ReloadReport::ok(generation), Some(next))
            }
            Err(ReloadError::Config(diagnostics)) => {
                log_diagnostics(&diagnostics);
                (ReloadReport::refused(generation, &diagnostics), None)
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(error, "reload failed: the old configuration serves on");
                (ReloadReport::failed(generation, error), None)
            }
        };
        self.status.reloaded(report.clone());
        self.status.listening(listeners.listening());
        (report, next)
    }
}

fn log_diagnostics(diagnostics: &Diagnostics) {
    for item in &diagnostics.items {
        let at = item
            .location
            .and_then(|at| diagnostics.sources.position(at));
        let at = at.map(|at| at.to_string()).unwrap_or_default();
        tracing::error!(
            at,
            error = item.message,
            help = item.help,
            "configuration error"
        );
    }
    let errors = diagnostics.items.len();
    tracing::error!(errors, "reload failed: the old configuration serves on");
}

fn warn_of_what_needs_a_restart(old: &Config, new: &Config) {
    let warn = |key| tracing::warn!(key, "changed: takes effect at the next restart");
    if old.runtime != new.runtime {
        warn("runtime.workers");
    }
    let address = |spec: &Option<AdminAddress>| spec.as_ref().map(|spec| spec.address);
    if address(&old.admin.address) != address(&new.admin.address) {
        warn("admin.address");
    }
    if old.admin.token_file.is_some() && new.admin.token_file.is_none() {
        warn("admin.token_file");
    }
    if address(&old.health.address) != address(&new.health.address) {
        warn("health.address");
    }
    if old.admin.socket != new.admin.socket {
        warn("admin.socket");
    }
}

/// An error with its causes.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
