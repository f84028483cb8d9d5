//! Counters that workers never share a cache line for.
//!
//! A handshake makes some forty increments. On one set of atomics every worker would wait for the
//! cache lines of the others; here each thread adds in its own lane, and only a scrape pays for
//! adding the lanes up.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A fixed number of counters, one copy a lane.
pub(super) struct Block {
    lines: Box<[Line]>,
    lines_per_lane: usize,
}

/// One thread's copy of a [`Block`].
#[derive(Clone, Copy)]
pub(super) struct Lane<'a>(&'a [Line]);

/// What one lane holds side by side: 128 bytes, because x86 fetches cache lines in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Line([AtomicU64; COUNTERS_PER_LINE]);

const COUNTERS_PER_LINE: usize = 16;

/// More lanes than this cost memory (a listener takes about 16 KB a lane) and gain little.
const MAX_LANES: usize = 16;

static LANES: LazyLock<usize> = LazyLock::new(|| {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MAX_LANES)
});

static NEXT_LANE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static LANE: Cell<usize> = const { Cell::new(usize::MAX) };
}

impl Block {
    /// `counters` counters at zero.
    pub(super) fn new(counters: usize) -> Self {
        let lines_per_lane = counters.div_ceil(COUNTERS_PER_LINE).max(1);
        Self {
            lines: (0..lines_per_lane * *LANES)
                .map(|_| Line::default())
                .collect(),
            lines_per_lane,
        }
    }

    /// The lane of the calling thread.
    pub(super) fn lane(&self) -> Lane<'_> {
        let first = lane_of_this_thread() * self.lines_per_lane;
        Lane(&self.lines[first..first + self.lines_per_lane])
    }

    /// The sum over all lanes; a gauge that went below zero wraps.
    pub(super) fn sum(&self, counter: usize) -> u64 {
        self.lines
            .chunks_exact(self.lines_per_lane)
            .fold(0, |sum, lane| {
                sum.wrapping_add(
                    lane[counter / COUNTERS_PER_LINE].0[counter % COUNTERS_PER_LINE]
                        .load(Ordering::Relaxed),
                )
            })
    }

    /// The sum of a counter that goes up and down. An increment and its decrement may be in
    /// different lanes, and a scrape between the two reads may miss the first: never below zero.
    pub(super) fn gauge(&self, counter: usize) -> u64 {
        self.sum(counter).cast_signed().max(0).cast_unsigned()
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block")
            .field("lines_per_lane", &self.lines_per_lane)
            .finish_non_exhaustive()
    }
}

impl<'a> Lane<'a> {
    /// Adds `amount`.
    pub(super) fn add(self, counter: usize, amount: u64) {
        self.counter(counter).fetch_add(amount, Ordering::Relaxed);
    }

    /// Takes one away, for gauges.
    pub(super) fn decrement(self, counter: usize) {
        self.counter(counter).fetch_sub(1, Ordering::Relaxed);
    }

    fn counter(self, counter: usize) -> &'a AtomicU64 {
        &self.0[counter / COUNTERS_PER_LINE].0[counter % COUNTERS_PER_LINE]
    }
}

/// Threads take lanes in turn at their first count, so the workers of one runtime, which start
/// together, have different ones while there are enough.
fn lane_of_this_thread() -> usize {
    LANE.with(|lane| {
        if lane.get() == usize::MAX {
            lane.set(NEXT_LANE.fetch_add(1, Ordering::Relaxed) % *LANES);
        }
        lane.get()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_add_up() {
        let block = Block::new(40);
        std::thread::scope(|scope| {
            for _ in 0..9 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        block.lane().add(39, 2);
                        block.lane().add(0, 1);
                    }
                });
            }
        });
        assert_eq!(block.sum(39), 18_000);
        assert_eq!(block.sum(0), 9_000);
        assert_eq!(block.sum(38), 0);
    }

    #[test]
    fn a_gauge_goes_up_in_one_lane_and_down_in_another() {
        let block = Block::new(1);
        block.lane().add(0, 3);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| block.lane().decrement(0));
            }
        });
        assert_eq!(block.gauge(0), 0);
        block.lane().decrement(0);
        assert_eq!(block.gauge(0), 0);
        block.lane().add(0, 2);
        assert_eq!(block.gauge(0), 1);
    }
}
