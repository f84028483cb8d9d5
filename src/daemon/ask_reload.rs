//! `handfast reload`: asks the daemon to reload, and waits for how it went.

use super::cli::{complain, say};
use super::exit::Exit;
use super::reloader::chain;
use super::socket_client::{ClientError, SocketArgs, SocketClient};
use crate::admin::{ReloadDiagnostic, ReloadReport, ReloadResult};

/// Runs the command.
pub(super) fn ask_reload(args: &SocketArgs) -> Exit {
    ask(args).unwrap_or_else(|error| {
        complain(&format!("handfast reload: {}", chain(&error)));
        Exit::Failure
    })
}

fn ask(args: &SocketArgs) -> Result<Exit, ClientError> {
    let client = SocketClient::find(args)?;
    let answer = client.ask("POST", "/api/reload", b"")?;
    let Ok(report) = serde_json::from_str::<ReloadReport>(&answer.body) else {
        complain(&format!("handfast reload: {}", answer.problem()));
        return Ok(Exit::Failure);
    };
    Ok(match report.result {
        ReloadResult::Ok => {
            say(&format!(
                "reloaded: generation {} serves",
                report.generation
            ));
            Exit::Ok
        }
        ReloadResult::Failed => {
            for item in &report.diagnostics {
                complain(&written(item));
            }
            let error = report.error.unwrap_or_default();
            complain(&format!(
                "handfast reload: {error}; generation {} serves on",
                report.generation
            ));
            if report.diagnostics.is_empty() {
                Exit::Failure
            } else {
                Exit::Config
            }
        }
    })
}

/// `file:line:column: message`, and the advice.
pub(super) fn written(item: &ReloadDiagnostic) -> String {
    let mut text = String::new();
    if let (Some(file), Some(line), Some(column)) = (&item.file, item.line, item.column) {
        text = format!("{}:{line}:{column}: ", file.display());
    }
    text.push_str(&item.message);
    if let Some(help) = &item.help {
        text.push_str("\n  help: ");
        text.push_str(help);
    }
    text
}
