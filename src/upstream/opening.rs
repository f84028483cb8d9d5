//! From the servers there are to a connection or stream of one, for one request.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::MutexGuard;
use tokio::time::{Instant, timeout_at};

use super::carrier::Carrier;
use super::client_tls::{Offer, is_http2};
use super::cluster::Cluster;
use super::connect::connect;
use super::error::{ConnectionError, ExchangeError};
use super::exchange::{Lease, Origin};
use super::link::Link;
use super::pool::Place;
use super::server::{Server, Turn};
use super::servers::Choice;
use super::socket::UpstreamSocket;
use super::stream_exchange;
use super::streams::StreamLease;
use super::transport::Transport;
use crate::config::UpstreamProtocol;
use crate::telemetry::RetryReason;

/// What is to be opened for one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) wanted: Wanted,
    pub(super) offer: Offer,
    /// For each connection, ...
    pub(super) connect: Duration,
    /// ... and for all after the first that failed.
    pub(super) further: Duration,
}

/// Whether a kept connection will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    /// A kept one just failed, and the others are as old.
    New,
}

/// The servers that were asked and are full.
#[derive(Debug, Default)]
struct Full {
    /// The one that was to have the request: its load while it waits.
    first: Option<Turn>,
    /// All of them, the first included.
    servers: Vec<Arc<Server>>,
}

/// What a request got that waited for it.
enum Chance<'s> {
    /// A stream of a connection that is open.
    Stream(StreamLease),
    /// A place for a connection, and the right to make one of HTTP/2 where it may become one.
    Place(Place, Option<MutexGuard<'s, ()>>),
}

impl Full {
    fn add(&mut self, turn: Turn) {
        self.servers.push(turn.server().clone());
        self.first.get_or_insert(turn);
    }
}

impl Cluster {
    /// What a request can be sent on at once, of the first server.
    ///
    /// # Errors
    /// There is none at hand: a turn at the first server, if there is one.
    pub(super) fn at_hand(
        &self,
        choice: &mut Choice,
        opening: Opening,
        asked: &mut Option<Arc<str>>,
    ) -> Result<(Turn, Carrier), Option<Turn>> {
        let turn = choice.next(&self.servers, None).ok_or(None)?;
        let server = turn.server();
        let stream = || {
            let stream = self.may_share(opening.offer).then(|| server.streams.take());
            stream.flatten().map(Carrier::Http2)
        };
        let link = || {
            if opening.wanted == Wanted::New || self.makes_streams(server, opening.offer) {
                return None;
            }
            let place = server.pool.try_place()?;
            let link = server.pool.take()?;
            let lease = Lease::new(link, server.pool.clone(), place, Origin::Kept);
            Some(Carrier::Http1(lease))
        };
        match stream().or_else(link) {
            Some(carrier) => {
                *asked = Some(server.label.clone());
                Ok((turn, carrier))
            }
            None => Err(Some(turn)),
        }
    }

    /// What a request can be sent on, of the first server that has a place and can be reached;
    /// where all are full, of whichever has a place first, if that is in time. `turn` is at the
    /// server to be asked first.
    ///
    /// # Errors
    /// Why there is none. It is counted.
    pub(super) async fn carrier(
        &self,
        mut turn: Option<Turn>,
        choice: &mut Choice,
        opening: Opening,
        asked: &mut Option<Arc<str>>,
    ) -> Result<(Turn, Carrier), ExchangeError> {
        let mut full = Full::default();
        let mut failure: Option<(ExchangeError, Instant)> = None;
        while let Some(turn) = turn
            .take()
            .or_else(|| choice.next(&self.servers, full.first.as_ref()))
        {
            *asked = Some(turn.server().label.clone());
            let limit = failure.as_ref().map(|(_, limit)| *limit);
            match self.attempt(turn.server(), opening, limit).await {
                Ok(Some(carrier)) => {
                    self.passed_over(limit);
                    return Ok((turn, carrier));
                }
                // Full, or others make a connection to it and as many as may wait for that.
                Ok(None) | Err(ExchangeError::PoolFull) => full.add(turn),
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
        match (full.first, failure) {
            (Some(first), None) => {
                let waited = self.wait(first, full.servers, None, opening, asked);
                Box::pin(waited).await
            }
            // They were passed over for others, and none of those took the request.
            (Some(first), Some((_, limit))) if Instant::now() < limit => {
                self.passed_over(Some(limit));
                let waited = self.wait(first, full.servers, Some(limit), opening, asked);
                Box::pin(waited).await
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

    /// A connection or stream of `server`, before `limit` where there is one; `None`: there may be
    /// no more. Who makes a connection of HTTP/2 is waited for in the pool's line.
    ///
    /// # Errors
    /// Among others [`ExchangeError::PoolFull`]: so is the line.
    async fn attempt(
        &self,
        server: &Arc<Server>,
        opening: Opening,
        limit: Option<Instant>,
    ) -> Result<Option<Carrier>, ExchangeError> {
        if self.may_share(opening.offer)
            && let Some(stream) = server.streams.take()
        {
            return Ok(Some(Carrier::Http2(stream)));
        }
        let deadline = Instant::now() + opening.connect;
        let deadline = limit.map_or(deadline, |limit| limit.min(deadline));
        let _making = if self.makes_streams(server, opening.offer) {
            let making = match server.streams.making.try_lock() {
                Ok(making) => making,
                Err(_) => {
                    let _line = server.pool.line.join().ok_or(ExchangeError::PoolFull)?;
                    let making = timeout_at(deadline, server.streams.making.lock());
                    making.await.map_err(|_| ExchangeError::ConnectTimeout)?
                }
            };
            if let Some(stream) = server.streams.take() {
                return Ok(Some(Carrier::Http2(stream)));
            }
            Some(making)
        } else {
            None
        };
        let Some(place) = server.pool.try_place() else {
            return Ok(None);
        };
        let opened = self.open(server, place, opening, Some(deadline));
        opened.await.map(Some)
    }

    /// Waits for whichever of `servers`, which are full, has a place first; one that then cannot be
    /// reached is passed over for the others, until `limit`. `turn` is at the first of them.
    async fn wait(
        &self,
        mut turn: Turn,
        mut servers: Vec<Arc<Server>>,
        mut limit: Option<Instant>,
        opening: Opening,
        asked: &mut Option<Arc<str>>,
    ) -> Result<(Turn, Carrier), ExchangeError> {
        let until = Instant::now() + self.servers.spec().pool.wait;
        loop {
            *asked = Some(turn.server().label.clone());
            // A place past the limit would only fail, and count against its server.
            let until = limit.map_or(until, |limit| limit.min(until));
            let first = self.first_chance(&servers, opening.offer, until);
            let Some((server, chance)) = first.await else {
                return Err(turn.failed(ExchangeError::PoolFull));
            };
            if !Arc::ptr_eq(server, turn.server()) {
                turn = Turn::new(server.clone(), self.servers.clone());
                *asked = Some(server.label.clone());
            }
            let error = match self.seize(chance, server, opening, limit).await {
                Ok(carrier) => return Ok((turn, carrier)),
                Err(error) => turn.failed(error),
            };
            let end = limit.unwrap_or_else(|| Instant::now() + opening.further);
            servers.retain(|server| !Arc::ptr_eq(server, turn.server()));
            match servers.first() {
                Some(next) if Instant::now() < end => {
                    turn = Turn::new(next.clone(), self.servers.clone());
                    limit = Some(end);
                    self.passed_over(limit);
                }
                _ => return Err(error),
            }
        }
    }

    async fn seize(
        &self,
        chance: Chance<'_>,
        server: &Arc<Server>,
        opening: Opening,
        limit: Option<Instant>,
    ) -> Result<Carrier, ExchangeError> {
        match chance {
            Chance::Stream(stream) => Ok(Carrier::Http2(stream)),
            Chance::Place(place, _making) => self.open(server, place, opening, limit).await,
        }
    }

    /// What whichever of `servers` has a place first gives until then, in the line of the first of
    /// them that has room; `None`: none has.
    async fn first_chance<'s>(
        &self,
        servers: &'s [Arc<Server>],
        offer: Offer,
        until: Instant,
    ) -> Option<(&'s Arc<Server>, Chance<'s>)> {
        let _line = servers.iter().find_map(|server| server.pool.line.join())?;
        let mut chances: Vec<_> = servers
            .iter()
            .map(|server| Box::pin(self.chance(server, offer)))
            .collect();
        let any = poll_fn(|cx| {
            let mut polled = chances.iter_mut().zip(servers);
            let ready = polled.find_map(|(chance, server)| match chance.as_mut().poll(cx) {
                Poll::Ready(chance) => Some((server, chance)),
                Poll::Pending => None,
            });
            ready.map_or(Poll::Pending, Poll::Ready)
        });
        timeout_at(until, any).await.ok()
    }

    /// Waits until there is a place at `server`.
    async fn chance<'s>(&self, server: &'s Server, offer: Offer) -> Chance<'s> {
        loop {
            // The server may have turned out to speak HTTP/1.1 alone.
            if !self.makes_streams(server, offer) {
                return Chance::Place(server.pool.place().await, None);
            }
            // Made first, so that nothing is missed between the look and the wait.
            let freed = server.streams.freed();
            if let Some(stream) = server.streams.take() {
                return Chance::Stream(stream);
            }
            tokio::pin!(freed);
            // Whoever makes a connection makes room on it for others too.
            let making = tokio::select! {
                making = server.streams.making.lock() => making,
                () = freed.as_mut() => continue,
            };
            if let Some(stream) = server.streams.take() {
                return Chance::Stream(stream);
            }
            if let Some(place) = server.pool.try_place() {
                return Chance::Place(place, Some(making));
            }
            drop(making);
            // A place comes free without a stream where it was one of HTTP/1.1.
            tokio::select! {
                () = freed.as_mut() => {}
                place = server.pool.place() => drop(place),
            }
        }
    }

    /// Whether a stream of HTTP/2 will do.
    fn may_share(&self, offer: Offer) -> bool {
        self.protocol != UpstreamProtocol::Http1 && offer == Offer::Configured
    }

    /// Whether a new connection to `server` may be one of HTTP/2.
    fn makes_streams(&self, server: &Server, offer: Offer) -> bool {
        let prefers_http1 =
            self.protocol == UpstreamProtocol::Auto && server.prefers_http1.load(Ordering::Relaxed);
        self.may_share(offer) && !prefers_http1
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
                if let Some(link) = pool.take() {
                    let lease = Lease::new(link, pool, place, Origin::Kept);
                    return Ok(Carrier::Http1(lease));
                }
            }
            Wanted::New => pool.drop_oldest(),
        }
        self.open_new(server, place, opening, limit).await
    }

    async fn open_new(
        &self,
        server: &Arc<Server>,
        place: Place,
        opening: Opening,
        limit: Option<Instant>,
    ) -> Result<Carrier, ExchangeError> {
        let pool = server.pool.clone();
        let started = Instant::now();
        let deadline = started + opening.connect;
        let deadline = limit.map_or(deadline, |limit| limit.min(deadline));
        let (transport, http2) = self.connect(server, deadline, opening.offer).await?;
        self.metrics.connected(started.elapsed());
        let metrics = self.metrics.clone();
        if http2 {
            let socket = UpstreamSocket::with_place(transport, place, metrics);
            let stream = timeout_at(deadline, server.streams.add(socket))
                .await
                .map_err(|_| ExchangeError::ConnectTimeout)?
                .map_err(|ended| {
                    ended.map_or(
                        ExchangeError::Closed(ConnectionError::Closed),
                        stream_exchange::ended,
                    )
                })?;
            return Ok(Carrier::Http2(stream));
        }
        let link = Box::new(Link::new(transport, metrics));
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
            (protocol, _, Transport::Plain(_) | Transport::Stream(_)) => {
                protocol == UpstreamProtocol::Http2
            }
        };
        Ok((transport, http2))
    }
}
