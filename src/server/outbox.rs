//! The stream below everything else: gathers small writes of one poll into one.
//!
//! Each write to a socket wakes its peer, so a response in three writes costs three times what it
//! costs in one. After the handshake small writes are therefore kept until the connection's task
//! has done all it can, and go out together; large ones go straight through. What nobody waits
//! for (the tickets of TLS 1.3) is kept until there is something to send with it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::listener::UNSENT;
use super::socket::ClientSocket;
use crate::tls::{Idle, TcpFacts, Transport, send_room};

/// A stream that gathers what is written to it, once [`Outbox::gather`] or [`Transport::defer`]
/// was called. Until then it passes everything through.
///
/// Holds at most 64 KiB; past that a write waits for the kernel to take what is there.
#[derive(Debug)]
pub(super) struct Outbox<S>(Arc<Mutex<Inner<S>>>);

/// Sends what an [`Outbox`] has gathered, whoever holds that.
#[derive(Debug)]
pub(super) struct Flusher<S>(Arc<Mutex<Inner<S>>>);

#[derive(Debug)]
struct Inner<S> {
    io: S,
    mode: Mode,
    kept: Vec<u8>,
    /// How much of `kept` the kernel has taken.
    taken: usize,
    /// Since when the kernel takes nothing.
    blocked: Option<Instant>,
    /// Who has more for it then.
    waiting: Option<Waker>,
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// It goes to the kernel.
    Direct,
    /// It is kept: the handshake is over for the client, who does not wait for it.
    Deferring,
    /// So was what is kept; what comes now is waited for.
    Deferred,
    /// It is kept until the end of the task's poll.
    Gathering,
    /// Nothing is written any more: our side is shut.
    Shut,
}

/// The most that is kept.
const MOST: usize = 64 * 1024;
/// The room for more than one write.
const SEVERAL: usize = 16 * 1024;
/// From this size on copying costs more than a system call.
const LARGE: usize = 16 * 1024;

impl<S> Outbox<S> {
    /// A stream over `io` that passes everything through.
    pub(super) fn new(io: S) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            io,
            mode: Mode::Direct,
            kept: Vec::new(),
            taken: 0,
            blocked: None,
            waiting: None,
        })))
    }

    /// From now on small writes are kept until [`Flusher::poll_flush`], a shutdown, or until there
    /// is too much of them.
    pub(super) fn gather(&self) {
        let mut inner = lock(&self.0);
        inner.mode = match inner.mode {
            Mode::Deferring => Mode::Deferred,
            Mode::Shut => Mode::Shut,
            Mode::Direct | Mode::Deferred | Mode::Gathering => Mode::Gathering,
        };
    }

    /// What sends the gathered bytes.
    pub(super) fn flusher(&self) -> Flusher<S> {
        Flusher(self.0.clone())
    }
}

impl<S: AsyncWrite + Unpin> Flusher<S> {
    /// Sends what is kept; what nobody waits for only if `all`. Ready when nothing is left to send.
    ///
    /// # Errors
    /// The stream's own.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>, all: bool) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        if !all && matches!(inner.mode, Mode::Deferring | Mode::Deferred) {
            return Poll::Ready(Ok(()));
        }
        inner.poll_send(cx)
    }

    /// Whether something is kept that the peer waits for.
    pub(super) fn is_waited_for(&self) -> bool {
        let inner = lock(&self.0);
        inner.mode == Mode::Gathering && !inner.kept.is_empty()
    }

    /// Since when the kernel takes nothing, because the peer does not.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        lock(&self.0).blocked
    }
}

impl<S> Flusher<S> {
    /// Whether something waits for the end of the task's poll.
    pub(super) fn keeps(&self) -> bool {
        !lock(&self.0).kept.is_empty()
    }

    /// Ready while the kernel takes what it is given; else the task is woken when it does again.
    pub(super) fn poll_unblocked(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = lock(&self.0);
        if inner.blocked.is_none() {
            return Poll::Ready(());
        }
        inner.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<S> Clone for Flusher<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Flusher<ClientSocket> {
    /// How much more the kernel is going to take at once, about, beside what is kept; `None` where
    /// it does not tell.
    pub(super) fn room(&self) -> Option<usize> {
        let inner = lock(&self.0);
        let kept = inner.kept.len() - inner.taken;
        send_room(&inner.io, usize::try_from(UNSENT).ok()?).map(|room| room.saturating_sub(kept))
    }

    /// Closing the stream from now on throws away what is not sent and, over TCP, sends an RST.
    pub(super) fn abort(&self) {
        let mut inner = lock(&self.0);
        inner.kept = Vec::new();
        inner.taken = 0;
        if let Err(error) = SockRef::from(&inner.io).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "SO_LINGER failed");
        }
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    /// Sends all that is kept.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send_by(cx, |io, cx, bytes| Pin::new(io).poll_write(cx, bytes))
    }

    /// Sends all that is kept with `write`.
    fn poll_send_by(
        &mut self,
        cx: &mut Context<'_>,
        write: fn(&mut S, &mut Context<'_>, &[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        while let Some(left) = self.kept.get(self.taken..).filter(|left| !left.is_empty()) {
            match write(&mut self.io, cx, left) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                Poll::Ready(Ok(taken)) => {
                    self.taken += taken;
                    self.unblock();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.blocked.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                }
            }
        }
        // An idle connection keeps no memory for writing.
        self.kept = Vec::new();
        self.taken = 0;
        if self.mode == Mode::Deferred {
            self.mode = Mode::Gathering;
        }
        Poll::Ready(Ok(()))
    }

    /// The kernel takes what it is given.
    fn unblock(&mut self) {
        self.blocked = None;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    /// Gives `slices` to the kernel.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        match result {
            Poll::Pending => {
                self.blocked.get_or_insert_with(Instant::now);
            }
            Poll::Ready(_) => self.unblock(),
        }
        result
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.mode {
            Mode::Direct => return self.poll_through(cx, slices),
            Mode::Deferring | Mode::Gathering => {}
            Mode::Deferred => self.mode = Mode::Gathering,
            Mode::Shut => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        // While the kernel takes nothing, nothing more is kept either.
        let full = self.kept.len() - self.taken + length > MOST;
        if length >= LARGE || full || self.blocked.is_some() {
            ready!(self.poll_send(cx))?;
        }
        if length >= LARGE {
            return self.poll_through(cx, slices);
        }
        let needed = self.kept.len() + length;
        if self.kept.is_empty() {
            self.kept.reserve_exact(length);
        } else if needed > self.kept.capacity() {
            // Answers of several streams: more will follow, and growing step by step copies them
            // as often.
            let room = needed.next_power_of_two().max(SEVERAL);
            self.kept.reserve_exact(room - self.kept.len());
        }
        for slice in slices {
            self.kept.extend_from_slice(slice);
        }
        Poll::Ready(Ok(length))
    }
}

fn lock<S>(inner: &Mutex<Inner<S>>) -> MutexGuard<'_, Inner<S>> {
    // Nothing panics while it is held but a stream's own code; its bytes are still whole then.
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S> Idle for Outbox<S> {
    /// It keeps nothing to read with, and nothing that is sent.
    fn idle(&mut self) {}
}

impl<S: Transport> Transport for Outbox<S> {
    fn defer(&mut self) {
        let mut inner = lock(&self.0);
        if inner.mode == Mode::Direct {
            inner.mode = Mode::Deferring;
        }
    }

    fn poll_read_at(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Option<Instant>>> {
        lock(&self.0).io.poll_read_at(cx, buffer)
    }

    fn tcp_facts(&self) -> Option<TcpFacts> {
        lock(&self.0).io.tcp_facts()
    }

    fn end(&mut self) {
        lock(&self.0).io.end();
    }

    fn acknowledge(&self) {
        lock(&self.0).io.acknowledge();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Outbox<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).io).poll_read(cx, buffer)
    }
}

impl<S: Transport> AsyncWrite for Outbox<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Sends nothing while writes are gathered: the task does at the end of its poll.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        match inner.mode {
            Mode::Direct => Pin::new(&mut inner.io).poll_flush(cx),
            Mode::Deferring | Mode::Deferred | Mode::Gathering | Mode::Shut => Poll::Ready(Ok(())),
        }
    }

    /// Sends what is kept and the end of the stream, in one segment where they fit: it wakes the
    /// peer once. Shutting again costs nothing.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        if inner.mode == Mode::Shut {
            return Poll::Ready(Ok(()));
        }
        ready!(inner.poll_send_by(cx, S::poll_write_last))?;
        ready!(Pin::new(&mut inner.io).poll_shutdown(cx))?;
        inner.mode = Mode::Shut;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// An outbox over a pipe that takes `room` bytes, and the other end.
    fn outbox(room: usize) -> (Outbox<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(room);
        (Outbox::new(ours), theirs)
    }

    /// What has come so far.
    async fn come(theirs: &mut DuplexStream) -> usize {
        let mut buffer = vec![0; 256 * 1024];
        let mut all = 0;
        loop {
            let mut read = std::pin::pin!(theirs.read(&mut buffer));
            match poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await {
                Poll::Ready(read) => all += read.unwrap(),
                Poll::Pending => return all,
            }
        }
    }

    #[tokio::test]
    async fn small_writes_go_out_together_at_the_flush() {
        let (mut outbox, mut theirs) = outbox(1 << 20);
        outbox.write_all(b"handshake").await.unwrap();
        assert_eq!(come(&mut theirs).await, 9);
        outbox.gather();
        let flusher = outbox.flusher();
        outbox.write_all(b"head").await.unwrap();
        outbox.write_all(b"body").await.unwrap();
        outbox.flush().await.unwrap();
        assert_eq!(come(&mut theirs).await, 0);
        poll_fn(|cx| flusher.poll_flush(cx, false)).await.unwrap();
        assert_eq!(come(&mut theirs).await, 8);
    }

    #[tokio::test]
    async fn large_writes_follow_what_was_kept_at_once() {
        let (mut outbox, mut theirs) = outbox(1 << 20);
        outbox.gather();
        outbox.write_all(b"head").await.unwrap();
        outbox.write_all(&[1; LARGE]).await.unwrap();
        let mut all = vec![0; 4 + LARGE];
        theirs.read_exact(&mut all).await.unwrap();
        assert!(all.starts_with(b"head\x01"));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_goes_with_the_next_write() {
        let (mut outbox, mut theirs) = outbox(1 << 20);
        let flusher = outbox.flusher();
        outbox.defer();
        outbox.write_all(b"ticket").await.unwrap();
        outbox.gather();
        poll_fn(|cx| flusher.poll_flush(cx, false)).await.unwrap();
        assert_eq!(come(&mut theirs).await, 0);
        outbox.write_all(b"answer").await.unwrap();
        poll_fn(|cx| flusher.poll_flush(cx, false)).await.unwrap();
        assert_eq!(come(&mut theirs).await, 12);
        outbox.write_all(b"more").await.unwrap();
        outbox.shutdown().await.unwrap();
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"more");
    }

    #[tokio::test]
    async fn tickets_alone_go_when_all_is_flushed() {
        let (mut outbox, mut theirs) = outbox(1 << 20);
        let flusher = outbox.flusher();
        outbox.defer();
        outbox.write_all(b"ticket").await.unwrap();
        outbox.gather();
        poll_fn(|cx| flusher.poll_flush(cx, true)).await.unwrap();
        assert_eq!(come(&mut theirs).await, 6);
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_stops_writes_and_is_told() {
        let (mut outbox, mut theirs) = outbox(10);
        outbox.gather();
        let flusher = outbox.flusher();
        let written = async {
            let mut written = 0;
            let chunk = [7; 1000];
            loop {
                let mut write = std::pin::pin!(outbox.write(&chunk));
                match poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await {
                    Poll::Ready(result) => written += result.unwrap(),
                    Poll::Pending => return written,
                }
            }
        }
        .await;
        assert!(written <= MOST + 10, "{written}");
        assert!(flusher.blocked_since().is_some());
        let mut all = vec![0; written];
        let (flushed, read) = tokio::join!(
            poll_fn(|cx| flusher.poll_flush(cx, true)),
            theirs.read_exact(&mut all)
        );
        flushed.unwrap();
        read.unwrap();
        assert!(flusher.blocked_since().is_none());
    }

    /// A stream that notes how it ends.
    #[derive(Default)]
    struct Ending {
        last: Vec<u8>,
        shut: usize,
    }

    impl Transport for Ending {
        fn poll_write_last(
            &mut self,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            // Piece by piece.
            let count = bytes.len().min(3);
            self.last.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }
    }

    impl AsyncRead for Ending {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Ending {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            panic!("these are no last words");
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.shut += 1;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_kept_goes_with_the_end_which_comes_once() {
        let mut outbox = Outbox::new(Ending::default());
        outbox.gather();
        outbox.write_all(b"answer").await.unwrap();
        for _ in 0..2 {
            outbox.shutdown().await.unwrap();
            outbox.gather();
            let inner = lock(&outbox.0);
            assert_eq!(
                (inner.io.last.as_slice(), inner.io.shut),
                (&b"answer"[..], 1)
            );
        }
        let error = outbox.write(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        poll_fn(|cx| outbox.flusher().poll_flush(cx, true))
            .await
            .unwrap();
    }
}
