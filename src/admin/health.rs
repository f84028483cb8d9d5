//! `/healthz` and `/readyz`, for load balancers and service managers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use http::StatusCode;

use super::respond::{self, Reply};

/// Whether the daemon wants traffic; shared, cheap to clone. It begins as starting.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadinessState {
    /// The listeners are not open yet.
    Starting,
    /// Serving.
    Ready,
    /// Serving what is open, and about to end.
    Draining,
}

impl Readiness {
    /// Starting.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The listeners are open: `/readyz` says 200 from now on.
    pub fn ready(&self) {
        self.set(ReadinessState::Ready);
    }

    /// The daemon is about to end: `/readyz` says 503 from now on, `/healthz` stays 200.
    pub fn draining(&self) {
        self.set(ReadinessState::Draining);
    }

    pub(super) fn state(&self) -> ReadinessState {
        match self.0.load(Ordering::Acquire) {
            0 => ReadinessState::Starting,
            1 => ReadinessState::Ready,
            _ => ReadinessState::Draining,
        }
    }

    fn set(&self, state: ReadinessState) {
        self.0.store(state as u8, Ordering::Release);
    }
}

impl ReadinessState {
    /// The name in the API and in the body of `/readyz`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// `/healthz`: the process answers. A drain is no reason to restart it.
pub(super) fn healthz() -> Reply {
    respond::text(StatusCode::OK, "ok\n")
}

/// `/readyz`: 200 while new connections are welcome, else 503 and why.
pub(super) fn readyz(readiness: &Readiness) -> Reply {
    match readiness.state() {
        ReadinessState::Ready => respond::text(StatusCode::OK, "ready\n"),
        ReadinessState::Starting => respond::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "starting: the listeners are not open yet\n",
        ),
        ReadinessState::Draining => respond::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining: the daemon is shutting down\n",
        ),
    }
}
