//! Histograms of durations over the counters of a [`Block`].

use std::time::Duration;

use super::shard::{Block, Lane};

/// The upper bounds of a histogram's buckets in nanoseconds, ascending.
#[derive(Debug)]
pub(super) struct Buckets(&'static [u64]);

/// Where a histogram lies in its block: a counter for each bucket, one above the last bound, then
/// the sum of all values in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Histogram {
    buckets: &'static Buckets,
    first: usize,
}

/// What a histogram holds at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Values in each bucket, not cumulative; the last one is above every bound.
    pub(super) counts: Vec<u64>,
    /// The sum of the values in nanoseconds.
    pub(super) sum: u64,
}

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// Handshakes and their phases: from a table look-up to a client that does not answer.
pub(super) static HANDSHAKE: Buckets = Buckets(&[
    10 * MICRO,
    25 * MICRO,
    50 * MICRO,
    100 * MICRO,
    250 * MICRO,
    500 * MICRO,
    MILLI,
    2_500 * MICRO,
    5 * MILLI,
    10 * MILLI,
    25 * MILLI,
    50 * MILLI,
    100 * MILLI,
    250 * MILLI,
    500 * MILLI,
    SECOND,
    2_500 * MILLI,
    5 * SECOND,
    10 * SECOND,
]);

/// Requests and upstreams: the bounds that OpenTelemetry gives for HTTP.
pub(super) static HTTP: Buckets = Buckets(&[
    5 * MILLI,
    10 * MILLI,
    25 * MILLI,
    50 * MILLI,
    75 * MILLI,
    100 * MILLI,
    250 * MILLI,
    500 * MILLI,
    750 * MILLI,
    SECOND,
    2_500 * MILLI,
    5 * SECOND,
    7_500 * MILLI,
    10 * SECOND,
]);

impl Buckets {
    /// How many counters of a block a histogram takes.
    pub(super) const fn counters(&self) -> usize {
        self.0.len() + 2
    }

    /// The upper bounds in nanoseconds.
    pub(super) const fn bounds(&self) -> &'static [u64] {
        self.0
    }

    /// The bucket of a value; the last one is above every bound.
    pub(super) fn bucket(&self, nanos: u64) -> usize {
        // A bound is inclusive: `le` of Prometheus.
        self.0.partition_point(|&bound| bound < nanos)
    }
}

impl Histogram {
    /// A histogram whose first counter is `first`.
    pub(super) const fn at(buckets: &'static Buckets, first: usize) -> Self {
        Self { buckets, first }
    }

    /// Counts `time`.
    pub(super) fn observe(self, lane: Lane<'_>, time: Duration) {
        self.observe_nanos(lane, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts `nanos`.
    pub(super) fn observe_nanos(self, lane: Lane<'_>, nanos: u64) {
        lane.add(self.first + self.buckets.bucket(nanos), 1);
        lane.add(self.first + self.buckets.0.len() + 1, nanos);
    }

    /// The sum of its values in nanoseconds.
    pub(super) fn sum(self, block: &Block) -> u64 {
        block.sum(self.first + self.buckets.0.len() + 1)
    }

    /// What it holds now. The count is the sum of the buckets, so the two always agree.
    pub(super) fn read(self, block: &Block) -> Reading {
        let above = self.first + self.buckets.0.len();
        Reading {
            counts: (self.first..=above)
                .map(|counter| block.sum(counter))
                .collect(),
            sum: block.sum(above + 1),
        }
    }
}

impl Reading {
    /// How many values there are.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds another reading with the same buckets.
    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.wrapping_add(*more);
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend_and_are_inclusive() {
        for buckets in [&HANDSHAKE, &HTTP] {
            assert!(buckets.bounds().is_sorted_by(|a, b| a < b));
        }
        let block = Block::new(3 + HANDSHAKE.counters());
        let histogram = Histogram::at(&HANDSHAKE, 3);
        for nanos in [0, 10_000, 10_001, 25_000, 10_000_000_000, 10_000_000_001] {
            histogram.observe_nanos(block.lane(), nanos);
        }
        let reading = histogram.read(&block);
        assert_eq!(reading.counts[0], 2);
        assert_eq!(reading.counts[1], 2);
        assert_eq!(reading.counts[18], 1);
        assert_eq!(reading.counts[19], 1);
        assert_eq!(reading.count(), 6);
        assert_eq!(reading.sum, 20_000_045_002);
    }
}
