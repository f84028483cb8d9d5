//! A connection to an upstream server that is counted for as long as it is open, whoever has it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::pool::Place;
use super::server::Turn;
use super::stream_tunnel::StreamTunnel;
use super::transport::Transport;
use crate::telemetry::UpstreamMetrics;

/// A connection to an upstream server: below HTTP/2, or what is left after a switch to another
/// protocol (RFC 9110 section 7.8); or a stream that has become a tunnel (RFC 8441). Dropping it
/// closes it.
#[derive(Debug)]
pub struct UpstreamSocket {
    transport: Transport,
    /// What came with the head of the response.
    early: Bytes,
    /// Its place in the pool; a tunnel has none.
    #[expect(dead_code, reason = "held for its drop")]
    place: Option<Place>,
    /// The exchange that it was; a tunnel is a load on the server as long as it lasts.
    turn: Option<Turn>,
    /// Told at each read, when all that was read before has been worked on.
    watcher: Option<Weak<Notify>>,
    /// Ends it from outside.
    cutter: Option<Arc<Cutter>>,
    /// Where it is counted; `None`: the connection that it is a stream of is.
    metrics: Option<Arc<UpstreamMetrics>>,
}

/// Ends a connection that others drive.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    cut: AtomicBool,
    reader: AtomicWaker,
}

impl Cutter {
    /// Whoever reads or writes the connection gets an error from now on.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
    }

    fn check(&self) -> io::Result<()> {
        match self.cut.load(Ordering::Acquire) {
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }
}

impl UpstreamSocket {
    /// A tunnel. What the server has sent already, `early`, is read first.
    pub(super) fn tunnel(
        transport: Transport,
        early: Bytes,
        metrics: Arc<UpstreamMetrics>,
    ) -> Self {
        Self::new(transport, early, None, Some(metrics))
    }

    /// A tunnel over one stream of a connection that is counted elsewhere.
    pub(super) fn stream(tunnel: StreamTunnel) -> Self {
        let transport = Transport::Stream(Box::new(tunnel));
        Self::new(transport, Bytes::new(), None, None)
    }

    /// A connection that holds `place` while it is open.
    pub(super) fn with_place(
        transport: Transport,
        place: Place,
        metrics: Arc<UpstreamMetrics>,
    ) -> Self {
        Self::new(transport, Bytes::new(), Some(place), Some(metrics))
    }

    fn new(
        transport: Transport,
        early: Bytes,
        place: Option<Place>,
        metrics: Option<Arc<UpstreamMetrics>>,
    ) -> Self {
        if let Some(metrics) = &metrics {
            metrics.connection_opened();
        }
        Self {
            transport,
            early,
            place,
            turn: None,
            watcher: None,
            cutter: None,
            metrics,
        }
    }

    /// Holds `turn` for as long as it is open.
    pub(super) fn hold(&mut self, turn: Option<Turn>) {
        self.turn = turn;
    }

    /// Lets `cutter` end it.
    pub(super) fn obey(&mut self, cutter: &Arc<Cutter>) {
        self.cutter = Some(cutter.clone());
    }

    /// Tells `watcher`, for as long as it is there, each time before it reads.
    pub(super) fn watch(&mut self, watcher: &Arc<Notify>) {
        self.watcher = Some(Arc::downgrade(watcher));
    }
}

impl Drop for UpstreamSocket {
    fn drop(&mut self) {
        if let Some(metrics) = &self.metrics {
            metrics.connection_closed();
        }
    }
}

impl AsyncRead for UpstreamSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(cutter) = &self.cutter {
            cutter.reader.register(cx.waker());
            cutter.check()?;
        }
        if let Some(watcher) = &self.watcher {
            match watcher.upgrade() {
                Some(watcher) => watcher.notify_one(),
                None => self.watcher = None,
            }
        }
        if self.early.is_empty() {
            return Pin::new(&mut self.transport).poll_read(cx, buffer);
        }
        let count = self.early.len().min(buffer.remaining());
        buffer.put_slice(&self.early[..count]);
        self.early.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UpstreamSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(cutter) = &self.cutter {
            cutter.check()?;
        }
        Pin::new(&mut self.transport).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(cutter) = &self.cutter {
            cutter.check()?;
        }
        Pin::new(&mut self.transport).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
