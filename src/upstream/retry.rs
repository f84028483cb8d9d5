//! Whether a request is sent once more.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;
use hyper::ext::Protocol;

use super::request_body::RequestBody;
use super::servers::Roster;
use crate::config::Retries;

/// As many requests that were refused may be on their way again at once, ...
const LEAST: usize = 10;
/// ... or one in so many of those that are open, whichever is more.
const SHARE: usize = 5;

/// Bounds what refusals add to the load of servers that have too much of it already. Requests on
/// kept connections that closed need no bound: each has used up a connection.
#[derive(Debug, Default)]
pub(super) struct RetryBudget(AtomicUsize);

/// How often one request may still be sent again.
#[derive(Debug)]
pub(super) struct Retry<'r> {
    left: u32,
    /// Its method is one of `retries.methods`.
    repeatable: bool,
    /// Its share of the budget, until its end.
    taken: Option<Taken<'r>>,
}

#[derive(Debug)]
struct Taken<'r>(&'r RetryBudget);

impl<'r> Retry<'r> {
    pub(super) fn new(spec: &Retries, request: &Request<RequestBody>) -> Self {
        Self {
            left: spec.attempts,
            repeatable: spec.methods.contains(request.method()),
            taken: None,
        }
    }

    /// Whether it may be sent again at all.
    pub(super) const fn is_left(&self) -> bool {
        self.left > 0
    }

    /// Whether it may be sent again though the server may have acted on the first.
    pub(super) const fn may_repeat(&self) -> bool {
        self.left > 0 && self.repeatable
    }

    /// A copy to send again where the server has not acted on the first. There is none of a
    /// request with a body: that is gone.
    pub(super) fn spare(
        &self,
        request: &Request<RequestBody>,
    ) -> Option<Box<Request<RequestBody>>> {
        (self.left > 0 && request.body().is_empty()).then(|| copy(request))
    }

    /// Whether a refused request may be sent again: takes its share of the budget then.
    pub(super) fn within(&mut self, budget: &'r RetryBudget, roster: &Roster) -> bool {
        if self.left == 0 {
            return false;
        }
        if self.taken.is_some() {
            return true;
        }
        let before = budget.0.fetch_add(1, Ordering::Relaxed);
        let taken = Taken(budget);
        if before >= LEAST && before >= roster.in_flight() / SHARE {
            return false;
        }
        self.taken = Some(taken);
        true
    }

    /// It is sent again.
    pub(super) const fn begin(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A copy of a request without a body.
fn copy(request: &Request<RequestBody>) -> Box<Request<RequestBody>> {
    let mut copy = Box::new(Request::new(RequestBody::empty()));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    if let Some(protocol) = request.extensions().get::<Protocol>() {
        copy.extensions_mut().insert(protocol.clone());
    }
    copy
}
