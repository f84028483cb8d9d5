//! The one handle that the rest of the program reports to.

use std::sync::Arc;

use crate::report::HandshakeReport;

use super::access_log::AccessLog;
use super::events::EventLog;
use super::metrics::{ListenerMetrics, Metrics};
use super::ring::HandshakeRing;

/// Everything that reports go to; cheap to clone.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// Structured events.
    pub events: EventLog,
    /// One line per request.
    pub access: AccessLog,
    /// Recent handshakes for the admin API.
    pub ring: Arc<HandshakeRing>,
}

impl Telemetry {
    /// Counts a finished handshake, emits its event and keeps it in the ring.
    pub fn handshake(
        &self,
        listener: &ListenerMetrics,
        report: HandshakeReport,
    ) -> Arc<HandshakeReport> {
        listener.handshake_finished(&report);
        let report = Arc::new(report);
        self.events.handshake(&report);
        self.ring.push(report.clone());
        report
    }
}
