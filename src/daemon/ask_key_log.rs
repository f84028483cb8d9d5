//! `handfast key-log`: begins and ends the key log of the running daemon.

use std::path::PathBuf;

use clap::Args;

use super::cli::{complain, say};
use super::exit::Exit;
use super::reloader::chain;
use super::socket_client::{ClientError, SocketArgs, SocketClient};
use crate::admin::{KeyLogBody, KeyLogSummary};

/// What is to be written, or that it is to end.
#[derive(Debug, Args)]
pub(super) struct KeyLogArgs {
    /// The clients: a network such as 10.1.2.0/24, or one address.
    #[arg(long, value_name = "CIDR", required_unless_present = "stop")]
    client: Option<String>,
    /// Let the network be everybody (0.0.0.0/0 or ::/0).
    #[arg(long, requires = "client")]
    any_client: bool,
    /// For how long, at most 1h.
    #[arg(long, value_name = "TIME", required_unless_present = "stop")]
    duration: Option<String>,
    /// The file, which the daemon creates: it must not exist, its directory must.
    #[arg(long, value_name = "PATH", required_unless_present = "stop")]
    file: Option<PathBuf>,
    /// End the running one.
    #[arg(long, conflicts_with_all = ["client", "any_client", "duration", "file"])]
    stop: bool,
}

/// Runs the command.
pub(super) fn ask_key_log(socket: &SocketArgs, args: &KeyLogArgs) -> Exit {
    ask(socket, args).unwrap_or_else(|error| {
        complain(&format!("handfast key-log: {}", chain(&error)));
        Exit::Failure
    })
}

fn ask(socket: &SocketArgs, args: &KeyLogArgs) -> Result<Exit, ClientError> {
    let client = SocketClient::find(socket)?;
    let answer = match body(args) {
        Some(body) => {
            let body = serde_json::to_vec(&body).map_err(|_| client.nonsense())?;
            client.ask("POST", "/api/key-log", &body)?
        }
        None => client.ask("DELETE", "/api/key-log", b"")?,
    };
    if !matches!(answer.status, 200 | 201) {
        complain(&format!("handfast key-log: {}", answer.problem()));
        return Ok(Exit::Failure);
    }
    let log: KeyLogSummary = serde_json::from_str(&answer.body).map_err(|_| client.nonsense())?;
    let file = log.file.display();
    say(&match args.stop {
        true => format!(
            "ended: {} sessions in {file}, {} lines lost",
            log.sessions, log.dropped
        ),
        false => format!(
            "secrets of new connections from {} go to {file} until {}; \
             `handfast key-log --stop` ends it sooner",
            log.client, log.until
        ),
    });
    Ok(Exit::Ok)
}

/// What to begin; `None`: end it. clap has seen to it that all is there.
fn body(args: &KeyLogArgs) -> Option<KeyLogBody> {
    let file = args.file.clone()?;
    Some(KeyLogBody {
        client: args.client.clone()?,
        any: args.any_client,
        duration: args.duration.clone()?,
        // The daemon's working directory is another one.
        file: std::path::absolute(&file).unwrap_or(file),
    })
}
