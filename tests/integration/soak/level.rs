//! What the daemon has in use.

use super::traffic::SOON;
use crate::support::{Daemon, wait_until};

/// What is in use when nothing goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub(super) descriptors: usize,
    pub(super) threads: usize,
    pub(super) resident: u64,
}

impl Level {
    /// Waits until all connections are gone on both sides.
    pub(super) fn at_rest(daemon: &Daemon) -> Self {
        wait_until(SOON, "all connections are gone", || {
            [
                "connections_open",
                "tls_handshakes_in_flight",
                "upstream_connections_open",
            ]
            .iter()
            .all(|name| daemon.metric(name, &[]) == 0.0)
        });
        Self {
            descriptors: daemon.descriptors(),
            threads: daemon.threads(),
            resident: daemon.resident().0,
        }
    }
}
