//! `handfast reload`: asks the daemon to reload, and waits for how it went.

use std::fmt::Write as _;

use super::cli::{complain, say};
use super::exit::Exit;
use super::reloader::chain;
use super::socket_client::{ClientError, SocketArgs, SocketClient};
use crate::admin::{
    BrokenClients, KeptCertificateReport, ReloadBody, ReloadDiagnostic, ReloadReport, ReloadResult,
};

/// Runs the command.
pub(super) fn ask_reload(args: &SocketArgs, force: bool) -> Exit {
    ask(args, force).unwrap_or_else(|error| {
        complain(&format!("handfast reload: {}", chain(&error)));
        Exit::Failure
    })
}

fn ask(args: &SocketArgs, force: bool) -> Result<Exit, ClientError> {
    let client = SocketClient::find(args)?;
    let body = serde_json::to_vec(&ReloadBody { force }).map_err(|_| client.nonsense())?;
    let answer = client.ask("POST", "/api/reload", &body)?;
    let Ok(report) = serde_json::from_str::<ReloadReport>(&answer.body) else {
        complain(&format!("handfast reload: {}", answer.problem()));
        return Ok(Exit::Failure);
    };
    let generation = report.generation;
    let error = report.error.as_deref().unwrap_or_default();
    Ok(match report.result {
        ReloadResult::Ok => {
            say(&format!("reloaded: generation {generation} serves"));
            Exit::Ok
        }
        ReloadResult::Partial => {
            for kept in &report.kept {
                complain(&written_kept(kept));
            }
            complain(&format!(
                "handfast reload: reloaded in part: generation {generation} serves, with {} as before",
                certificates(report.kept.len())
            ));
            Exit::Failure
        }
        ReloadResult::Guarded => {
            if let Some(broken) = &report.broken {
                complain(written_broken(broken).trim_end());
            }
            complain(&format!(
                "handfast reload: refused: {error}; generation {generation} serves on\n  help: \
                 `handfast reload --force` reloads all the same"
            ));
            Exit::Failure
        }
        ReloadResult::Failed => {
            for item in &report.diagnostics {
                complain(&written(item));
            }
            complain(&format!(
                "handfast reload: {error}; generation {generation} serves on"
            ));
            if report.diagnostics.is_empty() {
                Exit::Failure
            } else {
                Exit::Config
            }
        }
    })
}

fn certificates(count: usize) -> String {
    match count {
        1 => "one certificate".to_owned(),
        count => format!("{count} certificates"),
    }
}

/// A certificate that is kept, and what is wrong with its files.
pub(super) fn written_kept(kept: &KeptCertificateReport) -> String {
    let mut text = format!(
        "the certificate `{}` is kept as it was (since {}): {} cannot be used",
        kept.certificate,
        kept.since,
        kept.file.display()
    );
    for item in &kept.diagnostics {
        text.push_str("\n  ");
        text.push_str(&written(item));
    }
    text
}

/// Who would be turned away: a line a kind.
pub(super) fn written_broken(broken: &BrokenClients) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    for failure in &broken.failures {
        let _ = writeln!(
            text,
            "{:>10} handshakes to {} ({}) from {}: {}",
            failure.handshakes,
            failure.server_name,
            failure.listener,
            failure.ja4,
            failure.diagnosis
        );
    }
    if broken.more > 0 {
        let _ = writeln!(text, "           and {} more kinds of clients", broken.more);
    }
    text
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
