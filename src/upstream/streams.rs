//! HTTP/2 connections to one server, shared by streams.
//!
//! Unlike the connections of HTTP/1.1 these are tasks: each serves many exchanges, and has to be
//! driven while none of them asks. A request takes a stream of the first connection that has one
//! left, so what load no longer needs is closed after `pool.idle_timeout`. Connections are made
//! one after the other, and hold a place in the pool while they are open. The first request waits
//! for the server's settings: without them those that follow could be more than it lets in.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::exchange::Origin;
use super::request_body::{RequestBody, Upload};
use super::socket::{Cutter, UpstreamSocket};
use super::stream_tunnel::StreamTunnel;

/// Streams that a connection carries at most, where the server lets it: as many as common servers
/// let.
const MOST_STREAMS: usize = 100;
/// What a server may send on a stream before the client has taken it: 10 Mbit/s at 100 ms.
const STREAM_WINDOW: u32 = 128 * 1024;
/// As much for each stream, so that clients that take nothing never take the window from others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 100;
/// The least that the protocol permits, and its default (RFC 9113 section 6.5.2).
const FRAME_SIZE: u32 = 16 * 1024;
/// The fields of a response, as HTTP/2 counts them.
const HEADER_LIST: u32 = 64 * 1024;
/// What a request's body may hold in hyper before it waits for the server.
const SEND_BUFFER: usize = 64 * 1024;
/// A server that sends nothing while streams are open is asked for a sign of life. Servers of gRPC
/// take pings that come more often than every 5 min for abuse.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(5 * 60 + 10);
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// What the rest of a request may take to go, once nobody waits for its response: hyper looks at it
/// when the server takes more, and not before.
const STUCK: Duration = Duration::from_secs(1);
/// How long the other streams of a connection with such a rest may go on; and how long the server
/// may take with the rest of a tunnel that nobody wants any more.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The HTTP/2 connections of one server.
#[derive(Debug)]
pub(super) struct StreamPool {
    idle_timeout: Duration,
    connections: Mutex<Vec<Shared>>,
    /// A stream or a connection has ended.
    freed: Notify,
    /// One connection is made at a time: most who wait then find a stream on it.
    pub(super) making: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Shared {
    sender: SendRequest<RequestBody>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    base: Instant,
    /// Streams that the server lets us open.
    most: AtomicUsize,
    open: AtomicUsize,
    /// How many of the open ones are tunnels that cannot be ended.
    stuck: AtomicUsize,
    /// It takes extended CONNECT (RFC 8441 section 3).
    connects: AtomicBool,
    /// When the last stream ended, in nanoseconds from `base`.
    idle_since: AtomicU64,
    cutter: Arc<Cutter>,
}

/// The right to one stream, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct StreamLease {
    sender: SendRequest<RequestBody>,
    state: Arc<State>,
    pool: Arc<StreamPool>,
    origin: Origin,
    upload: Option<Arc<Upload>>,
    /// What the stream has become.
    tunnel: Option<Upgraded>,
}

impl StreamPool {
    pub(super) fn new(idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            idle_timeout,
            connections: Mutex::default(),
            freed: Notify::new(),
            making: tokio::sync::Mutex::new(()),
        })
    }

    /// A stream of a connection that is open.
    pub(super) fn take(self: &Arc<Self>) -> Option<StreamLease> {
        let connections = self.lock();
        let shared = connections.iter().find(|shared| {
            let most = shared.state.most.load(Ordering::Relaxed).min(MOST_STREAMS);
            !shared.sender.is_closed() && shared.state.open.load(Ordering::Relaxed) < most
        })?;
        Some(self.lease(shared, Origin::Kept))
    }

    /// Speaks HTTP/2 on `socket`, and takes the first stream once the server has said how many
    /// there may be.
    ///
    /// # Errors
    /// The server broke off or does not speak HTTP/2; hyper has an error for most of that.
    pub(super) async fn add(
        self: &Arc<Self>,
        mut socket: UpstreamSocket,
    ) -> Result<StreamLease, Option<hyper::Error>> {
        let read = Arc::new(Notify::new());
        socket.watch(&read);
        let cutter = Arc::default();
        socket.obey(&cutter);
        let (sender, mut connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(0)
            .max_frame_size(FRAME_SIZE)
            .max_header_list_size(HEADER_LIST)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(Some)?;
        while connection.current_max_send_streams() == 0 {
            let mut read = pin!(read.notified());
            poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
                Poll::Ready(ended) => Poll::Ready(Err(ended.err())),
                Poll::Pending => read.as_mut().poll(cx).map(Ok),
            })
            .await?;
        }
        let shared = Shared {
            sender,
            state: Arc::new(State {
                base: Instant::now(),
                most: AtomicUsize::new(connection.current_max_send_streams()),
                open: AtomicUsize::new(0),
                stuck: AtomicUsize::new(0),
                connects: AtomicBool::new(connection.is_extended_connect_protocol_enabled()),
                idle_since: AtomicU64::new(0),
                cutter,
            }),
        };
        let lease = self.lease(&shared, Origin::New);
        let (pool, state) = (Arc::downgrade(self), shared.state.clone());
        self.lock().push(shared);
        let idle_timeout = self.idle_timeout;
        tokio::spawn(async move {
            drive(connection, &state, &pool, idle_timeout).await;
            if let Some(pool) = pool.upgrade() {
                pool.remove(&state);
                pool.freed.notify_waiters();
            }
        });
        // Others may have waited for it.
        self.freed.notify_waiters();
        Ok(lease)
    }

    /// Ready when a stream or a connection has ended since this was called, or some time before.
    pub(super) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// Lets go of all connections: each ends with its last stream.
    pub(super) fn close(&self) {
        let connections = std::mem::take(&mut *self.lock());
        drop(connections);
    }

    fn lease(self: &Arc<Self>, shared: &Shared, origin: Origin) -> StreamLease {
        shared.state.open.fetch_add(1, Ordering::Relaxed);
        StreamLease {
            sender: shared.sender.clone(),
            state: shared.state.clone(),
            pool: self.clone(),
            origin,
            upload: None,
            tunnel: None,
        }
    }

    /// Lets go of a connection that has no stream, so that it ends.
    fn retire(&self, state: &Arc<State>) {
        // Streams are opened under the lock.
        let mut connections = self.lock();
        if state.open.load(Ordering::Relaxed) == 0 {
            connections.retain(|shared| !Arc::ptr_eq(&shared.state, state));
        }
    }

    fn remove(&self, state: &Arc<State>) {
        let mut connections = self.lock();
        connections.retain(|shared| !Arc::ptr_eq(&shared.state, state));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Shared>> {
        // Nothing panics while it is held; if something did, the list is still whole.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// When the connection will have been idle for `timeout`, if nobody uses it until then.
    fn idle_at(&self, timeout: Duration) -> Instant {
        let since = Duration::from_nanos(self.idle_since.load(Ordering::Relaxed));
        let idle = match self.open.load(Ordering::Relaxed) {
            0 => self.base + since,
            _ => Instant::now(),
        };
        idle + timeout
    }
}

impl StreamLease {
    /// Where the connection is from.
    pub(super) const fn origin(&self) -> Origin {
        self.origin
    }

    /// What sends requests on it.
    pub(super) const fn sender(&mut self) -> &mut SendRequest<RequestBody> {
        &mut self.sender
    }

    /// The body of the request that is sent on it.
    pub(super) fn carries(&mut self, upload: Option<Arc<Upload>>) {
        self.upload = upload;
    }

    /// Whether the server takes an extended CONNECT.
    pub(super) fn connects(&self) -> bool {
        self.state.connects.load(Ordering::Relaxed)
    }

    /// The stream is `tunnel` from now on.
    pub(super) fn becomes(&mut self, tunnel: Upgraded) {
        self.tunnel = Some(tunnel);
    }

    /// Whether there is a tunnel to take.
    pub(super) const fn is_switched(&self) -> bool {
        self.tunnel.is_some()
    }

    /// The tunnel that the stream has become, which holds the stream until its end.
    ///
    /// # Errors
    /// It has become none, and stays as it is.
    pub(super) fn into_tunnel(mut self) -> Result<Box<UpstreamSocket>, Self> {
        match self.tunnel.take() {
            Some(tunnel) => {
                let tunnel = StreamTunnel::new(tunnel, self);
                Ok(Box::new(UpstreamSocket::stream(tunnel)))
            }
            None => Err(self),
        }
    }

    /// Ends `tunnel`, which is the stream's and of which nobody wants anything any more, once the
    /// server has taken the rest of it; hyper cannot reset it (1.12). Where that takes too long the
    /// connection takes no more streams, and ends when all that it has are so stuck.
    pub(super) async fn bury(self, mut tunnel: TokioIo<Upgraded>) {
        let mut end = pin!(tunnel.shutdown());
        if timeout(PATIENCE, end.as_mut()).await.is_ok() {
            return;
        }
        self.forsake();
        let _stuck = Stuck::new(&self.state);
        while timeout(STUCK, end.as_mut()).await.is_err() {
            if self.state.stuck.load(Ordering::Relaxed) == self.state.open.load(Ordering::Relaxed) {
                tracing::debug!("upstream connection is cut: the server takes no more of tunnels");
                self.state.cutter.cut();
                return;
            }
        }
    }

    /// The connection is not to be trusted with more requests: it ends with the streams that are
    /// open.
    pub(super) fn forsake(&self) {
        self.pool.remove(&self.state);
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take()
            && upload.waits_for_server()
            && let Ok(runtime) = Handle::try_current()
        {
            let (state, pool) = (self.state.clone(), self.pool.clone());
            runtime.spawn(free(Arc::downgrade(&upload), state, pool));
        }
        self.state
            .idle_since
            .store(self.state.now(), Ordering::Relaxed);
        self.state.open.fetch_sub(1, Ordering::Relaxed);
        self.pool.freed.notify_one();
    }
}

/// A stream that cannot be ended, while this lives.
struct Stuck<'s>(&'s State);

impl<'s> Stuck<'s> {
    fn new(state: &'s State) -> Self {
        state.stuck.fetch_add(1, Ordering::Relaxed);
        Self(state)
    }
}

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        self.0.stuck.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ends the rest of a request that nobody wants answered any more, where the server takes none of it:
/// hyper neither resets such a stream nor lets go of its connection (1.12). So the connection takes
/// no more streams, and ends with those that it has, or after a time.
async fn free(upload: Weak<Upload>, state: Arc<State>, pool: Arc<StreamPool>) {
    sleep(STUCK).await;
    if upload.strong_count() == 0 {
        return;
    }
    pool.remove(&state);
    let end = Instant::now() + PATIENCE;
    while state.open.load(Ordering::Relaxed) > 0 && Instant::now() < end {
        sleep(STUCK).await;
    }
    if upload.strong_count() > 0 {
        tracing::debug!("upstream connection is cut: the server takes no more of a request");
        state.cutter.cut();
    }
}

/// Polls `connection` to its end, which the server brings, or `idle_timeout` without a stream.
/// Streams that are open when the server says GOAWAY go on without it.
async fn drive(
    mut connection: Connection<TokioIo<UpstreamSocket>, RequestBody, TokioExecutor>,
    state: &Arc<State>,
    pool: &Weak<StreamPool>,
    idle_timeout: Duration,
) {
    let mut idle = pin!(sleep_until(state.idle_at(idle_timeout)));
    poll_fn(|cx| {
        let polled = Pin::new(&mut connection).poll(cx);
        let most = connection.current_max_send_streams();
        state.most.store(most, Ordering::Relaxed);
        let connects = connection.is_extended_connect_protocol_enabled();
        state.connects.store(connects, Ordering::Relaxed);
        if let Poll::Ready(ended) = polled {
            if let Err(error) = ended {
                tracing::debug!(%error, "upstream connection ended");
            }
            return Poll::Ready(());
        }
        while idle.as_mut().poll(cx).is_ready() {
            let at = state.idle_at(idle_timeout);
            if at > Instant::now() {
                idle.as_mut().reset(at);
            } else {
                // hyper closes it in order once nobody can send on it.
                if let Some(pool) = pool.upgrade() {
                    pool.retire(state);
                }
                idle.as_mut().reset(Instant::now() + idle_timeout);
            }
        }
        Poll::Pending
    })
    .await;
}
