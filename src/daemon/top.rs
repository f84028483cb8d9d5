//! `handfast top`: what the running daemon is doing, refreshed every second.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::cli::complain;
use super::exit::Exit;
use super::reloader::chain;
use super::socket_client::{ClientError, SocketClient, ViewArgs};
use super::top_screen::screen;
use crate::admin::Summary;

/// How often it asks.
const EVERY: Duration = Duration::from_secs(1);
/// Moves to the top left corner; each line then ends by clearing its rest.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_BELOW: &str = "\x1b[J";

/// Why it ends.
#[derive(Debug, thiserror::Error)]
enum TopError {
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The daemon refuses.
    #[error("{0}")]
    Refused(String),
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    /// The terminal is gone.
    #[error("cannot write")]
    Write(#[source] io::Error),
}

/// Runs the command; `once` prints one screen and ends.
pub(super) fn top(args: &ViewArgs, once: bool) -> Exit {
    let ended = match once {
        true => SocketClient::view(args)
            .map_err(TopError::from)
            .and_then(|client| Ok(screen(&ask(&client)?)))
            .and_then(|text| write(&text)),
        false => watch(args),
    };
    match ended {
        // A pipe that is closed, as by `head`, is no fault.
        Err(TopError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(error) => {
            complain(&format!("handfast top: {}", chain(&error)));
            Exit::Failure
        }
        Ok(()) => Exit::Ok,
    }
}

fn watch(args: &ViewArgs) -> Result<(), TopError> {
    let client = SocketClient::view(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(TopError::Signals)?;
    let ended = runtime.block_on(async {
        // Before the first question, which a daemon that hangs would hold up.
        let mut interrupts = signal(SignalKind::interrupt()).map_err(TopError::Signals)?;
        let mut terminates = signal(SignalKind::terminate()).map_err(TopError::Signals)?;
        tokio::select! {
            ended = refresh(client) => ended,
            _ = interrupts.recv() => Ok(()),
            _ = terminates.recv() => Ok(()),
        }
    });
    // A question that is not answered ends with the process.
    runtime.shutdown_background();
    ended
}

/// Asks and shows, until one of the two fails.
async fn refresh(client: SocketClient) -> Result<(), TopError> {
    let terminal = io::stdout().is_terminal();
    let mut client = client;
    let mut first = true;
    loop {
        let asked = spawn_blocking(move || {
            let summary = ask(&client);
            (client, summary)
        });
        let Ok((back, summary)) = asked.await else {
            return Ok(());
        };
        client = back;
        let text = screen(&summary?);
        if terminal {
            let text = text.replace('\n', CLEAR_LINE);
            write(&format!("{HOME}{text}{CLEAR_BELOW}"))?;
        } else {
            let gap = if first { "" } else { "\n" };
            write(&format!("{gap}{text}"))?;
        }
        first = false;
        sleep(EVERY).await;
    }
}

fn ask(client: &SocketClient) -> Result<Summary, TopError> {
    let answer = client.ask("GET", "/api/summary", b"")?;
    if answer.status != 200 {
        return Err(TopError::Refused(answer.problem()));
    }
    serde_json::from_str(&answer.body).map_err(|_| client.nonsense().into())
}

fn write(text: &str) -> Result<(), TopError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(TopError::Write)
}
