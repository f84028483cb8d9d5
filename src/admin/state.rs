//! What the admin listeners show, and whom they ask.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::command::Command;
use super::health::Readiness;
use super::status::DaemonStatus;
use crate::telemetry::Telemetry;
use crate::tls::KeyLog;

/// What the admin listeners show, and whom they ask.
#[derive(Debug)]
pub struct AdminState {
    pub(super) telemetry: Telemetry,
    pub(super) readiness: Readiness,
    pub(super) status: Arc<DaemonStatus>,
    pub(super) key_log: Arc<KeyLog>,
    pub(super) commands: mpsc::Sender<Command>,
    /// Where the unix socket is, for those who try elsewhere.
    pub(super) socket: Option<PathBuf>,
    pub(super) started: Instant,
}

impl AdminState {
    /// The state of a daemon that starts now.
    #[must_use]
    pub fn new(
        telemetry: Telemetry,
        readiness: Readiness,
        status: Arc<DaemonStatus>,
        key_log: Arc<KeyLog>,
        commands: mpsc::Sender<Command>,
        socket: Option<PathBuf>,
    ) -> Self {
        Self {
            telemetry,
            readiness,
            status,
            key_log,
            commands,
            socket,
            started: Instant::now(),
        }
    }
}
