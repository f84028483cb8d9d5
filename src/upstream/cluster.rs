//! A named group of upstream servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::UPGRADE;
use http::uri::Scheme;
use http::{Method, Request, Response};
use tokio::time::{Instant, timeout, timeout_at};

use super::balance::{Candidates, RoundRobin};
use super::carrier::Carrier;
use super::client_tls::{ClientTls, Offer, is_http2};
use super::connect::Connector;
use super::error::ExchangeError;
use super::exchange::{Lease, Origin, SendFailure};
use super::link::Link;
use super::pool::{Place, Pool};
use super::request_body::RequestBody;
use super::response_body::ResponseBody;
use super::socket::UpstreamSocket;
use super::stream_exchange;
use super::streams::StreamPool;
use super::transport::Transport;
use crate::config::{Upstream, UpstreamProtocol, UpstreamTimeouts};
use crate::telemetry::UpstreamMetrics;

/// A named group of upstream servers with their pools.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Server>,
    balance: RoundRobin,
    /// `None`: plain TCP.
    tls: Option<ClientTls>,
    protocol: UpstreamProtocol,
    timeouts: UpstreamTimeouts,
    metrics: Arc<UpstreamMetrics>,
}

#[derive(Debug)]
struct Server {
    label: Arc<str>,
    connector: Connector,
    pool: Arc<Pool>,
    streams: Arc<StreamPool>,
    /// It chose HTTP/1.1 the last time it could choose.
    prefers_http1: AtomicBool,
}

/// Whether a kept connection will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Any,
    /// A kept one just failed, and the others are as old.
    New,
}

impl Cluster {
    /// A cluster with empty pools. `tls` is what `spec.tls` describes, loaded for its servers.
    #[must_use]
    pub fn new(spec: &Upstream, tls: Option<ClientTls>, metrics: Arc<UpstreamMetrics>) -> Self {
        Self {
            servers: spec
                .servers
                .iter()
                .map(|server| Server {
                    label: server.address.to_string().into(),
                    connector: Connector::new(&server.address),
                    pool: Pool::new(&spec.pool),
                    streams: StreamPool::new(spec.pool.idle_timeout),
                    prefers_http1: AtomicBool::new(false),
                })
                .collect(),
            balance: RoundRobin::new(&spec.servers),
            tls,
            protocol: spec.protocol,
            timeouts: spec.timeouts.clone(),
            metrics,
        }
    }

    /// How its servers are spoken to over TLS; `None`: plain TCP.
    #[must_use]
    pub const fn tls(&self) -> Option<&ClientTls> {
        self.tls.as_ref()
    }

    /// Sends `request` to a server of the cluster and returns the head of its response with the
    /// body still to come.
    ///
    /// The request must be as the server is to see it: HTTP/1.1, target in origin form, one
    /// `Host`. `timeouts` are the route's, if it has its own. `asked` is set to the server's
    /// address as soon as one is chosen, and stands also when this future is dropped. Where the
    /// server speaks HTTP/2 it is translated; one that asks for an upgrade goes over HTTP/1.1
    /// always.
    ///
    /// A server that cannot be reached is passed over for the next. A request is sent twice only
    /// once: any request of which nothing was written to a kept connection; any without a body
    /// that the server says it has not acted on (HTTP/2); GET, HEAD and OPTIONS without a body
    /// also when a kept connection ended without a byte of an answer.
    ///
    /// # Errors
    /// Why there is no response. Each failure is counted in the upstream's metrics.
    pub async fn exchange(
        &self,
        mut request: Request<RequestBody>,
        timeouts: Option<&UpstreamTimeouts>,
        asked: &mut Option<Arc<str>>,
    ) -> Result<Response<ResponseBody>, ExchangeError> {
        let timeouts = timeouts.unwrap_or(&self.timeouts);
        let upload = request.body().upload();
        let offer = match request.headers().contains_key(UPGRADE) {
            true => Offer::Http1,
            false => Offer::Configured,
        };
        let scheme = match self.tls {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        };
        let mut candidates = self.balance.candidates();
        let mut wanted = Wanted::Any;
        loop {
            let (index, carrier) = match (self.protocol, offer) {
                (UpstreamProtocol::Http1, _) | (_, Offer::Http1) => {
                    self.lease(&mut candidates, wanted, offer, timeouts.connect, asked)
                        .await?
                }
                (UpstreamProtocol::Http2 | UpstreamProtocol::Auto, Offer::Configured) => {
                    self.stream(&mut candidates, wanted, timeouts.connect, asked)
                        .await?
                }
            };
            let kept = carrier.origin() == Origin::Kept;
            let copied = match &carrier {
                Carrier::Http1(_) => kept && is_safe(request.method()),
                Carrier::Http2(_) => wanted == Wanted::Any,
            };
            let spare = (copied && request.body().is_empty()).then(|| copy(&request));
            self.metrics.request(kept);
            let sent = Instant::now();
            let server = &self.servers[index].label;
            let answer = carrier
                .send(request, server, scheme.clone(), timeouts.first_byte)
                .await;
            let failure = match answer {
                Ok((response, carrier)) => {
                    self.metrics.first_byte(sent.elapsed());
                    let idle = timeouts.idle;
                    return Ok(response.map(|body| {
                        ResponseBody::new(body, carrier, upload, idle, self.metrics.clone())
                    }));
                }
                Err(failure) => failure,
            };
            let again = wanted == Wanted::Any;
            request = match (failure, spare) {
                (SendFailure::Unsent(unsent, _), _) if kept && again => *unsent,
                (SendFailure::Unanswered(_), Some(spare)) if kept && is_safe(spare.method()) => {
                    spare
                }
                (SendFailure::Refused(_), Some(spare)) => spare,
                (
                    SendFailure::Unsent(_, error)
                    | SendFailure::Unanswered(error)
                    | SendFailure::Refused(error)
                    | SendFailure::Final(error),
                    _,
                ) => return Err(self.failed(error)),
            };
            self.metrics.retry();
            wanted = Wanted::New;
            candidates = self.balance.candidates_from(index);
        }
    }

    /// A connection to the first candidate that has a place and can be reached; where all are
    /// full, to the first of them that gets a place in time.
    async fn lease(
        &self,
        candidates: &mut Candidates,
        wanted: Wanted,
        offer: Offer,
        connect: Duration,
        asked: &mut Option<Arc<str>>,
    ) -> Result<(usize, Carrier), ExchangeError> {
        let mut failure = ExchangeError::PoolFull;
        let mut full = None;
        for index in candidates {
            let server = &self.servers[index];
            let Some(place) = server.pool.try_place() else {
                full = full.or(Some(index));
                continue;
            };
            *asked = Some(server.label.clone());
            match self.open(index, place, wanted, offer, connect).await {
                Ok(carrier) => return Ok((index, carrier)),
                Err(error) => failure = self.failed(error),
            }
        }
        let Some(index) = full else {
            return Err(failure);
        };
        *asked = Some(self.servers[index].label.clone());
        self.wait_for_place(index, wanted, offer, connect).await
    }

    async fn wait_for_place(
        &self,
        index: usize,
        wanted: Wanted,
        offer: Offer,
        connect: Duration,
    ) -> Result<(usize, Carrier), ExchangeError> {
        let Some(place) = self.servers[index].pool.place().await else {
            return Err(self.failed(ExchangeError::PoolFull));
        };
        match self.open(index, place, wanted, offer, connect).await {
            Ok(carrier) => Ok((index, carrier)),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// As [`Self::lease`], of servers that may speak HTTP/2.
    async fn stream(
        &self,
        candidates: &mut Candidates,
        wanted: Wanted,
        connect: Duration,
        asked: &mut Option<Arc<str>>,
    ) -> Result<(usize, Carrier), ExchangeError> {
        let mut failure = ExchangeError::PoolFull;
        let mut full = None;
        for index in candidates {
            *asked = Some(self.servers[index].label.clone());
            match self.open_stream(index, wanted, connect).await {
                Ok(Some(carrier)) => return Ok((index, carrier)),
                Ok(None) => full = full.or(Some(index)),
                Err(error) => failure = self.failed(error),
            }
        }
        let Some(index) = full else {
            return Err(failure);
        };
        let server = &self.servers[index];
        *asked = Some(server.label.clone());
        if self.prefers_http1(server) {
            return self
                .wait_for_place(index, wanted, Offer::Configured, connect)
                .await;
        }
        let deadline = Instant::now() + server.pool.wait();
        loop {
            // Made first, so that nothing is missed between the look and the wait.
            let freed = server.streams.freed();
            match self.open_stream(index, wanted, connect).await {
                Ok(Some(carrier)) => return Ok((index, carrier)),
                Ok(None) => {}
                Err(error) => return Err(self.failed(error)),
            }
            if timeout_at(deadline, freed).await.is_err() {
                return Err(self.failed(ExchangeError::PoolFull));
            }
        }
    }

    /// A stream of a connection that is open, or of a new one; `None`: there may be no more.
    async fn open_stream(
        &self,
        index: usize,
        wanted: Wanted,
        connect: Duration,
    ) -> Result<Option<Carrier>, ExchangeError> {
        let server = &self.servers[index];
        if let Some(stream) = server.streams.take() {
            return Ok(Some(Carrier::Http2(stream)));
        }
        let _making = if self.prefers_http1(server) {
            None
        } else {
            let making = timeout(connect, server.streams.making.lock());
            let making = making.await.map_err(|_| ExchangeError::ConnectTimeout)?;
            if let Some(stream) = server.streams.take() {
                return Ok(Some(Carrier::Http2(stream)));
            }
            Some(making)
        };
        let Some(place) = server.pool.try_place() else {
            return Ok(None);
        };
        let opened = self
            .open(index, place, wanted, Offer::Configured, connect)
            .await?;
        Ok(Some(opened))
    }

    fn prefers_http1(&self, server: &Server) -> bool {
        self.protocol == UpstreamProtocol::Auto && server.prefers_http1.load(Ordering::Relaxed)
    }

    async fn open(
        &self,
        index: usize,
        place: Place,
        wanted: Wanted,
        offer: Offer,
        connect: Duration,
    ) -> Result<Carrier, ExchangeError> {
        let server = &self.servers[index];
        let pool = server.pool.clone();
        match wanted {
            Wanted::Any => {
                if let Some(link) = pool.take().await {
                    let lease = Lease::new(link, pool, place, Origin::Kept);
                    return Ok(Carrier::Http1(lease));
                }
            }
            Wanted::New => pool.drop_oldest(),
        }
        let started = Instant::now();
        let deadline = started + connect;
        let tcp = server.connector.connect(deadline).await?;
        let transport = match &self.tls {
            None => Transport::Plain(tcp),
            Some(tls) => {
                let handshake = tls.handshake(index, tcp, offer, &self.metrics);
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

    fn failed(&self, error: ExchangeError) -> ExchangeError {
        if let Some(failure) = error.failure() {
            self.metrics.failure(failure);
        }
        error
    }
}

/// Whether sending it twice does no harm (RFC 9110 section 9.2.2).
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// A copy of a request without a body.
fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
