//! How the time of handshakes is made up, by how long they took.
//!
//! Percentiles of phases do not add up to the percentile of the total. So the sums of the phases
//! are kept for each bucket of the total: the mean of one bucket is a real composition, of the
//! handshakes near a percentile.

use std::time::Duration;

use super::histogram::HANDSHAKE;
use super::shard::Block;
use crate::report::{HandshakeKind, HandshakeReport, Phase};

/// What makes handshakes different from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeForm {
    /// A new session.
    Full,
    /// A session of before.
    Resumed,
    /// With a HelloRetryRequest, be it full or resumed.
    Retry,
}

impl HandshakeForm {
    /// Every form.
    pub const ALL: [Self; 3] = [Self::Full, Self::Resumed, Self::Retry];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Retry => "retry",
        }
    }
}

const BUCKETS: usize = HANDSHAKE.bounds().len() + 1;
/// The sums of the phases, and how many handshakes there are.
const CELL: usize = Phase::COUNTED + 1;
const COUNTERS: usize = HandshakeForm::ALL.len() * BUCKETS * CELL;

/// The counters of one listener.
#[derive(Debug)]
pub(super) struct CompositionMetrics(Block);

/// One reading of them, over all listeners: 8 KB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compositions(Vec<u64>);

/// The mean handshake of the bucket that a quantile is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composition {
    /// How many handshakes it is the mean of.
    pub handshakes: u64,
    /// Their totals are above this…
    pub above: Duration,
    /// …and up to this; `None` past the last bound.
    pub up_to: Option<Duration>,
    /// The mean of each phase, in wire order.
    pub phases: [Duration; Phase::COUNTED],
}

impl Composition {
    /// The mean total: the sum of the phases.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.phases.iter().sum()
    }
}

impl CompositionMetrics {
    pub(super) fn new() -> Self {
        Self(Block::new(COUNTERS))
    }

    /// Counts a complete handshake.
    pub(super) fn observe(&self, kind: HandshakeKind, report: &HandshakeReport) {
        let form = match (report.hello_retry, kind) {
            (true, _) => HandshakeForm::Retry,
            (false, HandshakeKind::Full) => HandshakeForm::Full,
            (false, HandshakeKind::Resumed) => HandshakeForm::Resumed,
        };
        let nanos = u64::try_from(report.total.as_nanos()).unwrap_or(u64::MAX);
        let first = cell(form, HANDSHAKE.bucket(nanos));
        let lane = self.0.lane();
        lane.add(first + Phase::COUNTED, 1);
        for (phase, nanos) in report.phases.iter().filter(|&(_, nanos)| nanos > 0) {
            lane.add(first + phase as usize, nanos);
        }
    }

    pub(super) fn add_to(&self, compositions: &mut Compositions) {
        for (counter, sum) in compositions.0.iter_mut().enumerate() {
            *sum = sum.wrapping_add(self.0.sum(counter));
        }
    }
}

impl Compositions {
    /// How many handshakes of `form` there are.
    #[must_use]
    pub fn handshakes(&self, form: HandshakeForm) -> u64 {
        (0..BUCKETS).map(|bucket| self.count(form, bucket)).sum()
    }

    /// The mean handshake of the bucket that holds the share `quantile` (0 to 1) of the complete
    /// handshakes of `form`. `None` without a handshake.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "an estimate, of counts far below 2^53"
    )]
    pub fn near(&self, form: HandshakeForm, quantile: f64) -> Option<Composition> {
        let rank = quantile.clamp(0.0, 1.0) * self.handshakes(form) as f64;
        let mut below = 0;
        let bucket = (0..BUCKETS).find(|&bucket| {
            let count = self.count(form, bucket);
            below += count;
            count > 0 && below as f64 >= rank
        })?;
        let bounds = HANDSHAKE.bounds();
        let bound = |bucket: usize| bounds.get(bucket).copied().map(Duration::from_nanos);
        let handshakes = self.count(form, bucket);
        let first = cell(form, bucket);
        let mean = |phase: usize| {
            let sum = self.0.get(first + phase).copied().unwrap_or(0);
            Duration::from_nanos(sum.checked_div(handshakes).unwrap_or(0))
        };
        Some(Composition {
            handshakes,
            above: bucket.checked_sub(1).and_then(bound).unwrap_or_default(),
            up_to: bound(bucket),
            phases: std::array::from_fn(mean),
        })
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        let pairs = self.0.iter().zip(&before.0);
        Self(
            pairs
                .map(|(now, before)| now.saturating_sub(*before))
                .collect(),
        )
    }

    fn count(&self, form: HandshakeForm, bucket: usize) -> u64 {
        let counter = cell(form, bucket) + Phase::COUNTED;
        self.0.get(counter).copied().unwrap_or(0)
    }
}

impl Default for Compositions {
    fn default() -> Self {
        Self(vec![0; COUNTERS])
    }
}

const fn cell(form: HandshakeForm, bucket: usize) -> usize {
    (form as usize * BUCKETS + bucket) * CELL
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn phases_of_a_bucket_add_up_to_its_mean_total() {
        let metrics = CompositionMetrics::new();
        let fast = sample::complete();
        let mut slow = sample::complete();
        slow.phases
            .add(Phase::ReadQueue, Duration::from_millis(200));
        slow.total += Duration::from_millis(200);
        for _ in 0..9 {
            metrics.observe(HandshakeKind::Full, &fast);
        }
        metrics.observe(HandshakeKind::Full, &slow);
        slow.hello_retry = true;
        metrics.observe(HandshakeKind::Full, &slow);
        let mut all = Compositions::default();
        metrics.add_to(&mut all);
        assert_eq!(all.handshakes(HandshakeForm::Full), 10);
        assert_eq!(all.handshakes(HandshakeForm::Retry), 1);
        assert_eq!(all.near(HandshakeForm::Resumed, 0.5), None);
        let median = all.near(HandshakeForm::Full, 0.5).unwrap();
        assert_eq!((median.handshakes, median.total()), (9, fast.total));
        assert_eq!(median.above, Duration::from_millis(1));
        assert_eq!(median.up_to, Some(Duration::from_micros(2500)));
        let tail = all.near(HandshakeForm::Full, 0.99).unwrap();
        assert_eq!((tail.handshakes, tail.total()), (1, slow.total));
        assert_eq!(
            tail.phases[Phase::ReadQueue as usize],
            Duration::from_millis(200)
        );
        let none = all.since(&all);
        assert_eq!(none.near(HandshakeForm::Full, 0.5), None);
    }
}
