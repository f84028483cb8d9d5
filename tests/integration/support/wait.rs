//! Waiting: for a condition with a limit, or for a time that is itself the stimulus.

use std::time::{Duration, Instant};

/// Polls `condition` until it gives a value; panics with `what` when `limit` has passed.
pub(crate) fn wait_for<T>(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        pause(Duration::from_millis(5));
    }
}

/// Polls `condition` until it holds; panics with `what` when `limit` has passed.
pub(crate) fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(limit, what, || condition().then_some(()));
}

/// Lets time pass where time is the stimulus: between polls, as a delay of the relay, for a rate.
#[expect(
    clippy::disallowed_methods,
    reason = "the one sleep of the tests: polls, injected delays and rates, never synchronisation"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
