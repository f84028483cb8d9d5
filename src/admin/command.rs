//! What the admin socket asks of the daemon: a bounded queue of commands, each with the way its
//! answer goes.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::reload_report::ReloadReport;
use crate::config::LogLevel;
use crate::tls::{KeyLogError, KeyLogRequest, KeyLogStatus};

/// One thing that the daemon is to do.
#[derive(Debug)]
pub struct Command {
    /// The user at the other end of the socket, where the system tells.
    pub uid: Option<u32>,
    /// What to do.
    pub action: Action,
}

/// What to do, and where the answer goes. A sender that is dropped says that the daemon ends.
#[derive(Debug)]
pub enum Action {
    /// Reload the configuration.
    Reload {
        /// Whether also when it turns clients away.
        force: bool,
        /// How it went; `None`: not while draining.
        answer: oneshot::Sender<Option<ReloadReport>>,
    },
    /// Begin the shutdown, as SIGTERM does. Nothing more happens when it has begun.
    Drain(oneshot::Sender<()>),
    /// Log at another level until the next reload, or for `duration`.
    LogLevel {
        /// The level.
        level: LogLevel,
        /// For how long.
        duration: Option<Duration>,
        /// Done.
        answer: oneshot::Sender<()>,
    },
    /// Begin a key log.
    StartKeyLog {
        /// Whose, where to, for how long.
        request: KeyLogRequest,
        /// Begun or refused.
        answer: oneshot::Sender<Result<(), KeyLogError>>,
    },
    /// End the key log; `None`: none runs.
    StopKeyLog(oneshot::Sender<Option<KeyLogStatus>>),
}

/// Commands that wait for the daemon. Past it, whoever asks waits.
const QUEUE: usize = 8;

/// A queue of commands.
#[must_use]
pub fn commands() -> (mpsc::Sender<Command>, mpsc::Receiver<Command>) {
    mpsc::channel(QUEUE)
}
