//! Whether a server gets requests: what became of those it had, and what health checks say.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Eject, HealthCheck};

/// An ejection lasts at most so many times as long as the first of its row: 2 to this power.
const MOST_DOUBLINGS: u32 = 4;

/// The standing of one server. It begins as a good one.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Failed exchanges since the last good one.
    failures: AtomicU32,
    /// Whether it is ejected or unhealthy: for the choice, which takes no lock.
    out: AtomicBool,
    record: Mutex<Record>,
}

#[derive(Debug, Default)]
struct Record {
    ejection: Ejection,
    health: Health,
}

#[derive(Clone, Copy, Debug, Default)]
enum Ejection {
    /// Never ejected.
    #[default]
    None,
    Out {
        until: Instant,
        period: Duration,
        /// How many there were in a row before this one.
        row: u32,
    },
    Over {
        since: Instant,
        period: Duration,
        row: u32,
    },
}

/// What health checks say, and how many of the last ones said otherwise.
#[derive(Clone, Copy, Debug)]
enum Health {
    Healthy { bad: u32 },
    Unhealthy { good: u32 },
}

impl Default for Health {
    fn default() -> Self {
        Self::Healthy { bad: 0 }
    }
}

/// Whether a server gets requests, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// It does.
    Up,
    /// Requests to it failed: not for a while.
    Ejected,
    /// Health checks fail.
    Unhealthy,
}

impl ServerState {
    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Ejected => "ejected",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What a health check has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turnabout {
    Recovered,
    Failed,
}

impl Standing {
    /// Whether it is ejected or unhealthy.
    pub(super) fn is_out(&self) -> bool {
        self.out.load(Ordering::Relaxed)
    }

    /// Whether it gets requests, and why not.
    pub(super) fn state(&self) -> ServerState {
        self.lock().state()
    }

    /// Failed exchanges since the last good one.
    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// An exchange went well.
    pub(super) fn succeeded(&self) {
        // Mostly it is 0, and a line that nobody writes stays in every core's cache.
        if self.failures() != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// An exchange failed; whether that were now enough of them to eject it.
    pub(super) fn failed(&self, eject: &Eject) -> bool {
        let before = self.failures.fetch_add(1, Ordering::Relaxed);
        before.saturating_add(1) >= eject.failures
    }

    /// Ejects it, unless it is out already; for how long. Each further time takes twice as long,
    /// unless it has served for as long as it was out.
    pub(super) fn eject(&self, eject: &Eject, now: Instant) -> Option<Duration> {
        let mut record = self.lock();
        if record.state() != ServerState::Up {
            return None;
        }
        let row = match record.ejection {
            Ejection::Over { since, period, row } if now < since + period => {
                (row + 1).min(MOST_DOUBLINGS)
            }
            _ => 0,
        };
        let period = eject.period * 2_u32.pow(row);
        let until = now + period;
        record.ejection = Ejection::Out { until, period, row };
        self.tell(&record);
        Some(period)
    }

    /// Ends an ejection whose time is over; whether that is so.
    ///
    /// The failures stay counted: one more, and it is out again.
    pub(super) fn readmit(&self, now: Instant) -> bool {
        let mut record = self.lock();
        let Ejection::Out { until, period, row } = record.ejection else {
            return false;
        };
        if now < until {
            return false;
        }
        let since = until;
        record.ejection = Ejection::Over { since, period, row };
        self.tell(&record);
        true
    }

    /// When an ejection is over.
    pub(super) fn ejected_until(&self) -> Option<Instant> {
        match self.lock().ejection {
            Ejection::Out { until, .. } => Some(until),
            Ejection::None | Ejection::Over { .. } => None,
        }
    }

    /// A health check ended. Where it brings the server back, that ends an ejection too.
    pub(super) fn checked(&self, good: bool, spec: &HealthCheck) -> Option<Turnabout> {
        let mut record = self.lock();
        let (health, turnabout) = match (record.health, good) {
            (Health::Healthy { .. }, true) => (Health::Healthy { bad: 0 }, None),
            (Health::Unhealthy { .. }, false) => (Health::Unhealthy { good: 0 }, None),
            (Health::Healthy { bad }, false) if bad + 1 >= spec.unhealthy_after => {
                (Health::Unhealthy { good: 0 }, Some(Turnabout::Failed))
            }
            (Health::Healthy { bad }, false) => (Health::Healthy { bad: bad + 1 }, None),
            (Health::Unhealthy { good }, true) if good + 1 >= spec.healthy_after => {
                (Health::Healthy { bad: 0 }, Some(Turnabout::Recovered))
            }
            (Health::Unhealthy { good }, true) => (Health::Unhealthy { good: good + 1 }, None),
        };
        record.health = health;
        if turnabout == Some(Turnabout::Recovered) {
            record.ejection = Ejection::None;
            self.failures.store(0, Ordering::Relaxed);
        }
        self.tell(&record);
        turnabout
    }

    fn tell(&self, record: &Record) {
        let out = record.state() != ServerState::Up;
        self.out.store(out, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        // Nothing panics while it is held; if something did, the record is still whole.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    const fn state(&self) -> ServerState {
        match (self.health, self.ejection) {
            (Health::Unhealthy { .. }, _) => ServerState::Unhealthy,
            (Health::Healthy { .. }, Ejection::Out { .. }) => ServerState::Ejected,
            (Health::Healthy { .. }, Ejection::None | Ejection::Over { .. }) => ServerState::Up,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EJECT: Eject = Eject {
        failures: 3,
        period: Duration::from_secs(10),
    };

    #[test]
    fn failures_in_a_row_are_enough_and_a_good_exchange_ends_the_row() {
        let standing = Standing::default();
        assert!(!standing.failed(&EJECT) && !standing.failed(&EJECT));
        standing.succeeded();
        assert!(!standing.failed(&EJECT) && !standing.failed(&EJECT));
        assert!(standing.failed(&EJECT));
        standing.eject(&EJECT, Instant::now()).unwrap();
        assert!(standing.is_out());
        assert!(standing.failed(&EJECT), "one more after it is back");
    }

    #[test]
    fn each_ejection_in_a_row_takes_twice_as_long_up_to_a_bound() {
        let standing = Standing::default();
        let mut now = Instant::now();
        for seconds in [10, 20, 40, 80, 160, 160] {
            let period = Duration::from_secs(seconds);
            assert_eq!(standing.eject(&EJECT, now), Some(period));
            assert_eq!(standing.eject(&EJECT, now), None, "it is out already");
            assert!(!standing.readmit(now + period - Duration::from_nanos(1)));
            assert!(standing.is_out());
            now += period;
            assert!(standing.readmit(now));
            assert_eq!(standing.state(), ServerState::Up);
            now += period - Duration::from_nanos(1);
        }
        now += Duration::from_secs(160);
        assert_eq!(standing.eject(&EJECT, now), Some(EJECT.period));
    }

    #[test]
    fn checks_in_a_row_take_it_out_and_bring_it_back() {
        let spec = HealthCheck {
            path: "/".into(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            healthy_after: 2,
            unhealthy_after: 3,
        };
        let standing = Standing::default();
        for good in [false, false, true, false, false] {
            assert_eq!(standing.checked(good, &spec), None);
        }
        standing.eject(&EJECT, Instant::now()).unwrap();
        assert_eq!(standing.state(), ServerState::Ejected);
        assert_eq!(standing.checked(false, &spec), Some(Turnabout::Failed));
        assert_eq!(standing.state(), ServerState::Unhealthy);
        for good in [true, false, true] {
            assert_eq!(standing.checked(good, &spec), None);
            assert!(standing.is_out());
        }
        assert_eq!(standing.checked(true, &spec), Some(Turnabout::Recovered));
        assert_eq!(
            standing.state(),
            ServerState::Up,
            "the ejection is over too"
        );
        assert!(!standing.is_out());
    }
}
