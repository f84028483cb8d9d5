//! A timer that counts only while something is waited for.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::lazy_sleep::LazySleep;

/// Measures a wait on a peer. The wait begins at the first [`IdleTimer::poll_expired`] after
/// progress, so time in which nobody asked (the other side takes nothing) never counts.
#[derive(Debug)]
pub(super) struct IdleTimer {
    limit: Duration,
    /// So many bytes are progress; fewer add up.
    least: u64,
    /// What has come of them, and how long it was waited for.
    got: u64,
    spent: Duration,
    /// Since when something is waited for.
    since: Option<Instant>,
    sleep: LazySleep,
}

impl IdleTimer {
    /// A timer that expires after `limit` of waiting.
    pub(super) const fn new(limit: Duration) -> Self {
        Self::at_least(limit, 0)
    }

    /// A timer that expires after `limit` of waiting in which fewer than `least` bytes came: else
    /// a byte now and then would go on for ever.
    pub(super) const fn at_least(limit: Duration, least: u64) -> Self {
        Self {
            limit,
            least,
            got: 0,
            spent: Duration::ZERO,
            since: None,
            sleep: LazySleep::new(),
        }
    }

    /// So many bytes came: if they are enough, the next wait starts anew.
    pub(super) fn progress(&mut self, bytes: u64) {
        let since = self.since.take();
        self.got = self.got.saturating_add(bytes);
        if self.got >= self.least {
            self.got = 0;
            self.spent = Duration::ZERO;
        } else if let Some(since) = since {
            self.spent += since.elapsed();
        }
    }

    /// Nothing came: whether this has gone on for too long. Wakes the task when it has.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.limit.saturating_sub(self.spent);
        let deadline = *self.since.get_or_insert_with(Instant::now) + left;
        self.sleep.poll_until(deadline, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn only_waiting_counts() {
        let limit = Duration::from_millis(20);
        let mut timer = IdleTimer::new(limit);
        let pending = poll_fn(|cx| Poll::Ready(timer.poll_expired(cx).is_pending()));
        assert!(pending.await);
        timer.progress(0);
        // Longer than the limit, but nobody waits.
        tokio::time::sleep(limit * 2).await;
        let started = Instant::now();
        poll_fn(|cx| timer.poll_expired(cx)).await;
        assert!(started.elapsed() >= limit);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_no_progress() {
        let limit = Duration::from_secs(2);
        let mut timer = IdleTimer::at_least(limit, 100);
        let started = Instant::now();
        let mut pieces = 0;
        loop {
            let wait = poll_fn(|cx| timer.poll_expired(cx));
            if tokio::time::timeout(limit / 4, wait).await.is_ok() {
                break;
            }
            pieces += 1;
            // Enough the first time only.
            timer.progress(if pieces == 1 { 100 } else { 1 });
        }
        assert_eq!(started.elapsed(), limit / 4 + limit);
    }
}
