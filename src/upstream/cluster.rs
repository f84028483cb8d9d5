//! A named group of upstream servers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::UPGRADE;
use http::uri::Scheme;
use http::{Request, Response};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use super::carrier::Carrier;
use super::client_key::ClientKey;
use super::client_tls::{ClientTls, Offer};
use super::error::ExchangeError;
use super::exchange::{Origin, SendFailure};
use super::keeper;
use super::opening::{Opening, Wanted};
use super::request_body::RequestBody;
use super::response_body::ResponseBody;
use super::retry::{Retry, RetryBudget};
use super::servers::{Choice, Roster, Servers};
use crate::config::{Upstream, UpstreamProtocol, UpstreamTimeouts};
use crate::telemetry::{RetryReason, UpstreamMetrics};

/// A named group of upstream servers with their pools.
#[derive(Debug)]
pub struct Cluster {
    pub(super) servers: Arc<Servers>,
    /// `None`: in the clear.
    pub(super) tls: Option<ClientTls>,
    pub(super) protocol: UpstreamProtocol,
    budget: RetryBudget,
    /// Whether [`Cluster::activate`] was called.
    active: AtomicBool,
    pub(super) metrics: Arc<UpstreamMetrics>,
}

impl Cluster {
    /// A cluster with empty pools. `tls` is what `spec.tls` describes, loaded for its servers.
    #[must_use]
    pub fn new(spec: &Upstream, tls: Option<ClientTls>, metrics: Arc<UpstreamMetrics>) -> Self {
        Self {
            servers: Arc::new(Servers::new(spec, metrics.clone())),
            tls,
            protocol: spec.protocol,
            budget: RetryBudget::default(),
            active: AtomicBool::new(false),
            metrics,
        }
    }

    /// Begins to resolve names again, to check servers, and to bring back those that were ejected,
    /// until the cluster is retired or dropped. Does nothing the second time, nor outside of a
    /// runtime.
    pub fn activate(self: &Arc<Self>) {
        self.servers.tell();
        if let Ok(runtime) = Handle::try_current()
            && !self.active.swap(true, Ordering::Relaxed)
        {
            keeper::start(self, &self.servers, &runtime);
        }
    }

    /// Another has taken its place: what it does by itself ends, kept connections are closed, and
    /// its servers are no longer told of. Requests and tunnels that are open go on.
    pub fn retire(&self) {
        self.servers.retire();
    }

    /// How its servers are spoken to over TLS; `None`: in the clear.
    #[must_use]
    pub const fn tls(&self) -> Option<&ClientTls> {
        self.tls.as_ref()
    }

    pub(super) const fn servers(&self) -> &Arc<Servers> {
        &self.servers
    }

    /// Sends `request` of `client` to a server of the cluster and returns the head of its response
    /// with the body still to come.
    ///
    /// The request is boxed, because it is handed on often and large. It must be as the server is to see it: HTTP/1.1, target in origin form, one
    /// `Host`. `timeouts` are those to use in place of the upstream's. `asked` is set to the
    /// server's address as soon as one is chosen, and stands also when this future is dropped.
    /// Where the server speaks HTTP/2 it is translated; one that asks for an upgrade goes over
    /// HTTP/1.1 always.
    ///
    /// A server that cannot be reached is passed over for the next, for as long as
    /// `retries.attempts` connections may take. A request is sent again, `retries.attempts` times,
    /// only: any request of which nothing was written; any without a body that the server says it
    /// has not acted on (HTTP/2); one of `retries.methods` without a body also when a kept
    /// connection ended without a byte of an answer.
    ///
    /// # Errors
    /// Why there is no response. Each failure is counted in the upstream's metrics.
    pub async fn exchange(
        &self,
        mut request: Box<Request<RequestBody>>,
        client: Option<IpAddr>,
        timeouts: Option<&UpstreamTimeouts>,
        asked: &mut Option<Arc<str>>,
    ) -> Result<Response<ResponseBody>, ExchangeError> {
        let spec = self.servers.spec();
        let timeouts = timeouts.unwrap_or(&spec.timeouts);
        let upload = request.body().upload();
        let mut opening = Opening {
            wanted: Wanted::Any,
            offer: match request.headers().contains_key(UPGRADE) {
                true => Offer::Http1,
                false => Offer::Configured,
            },
            connect: timeouts.connect,
            further: timeouts.connect * spec.retries.attempts,
        };
        let scheme = match self.tls {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        };
        let mut roster = self.servers.roster();
        if roster.is_empty() {
            // All have names, and this is one of the first requests. Boxed, as all that most
            // requests do not need: the future of each has room for all of the rest.
            roster = Box::pin(self.first_roster(timeouts.connect, asked)).await?;
        }
        let mut choice = Choice::new(roster.clone(), ClientKey::of(client));
        let mut retry = Retry::new(&spec.retries, &request);
        loop {
            let (turn, carrier) = match self.at_hand(&mut choice, opening, asked) {
                Ok(found) => found,
                Err(turn) => Box::pin(self.carrier(turn, &mut choice, opening, asked)).await?,
            };
            let kept = carrier.origin() == Origin::Kept;
            let spare = match &carrier {
                // A connection gives back what may be sent again.
                Carrier::Http1(_) => None,
                Carrier::Http2(_) => retry.spare(&request),
            };
            self.metrics.request(kept);
            let sent = Instant::now();
            let server = turn.server();
            let answer = carrier
                .send(
                    request,
                    opening.offer,
                    server.host(),
                    scheme.clone(),
                    timeouts.first_byte,
                )
                .await;
            let failure = match answer {
                Ok((response, carrier)) => {
                    turn.first_byte(sent.elapsed());
                    let idle = timeouts.idle;
                    return Ok(
                        response.map(|body| ResponseBody::new(body, carrier, upload, idle, turn))
                    );
                }
                Err(failure) => failure,
            };
            let reason;
            (request, reason) = match (failure, spare) {
                (SendFailure::Unsent(unsent, _), _) if retry.is_left() && kept => {
                    choice.again(server);
                    (unsent, RetryReason::Closed)
                }
                (SendFailure::Unsent(unsent, error), _) if retry.is_left() => {
                    turn.failed(error);
                    choice.elsewhere(server);
                    (unsent, RetryReason::Closed)
                }
                (SendFailure::Unanswered(Some(unanswered), _), _)
                | (SendFailure::Unanswered(None, _), Some(unanswered))
                    if kept && retry.may_repeat() =>
                {
                    choice.again(server);
                    (unanswered, RetryReason::Closed)
                }
                (SendFailure::Refused(_), Some(spare)) if retry.within(&self.budget, &roster) => {
                    choice.elsewhere(server);
                    (spare, RetryReason::Refused)
                }
                (
                    SendFailure::Unsent(_, error)
                    | SendFailure::Unanswered(_, error)
                    | SendFailure::Refused(error)
                    | SendFailure::Final(error),
                    _,
                ) => return Err(turn.failed(error)),
            };
            retry.begin();
            self.metrics.retry(reason);
            opening.wanted = Wanted::New;
        }
    }

    /// The servers that names resolve to, of which there is one at least.
    async fn first_roster(
        &self,
        connect: Duration,
        asked: &mut Option<Arc<str>>,
    ) -> Result<Arc<Roster>, ExchangeError> {
        let named = self.servers.spec().servers.first();
        *asked = named.map(|server| server.address.to_string().into());
        let resolved = timeout(connect, Box::pin(self.servers.resolve_first())).await;
        match resolved.unwrap_or(Err(ExchangeError::ConnectTimeout)) {
            Ok(()) => Ok(self.servers.roster()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Counts a failure that no server is to blame for.
    pub(super) fn failed(&self, error: ExchangeError) -> ExchangeError {
        if let Some(failure) = error.failure() {
            self.metrics.failure(failure);
        }
        error
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // What it did by itself ends.
        self.servers.retire();
    }
}
