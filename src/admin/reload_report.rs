//! How a reload went, for whoever asked for it and for everybody who asks later.

use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::forecast_failure::ForecastFailure;
use super::kept_certificate::KeptCertificateReport;
use super::moment;
use crate::config::{Diagnostic, Diagnostics, Share, Sources};
use crate::tls;

/// How a reload went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// When, in RFC 3339.
    pub time: String,
    /// What made it.
    pub cause: ReloadCause,
    /// Whether the new configuration serves.
    pub result: ReloadResult,
    /// The generation that serves now.
    pub generation: u64,
    /// What was not possible, with its causes; `None` when it went well.
    pub error: Option<String>,
    /// Everything that is wrong with the configuration.
    pub diagnostics: Vec<ReloadDiagnostic>,
    /// The certificates that are still those from before, because their files cannot be used.
    pub kept: Vec<KeptCertificateReport>,
    /// Whom it would have turned away, when that is why it was refused.
    pub broken: Option<BrokenClients>,
}

/// What makes a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReloadCause {
    /// SIGHUP.
    Signal,
    /// The admin socket.
    Command,
    /// A file that has changed.
    Watch,
}

impl ReloadCause {
    /// In JSON and in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Command => "command",
            Self::Watch => "watch",
        }
    }
}

/// Whether the new configuration serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReloadResult {
    /// It does.
    Ok,
    /// It does, but for certificates whose files cannot be used: the ones before serve on.
    Partial,
    /// The old one serves on.
    Failed,
    /// The old one serves on, because the new one would turn away more clients than
    /// `reload.max_broken_clients` permits.
    Guarded,
}

/// The clients that a refused reload would have turned away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenClients {
    /// `reload.max_broken_clients`, as a percentage.
    pub max: String,
    /// ClientHellos, of the kinds that are kept, that get through now.
    pub get_through: u64,
    /// Of these, those that would fail.
    pub would_fail: u64,
    /// The most frequent of them, [`BrokenClients::LISTED`] kinds at most.
    pub failures: Vec<ForecastFailure>,
    /// Kinds that are not in `failures`.
    pub more: usize,
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadDiagnostic {
    /// The file; `None` for faults of no place.
    pub file: Option<PathBuf>,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The character in the line, from 1.
    pub column: Option<usize>,
    /// What.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl BrokenClients {
    /// Kinds of clients that are told one by one.
    pub const LISTED: usize = 20;

    /// Those of `forecast`, which are more than `max`.
    #[must_use]
    pub fn new(max: Share, forecast: &tls::Forecast) -> Self {
        let broken = forecast.failures.iter().filter(|own| !own.already);
        let mut failures: Vec<_> = broken.map(ForecastFailure::from).collect();
        let more = failures.len().saturating_sub(Self::LISTED);
        failures.truncate(Self::LISTED);
        Self {
            max: max.to_string(),
            get_through: forecast.get_through,
            would_fail: forecast.would_fail,
            failures,
            more,
        }
    }
}

impl ReloadReport {
    /// The new configuration serves as `generation`, with the certificates `kept` as they were.
    #[must_use]
    pub fn taken(cause: ReloadCause, generation: u64, kept: Vec<KeptCertificateReport>) -> Self {
        Self {
            time: moment::text(SystemTime::now()),
            cause,
            result: match kept.is_empty() {
                true => ReloadResult::Ok,
                false => ReloadResult::Partial,
            },
            generation,
            error: None,
            diagnostics: Vec::new(),
            kept,
            broken: None,
        }
    }

    /// The configuration is right and cannot be served all the same.
    #[must_use]
    pub fn failed(cause: ReloadCause, generation: u64, error: String) -> Self {
        Self {
            result: ReloadResult::Failed,
            error: Some(error),
            ..Self::taken(cause, generation, Vec::new())
        }
    }

    /// The configuration is wrong.
    #[must_use]
    pub fn refused(cause: ReloadCause, generation: u64, diagnostics: &Diagnostics) -> Self {
        let error = "the configuration is wrong".to_owned();
        Self {
            diagnostics: located(diagnostics),
            ..Self::failed(cause, generation, error)
        }
    }

    /// The configuration would turn away too many clients, as `error` says.
    #[must_use]
    pub fn guarded(
        cause: ReloadCause,
        generation: u64,
        error: String,
        broken: BrokenClients,
    ) -> Self {
        Self {
            result: ReloadResult::Guarded,
            broken: Some(broken),
            ..Self::failed(cause, generation, error)
        }
    }
}

/// Diagnostics with their places, in order.
pub(super) fn located(diagnostics: &Diagnostics) -> Vec<ReloadDiagnostic> {
    let mut sorted = diagnostics.clone();
    sorted.sort();
    let items = sorted.items.into_iter();
    items
        .map(|item| diagnostic(item, &diagnostics.sources))
        .collect()
}

/// One of them, with its place in `sources`.
pub(super) fn diagnostic(item: Diagnostic, sources: &Sources) -> ReloadDiagnostic {
    let at = item.location.and_then(|at| sources.position(at));
    ReloadDiagnostic {
        file: at.map(|at| at.path.to_owned()),
        line: at.map(|at| at.line),
        column: at.map(|at| at.column),
        message: item.message,
        help: item.help,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[test]
    fn diagnostics_have_their_place() {
        let text = "[[listeners]]\naddress = \"[::]:443\"\ntls = false\n\n\
                    [[routes]]\nupstream = \"http://a:1\"\n\n[log]\nlevl = 1\n";
        let diagnostics = config::parse(text, Path::new("a.toml")).unwrap_err();
        let report = ReloadReport::refused(ReloadCause::Signal, 3, &diagnostics);
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!(value["result"], "failed");
        assert_eq!(value["generation"], 3);
        let first = &value["diagnostics"][0];
        assert_eq!(
            (&first["file"], &first["line"], &first["column"]),
            (&"a.toml".into(), &9.into(), &1.into())
        );
        assert!(first["message"].as_str().unwrap().contains("levl"));
        assert!(value["time"].as_str().unwrap().ends_with('Z'));
        let read: ReloadReport = serde_json::from_value(value).unwrap();
        assert_eq!(read.diagnostics, report.diagnostics);
    }
}
