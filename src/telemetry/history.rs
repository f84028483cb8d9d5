//! What was counted within the last moments: 10 seconds, a minute, a quarter of an hour.
//!
//! Counters only grow, so a window is the difference of two readings of them. Readings are kept
//! once a second for a minute and every 15 seconds beyond it, 122 in all, about 100 KB; of how the
//! time is made up every minute, 16 in all, about 130 KB.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::composition::Compositions;
use super::counts::Counts;

/// Readings of the process's counters over the last quarter of an hour.
#[derive(Debug, Default)]
pub struct History(Mutex<Kept>);

/// What was counted within a window.
#[derive(Clone, Debug)]
pub struct Window {
    /// How long it is meant to be.
    pub span: Duration,
    /// How long it really is: shorter after a start, and to the reading next to its beginning.
    pub covered: Duration,
    /// What was counted in it.
    pub counts: Counts,
}

#[derive(Debug, Default)]
struct Kept {
    /// Oldest first, one a second.
    fine: VecDeque<(Instant, Counts)>,
    /// Oldest first, one every [`COARSE`].
    coarse: VecDeque<(Instant, Counts)>,
    /// Oldest first, one a minute.
    compositions: VecDeque<(Instant, Compositions)>,
}

/// The windows that are told.
const SPANS: [Duration; 3] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(900),
];
const COARSE: Duration = Duration::from_secs(15);
const FINE_KEPT: usize = 61;
const COARSE_KEPT: usize = 61;
const MINUTE: Duration = Duration::from_secs(60);
const COMPOSITIONS_KEPT: usize = 16;
/// A tick that comes a little early still counts as a whole one.
const SLACK: Duration = Duration::from_millis(500);

impl History {
    /// Keeps a reading; to be called once a second.
    pub(super) fn tick(&self, now: Instant, counts: Counts) {
        let mut kept = self.kept();
        let due = kept.coarse.back().is_none_or(|(last, _)| {
            // Without a tick for a while, as after a suspend, the next one counts.
            now.saturating_duration_since(*last) + SLACK >= COARSE
        });
        if due {
            kept.coarse.push_back((now, counts.clone()));
        }
        kept.fine.push_back((now, counts));
        if kept.coarse.len() > COARSE_KEPT {
            kept.coarse.pop_front();
        }
        if kept.fine.len() > FINE_KEPT {
            kept.fine.pop_front();
        }
    }

    /// Keeps a reading of how the time is made up, once a minute; `read` is called where it is due.
    pub(super) fn tick_compositions(&self, now: Instant, read: impl FnOnce() -> Compositions) {
        let mut kept = self.kept();
        let due = kept
            .compositions
            .back()
            .is_none_or(|(last, _)| now.saturating_duration_since(*last) + SLACK >= MINUTE);
        if due {
            kept.compositions.push_back((now, read()));
        }
        if kept.compositions.len() > COMPOSITIONS_KEPT {
            kept.compositions.pop_front();
        }
    }

    /// How the time of the last quarter of an hour was made up, where `all` is as of now.
    pub(super) fn compositions(&self, all: &Compositions) -> Compositions {
        match self.kept().compositions.front() {
            Some((_, before)) => all.since(before),
            None => all.clone(),
        }
    }

    /// The last quarter of an hour in steps of 15 seconds, oldest first; the last step ends now,
    /// with `counts`, and is shorter.
    pub(super) fn series(&self, now: Instant, counts: &Counts) -> Vec<Window> {
        let kept = self.kept();
        let ends = kept.coarse.iter().skip(1).map(|(at, counts)| (*at, counts));
        let ends = ends.chain([(now, counts)]);
        let steps = kept.coarse.iter().zip(ends);
        steps
            .map(|((start, before), (end, after))| Window {
                span: COARSE,
                covered: end.saturating_duration_since(*start),
                counts: after.since(before),
            })
            .collect()
    }

    /// The windows that end now, with `counts` as of now; none before the first tick.
    pub(super) fn windows(&self, now: Instant, counts: &Counts) -> Vec<Window> {
        let kept = self.kept();
        let since = |span: Duration| {
            let readings = kept.coarse.iter().chain(&kept.fine);
            // The latest one that is old enough, or the oldest there is.
            let age = |at: Instant| now.saturating_duration_since(at) + SLACK;
            let oldest = readings.clone().max_by_key(|(at, _)| age(*at))?;
            let old_enough = readings.filter(|(at, _)| age(*at) >= span);
            Some(old_enough.min_by_key(|(at, _)| age(*at)).unwrap_or(oldest))
        };
        let window = |span: Duration| {
            let (at, before) = since(span)?;
            Some(Window {
                span,
                covered: now.saturating_duration_since(*at),
                counts: counts.since(before),
            })
        };
        SPANS.into_iter().filter_map(window).collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing that panics runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(requests: u64) -> Counts {
        Counts {
            requests,
            ..Counts::default()
        }
    }

    fn told(history: &History, now: Instant, requests: u64) -> Vec<(u64, u64)> {
        let windows = history.windows(now, &counts(requests));
        let told = windows.iter().map(|window| {
            let covered = window.covered.as_secs();
            (covered, window.counts.requests)
        });
        told.collect()
    }

    #[test]
    fn windows_are_differences_of_bounded_readings() {
        let history = History::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(told(&history, start, 0), []);
        // Seven a second.
        for second in 0..=5 {
            history.tick(at(second), counts(7 * second));
        }
        assert_eq!(told(&history, at(5), 35), [(5, 35); 3]);
        for second in 6..=4000 {
            history.tick(at(second), counts(7 * second));
        }
        let now = at(4000);
        let [(10, 70), (60, 420), (long, counted)] = told(&history, now, 28_000)[..] else {
            panic!("{:?}", told(&history, now, 28_000));
        };
        assert!((900..=915).contains(&long), "{long}");
        assert_eq!(counted, 7 * long);
        let series = history.series(now, &counts(28_000));
        assert_eq!(series.len(), 61);
        let sum: u64 = series.iter().map(|step| step.counts.requests).sum();
        assert_eq!(sum, counted);
        let kept = history.kept();
        assert_eq!((kept.fine.len(), kept.coarse.len()), (61, 61));
    }

    #[test]
    fn a_pause_makes_a_window_longer_and_no_rate_wrong() {
        let history = History::default();
        let start = Instant::now();
        history.tick(start, counts(0));
        let later = start + Duration::from_secs(7200);
        history.tick(later, counts(7200));
        let [first, ..] = told(&history, later, 7200)[..] else {
            panic!("no window");
        };
        assert_eq!(first, (7200, 7200));
    }
}
