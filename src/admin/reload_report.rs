//! How a reload went, for whoever asked for it and for everybody who asks later.

use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::moment;
use crate::config::Diagnostics;

/// How a reload went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// When, in RFC 3339.
    pub time: String,
    /// Whether the new configuration serves.
    pub result: ReloadResult,
    /// The generation that serves now.
    pub generation: u64,
    /// What was not possible, with its causes; `None` when it went well.
    pub error: Option<String>,
    /// Everything that is wrong with the configuration.
    pub diagnostics: Vec<ReloadDiagnostic>,
}

/// Whether the new configuration serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReloadResult {
    /// It does.
    Ok,
    /// The old one serves on.
    Failed,
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

impl ReloadReport {
    /// The new configuration serves as `generation`.
    #[must_use]
    pub fn ok(generation: u64) -> Self {
        Self {
            time: moment::text(SystemTime::now()),
            result: ReloadResult::Ok,
            generation,
            error: None,
            diagnostics: Vec::new(),
        }
    }

    /// The configuration is right and cannot be served all the same.
    #[must_use]
    pub fn failed(generation: u64, error: String) -> Self {
        Self {
            result: ReloadResult::Failed,
            error: Some(error),
            ..Self::ok(generation)
        }
    }

    /// The configuration is wrong.
    #[must_use]
    pub fn refused(generation: u64, diagnostics: &Diagnostics) -> Self {
        Self {
            diagnostics: located(diagnostics),
            ..Self::failed(generation, "the configuration is wrong".to_owned())
        }
    }
}

/// Diagnostics with their places, in order.
pub(super) fn located(diagnostics: &Diagnostics) -> Vec<ReloadDiagnostic> {
    let mut sorted = diagnostics.clone();
    sorted.sort();
    let items = sorted.items.into_iter().map(|item| {
        let at = item
            .location
            .and_then(|at| diagnostics.sources.position(at));
        ReloadDiagnostic {
            file: at.map(|at| at.path.to_owned()),
            line: at.map(|at| at.line),
            column: at.map(|at| at.column),
            message: item.message,
            help: item.help,
        }
    });
    items.collect()
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
        let report = ReloadReport::refused(3, &diagnostics);
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
