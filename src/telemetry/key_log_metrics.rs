//! Whether secrets are written out, and how many.

use std::sync::atomic::{AtomicU64, Ordering};

use super::exposition::{Exposition, Kind};

/// The metrics of the key log.
#[derive(Debug, Default)]
pub struct KeyLogMetrics {
    active: AtomicU64,
    sessions: AtomicU64,
    dropped: AtomicU64,
}

impl KeyLogMetrics {
    /// `tls_key_log_active`: whether a capture runs.
    pub fn active(&self, active: bool) {
        self.active.store(active.into(), Ordering::Relaxed);
    }

    /// `tls_key_log_sessions_total`: the secrets of one more handshake are in a file.
    pub fn session(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// `tls_key_log_lines_dropped_total`: the writer did not keep up.
    pub fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes them out.
pub(super) fn write(out: &mut Exposition, metrics: &KeyLogMetrics) {
    let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
    out.family(
        "tls_key_log_active",
        Kind::Gauge,
        "Whether session secrets are being written to a file.",
        |family| family.sample(&[], read(&metrics.active)),
    );
    out.family(
        "tls_key_log_lines_dropped",
        Kind::Counter,
        "Lines of the key log dropped because the file did not take them fast enough.",
        |family| family.sample(&[], read(&metrics.dropped)),
    );
    out.family(
        "tls_key_log_sessions",
        Kind::Counter,
        "Handshakes whose secrets were written to a key log.",
        |family| family.sample(&[], read(&metrics.sessions)),
    );
}
