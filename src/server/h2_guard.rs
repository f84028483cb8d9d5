//! What stands between TLS and hyper on an HTTP/2 connection: counts frames, changes nothing.
//!
//! hyper bounds what one connection holds, not how often its client does what costs us more than
//! it costs the client. The guard shows every byte to a [`Ledger`] first. Past a budget it fails
//! the stream, at which hyper gives up the connection and with it every request upstream; then
//! GOAWAY is written over the stream that is left.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::h2_ledger::{H2Fault, Ledger};
use super::linger::{linger_for, linger_while};
use super::outbox::Flusher;
use crate::config::{Limits, Timeouts};
use crate::report::Http2Limit;

/// A handle on the stream of a connection. hyper has one; the connection's task keeps another, to
/// read the account and to have the last word. Both are used in that task alone, so the lock is
/// never waited for.
#[derive(Debug)]
pub(super) struct H2Guard<S>(Arc<Mutex<Wire<S>>>);

#[derive(Debug)]
struct Wire<S> {
    io: S,
    ledger: Ledger,
    watch: Watch,
    /// The client has closed its side.
    ended: bool,
}

/// Whether bytes are shown to the ledger.
#[derive(Clone, Copy, Debug)]
enum Watch {
    On,
    /// The connection has to end: hyper gets and writes nothing any more.
    Ended(H2Fault),
    /// hyper is gone.
    Off,
}

/// The waits of a connection on its client that its timers have to know, beside those of
/// its requests.
pub(super) trait Waiting {
    /// When to look at [`Self::late`] at the latest.
    fn due(&self, timeouts: &Timeouts) -> Option<Instant>;

    /// Whether a response is on its way: hyper may hold the end of it until the client opens its
    /// window.
    fn is_answering(&self) -> bool;

    /// What the client is late with.
    fn late(&self, timeouts: &Timeouts, now: Instant) -> Option<Http2Limit>;
}

/// How long the client has to take our last word, and then to close.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a client may be silent that has still to take what the kernel holds for it.
const QUIET: Duration = Duration::from_secs(5);
/// How much it may still send: what is on its way must not destroy that word.
const LINGER_BYTES: usize = 1 << 20;

impl<S> H2Guard<S> {
    /// The stream of a connection whose handshake is complete.
    pub(super) fn new(io: S, limits: &Limits) -> Self {
        Self(Arc::new(Mutex::new(Wire {
            io,
            ledger: Ledger::new(limits, Instant::now()),
            watch: Watch::On,
            ended: false,
        })))
    }

    /// Another handle.
    pub(super) fn share(&self) -> Self {
        Self(self.0.clone())
    }

    /// Why the guard has ended the connection, if it has.
    pub(super) fn fault(&self) -> Option<H2Fault> {
        match self.wire().watch {
            Watch::Ended(fault) => Some(fault),
            Watch::On | Watch::Off => None,
        }
    }

    /// Why hyper has let go of the connection, where neither side had said that it ends.
    pub(super) fn abandoned(&self) -> Option<H2Fault> {
        let wire = self.wire();
        (!wire.ended && !wire.ledger.is_parting()).then_some(H2Fault::Malformed)
    }

    /// Frames of the client and of ours so far.
    pub(super) fn frames(&self) -> (u64, u64) {
        self.wire().ledger.frames()
    }

    fn wire(&self) -> MutexGuard<'_, Wire<S>> {
        // Nothing in the wire can be half done when a poll panics that the next one relies on.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> H2Guard<S> {
    /// Ends the connection in order after hyper has let go of it: closes our side, and waits for
    /// the client's, for `patience` at most. The kernel may hold megabytes of answers that it has
    /// still to take; it sends WINDOW_UPDATE while it does, and a socket that is closed answers
    /// that with an RST, which destroys the rest of them.
    pub(super) async fn close(self, patience: Duration) {
        let ended = {
            let mut wire = self.wire();
            wire.watch = Watch::Off;
            wire.ended
        };
        if !ended {
            linger_while(self, QUIET, patience, LINGER_BYTES).await;
        }
    }

    /// Ends the connection after hyper has let go of it: GOAWAY where there is a fault and the
    /// stream is between two frames, then the end of our side. Takes two seconds at most.
    /// `flusher` sends what is written.
    pub(super) async fn farewell<F: AsyncWrite + Unpin>(
        mut self,
        fault: Option<H2Fault>,
        flusher: &Flusher<F>,
    ) {
        let goaway = {
            let mut wire = self.wire();
            wire.watch = Watch::Off;
            fault.and_then(|fault| wire.ledger.goaway(fault))
        };
        let told = async {
            if let Some(frame) = goaway {
                self.write_all(&frame).await?;
            }
            self.flush().await?;
            poll_fn(|cx| flusher.poll_flush(cx, true)).await
        };
        if matches!(tokio::time::timeout(FAREWELL, told).await, Ok(Ok(()))) {
            linger_for(self, FAREWELL, LINGER_BYTES).await;
        }
    }
}

impl<S> Waiting for H2Guard<S> {
    fn due(&self, timeouts: &Timeouts) -> Option<Instant> {
        let waits = self.wire().ledger.waits();
        let due = waits.due(timeouts.request_header, timeouts.response_idle);
        due.map(|(at, _)| at)
    }

    fn is_answering(&self) -> bool {
        self.wire().ledger.is_answering()
    }

    fn late(&self, timeouts: &Timeouts, now: Instant) -> Option<Http2Limit> {
        let waits = {
            let mut wire = self.wire();
            wire.ledger.look();
            wire.ledger.waits()
        };
        let due = waits.due(timeouts.request_header, timeouts.response_idle);
        due.filter(|(at, _)| *at <= now).map(|(_, limit)| limit)
    }
}

impl<S> Wire<S> {
    /// Shows what was written to the ledger.
    fn wrote<'a>(
        &mut self,
        result: Poll<io::Result<usize>>,
        slices: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(mut left)) = result
            && matches!(self.watch, Watch::On)
        {
            let now = Instant::now();
            for slice in slices {
                let taken = left.min(slice.len());
                left -= taken;
                if let Err(fault) = self.ledger.sent(&slice[..taken], now) {
                    return Poll::Ready(Err(self.end(fault)));
                }
            }
        }
        result
    }

    fn end(&mut self, fault: H2Fault) -> io::Error {
        self.watch = Watch::Ended(fault);
        io::Error::other(fault)
    }

    fn check(&self) -> io::Result<()> {
        match self.watch {
            Watch::On | Watch::Off => Ok(()),
            Watch::Ended(fault) => Err(io::Error::other(fault)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for H2Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.wire();
        wire.check()?;
        let before = buffer.filled().len();
        let result = Pin::new(&mut wire.io).poll_read(cx, buffer);
        let bytes = &buffer.filled()[before..];
        wire.ended = matches!(result, Poll::Ready(Ok(()))) && bytes.is_empty();
        if !bytes.is_empty()
            && matches!(wire.watch, Watch::On)
            && let Err(fault) = wire.ledger.received(bytes, Instant::now())
        {
            // hyper gets none of it: what is over the budget has no effect.
            buffer.set_filled(before);
            return Poll::Ready(Err(wire.end(fault)));
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for H2Guard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.wire();
        wire.check()?;
        let result = Pin::new(&mut wire.io).poll_write(cx, bytes);
        wire.wrote(result, std::iter::once(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.wire();
        wire.check()?;
        let result = Pin::new(&mut wire.io).poll_write_vectored(cx, slices);
        wire.wrote(result, slices.iter().map(|slice| &**slice))
    }

    fn is_write_vectored(&self) -> bool {
        self.wire().io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire().io).poll_shutdown(cx)
    }
}
