//! How often an HTTP/2 client did what it has a budget for.

use std::time::Instant;

use super::h2_ledger::H2Fault;
use crate::config::Budget;
use crate::report::Http2Limit;

/// How much of a budget is used.
#[derive(Debug)]
pub(super) struct Meter {
    limit: Http2Limit,
    budget: Budget,
    used: u32,
    /// Where the window began; `None`: nothing was used yet.
    since: Option<Instant>,
}

impl Meter {
    /// Nothing is used yet.
    pub(super) const fn new(limit: Http2Limit, budget: Budget) -> Self {
        Self {
            limit,
            budget,
            used: 0,
            since: None,
        }
    }

    /// Once more.
    ///
    /// # Errors
    /// The budget is spent.
    pub(super) fn count(&mut self, now: Instant) -> Result<(), H2Fault> {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) > self.budget.per {
            self.since = Some(now);
            self.used = 0;
        }
        self.used += 1;
        if self.used > self.budget.count {
            return Err(H2Fault::Limit(self.limit));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_budget_is_for_a_window() {
        let start = Instant::now();
        let budget = Budget {
            count: 10,
            per: Duration::from_secs(10),
        };
        let mut meter = Meter::new(Http2Limit::ClientResets, budget);
        for second in 0..100 {
            meter
                .count(start + Duration::from_secs(2 * second))
                .unwrap();
        }
        let later = start + Duration::from_secs(1000);
        let passed = (0..100).take_while(|_| meter.count(later).is_ok());
        assert_eq!(passed.count(), 10);
        let spent = Err(H2Fault::Limit(Http2Limit::ClientResets));
        assert_eq!(meter.count(later), spent);
    }
}
