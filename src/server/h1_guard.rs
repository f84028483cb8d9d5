//! What stands between TLS and hyper on an HTTP/1 connection: sees every byte first, and lets
//! nothing of a request pass that [`H1Framing`] refuses.
//!
//! Nothing is changed. Where a request is refused, hyper gets no byte of it and waits; once it has
//! answered all that came before, the connection answers the refusal itself and ends. Where the
//! chunks of a body are wrong, hyper gets bytes in their place that it refuses too.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::h1_framing::{H1Framing, HeadLimits, Stop};
use crate::tls::Idle;

/// No two bytes of a chunked body but its data are these, wherever it is (RFC 9112 section 7.1), and
/// what is wrong with a body is never in its data.
const NO_CHUNK: &[u8] = b"\r\r";

/// A stream that follows what the client asks.
#[derive(Debug)]
pub(super) struct H1Guard<S> {
    inner: S,
    framing: H1Framing,
    activity: Arc<Activity>,
    reading: Reading,
    ahead: Ahead,
}

/// What was read, and followed, but hyper does not have.
#[derive(Debug, Default)]
struct Ahead {
    bytes: Vec<u8>,
    /// How the read after them ended.
    broken: Option<io::Error>,
}

#[derive(Debug)]
enum Reading {
    Open,
    /// The client has closed its side.
    Ended,
    /// Nothing more is passed on, but to a tunnel: what came with the byte that stopped us.
    Stopped(Stop, Vec<u8>),
}

impl<S> H1Guard<S> {
    pub(super) fn new(io: S, activity: Arc<Activity>, limits: HeadLimits) -> Self {
        Self {
            inner: io,
            framing: H1Framing::new(limits),
            activity,
            reading: Reading::Open,
            ahead: Ahead::default(),
        }
    }

    /// Whether the client has not closed its side: it may send more, and closing ours while it does
    /// would destroy the answer.
    pub(super) const fn is_open(&self) -> bool {
        !matches!(self.reading, Reading::Ended)
    }

    /// Whether the client is known to be sending: its last message is not whole, or was refused.
    pub(super) const fn is_unread(&self) -> bool {
        match self.reading {
            Reading::Open => !self.framing.between_messages(),
            Reading::Ended => false,
            Reading::Stopped(..) => true,
        }
    }

    /// Follows `bytes`, which have just come; returns how many of them may be passed on.
    fn follow(&mut self, bytes: &[u8]) -> usize {
        let (heads, in_head) = (self.framing.heads(), self.framing.in_head());
        let (taken, stop) = self.framing.read(bytes);
        let heads = self.framing.heads() - heads;
        if heads > 0 {
            self.activity.heads_whole(heads);
        }
        self.activity
            .within_message(!self.framing.between_messages());
        if !self.framing.in_head() {
            self.activity.head_ended();
        } else if heads > 0 || !in_head {
            self.activity.head_began();
        }
        if let Some(stop) = stop {
            if let Stop::Refused(refusal) = stop {
                self.activity.refuse(refusal);
            }
            self.reading = Reading::Stopped(stop, bytes[taken..].to_vec());
        }
        taken
    }

    /// The stream below, to be drained and closed.
    pub(super) fn into_inner(self) -> S {
        self.inner
    }

    /// What a read finds after the byte that stopped us.
    fn stopped(stop: Stop, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match stop {
            // The connection's task looks after every poll whether this is due to be answered.
            Stop::Refused(_) => Poll::Pending,
            // An error here would end the connection before the answer that says why, where hyper
            // reads ahead of the service. In a body it ends the body alone.
            Stop::Body => {
                let count = NO_CHUNK.len().min(buffer.remaining());
                buffer.put_slice(&NO_CHUNK[..count]);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<S: Idle> H1Guard<S> {
    /// The client is waited for, perhaps for long: see [`Idle::idle`].
    pub(super) fn idle(&mut self) {
        self.inner.idle();
    }
}

impl<S: AsyncRead + Unpin> H1Guard<S> {
    /// Takes back what hyper had not looked at: hyper gets it before anything else.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.ahead.bytes.extend_from_slice(bytes);
    }

    /// Ready when more has come, or an end of any kind: hyper is needed for it.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut first = [0];
        let mut buffer = ReadBuf::new(&mut first);
        match self.poll_next(cx, &mut buffer) {
            Poll::Ready(Ok(())) => self.ahead.bytes.extend_from_slice(buffer.filled()),
            Poll::Ready(Err(error)) => self.ahead.broken = Some(error),
            // Whoever drives hyper answers what is refused.
            Poll::Pending if matches!(self.reading, Reading::Stopped(..)) => {}
            Poll::Pending => return Poll::Pending,
        }
        Poll::Ready(())
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.activity.is_tunnel() {
            if let Reading::Stopped(_, rest) = &mut self.reading
                && !rest.is_empty()
            {
                put_front(rest, buffer);
                return Poll::Ready(Ok(()));
            }
            return Pin::new(&mut self.inner).poll_read(cx, buffer);
        }
        if let Reading::Stopped(stop, _) = self.reading {
            return Self::stopped(stop, buffer);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let came = buffer.filled().len() - before;
        if came == 0 {
            self.reading = Reading::Ended;
            return Poll::Ready(Ok(()));
        }
        let taken = self.follow(&buffer.filled()[before..]);
        buffer.set_filled(before + taken);
        match self.reading {
            Reading::Stopped(stop, _) if taken == 0 => Self::stopped(stop, buffer),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// Moves what fits of `bytes` to `buffer`.
fn put_front(bytes: &mut Vec<u8>, buffer: &mut ReadBuf<'_>) {
    let count = bytes.len().min(buffer.remaining());
    buffer.put_slice(&bytes[..count]);
    if count == bytes.len() {
        *bytes = Vec::new();
    } else {
        bytes.drain(..count);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for H1Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.bytes.is_empty() {
            put_front(&mut this.ahead.bytes, buffer);
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = this.ahead.broken.take() {
            return Poll::Ready(Err(error));
        }
        this.poll_next(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for H1Guard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
