//! The streams of the log, and how many of their lines were lost.

use std::sync::atomic::{AtomicU64, Ordering};

/// Which part of the log a line belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// One line per request.
    Access,
    /// What the program itself has to say.
    Daemon,
    /// Handshake events.
    Handshake,
}

/// Lost lines by stream: `log_events_dropped_total{stream}`.
#[derive(Debug, Default)]
pub(super) struct Dropped([AtomicU64; Stream::ALL.len()]);

impl Stream {
    /// Every stream.
    pub(super) const ALL: [Self; 3] = [Self::Access, Self::Daemon, Self::Handshake];

    /// The label's value.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Daemon => "daemon",
            Self::Handshake => "handshake",
        }
    }
}

impl Dropped {
    /// Counts `lines` lost lines.
    pub(super) fn add(&self, stream: Stream, lines: u64) {
        self.0[stream as usize].fetch_add(lines, Ordering::Relaxed);
    }

    /// The counts of all streams.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Stream, u64)> + '_ {
        Stream::ALL
            .into_iter()
            .map(|stream| (stream, self.0[stream as usize].load(Ordering::Relaxed)))
    }
}
