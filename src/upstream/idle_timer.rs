//! A timer that counts only while something is waited for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Measures a wait on a peer. The wait begins at the first [`IdleTimer::poll_expired`] after
/// progress, so time in which nobody asked (the other side takes nothing) never counts.
#[derive(Debug)]
pub(super) struct IdleTimer {
    limit: Duration,
    /// Since when something is waited for.
    since: Option<Instant>,
    /// Made at the first wait: bodies that are there at once never touch the timer wheel. It is
    /// left to fire too early and set anew then, which is far rarer than progress is.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl IdleTimer {
    /// A timer that expires after `limit` of waiting.
    pub(super) const fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: None,
            sleep: None,
        }
    }

    /// Something came: the next wait starts anew.
    pub(super) const fn progress(&mut self) {
        self.since = None;
    }

    /// Nothing came: whether this has gone on for too long. Wakes the task when it has.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = *self.since.get_or_insert_with(Instant::now) + self.limit;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
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
        timer.progress();
        // Longer than the limit, but nobody waits.
        tokio::time::sleep(limit * 2).await;
        let started = Instant::now();
        poll_fn(|cx| timer.poll_expired(cx)).await;
        assert!(started.elapsed() >= limit);
    }
}
