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

/// Why a line was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DropReason {
    /// The output did not take it, or not fast enough.
    Output,
    /// Past `log.handshake.failures_per_second`.
    Rate,
}

/// Lost lines: `log_events_dropped_total{stream,reason}`.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    output: [AtomicU64; Stream::ALL.len()],
    rate: AtomicU64,
}

impl DropReason {
    /// The label's value.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Rate => "rate",
        }
    }
}

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
    /// Counts `lines` lines that the output lost.
    pub(super) fn add(&self, stream: Stream, lines: u64) {
        self.output[stream as usize].fetch_add(lines, Ordering::Relaxed);
    }

    /// Counts a handshake's event past the rate.
    pub(super) fn past_rate(&self) {
        self.rate.fetch_add(1, Ordering::Relaxed);
    }

    /// All counts.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Stream, DropReason, u64)> + '_ {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let output = Stream::ALL.into_iter().zip(&self.output);
        output
            .map(move |(stream, count)| (stream, DropReason::Output, read(count)))
            .chain([(Stream::Handshake, DropReason::Rate, read(&self.rate))])
    }
}
