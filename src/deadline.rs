//! A named point in time after which waiting ends.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// A deadline that a poll function asks before it returns `Pending`.
#[derive(Debug)]
pub struct Deadline {
    name: &'static str,
    sleep: Pin<Box<Sleep>>,
}

impl Deadline {
    /// A deadline at `at`. `name` is the key of the configuration that set it.
    #[must_use]
    pub fn new(name: &'static str, at: Instant) -> Self {
        Self {
            name,
            sleep: Box::pin(tokio::time::sleep_until(at.into())),
        }
    }

    /// The key of the configuration that set it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Moves it to `at`.
    pub fn reset(&mut self, at: Instant) {
        self.sleep.as_mut().reset(at.into());
    }

    /// When it is.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.sleep.deadline().into_std()
    }

    /// Ready once it has passed; else the task is woken when it does.
    pub fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_passes_and_can_be_moved() {
        let start = tokio::time::Instant::now();
        let mut deadline = Deadline::new("handshake_timeout", start.into_std());
        deadline.reset((start + Duration::from_secs(3)).into_std());
        poll_fn(|cx| deadline.poll_elapsed(cx)).await;
        assert!(start.elapsed() >= Duration::from_secs(3));
        assert_eq!(deadline.name(), "handshake_timeout");
    }
}
