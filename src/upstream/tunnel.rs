//! The upstream's end of a tunnel: what is left of a connection after it has switched protocols
//! (RFC 9110 section 7.8).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::transport::Transport;
use crate::telemetry::UpstreamMetrics;

/// A connection to an upstream server that speaks another protocol now. It has no place in the
/// pool and never returns to it; dropping it closes it.
#[derive(Debug)]
pub struct UpstreamTunnel {
    transport: Transport,
    /// What came with the head of the response.
    early: Bytes,
    metrics: Arc<UpstreamMetrics>,
}

impl UpstreamTunnel {
    /// Counts the connection as open until the tunnel is dropped.
    pub(super) fn new(transport: Transport, early: Bytes, metrics: Arc<UpstreamMetrics>) -> Self {
        metrics.connection_opened();
        Self {
            transport,
            early,
            metrics,
        }
    }
}

impl Drop for UpstreamTunnel {
    fn drop(&mut self) {
        self.metrics.connection_closed();
    }
}

impl AsyncRead for UpstreamTunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.transport).poll_read(cx, buffer);
        }
        let count = self.early.len().min(buffer.remaining());
        buffer.put_slice(&self.early[..count]);
        self.early.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UpstreamTunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
