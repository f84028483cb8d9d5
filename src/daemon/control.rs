//! The commands of the admin socket: carried out here, but for those that change what the main
//! loop owns.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::reload::Guard;
use crate::admin::{Action, Command, ReloadReport, commands};
use crate::config::LogLevel;
use crate::telemetry::TelemetryGuard;
use crate::tls::KeyLog;

/// Carries out commands.
#[derive(Debug)]
pub(super) struct Control<'a> {
    log: &'a TelemetryGuard,
    key_log: Arc<KeyLog>,
    commands: mpsc::Receiver<Command>,
    /// Kept, so that the queue is never closed.
    sender: mpsc::Sender<Command>,
    /// The level that the configuration asks for.
    level: LogLevel,
    /// When the log goes back to it.
    revert: Option<Instant>,
}

/// What the main loop has to do itself.
#[derive(Debug)]
pub(super) enum Demand {
    /// Reload, and say how it went.
    Reload {
        /// Whether it may turn clients away.
        guard: Guard,
        /// Where to say it.
        answer: oneshot::Sender<Option<ReloadReport>>,
    },
    /// Begin the shutdown.
    Shutdown,
}

enum Next {
    Command(Option<Command>),
    Revert,
}

impl<'a> Control<'a> {
    /// Commands to a daemon that logs at `level`.
    pub(super) fn new(log: &'a TelemetryGuard, key_log: Arc<KeyLog>, level: LogLevel) -> Self {
        let (sender, commands) = commands();
        Self {
            log,
            key_log,
            commands,
            sender,
            level,
            revert: None,
        }
    }

    /// Where commands are put.
    pub(super) fn sender(&self) -> mpsc::Sender<Command> {
        self.sender.clone()
    }

    /// A reload has set the log to `level`, which ends a change by command.
    pub(super) fn reloaded(&mut self, level: LogLevel) {
        self.level = level;
        self.revert = None;
    }

    /// Carries out commands until one is for the main loop. Nothing is lost when the future is
    /// dropped.
    pub(super) async fn next(&mut self) -> Demand {
        loop {
            let revert = self.revert;
            let next = tokio::select! {
                command = self.commands.recv() => Next::Command(command),
                () = at(revert) => Next::Revert,
            };
            match next {
                Next::Command(Some(command)) => {
                    if let Some(demand) = self.carry_out(command) {
                        return demand;
                    }
                }
                // Not reached while the sender is kept.
                Next::Command(None) => std::future::pending().await,
                Next::Revert => {
                    self.revert = None;
                    self.log.set_level(self.level);
                    tracing::info!(level = self.level.name(), "log level is back");
                }
            }
        }
    }

    /// Ends what must not outlive the daemon.
    pub(super) fn end(&self) {
        self.key_log.stop();
    }

    fn carry_out(&mut self, Command { uid, action }: Command) -> Option<Demand> {
        // Whoever asked may be gone by the time of the answer.
        match action {
            Action::Reload { force, answer } => {
                tracing::info!(uid, force, "reload asked for");
                let guard = match force {
                    true => Guard::Forced,
                    false => Guard::Configured,
                };
                return Some(Demand::Reload { guard, answer });
            }
            Action::Drain(answer) => {
                tracing::info!(uid, "shutdown asked for");
                let _ = answer.send(());
                return Some(Demand::Shutdown);
            }
            Action::LogLevel {
                level,
                duration,
                answer,
            } => {
                self.set_level(uid, level, duration);
                let _ = answer.send(());
            }
            Action::StartKeyLog { request, answer } => {
                let _ = answer.send(self.key_log.start(&request));
            }
            Action::StopKeyLog(answer) => {
                tracing::warn!(uid, "end of the key log asked for");
                let _ = answer.send(self.key_log.stop());
            }
        }
        None
    }

    fn set_level(&mut self, uid: Option<u32>, level: LogLevel, duration: Option<Duration>) {
        tracing::info!(uid, level = level.name(), ?duration, "log level changes");
        self.log.set_level(level);
        self.revert = duration.map(|duration| Instant::now() + duration);
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
