//! What the admin listener shows.

use std::net::SocketAddr;
use std::time::Instant;

use super::health::Readiness;
use crate::telemetry::Telemetry;

/// What the admin listener shows.
#[derive(Debug)]
pub struct AdminState {
    pub(super) telemetry: Telemetry,
    pub(super) readiness: Readiness,
    /// The bound address, which a `Host` may name.
    pub(super) address: SocketAddr,
    pub(super) started: Instant,
}

impl AdminState {
    /// The state of a daemon that starts now, with its admin listener bound to `address`.
    #[must_use]
    pub fn new(telemetry: Telemetry, readiness: Readiness, address: SocketAddr) -> Self {
        Self {
            telemetry,
            readiness,
            address,
            started: Instant::now(),
        }
    }
}
