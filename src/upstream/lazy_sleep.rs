//! A timer that is set rarely though its deadline moves often.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A sleep whose deadline is given with each poll. It is made at the first one: what is there at
/// once never touches the timer wheel. When the deadline has moved on it is left to fire too early
/// and set anew then, which is far rarer than the deadline moves.
#[derive(Debug, Default)]
pub(super) struct LazySleep(Option<Pin<Box<Sleep>>>);

impl LazySleep {
    /// None is set.
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Ready once `deadline` has passed; else the task is woken when it does.
    pub(super) fn poll_until(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }

    /// Lets go of the task that waited. One that is set stays so, for the next wait.
    pub(super) fn forget_waiter(&mut self) {
        if let Some(sleep) = &mut self.0 {
            let noop = &mut Context::from_waker(std::task::Waker::noop());
            // Whether it has fired shows at the next poll too.
            let _ = sleep.as_mut().poll(noop);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_of_the_last_poll_counts() {
        let mut sleep = LazySleep::new();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        for (begin, limit) in [(0, 10), (3, 10), (13, 1), (14, 20)] {
            assert_eq!(start.elapsed(), second * begin);
            let deadline = Instant::now() + second * limit;
            let pending = poll_fn(|cx| Poll::Ready(sleep.poll_until(deadline, cx).is_pending()));
            assert!(pending.await);
            sleep.forget_waiter();
            if begin == 0 {
                tokio::time::sleep(second * 3).await;
            } else {
                poll_fn(|cx| sleep.poll_until(deadline, cx)).await;
            }
        }
        assert_eq!(start.elapsed(), second * 34);
    }
}
