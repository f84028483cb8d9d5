//! How many failed handshakes of one class make an event within a second.
//!
//! A scan or a broken fleet fails the same way thousands of times a second: the first lines tell
//! it, the rest would drive out those of other classes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::report::FailureClass;

/// Counts by class, each together with the second that it is of, so that one atomic holds both.
#[derive(Debug)]
pub(super) struct FailureRate {
    started: Instant,
    classes: Box<[AtomicU64]>,
}

impl FailureRate {
    /// Whether one more of `class` may be told; `None` is no limit.
    pub(super) fn admits(&self, class: FailureClass, per_second: Option<u32>) -> bool {
        let second = self.started.elapsed().as_secs();
        per_second.is_none_or(|limit| self.admits_at(second, class, limit))
    }

    fn admits_at(&self, second: u64, class: FailureClass, limit: u32) -> bool {
        // Only neighbouring seconds have to differ.
        let second = second << 32;
        let count = |state: u64| match state ^ second {
            more @ 0..=0xffff_ffff => more,
            _ => 0,
        };
        let next = |state: u64| {
            let count = count(state);
            (count < u64::from(limit)).then_some(second | (count + 1))
        };
        self.classes[class as usize]
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
    }
}

impl Default for FailureRate {
    fn default() -> Self {
        let classes = FailureClass::ALL.iter().map(|_| AtomicU64::default());
        Self {
            started: Instant::now(),
            classes: classes.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_so_many_a_second() {
        let rate = FailureRate::default();
        let told = |second, class| {
            let told = (0..10).filter(|_| rate.admits_at(second, class, 4));
            told.count()
        };
        assert_eq!(told(0, FailureClass::Timeout), 4);
        assert_eq!(told(0, FailureClass::Reset), 4);
        assert_eq!(told(0, FailureClass::Timeout), 0);
        assert_eq!(told(1, FailureClass::Timeout), 4);
        assert_eq!(told(1 << 32, FailureClass::Timeout), 4);
        assert!(rate.admits(FailureClass::Timeout, None));
    }
}
