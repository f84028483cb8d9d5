//! A stream of HTTP/2 that has become a tunnel (RFC 8441).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;

use super::streams::StreamLease;

/// A stream of a connection that others share. When it is dropped the server is told that nothing
/// more comes; the stream is not given back before that has gone out.
#[derive(Debug)]
pub(super) struct StreamTunnel(Option<Parts>);

#[derive(Debug)]
struct Parts {
    stream: TokioIo<Upgraded>,
    lease: StreamLease,
}

impl StreamTunnel {
    /// The tunnel that the stream of `lease` has become.
    pub(super) fn new(stream: Upgraded, lease: StreamLease) -> Self {
        let stream = TokioIo::new(stream);
        Self(Some(Parts { stream, lease }))
    }

    /// There is one until the drop.
    fn stream(self: Pin<&mut Self>) -> io::Result<Pin<&mut TokioIo<Upgraded>>> {
        let parts = self.get_mut().0.as_mut();
        let parts = parts.ok_or(io::ErrorKind::NotConnected)?;
        Ok(Pin::new(&mut parts.stream))
    }
}

impl Drop for StreamTunnel {
    fn drop(&mut self) {
        let Some(Parts { mut stream, lease }) = self.0.take() else {
            return;
        };
        let mut cx = Context::from_waker(Waker::noop());
        // Where both sides have ended it is over already.
        if Pin::new(&mut stream).poll_shutdown(&mut cx).is_pending()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(lease.bury(stream));
        }
    }
}

impl AsyncRead for StreamTunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for StreamTunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        let stream = self.0.as_ref();
        stream.is_some_and(|parts| parts.stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}
