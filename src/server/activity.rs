//! What a connection is doing, as its timers need to know it.
//!
//! hyper's one header timer also runs between requests and starts with the wait, not with the
//! first byte; it has no timer for a client that takes nothing. So the connection keeps its own
//! table: the stream below hyper notes bytes, the service notes requests, and the connection's
//! task asks for the next due time after every poll.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::h1_refusal::Refusal;
use crate::config::Timeouts;
use crate::telemetry::ListenerMetrics;

/// Shared by the parts of one connection. All parts run in the connection's task but h2 stream
/// bodies, which hyper spawns; hence atomics.
#[derive(Debug)]
pub(super) struct Activity {
    base: Instant,
    metrics: Arc<ListenerMetrics>,
    requests: AtomicUsize,
    /// When the last request ended, or the connection began.
    idle_since: AtomicU64,
    /// When the head began that is not whole yet; 0: there is none.
    head_since: AtomicU64,
    /// Heads that were whole on their way to hyper and have not become requests yet.
    queued: AtomicUsize,
    /// What came last is not the end of a message.
    within_message: AtomicBool,
    /// Why what follows the last whole head is refused.
    refusal: OnceLock<Refusal>,
    /// The connection speaks another protocol from here on.
    tunnel: AtomicBool,
    /// The body of a response failed on its way.
    response_broke: AtomicBool,
    /// The next answer is the last.
    last_answer: AtomicBool,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Arc<Activity>,
    /// Whether it is counted as a request, not as a tunnel.
    counted: bool,
}

impl InFlight {
    /// The body of its response failed.
    pub(super) fn broke(&self) {
        self.activity.broke();
    }

    /// Its response was 101.
    pub(super) fn switches(&self) {
        self.activity.tunnel.store(true, Ordering::Release);
    }

    /// Whether its answer is the last of the connection.
    pub(super) fn is_last(&self) -> bool {
        self.activity.last_answer.load(Ordering::Acquire)
    }

    /// It is a tunnel by now, which its connection waits for all the same.
    pub(super) fn tunnelled(mut self) -> Self {
        self.uncount();
        self
    }

    fn uncount(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.activity.metrics.request_ended();
        }
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
    pub(super) fn new(base: Instant, metrics: Arc<ListenerMetrics>) -> Arc<Self> {
        Arc::new(Self {
            base,
            metrics,
            requests: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            queued: AtomicUsize::new(0),
            within_message: AtomicBool::new(false),
            refusal: OnceLock::new(),
            tunnel: AtomicBool::new(false),
            response_broke: AtomicBool::new(false),
            last_answer: AtomicBool::new(false),
        })
    }

    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.requests.fetch_add(1, Ordering::AcqRel);
        // HTTP/2 queues none.
        let queued = self.queued.load(Ordering::Acquire);
        self.queued
            .store(queued.saturating_sub(1), Ordering::Release);
        self.metrics.request_began();
        InFlight {
            activity: self.clone(),
            counted: true,
        }
    }

    /// The first byte of a head came, and not its last.
    pub(super) fn head_began(&self) {
        self.head_since.store(self.now(), Ordering::Release);
    }

    /// No head has begun that is not whole.
    pub(super) fn head_ended(&self) {
        self.head_since.store(0, Ordering::Release);
    }

    /// So many heads more are whole.
    pub(super) fn heads_whole(&self, count: usize) {
        self.queued.fetch_add(count, Ordering::AcqRel);
    }

    /// Whether what came last lies within a message (HTTP/1).
    pub(super) fn within_message(&self, within: bool) {
        self.within_message.store(within, Ordering::Release);
    }

    /// When the connection became idle, if it is: all messages that came are whole, and every
    /// request is answered (HTTP/1).
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let working = self.is_busy()
            || self.queued.load(Ordering::Acquire) > 0
            || self.within_message.load(Ordering::Acquire)
            || self.refusal.get().is_some()
            || self.is_tunnel();
        (!working).then(|| self.at(self.idle_since.load(Ordering::Acquire)))
    }

    /// What follows is not a request that is served.
    pub(super) fn refuse(&self, refusal: Refusal) {
        // The first stands: nothing is read after it.
        self.refusal.get_or_init(|| refusal);
    }

    /// Why a request is refused, once all before it are answered.
    pub(super) fn due_refusal(&self) -> Option<Refusal> {
        let refusal = *self.refusal.get()?;
        let settled = !self.is_tunnel()
            && self.requests.load(Ordering::Acquire) == 0
            && self.queued.load(Ordering::Acquire) == 0;
        settled.then_some(refusal)
    }

    /// Whether the connection speaks another protocol by now.
    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Acquire)
    }

    /// The next answer over HTTP/1 is the last.
    pub(super) fn next_is_last(&self) {
        self.last_answer.store(true, Ordering::Release);
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
        let idle = self.idle_since.load(Ordering::Acquire);
        if heads && head != 0 {
            // Nothing is read while a request is answered: that time is not the client's.
            let since = self.at(head.max(idle));
            return Some(Due::RequestHeader(since + timeouts.request_header));
        }
        Some(Due::KeepAlive(self.at(idle) + timeouts.keep_alive))
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
        self.uncount();
        let activity = &self.activity;
        activity.idle_since.store(activity.now(), Ordering::Release);
        activity.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity() -> Arc<Activity> {
        let metrics = crate::telemetry::Metrics::default().listener("test");
        Activity::new(Instant::now(), metrics)
    }

    fn timeouts() -> Timeouts {
        Timeouts {
            request_header: Duration::from_secs(10),
            request_body_idle: Duration::from_secs(30),
            response_idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            tunnel_idle: Duration::from_secs(3600),
            connection_max_age: Duration::from_secs(86400),
        }
    }

    #[test]
    fn the_due_timer_follows_what_happens() {
        let activity = activity();
        let due = |heads, blocked| activity.due(&timeouts(), heads, blocked);
        assert!(matches!(
            activity.due(&timeouts(), true, None),
            Some(Due::KeepAlive(_))
        ));
        activity.head_began();
        assert!(matches!(
            activity.due(&timeouts(), true, None),
            Some(Due::RequestHeader(_))
        ));
        assert!(matches!(
            activity.due(&timeouts(), false, None),
            Some(Due::KeepAlive(_))
        ));
        activity.head_ended();
        activity.heads_whole(1);
        let request = activity.begin();
        assert_eq!(activity.metrics.under_way().requests, 1);
        assert!(activity.is_busy());
        assert_eq!(due(true, None), None);
        let blocked = Instant::now();
        let at = blocked + timeouts().response_idle;
        assert_eq!(due(true, Some(blocked)), Some(Due::ResponseIdle(at)));
        let request = request.tunnelled();
        assert_eq!(activity.metrics.under_way().requests, 0);
        assert!(activity.is_busy());
        drop(request);
        assert_eq!(activity.metrics.under_way().requests, 0);
        assert!(!activity.is_busy());
        assert!(matches!(due(true, None), Some(Due::KeepAlive(_))));
    }
    #[test]
    fn a_pipelined_head_has_its_time_from_the_answer_before_it() {
        let activity = activity();
        activity.heads_whole(1);
        let request = activity.begin();
        activity.head_began();
        assert_eq!(activity.due(&timeouts(), true, None), None);
        let before = activity.at(activity.now());
        drop(request);
        let Some(Due::RequestHeader(at)) = activity.due(&timeouts(), true, None) else {
            panic!("the head that has begun is waited for");
        };
        assert!(at >= before + timeouts().request_header);
    }

    #[test]
    fn a_refusal_waits_for_the_answers_before_it() {
        let activity = activity();
        assert_eq!(activity.due_refusal(), None);
        activity.heads_whole(1);
        activity.refuse(Refusal::Framing);
        assert_eq!(activity.due_refusal(), None);
        let request = activity.begin();
        assert_eq!(activity.due_refusal(), None);
        drop(request);
        assert_eq!(activity.due_refusal(), Some(Refusal::Framing));
    }
}
