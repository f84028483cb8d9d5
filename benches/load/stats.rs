//! Medians, spreads, and when a difference is one.

use serde::Serialize;

/// A difference of medians below this share is a tie, however small the spread was: between runs
/// the medians themselves move by that much.
const LEAST: f64 = 0.03;

/// A handful of figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// The middle one.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Summary {
    /// Sums figures up; all 0 where there are none.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(0.0);
        let middle = figures.len() / 2;
        let median = if figures.len() % 2 == 1 {
            at(middle)
        } else {
            f64::midpoint(at(middle.saturating_sub(1)), at(middle))
        };
        Self {
            median,
            min: at(0),
            max: at(figures.len().saturating_sub(1)),
        }
    }
}

/// What a comparison says. Less is better in every row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// handfast needs less, in every repetition.
    Ahead,
    /// Neither, or not in every repetition, or by too little.
    Tie,
    /// The peer needs less, in every repetition.
    Behind,
}

/// handfast against a peer: each repetition against the one of the same round, which were run one
/// after the other, so that a slow minute of the machine hits both.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    /// handfast's figure divided by the peer's.
    pub(crate) ratio: Summary,
    /// What that comes to.
    pub(crate) verdict: Verdict,
}

impl Ratio {
    /// Compares figures of the same rounds; `None` without any.
    pub(crate) fn of(handfast: &[f64], peer: &[f64]) -> Option<Self> {
        let rounds = handfast.iter().zip(peer).filter(|(_, peer)| **peer > 0.0);
        let ratios: Vec<f64> = rounds.map(|(handfast, peer)| handfast / peer).collect();
        if ratios.is_empty() {
            return None;
        }
        let ratio = Summary::of(ratios);
        let verdict = if ratio.max < 1.0 && ratio.median <= 1.0 - LEAST {
            Verdict::Ahead
        } else if ratio.min > 1.0 && ratio.median >= 1.0 + LEAST {
            Verdict::Behind
        } else {
            Verdict::Tie
        };
        Some(Self { ratio, verdict })
    }
}
