//! A named group of upstream servers.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use tokio::time::{Instant, timeout_at};

use super::balance::{Candidates, RoundRobin};
use super::client_tls::ClientTls;
use super::connect::Connector;
use super::error::ExchangeError;
use super::exchange::{Lease, Origin, SendFailure};
use super::link::Link;
use super::pool::{Place, Pool};
use super::request_body::RequestBody;
use super::response_body::ResponseBody;
use super::transport::Transport;
use crate::config::{Upstream, UpstreamTimeouts};
use crate::telemetry::UpstreamMetrics;

/// A named group of upstream servers with their pools.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Server>,
    balance: RoundRobin,
    /// `None`: plain TCP.
    tls: Option<ClientTls>,
    timeouts: UpstreamTimeouts,
    metrics: Arc<UpstreamMetrics>,
}

#[derive(Debug)]
struct Server {
    label: Arc<str>,
    connector: Connector,
    pool: Arc<Pool>,
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
                })
                .collect(),
            balance: RoundRobin::new(&spec.servers),
            tls,
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
    /// `Host`. `timeouts` are the route's, if it has its own. `asked` is set to the server's address as soon as one is chosen, and stands also
    /// when this future is dropped.
    ///
    /// A server that cannot be reached is passed over for the next. A request is sent twice only
    /// when a kept connection turns out to be dead, once, on a new connection: any request of which
    /// nothing was written; GET, HEAD and OPTIONS without a body also when it was written and not
    /// a byte of an answer came.
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
        let mut candidates = self.balance.candidates();
        let mut wanted = Wanted::Any;
        loop {
            let (server, lease) = self
                .lease(&mut candidates, wanted, timeouts.connect, asked)
                .await?;
            let kept = lease.origin() == Origin::Kept;
            let spare = (kept && is_repeatable(&request)).then(|| copy(&request));
            self.metrics.request(kept);
            let sent = Instant::now();
            let failure = match lease.send(request, timeouts.first_byte).await {
                Ok((response, lease)) => {
                    self.metrics.first_byte(sent.elapsed());
                    let idle = timeouts.idle;
                    return Ok(response.map(|body| {
                        ResponseBody::new(body, lease, upload, idle, self.metrics.clone())
                    }));
                }
                Err(failure) => failure,
            };
            request = match (failure, spare) {
                (SendFailure::Unsent(unsent, _), _) if kept => *unsent,
                (SendFailure::Unanswered(_), Some(spare)) => spare,
                (
                    SendFailure::Unsent(_, error)
                    | SendFailure::Unanswered(error)
                    | SendFailure::Final(error),
                    _,
                ) => return Err(self.failed(error)),
            };
            self.metrics.retry();
            // The next connection is new, so this comes once at most.
            wanted = Wanted::New;
            candidates = self.balance.candidates_from(server);
        }
    }

    /// A connection to the first candidate that has a place and can be reached; where all are
    /// full, to the first of them that gets a place in time.
    async fn lease(
        &self,
        candidates: &mut Candidates,
        wanted: Wanted,
        connect: Duration,
        asked: &mut Option<Arc<str>>,
    ) -> Result<(usize, Lease), ExchangeError> {
        let mut failure = ExchangeError::PoolFull;
        let mut full = None;
        for index in candidates {
            let server = &self.servers[index];
            let Some(place) = server.pool.try_place() else {
                full = full.or(Some(index));
                continue;
            };
            *asked = Some(server.label.clone());
            match self.open(index, place, wanted, connect).await {
                Ok(lease) => return Ok((index, lease)),
                Err(error) => failure = self.failed(error),
            }
        }
        let Some(index) = full else {
            return Err(failure);
        };
        let server = &self.servers[index];
        *asked = Some(server.label.clone());
        let Some(place) = server.pool.place().await else {
            return Err(self.failed(ExchangeError::PoolFull));
        };
        match self.open(index, place, wanted, connect).await {
            Ok(lease) => Ok((index, lease)),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn open(
        &self,
        index: usize,
        place: Place,
        wanted: Wanted,
        connect: Duration,
    ) -> Result<Lease, ExchangeError> {
        let server = &self.servers[index];
        let pool = server.pool.clone();
        match wanted {
            Wanted::Any => {
                if let Some(link) = pool.take().await {
                    return Ok(Lease::new(link, pool, place, Origin::Kept));
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
                let handshake = tls.handshake(index, tcp, &self.metrics);
                let stream = timeout_at(deadline, handshake)
                    .await
                    .map_err(|_| ExchangeError::ConnectTimeout)??;
                Transport::Tls(stream)
            }
        };
        self.metrics.connected(started.elapsed());
        let link = Link::new(transport, self.metrics.clone())
            .await
            .map_err(|error| ExchangeError::Closed(Some(error)))?;
        Ok(Lease::new(link, pool, place, Origin::New))
    }

    fn failed(&self, error: ExchangeError) -> ExchangeError {
        if let Some(failure) = error.failure() {
            self.metrics.failure(failure);
        }
        error
    }
}

/// Whether sending it twice does no harm (RFC 9110 section 9.2.2) and is possible: a body that
/// was read is gone.
fn is_repeatable(request: &Request<RequestBody>) -> bool {
    request.body().is_empty()
        && matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS
        )
}

/// A copy of a request without a body.
fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
