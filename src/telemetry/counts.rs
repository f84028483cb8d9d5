//! One reading of the counters that a window is made of, over all listeners.

use std::time::Duration;

use super::histogram::HANDSHAKE;
use crate::report::{ExtraRoundTrip, FailureClass, FalseStart, Phase, PhaseKind, Resumption};

/// What was counted, either since the start or within a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Complete handshakes with a new session.
    pub full: u64,
    /// Complete handshakes that resumed one.
    pub resumed: u64,
    /// Connections that sent nothing.
    pub probes: u64,
    /// Finished requests.
    pub requests: u64,
    /// Handshakes that run: of the moment, not of a window.
    pub in_flight: u64,
    /// Handshakes with a HelloRetryRequest, failed ones included.
    pub retries: u64,
    /// Complete handshakes by [`FalseStart::index`].
    pub false_starts: [u64; FalseStart::NAMES.len()],
    /// Complete handshakes that took a round trip more, by [`ExtraRoundTrip`].
    pub(super) avoidable: [u64; ExtraRoundTrip::ALL.len()],
    /// Nanoseconds of those round trips.
    pub(super) avoidable_nanos: [u64; ExtraRoundTrip::ALL.len()],
    pub(super) classes: [u64; FailureClass::ALL.len()],
    pub(super) resumptions: [u64; Resumption::ALL.len()],
    /// Nanoseconds of complete handshakes.
    pub(super) phases: [u64; Phase::COUNTED],
    /// Durations of complete handshakes by bucket, not cumulative.
    pub(super) durations: [u64; HANDSHAKE.bounds().len() + 1],
}

impl Counts {
    /// Complete handshakes.
    #[must_use]
    pub const fn complete(&self) -> u64 {
        self.full + self.resumed
    }

    /// Failed handshakes.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// Failed handshakes by class, those that occurred.
    pub fn failures(&self) -> impl Iterator<Item = (FailureClass, u64)> + '_ {
        let classes = FailureClass::ALL.iter().copied();
        classes.zip(self.classes).filter(|(_, count)| *count > 0)
    }

    /// Complete handshakes by what became of the offer to resume, results that occurred.
    pub fn resumptions(&self) -> impl Iterator<Item = (Resumption, u64)> + '_ {
        let results = Resumption::ALL.into_iter();
        results
            .zip(self.resumptions)
            .filter(|(_, count)| *count > 0)
    }

    /// Round trips more than the one that each handshake takes, those that occurred: how many
    /// handshakes had them, and what they cost in all, as far as it is known.
    pub fn avoidable(&self) -> impl Iterator<Item = (ExtraRoundTrip, u64, Duration)> + '_ {
        ExtraRoundTrip::ALL
            .into_iter()
            .zip(self.avoidable)
            .zip(self.avoidable_nanos)
            .map(|((cause, count), nanos)| (cause, count, Duration::from_nanos(nanos)))
            .filter(|(_, count, _)| *count > 0)
    }

    /// The time of complete handshakes by whose it was, all of them together.
    #[must_use]
    pub fn time_of(&self, kind: PhaseKind) -> Duration {
        let phases = Phase::ALL.into_iter().zip(self.phases);
        let of_kind = phases.filter(|(phase, _)| phase.kind() == kind);
        Duration::from_nanos(of_kind.map(|(_, nanos)| nanos).sum())
    }

    /// The mean of a phase over all complete handshakes, those without it included, so that the
    /// means add up to the mean duration. `None` without a handshake.
    #[must_use]
    pub fn mean(&self, phase: Phase) -> Option<Duration> {
        let nanos = self.phases.get(phase as usize)?;
        nanos.checked_div(self.complete()).map(Duration::from_nanos)
    }

    /// The duration that the share `quantile` (0 to 1) of the complete handshakes did not exceed:
    /// interpolated within its bucket, and the last bound where it is beyond it. `None` without a
    /// handshake.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "an estimate, of counts far below 2^53"
    )]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let total: u64 = self.durations.iter().sum();
        if total == 0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * total as f64;
        let mut below = 0;
        let mut lower = 0;
        for (&count, &bound) in self.durations.iter().zip(HANDSHAKE.bounds()) {
            if count > 0 && (below + count) as f64 >= rank {
                let within = ((rank - below as f64) / count as f64).clamp(0.0, 1.0);
                let width = Duration::from_nanos(bound - lower);
                return Some(Duration::from_nanos(lower) + width.mul_f64(within));
            }
            below += count;
            lower = bound;
        }
        Some(Duration::from_nanos(lower))
    }

    /// What was counted since `before`. Counters are read one by one while others add to them, so
    /// none is below zero.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            full: self.full.saturating_sub(before.full),
            resumed: self.resumed.saturating_sub(before.resumed),
            probes: self.probes.saturating_sub(before.probes),
            requests: self.requests.saturating_sub(before.requests),
            in_flight: self.in_flight,
            retries: self.retries.saturating_sub(before.retries),
            false_starts: difference(&self.false_starts, &before.false_starts),
            avoidable: difference(&self.avoidable, &before.avoidable),
            avoidable_nanos: difference(&self.avoidable_nanos, &before.avoidable_nanos),
            classes: difference(&self.classes, &before.classes),
            resumptions: difference(&self.resumptions, &before.resumptions),
            phases: difference(&self.phases, &before.phases),
            durations: difference(&self.durations, &before.durations),
        }
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            full: 0,
            resumed: 0,
            probes: 0,
            requests: 0,
            in_flight: 0,
            retries: 0,
            false_starts: [0; FalseStart::NAMES.len()],
            avoidable: [0; ExtraRoundTrip::ALL.len()],
            avoidable_nanos: [0; ExtraRoundTrip::ALL.len()],
            classes: [0; FailureClass::ALL.len()],
            resumptions: [0; Resumption::ALL.len()],
            phases: [0; Phase::COUNTED],
            durations: [0; HANDSHAKE.bounds().len() + 1],
        }
    }
}

fn difference<const N: usize>(now: &[u64; N], before: &[u64; N]) -> [u64; N] {
    std::array::from_fn(|index| now[index].saturating_sub(before[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated() {
        let mut counts = Counts::default();
        assert_eq!(counts.quantile(0.5), None);
        assert_eq!(counts.mean(Phase::Select), None);
        // 500 us to 1 ms, and beyond the last bound.
        counts.durations[6] = 90;
        *counts.durations.last_mut().unwrap() = 10;
        assert_eq!(counts.quantile(0.45), Some(Duration::from_micros(750)));
        assert_eq!(counts.quantile(0.9), Some(Duration::from_millis(1)));
        assert_eq!(counts.quantile(0.99), Some(Duration::from_secs(10)));
        assert_eq!(counts.quantile(0.0), Some(Duration::from_micros(500)));
    }

    #[test]
    fn means_are_over_all_handshakes() {
        let mut counts = Counts {
            full: 1,
            resumed: 3,
            ..Counts::default()
        };
        counts.phases[Phase::Select as usize] = 8000;
        assert_eq!(counts.mean(Phase::Select), Some(Duration::from_micros(2)));
        assert_eq!(counts.mean(Phase::FirstRequestWait), None);
        counts.classes[FailureClass::Timeout as usize] = 2;
        let failures: Vec<_> = counts.failures().collect();
        assert_eq!(failures, [(FailureClass::Timeout, 2)]);
        assert_eq!(counts.failed(), 2);
    }
}
