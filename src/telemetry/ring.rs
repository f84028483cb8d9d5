//! The last handshakes, for the admin API.

use std::sync::Arc;

use crate::report::{ConnectionId, HandshakeReport};

/// A bounded ring of recent handshakes.
#[derive(Debug, Default)]
pub struct HandshakeRing {}

impl HandshakeRing {
    /// A ring.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }
    /// Keeps `report`, dropping the oldest where the ring is full.
    pub fn push(&self, _report: Arc<HandshakeReport>) {}
    /// The report of one connection, while it is kept.
    #[must_use]
    pub fn find(&self, _id: ConnectionId) -> Option<Arc<HandshakeReport>> {
        None
    }
}
