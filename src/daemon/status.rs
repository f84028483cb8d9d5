//! `handfast status`: what the running daemon is about, for people and for probes.

use std::fmt::Write as _;

use super::ask_reload::{written, written_broken, written_kept};
use super::cli::{complain, say};
use super::exit::Exit;
use super::reloader::chain;
use super::socket_client::{ClientError, SocketArgs, SocketClient};
use crate::admin::{DrainStage, ReloadResult, Summary};

/// Runs the command.
pub(super) fn status(args: &SocketArgs, json: bool, ready: bool) -> Exit {
    let asked = SocketClient::find(args).and_then(|client| match ready {
        true => ask_ready(&client),
        false => ask(&client, json),
    });
    asked.unwrap_or_else(|error| {
        complain(&format!("handfast status: {}", chain(&error)));
        Exit::Failure
    })
}

fn ask_ready(client: &SocketClient) -> Result<Exit, ClientError> {
    let answer = client.ask("GET", "/readyz", b"")?;
    Ok(match answer.status {
        200 => Exit::Ok,
        _ => Exit::Failure,
    })
}

fn ask(client: &SocketClient, json: bool) -> Result<Exit, ClientError> {
    let answer = client.ask("GET", "/api/summary", b"")?;
    if answer.status != 200 {
        complain(&format!("handfast status: {}", answer.problem()));
        return Ok(Exit::Failure);
    }
    if json {
        say(answer.body.trim_end());
        return Ok(Exit::Ok);
    }
    let summary: Summary = serde_json::from_str(&answer.body).map_err(|_| client.nonsense())?;
    say(text(&summary).trim_end());
    Ok(Exit::Ok)
}

/// The summary in lines of a name and what there is to say.
fn text(summary: &Summary) -> String {
    let mut out = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{name:<12} {value}");
    };
    row(
        "handfast",
        format!("{}, {}", summary.version, summary.readiness),
    );
    row("up", uptime(summary.uptime_seconds));
    row("generation", summary.generation.to_string());
    match &summary.last_reload {
        None => row("last reload", "none".to_owned()),
        Some(reload) => {
            let error = reload.error.as_deref().unwrap_or("failed");
            let how = match reload.result {
                ReloadResult::Ok => "ok".to_owned(),
                ReloadResult::Partial => "in part: certificates are kept as they were".to_owned(),
                ReloadResult::Failed => format!("failed: {error}"),
                ReloadResult::Guarded => format!("refused: {error}"),
            };
            let why = reload.cause.name();
            row("last reload", format!("{} ({why}) {how}", reload.time));
            for item in &reload.diagnostics {
                row("", written(item));
            }
            if let Some(broken) = &reload.broken {
                for line in written_broken(broken).lines() {
                    row("", line.trim_start().to_owned());
                }
            }
        }
    }
    for kept in &summary.kept_certificates {
        row("KEPT", written_kept(kept));
    }
    for listener in &summary.listeners {
        let open = listener.connections_open;
        let text = format!("{} on {}: {open} open", listener.name, listener.address);
        row("listener", text);
    }
    row("connections", format!("{} open", summary.connections_open));
    let handshakes = &summary.handshakes;
    row(
        "handshakes",
        format!(
            "{} ok, {} failed, {} in flight, {} probes",
            handshakes.ok, handshakes.failed, handshakes.in_flight, handshakes.probes
        ),
    );
    row("requests", summary.requests.to_string());
    if let Some(drain) = &summary.drain {
        let left = uptime(drain.seconds_left);
        row(
            "drain",
            match drain.stage {
                DrainStage::Delay => format!(
                    "still accepting for {left}, for load balancers to notice; {}",
                    drain.holding()
                ),
                DrainStage::Connections => {
                    format!("waits for {}, {left} at most", drain.holding())
                }
            },
        );
    }
    if let Some(log) = &summary.key_log {
        row(
            "KEY LOG",
            format!(
                "secrets of {} go to {} until {}: {} sessions, {} lines lost",
                log.client,
                log.file.display(),
                log.until,
                log.sessions,
                log.dropped
            ),
        );
    }
    out
}

/// Whole seconds as days, hours, minutes and seconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and negative times do not come"
)]
pub(super) fn uptime(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let times = [0.4, 61.0, 3_720.0, 90_000.0].map(uptime);
        assert_eq!(times, ["0 s", "1 min 1 s", "1 h 2 min", "1 d 1 h"]);
    }
}
