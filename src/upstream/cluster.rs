//! A named group of upstream servers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::UPGRADE;
use http::uri::Scheme;
use http::{Request, Response};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};

use super::carrier::Carrier;
use super::client_key::ClientKey;
use super::client_tls::{ClientTls, Offer, is_http2};
use super::connect::connect;
use super::error::ExchangeError;
use super::exchange::{Lease, Origin, SendFailure};
use super::keeper;
use super::link::Link;
use super::pool::{Place, Waiting};
use super::request_body::RequestBody;
use super::response_body::ResponseBody;
use super::retry::{Retry, RetryBudget};
use super::server::{Server, Turn};
use super::servers::{Choice, Roster, Servers};
use super::socket::UpstreamSocket;
use super::stream_exchange;
use super::transport::Transport;
use crate::config::{Upstream, UpstreamProtocol, UpstreamTimeouts};
use crate::telemetry::{RetryReason, UpstreamMetrics};

/// A named group of upstream servers with their pools.
#[derive(Debug)]
pub struct Cluster {
    servers: Arc<Servers>,
    /// `None`: in the clear.
    tls: Option<ClientTls>,
    protocol: UpstreamProtocol,
    budget: RetryBudget,
    /// Whether [`Cluster::activate`] was called.
    active: AtomicBool,
    metrics: Arc<UpstreamMetrics>,
}

/// Whether a kept connection will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Any,
    /// A kept one just failed, and the others are as old.
    New,
}

/// What is to be opened for one request.
#[derive(Clone, Copy, Debug)]
struct Opening {
    wanted: Wanted,
    offer: Offer,
    /// For each connection, ...
    connect: Duration,
    /// ... and for all after the first that failed.
    further: Duration,
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
    /// The request must be as the server is to see it: HTTP/1.1, target in origin form, one
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
        mut request: Request<RequestBody>,
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
        let roster = self.roster(timeouts.connect, asked).await?;
        let mut choice = Choice::new(roster.clone(), ClientKey::of(client));
        let mut retry = Retry::new(&spec.retries, &request);
        loop {
            let (turn, carrier) = match (self.protocol, opening.offer) {
                (UpstreamProtocol::Http1, _) | (_, Offer::Http1) => {
                    self.lease(&mut choice, opening, asked).await?
                }
                (UpstreamProtocol::Http2 | UpstreamProtocol::Auto, Offer::Configured) => {
                    self.stream(&mut choice, opening, asked).await?
                }
            };
            let kept = carrier.origin() == Origin::Kept;
            let spare = match &carrier {
                Carrier::Http1(_) if kept => retry.spare(&request),
                Carrier::Http1(_) => None,
                Carrier::Http2(_) => retry.spare_of_any(&request),
            };
            self.metrics.request(kept);
            let sent = Instant::now();
            let server = turn.server();
            let answer = carrier
                .send(request, server.host(), scheme.clone(), timeouts.first_byte)
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
                    (*unsent, RetryReason::Closed)
                }
                (SendFailure::Unsent(unsent, error), _) if retry.is_left() => {
                    turn.failed(error);
                    choice.elsewhere(server);
                    (*unsent, RetryReason::Closed)
                }
                (SendFailure::Unanswered(_), Some(spare)) if kept && retry.may_repeat() => {
                    choice.again(server);
                    (spare, RetryReason::Closed)
                }
                (SendFailure::Refused(_), Some(spare)) if retry.within(&self.budget, &roster) => {
                    choice.elsewhere(server);
                    (spare, RetryReason::Refused)
                }
                (
                    SendFailure::Unsent(_, error)
                    | SendFailure::Unanswered(error)
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

    /// The servers, of which there is one at least.
    async fn roster(
        &self,
        connect: Duration,
        asked: &mut Option<Arc<str>>,
    ) -> Result<Arc<Roster>, ExchangeError> {
        let roster = self.servers.roster();
        if !roster.is_empty() {
            return Ok(roster);
        }
        // All have names, and this is one of the first requests.
        let named = self.servers.spec().servers.first();
        *asked = named.map(|server| server.address.to_string().into());
        let resolved = timeout(connect, self.servers.resolve_first()).await;
        match resolved.unwrap_or(Err(ExchangeError::ConnectTimeout)) {
            Ok(()) => Ok(self.servers.roster()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// A connection to the first server that has a place and can be reached; where all are full,
    /// to the first of them, if it gets a place in time.
    async fn lease(
        &self,
        choice: &mut Choice,
        opening: Opening,
        asked: &mut Option<Arc<str>>,
    ) -> Result<(Turn, Carrier), ExchangeError> {
        let mut full = None;
        let mut failure: Option<(ExchangeError, Instant)> = None;
        while let Some(turn) = choice.next(&self.servers, full.as_ref()) {
            let Some(place) = turn.server().pool.try_place() else {
                full.get_or_insert(turn);
                continue;
            };
            *asked = Some(turn.server().label.clone());
            let limit = failure.as_ref().map(|(_, limit)| *limit);
            self.passed_over(limit);
            match self.open(turn.server(), place, opening, limit).await {
                Ok(carrier) => return Ok((turn, carrier)),
                Err(error) => {
                    let limit = limit.unwrap_or_else(|| Instant::now() + opening.further);
                    failure = Some((turn.failed(error), limit));
                    if Instant::now() >= limit {
                        break;
                    }
                }
            }
        }
        let turn = self.worth_waiting_for(full, failure)?;
        self.wait_for_place(turn, opening, asked).await
    }

    /// A server that is full, while there is time: it was passed over for others, and none of them
    /// took the request.
    fn worth_waiting_for(
        &self,
        full: Option<Turn>,
        failure: Option<(ExchangeError, Instant)>,
    ) -> Result<Turn, ExchangeError> {
        match (full, failure) {
            (Some(turn), None) => Ok(turn),
            (Some(turn), Some((_, limit))) if Instant::now() < limit => {
                self.metrics.retry(RetryReason::Connect);
                Ok(turn)
            }
            (_, Some((error, _))) => Err(error),
            (None, None) => Err(self.failed(ExchangeError::PoolFull)),
        }
    }

    /// Counts that another server is asked, if one failed.
    fn passed_over(&self, limit: Option<Instant>) {
        if limit.is_some() {
            self.metrics.retry(RetryReason::Connect);
        }
    }

    async fn wait_for_place(
        &self,
        turn: Turn,
        opening: Opening,
        asked: &mut Option<Arc<str>>,
    ) -> Result<(Turn, Carrier), ExchangeError> {
        *asked = Some(turn.server().label.clone());
        let Some(place) = turn.server().pool.place().await else {
            return Err(turn.failed(ExchangeError::PoolFull));
        };
        match self.open(turn.server(), place, opening, None).await {
            Ok(carrier) => Ok((turn, carrier)),
            Err(error) => Err(turn.failed(error)),
        }
    }

    /// As [`Self::lease`], of servers that may speak HTTP/2.
    async fn stream(
        &self,
        choice: &mut Choice,
        opening: Opening,
        asked: &mut Option<Arc<str>>,
    ) -> Result<(Turn, Carrier), ExchangeError> {
        let mut full = None;
        let mut failure: Option<(ExchangeError, Instant)> = None;
        while let Some(turn) = choice.next(&self.servers, full.as_ref()) {
            *asked = Some(turn.server().label.clone());
            let limit = failure.as_ref().map(|(_, limit)| *limit);
            match self.open_stream(turn.server(), opening, limit, None).await {
                Ok(Some(carrier)) => {
                    self.passed_over(limit);
                    return Ok((turn, carrier));
                }
                // Full, or others make a connection to it and as many as may wait for that.
                Ok(None) | Err(ExchangeError::PoolFull) => {
                    full.get_or_insert(turn);
                }
                Err(error) => {
                    self.passed_over(limit);
                    let limit = limit.unwrap_or_else(|| Instant::now() + opening.further);
                    failure = Some((turn.failed(error), limit));
                    if Instant::now() >= limit {
                        break;
                    }
                }
            }
        }
        let turn = self.worth_waiting_for(full, failure)?;
        if self.prefers_http1(turn.server()) {
            return self.wait_for_place(turn, opening, asked).await;
        }
        let server = turn.server();
        *asked = Some(server.label.clone());
        let Some(waiting) = server.pool.queue() else {
            return Err(turn.failed(ExchangeError::PoolFull));
        };
        let deadline = Instant::now() + server.pool.wait();
        loop {
            // Made first, so that nothing is missed between the look and the wait.
            let freed = server.streams.freed();
            match self
                .open_stream(server, opening, None, Some(&waiting))
                .await
            {
                Ok(Some(carrier)) => {
                    drop(waiting);
                    drop(freed);
                    return Ok((turn, carrier));
                }
                Ok(None) => {}
                Err(error) => return Err(turn.failed(error)),
            }
            if timeout_at(deadline, freed).await.is_err() {
                return Err(turn.failed(ExchangeError::PoolFull));
            }
        }
    }

    /// A stream of a connection that is open, or of a new one, before `limit` where there is one;
    /// `None`: there may be no more. Who makes the connection is waited for in the pool's line, in
    /// which the caller may have a place (`waiting`) already.
    ///
    /// # Errors
    /// Among others [`ExchangeError::PoolFull`]: so is the line.
    async fn open_stream(
        &self,
        server: &Arc<Server>,
        opening: Opening,
        limit: Option<Instant>,
        waiting: Option<&Waiting<'_>>,
    ) -> Result<Option<Carrier>, ExchangeError> {
        if let Some(stream) = server.streams.take() {
            return Ok(Some(Carrier::Http2(stream)));
        }
        let deadline = Instant::now() + opening.connect;
        let deadline = limit.map_or(deadline, |limit| limit.min(deadline));
        let _making = if self.prefers_http1(server) {
            None
        } else {
            let making = match server.streams.making.try_lock() {
                Ok(making) => making,
                Err(_) => {
                    let _line = match waiting {
                        Some(_) => None,
                        None => Some(server.pool.queue().ok_or(ExchangeError::PoolFull)?),
                    };
                    let making = timeout_at(deadline, server.streams.making.lock());
                    making.await.map_err(|_| ExchangeError::ConnectTimeout)?
                }
            };
            if let Some(stream) = server.streams.take() {
                return Ok(Some(Carrier::Http2(stream)));
            }
            Some(making)
        };
        let Some(place) = server.pool.try_place() else {
            return Ok(None);
        };
        let opened = self.open(server, place, opening, Some(deadline));
        opened.await.map(Some)
    }

    fn prefers_http1(&self, server: &Server) -> bool {
        self.protocol == UpstreamProtocol::Auto && server.prefers_http1.load(Ordering::Relaxed)
    }

    /// A connection that is kept, or a new one, before `limit` where there is one.
    async fn open(
        &self,
        server: &Arc<Server>,
        place: Place,
        opening: Opening,
        limit: Option<Instant>,
    ) -> Result<Carrier, ExchangeError> {
        let pool = server.pool.clone();
        match opening.wanted {
            Wanted::Any => {
                if let Some(link) = pool.take().await {
                    let lease = Lease::new(link, pool, place, Origin::Kept);
                    return Ok(Carrier::Http1(lease));
                }
            }
            Wanted::New => pool.drop_oldest(),
        }
        let started = Instant::now();
        let deadline = started + opening.connect;
        let deadline = limit.map_or(deadline, |limit| limit.min(deadline));
        let (transport, http2) = self.connect(server, deadline, opening.offer).await?;
        self.metrics.connected(started.elapsed());
        let closed = |error| ExchangeError::Closed(Some(error));
        let metrics = self.metrics.clone();
        if http2 {
            let socket = UpstreamSocket::with_place(transport, place, metrics);
            let stream = timeout_at(deadline, server.streams.add(socket))
                .await
                .map_err(|_| ExchangeError::ConnectTimeout)?
                .map_err(stream_exchange::ended)?;
            return Ok(Carrier::Http2(stream));
        }
        let link = Link::new(transport, metrics).await.map_err(closed)?;
        Ok(Carrier::Http1(Lease::new(link, pool, place, Origin::New)))
    }

    /// A new connection before `deadline`, TLS handshake included, and whether it is for HTTP/2.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn connect(
        &self,
        server: &Server,
        deadline: Instant,
        offer: Offer,
    ) -> Result<(Transport, bool), ExchangeError> {
        let stream = connect(&server.endpoint, deadline).await?;
        let transport = match &self.tls {
            None => Transport::Plain(stream),
            Some(tls) => {
                let handshake = tls.handshake(server.spec, stream, offer, &self.metrics);
                let stream = timeout_at(deadline, handshake)
                    .await
                    .map_err(|_| ExchangeError::ConnectTimeout)??;
                Transport::Tls(stream)
            }
        };
        let http2 = match (self.protocol, offer, &transport) {
            (UpstreamProtocol::Http1, _, _) | (_, Offer::Http1, _) => false,
            (protocol, _, Transport::Tls(stream)) => {
                let chosen = is_http2(stream);
                if protocol == UpstreamProtocol::Http2 && !chosen {
                    return Err(ExchangeError::NoHttp2);
                }
                server.prefers_http1.store(!chosen, Ordering::Relaxed);
                chosen
            }
            (protocol, _, Transport::Plain(_)) => protocol == UpstreamProtocol::Http2,
        };
        Ok((transport, http2))
    }

    /// Counts a failure that no server is to blame for.
    fn failed(&self, error: ExchangeError) -> ExchangeError {
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
