//! A reload from its file to its report, whoever asked for it.

use std::error::Error;
use std::sync::Arc;

use super::reload::{Guard, Listeners, ReloadError};
use super::watch::Watch;
use crate::admin::{BrokenClients, DaemonStatus, KeptCertificateReport, ReloadCause, ReloadReport};
use crate::config::{AdminAddress, Config, Diagnostics, Loaded};
use crate::snapshot::Snapshot;
use crate::telemetry::{Metrics, ReloadOutcome, TelemetryGuard};

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

/// Why and how a reload is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReloadRequest {
    /// What makes it.
    pub(super) cause: ReloadCause,
    /// Whether it may turn clients away.
    pub(super) guard: Guard,
}

impl Reloader<'_> {
    /// Reloads, and tells `watch` what was read. `None` beside the report: the old configuration
    /// serves on.
    pub(super) fn reload(
        &self,
        listeners: &mut Listeners,
        watch: &mut Watch,
        request: ReloadRequest,
    ) -> (ReloadReport, Option<Loaded>) {
        let ReloadRequest { cause, guard } = request;
        // Before anything is read: what changes from now on is another change.
        let mut seen = watch.look();
        let serving = listeners.serving();
        let mut files = serving.config.files();
        seen.add(&files);
        let loaded = (self.load)();
        if let Ok(next) = &loaded {
            let named = next.config.files();
            seen.add(&named);
            files.extend(named);
            // These are read again by themselves once they serve; until then they can be why not.
            let directories = next.config.key_directories();
            seen.add(&directories);
            files.extend(directories);
        }
        let applied = loaded
            .map_err(ReloadError::Config)
            .and_then(|next| listeners.apply(&next, guard).map(|()| next));
        let serving = listeners.serving();
        if applied.is_ok() {
            files = serving.config.files();
        }
        watch.renew(serving.config.reload.watch, files, seen);

        let (report, next) = match applied {
            Ok(next) => {
                let kept = KeptCertificateReport::all(&serving);
                (self.taken(cause, &serving, &next, kept), Some(next))
            }
            Err(error) => (self.refused(cause, error), None),
        };
        self.status.reloaded(report.clone());
        self.status.listening(listeners.listening());
        (report, next)
    }

    fn taken(
        &self,
        cause: ReloadCause,
        serving: &Snapshot,
        next: &Loaded,
        kept: Vec<KeptCertificateReport>,
    ) -> ReloadReport {
        self.metrics.config_reload(match kept.is_empty() {
            true => ReloadOutcome::Ok,
            false => ReloadOutcome::Partial,
        });
        warn_of_what_needs_a_restart(self.first, &next.config);
        if let Some(token) = serving.admin_token() {
            self.status.admin_token(token.clone());
        }
        match self.log.reconfigure(&next.config.log) {
            Ok(()) if kept.is_empty() => tracing::info!("configuration reloaded"),
            Ok(()) => {
                let kept = kept.len();
                tracing::error!(
                    kept,
                    "configuration reloaded, but for certificates that are kept"
                );
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "log keeps its old target");
            }
        }
        ReloadReport::taken(cause, self.metrics.generation(), kept)
    }

    fn refused(&self, cause: ReloadCause, error: ReloadError) -> ReloadReport {
        let generation = self.metrics.generation();
        let text = chain(&error);
        match error {
            ReloadError::Config(diagnostics) => {
                self.metrics.config_reload(ReloadOutcome::Failed);
                log_diagnostics(&diagnostics);
                ReloadReport::refused(cause, generation, &diagnostics)
            }
            ReloadError::Guarded { max, forecast } => {
                self.metrics.config_reload(ReloadOutcome::Guarded);
                let broken = BrokenClients::new(max, &forecast);
                log_broken(&broken);
                tracing::error!(
                    error = text,
                    "reload refused: the old configuration serves on"
                );
                ReloadReport::guarded(cause, generation, text, broken)
            }
            ReloadError::Bind(_) => {
                self.metrics.config_reload(ReloadOutcome::Failed);
                tracing::error!(
                    error = text,
                    "reload failed: the old configuration serves on"
                );
                ReloadReport::failed(cause, generation, text)
            }
        }
    }
}

fn log_broken(broken: &BrokenClients) {
    for failure in &broken.failures {
        tracing::error!(
            listener = failure.listener,
            server_name = failure.server_name,
            ja4 = failure.ja4,
            handshakes = failure.handshakes,
            class = failure.class,
            error = failure.diagnosis,
            "these clients would be turned away"
        );
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
