//! What a connection is doing, as its timers need to know it.
//!
//! hyper's one header timer also runs between requests and starts with the wait, not with the
//! first byte; it has no timer for a client that takes nothing. So the connection keeps its own
//! table: the stream below hyper notes bytes, the service notes requests, and the connection's
//! task asks for the next due time after every poll.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::config::Timeouts;

/// Shared by the parts of one connection. All parts run in the connection's task but h2 stream
/// bodies, which hyper spawns; hence atomics.
#[derive(Debug)]
pub(super) struct Activity {
    base: Instant,
    requests: AtomicUsize,
    /// When the last request ended, or the connection began.
    idle_since: AtomicU64,
    /// When the first byte after that came; 0: none yet.
    head_since: AtomicU64,
    /// The body of a response failed on its way.
    response_broke: AtomicBool,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Activity>);

impl InFlight {
    /// The body of its response failed.
    pub(super) fn broke(&self) {
        self.0.broke();
    }
}

/// Which timer is due next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// `keep_alive`: nothing is asked.
    KeepAlive(Instant),
    /// `request_header`: a head has begun and is not whole.
    RequestHeader(Instant),
    /// `response_idle`: the client takes nothing.
    ResponseIdle(Instant),
}

impl Due {
    pub(super) const fn at(self) -> Instant {
        match self {
            Self::KeepAlive(at) | Self::RequestHeader(at) | Self::ResponseIdle(at) => at,
        }
    }
}

impl Activity {
    pub(super) fn new(base: Instant) -> Arc<Self> {
        Arc::new(Self {
            base,
            requests: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            response_broke: AtomicBool::new(false),
        })
    }

    /// A request's head is whole.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.head_since.store(0, Ordering::Release);
        InFlight(self.clone())
    }

    /// Bytes of the client came.
    pub(super) fn received(&self) {
        if self.requests.load(Ordering::Acquire) == 0
            && self.head_since.load(Ordering::Acquire) == 0
        {
            self.head_since.store(self.now(), Ordering::Release);
        }
    }

    /// Whether a request is being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.requests.load(Ordering::Acquire) > 0
    }

    /// The body of a response failed on its way.
    pub(super) fn broke(&self) {
        self.response_broke.store(true, Ordering::Release);
    }

    /// Whether the body of a response failed.
    pub(super) fn response_broke(&self) -> bool {
        self.response_broke.load(Ordering::Acquire)
    }

    /// The next timer; `None` while the upstream has the word. `heads` is whether bytes begin a
    /// request head (HTTP/1): in h2 they may be any frame. `blocked` is since when the client takes
    /// nothing.
    pub(super) fn due(
        &self,
        timeouts: &Timeouts,
        heads: bool,
        blocked: Option<Instant>,
    ) -> Option<Due> {
        if let Some(blocked) = blocked {
            return Some(Due::ResponseIdle(blocked + timeouts.response_idle));
        }
        if self.is_busy() {
            return None;
        }
        let head = self.head_since.load(Ordering::Acquire);
        if heads && head != 0 {
            return Some(Due::RequestHeader(self.at(head) + timeouts.request_header));
        }
        let idle = self.at(self.idle_since.load(Ordering::Acquire));
        Some(Due::KeepAlive(idle + timeouts.keep_alive))
    }

    /// Nanoseconds since the base, never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    fn at(&self, nanos: u64) -> Instant {
        self.base + Duration::from_nanos(nanos)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Release);
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeouts() -> Timeouts {
        Timeouts {
            request_header: Duration::from_secs(10),
            request_body_idle: Duration::from_secs(30),
            response_idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            connection_max_age: Duration::from_secs(86400),
        }
    }

    #[test]
    fn the_due_timer_follows_what_happens() {
        let activity = Activity::new(Instant::now());
        let due = |heads, blocked| activity.due(&timeouts(), heads, blocked);
        assert!(matches!(due(true, None), Some(Due::KeepAlive(_))));
        activity.received();
        assert!(matches!(due(true, None), Some(Due::RequestHeader(_))));
        assert!(matches!(due(false, None), Some(Due::KeepAlive(_))));
        let request = activity.begin();
        assert!(activity.is_busy());
        assert_eq!(due(true, None), None);
        let blocked = Instant::now();
        let at = blocked + timeouts().response_idle;
        assert_eq!(due(true, Some(blocked)), Some(Due::ResponseIdle(at)));
        drop(request);
        assert!(!activity.is_busy());
        assert!(matches!(due(true, None), Some(Due::KeepAlive(_))));
    }
}
