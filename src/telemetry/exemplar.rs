//! Exemplars: the last connection of each bucket, so that a slow bucket leads to a handshake.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::exposition::Seconds;
use super::histogram::HANDSHAKE;
use crate::report::{ConnectionId, HandshakeReport};

/// One observed value and whose it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exemplar {
    connection: ConnectionId,
    nanos: u64,
    time: SystemTime,
}

/// The last exemplar of each bucket of a histogram of handshakes.
#[derive(Debug, Default)]
pub(super) struct Exemplars([Mutex<Option<Exemplar>>; HANDSHAKE.bounds().len() + 1]);

impl Exemplar {
    /// That of a handshake's duration, at its end.
    pub(super) fn of(report: &HandshakeReport) -> Self {
        Self {
            connection: report.id,
            nanos: u64::try_from(report.total.as_nanos()).unwrap_or(u64::MAX),
            time: report.time.checked_add(report.total).unwrap_or(report.time),
        }
    }
}

impl Exemplars {
    /// Keeps `exemplar` in its bucket. Where another thread is at it, that one's stays: no worker
    /// waits for one.
    pub(super) fn keep(&self, exemplar: Exemplar) {
        let bucket = &self.0[HANDSHAKE.bucket(exemplar.nanos)];
        if let Ok(mut last) = bucket.try_lock() {
            *last = Some(exemplar);
        }
    }

    /// Those of all buckets.
    pub(super) fn read(&self) -> Vec<Option<Exemplar>> {
        let read = |bucket: &Mutex<_>| *bucket.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.iter().map(read).collect()
    }
}

impl fmt::Display for Exemplar {
    /// `{connection_id="…"} 0.0015 1795407045.001`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.time.duration_since(SystemTime::UNIX_EPOCH);
        let millis = since.unwrap_or_default().as_millis();
        let at = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        write!(
            f,
            "{{connection_id=\"{}\"}} {} {}.{:03}",
            self.connection,
            Seconds(self.nanos),
            at.as_secs(),
            at.subsec_millis()
        )
    }
}
