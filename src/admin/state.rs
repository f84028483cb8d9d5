//! What the admin listeners show, and whom they ask.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Semaphore, mpsc};

use super::command::Command;
use super::health::Readiness;
use super::status::DaemonStatus;
use crate::snapshot::SnapshotStore;
use crate::telemetry::Telemetry;
use crate::tls::KeyLog;

/// What the admin listeners show, and whom they ask.
#[derive(Debug)]
pub struct AdminState {
    pub(super) telemetry: Telemetry,
    pub(super) readiness: Readiness,
    pub(super) status: Arc<DaemonStatus>,
    pub(super) key_log: Arc<KeyLog>,
    pub(super) snapshots: Arc<SnapshotStore>,
    pub(super) commands: mpsc::Sender<Command>,
    /// Where the unix socket is, for those who try elsewhere.
    pub(super) socket: Option<PathBuf>,
    pub(super) started: Instant,
    /// One forecast at a time.
    pub(super) forecasts: Arc<Semaphore>,
}

impl AdminState {
    /// The state of a daemon that starts now.
    #[must_use]
    pub fn new(
        telemetry: Telemetry,
        readiness: Readiness,
        status: Arc<DaemonStatus>,
        key_log: Arc<KeyLog>,
        snapshots: Arc<SnapshotStore>,
        commands: mpsc::Sender<Command>,
        socket: Option<PathBuf>,
    ) -> Self {
        Self {
            telemetry,
            readiness,
            status,
            key_log,
            snapshots,
            commands,
            socket,
            started: Instant::now(),
            forecasts: Arc::new(Semaphore::new(1)),
        }
    }
}
