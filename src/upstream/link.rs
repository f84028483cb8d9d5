//! One connection to an upstream server, with both halves of hyper's client held together.

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::header::UPGRADE;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls;

use super::request_body::RequestBody;
use super::socket::UpstreamSocket;
use super::transport::Transport;
use crate::telemetry::UpstreamMetrics;

/// The most that hyper reads ahead of us on a connection: bounds the head of a response and what a
/// body takes in memory.
const READ_BUFFER: usize = 64 * 1024;

/// The most that is read before the head of a response is whole, interim responses (1xx) included.
const HEAD_BUDGET: usize = 4 * READ_BUFFER;

/// hyper's error for a request, with the request where nothing of it was written.
pub(super) type SendError = TrySendError<Request<RequestBody>>;

/// A connection. Nothing runs in the background: it moves only while someone polls it, and
/// dropping it closes it.
#[derive(Debug)]
pub(super) struct Link {
    sender: SendRequest<RequestBody>,
    /// `None` once it has ended. Boxed, because links move in and out of pools and bodies.
    connection: Option<Box<Connection<TokioIo<UpstreamStream>, RequestBody>>>,
    /// The connection, after a switch to another protocol: hyper has let go of it then.
    switched: Option<Box<UpstreamSocket>>,
    seen: Arc<Seen>,
    metrics: Arc<UpstreamMetrics>,
}

/// What the stream under hyper has seen.
#[derive(Debug)]
struct Seen {
    /// A byte came since the last [`Link::send`].
    answered: AtomicBool,
    /// How much may still be read.
    budget: AtomicUsize,
    /// A write failed: the server closed its side.
    refused: AtomicBool,
    /// The server sent a TLS alert, or what is no TLS.
    tls_failed: AtomicBool,
    /// The request asks for another protocol.
    switch_asked: AtomicBool,
}

impl Link {
    /// Speaks HTTP/1.1 on `transport`. Counts the connection as open until the link is dropped.
    ///
    /// # Errors
    /// None are known: hyper only allocates here.
    pub(super) async fn new(
        transport: Transport,
        metrics: Arc<UpstreamMetrics>,
    ) -> hyper::Result<Self> {
        let seen = Arc::new(Seen {
            answered: AtomicBool::new(false),
            budget: AtomicUsize::new(HEAD_BUDGET),
            refused: AtomicBool::new(false),
            tls_failed: AtomicBool::new(false),
            switch_asked: AtomicBool::new(false),
        });
        let stream = UpstreamStream {
            transport,
            seen: seen.clone(),
        };
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_BUFFER)
            .handshake(TokioIo::new(stream))
            .await?;
        metrics.connection_opened();
        Ok(Self {
            sender,
            connection: Some(Box::new(connection)),
            switched: None,
            seen,
            metrics,
        })
    }

    /// Hands `request` to the connection. The result moves only while the link is polled too.
    pub(super) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError>> + use<> {
        self.seen.answered.store(false, Ordering::Relaxed);
        self.seen.budget.store(HEAD_BUDGET, Ordering::Relaxed);
        let asked = request.headers().contains_key(UPGRADE);
        self.seen.switch_asked.store(asked, Ordering::Relaxed);
        self.sender.try_send_request(request)
    }

    /// Moves whatever can be moved; ready when the connection has ended, for good or bad.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(());
        };
        match Pin::new(&mut **connection).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(ended) => {
                if let Err(error) = ended {
                    self.seen.switch_asked.store(false, Ordering::Relaxed);
                    tracing::debug!(%error, "upstream connection ended");
                }
                // Dropping it answers whoever still waits for a response or a body.
                if let Some(connection) = self.connection.take()
                    && self.seen.switch_asked.load(Ordering::Relaxed)
                {
                    let parts = connection.into_parts();
                    let transport = parts.io.into_inner().transport;
                    let metrics = self.metrics.clone();
                    let socket = UpstreamSocket::tunnel(transport, parts.read_buf, metrics);
                    self.switched = Some(Box::new(socket));
                }
                Poll::Ready(())
            }
        }
    }

    /// Whether there is a tunnel to take.
    pub(super) const fn is_switched(&self) -> bool {
        self.switched.is_some()
    }

    /// The connection, after the server has switched and hyper has let go of it.
    pub(super) fn take_tunnel(&mut self) -> Option<Box<UpstreamSocket>> {
        self.switched.take()
    }

    /// Whether a request can be sent now: both messages of the last exchange are complete, the
    /// server agreed to keep the connection, and nothing came since.
    pub(super) fn is_idle(&self) -> bool {
        self.connection.is_some()
            && self.sender.is_ready()
            && !self.seen.refused.load(Ordering::Relaxed)
    }

    /// The head of the response is whole: its body may be of any length.
    pub(super) fn head_came(&self) {
        self.seen.budget.store(usize::MAX, Ordering::Relaxed);
    }

    /// Whether the server has sent more than a head may take.
    pub(super) fn head_is_endless(&self) -> bool {
        self.seen.budget.load(Ordering::Relaxed) == 0
    }

    /// Whether a byte came since the last [`Link::send`].
    pub(super) fn answered(&self) -> bool {
        self.seen.answered.load(Ordering::Relaxed)
    }

    /// Whether it was TLS that failed, by an alert or otherwise.
    pub(super) fn tls_failed(&self) -> bool {
        self.seen.tls_failed.load(Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.metrics.connection_closed();
    }
}

/// The stream under hyper.
///
/// A server that answers early (413, say) and closes makes further writes fail while its answer
/// lies unread. hyper gives up at the failed write, so it is told that the write went well: the
/// read side then finds the answer, or the end.
#[derive(Debug)]
struct UpstreamStream {
    transport: Transport,
    seen: Arc<Seen>,
}

impl UpstreamStream {
    fn written(&self, result: Poll<io::Result<usize>>, length: usize) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Err(error)) if is_closed(error.kind()) => {
                self.seen.refused.store(true, Ordering::Relaxed);
                Poll::Ready(Ok(length))
            }
            other => other,
        }
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let budget = self.seen.budget.load(Ordering::Relaxed);
        if budget == 0 {
            return Poll::Ready(Err(ErrorKind::InvalidData.into()));
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.transport).poll_read(cx, buffer);
        if let Poll::Ready(Ok(())) = result {
            let came = buffer.filled().len() - before;
            if came > 0 {
                self.seen.answered.store(true, Ordering::Relaxed);
                if budget != usize::MAX {
                    let left = budget.saturating_sub(came);
                    self.seen.budget.store(left, Ordering::Relaxed);
                }
            } else if self.seen.refused.load(Ordering::Relaxed) {
                // The write has eaten the socket's error; a body that ends with the connection
                // must not look complete.
                return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
            }
        } else if let Poll::Ready(Err(error)) = &result
            && is_tls(error)
        {
            self.seen.tls_failed.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.transport).poll_write(cx, bytes);
        self.written(result, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.transport).poll_write_vectored(cx, slices);
        self.written(result, slices.iter().map(|slice| slice.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS may hold back what a write took.
        let result = Pin::new(&mut self.transport).poll_flush(cx);
        self.written(result.map_ok(|()| 0), 0).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

/// Whether it is rustls that failed, and not the connection below it.
pub(super) fn is_tls(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>())
}

const fn is_closed(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::BrokenPipe
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
    )
}
