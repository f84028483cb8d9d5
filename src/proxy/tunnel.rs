//! A request that has become a tunnel: bytes both ways until both sides have ended theirs.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::request_record::RequestRecord;
use crate::deadline::Deadline;
use crate::upstream::UpstreamSocket;

/// What is held of each direction while the other side takes nothing; what waits for bytes holds
/// none.
const BUFFER: usize = 32 * 1024;
/// How often a client that has ended its side is asked whether it is there at all.
const LOOK: Duration = Duration::from_secs(1);

/// How long a client has to take the end of a tunnel that was idle for too long.
const GOODBYE: Duration = Duration::from_secs(1);

/// An upstream that has switched protocols, and the record of the request that asked for it.
/// Dropping it closes the upstream's connection.
#[derive(Debug)]
pub struct Tunnel {
    upstream: Box<UpstreamSocket>,
    record: Box<RequestRecord>,
    idle: Duration,
    websocket: bool,
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelEnd {
    /// Both sides ended theirs.
    Closed,
    /// No byte came for `timeouts.tunnel_idle`.
    Idle,
    /// The client broke off.
    Client,
    /// The upstream broke off.
    Upstream,
}

impl Tunnel {
    pub(super) const fn new(
        upstream: Box<UpstreamSocket>,
        record: Box<RequestRecord>,
        idle: Duration,
        websocket: bool,
    ) -> Self {
        Self {
            upstream,
            record,
            idle,
            websocket,
        }
    }

    /// Whether it carries WebSocket (RFC 6455, RFC 8441).
    #[must_use]
    pub const fn is_websocket(&self) -> bool {
        self.websocket
    }

    /// Passes on what `client` sends, `early` first, and what the upstream sends, until both
    /// have ended, one breaks off, or no byte has come for `timeouts.tunnel_idle`. The end of one
    /// side is passed on and the other goes on. `flush` sends what was written to the client, at
    /// the end of each poll.
    pub async fn run<S>(
        mut self,
        mut client: S,
        early: BytesMut,
        flush: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> TunnelEnd
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut up = Direction::new(TunnelEnd::Client, early, TunnelEnd::Upstream);
        let mut down = Direction::new(TunnelEnd::Upstream, BytesMut::new(), TunnelEnd::Client);
        self.record.tunnelled(up.bytes, down.bytes);
        let mut last = Instant::now();
        let mut timer = Deadline::new("timeouts.tunnel_idle", last + self.idle);
        let mut looked = last;
        let end = poll_fn(|cx| {
            let before = (up.bytes, down.bytes);
            let upward = up.poll(cx, &mut client, &mut self.upstream);
            let downward = down.poll(cx, &mut self.upstream, &mut client);
            let flushed = flush(cx);
            if before != (up.bytes, down.bytes) {
                last = Instant::now();
                self.record.tunnelled(up.bytes, down.bytes);
            }
            match (upward, downward, flushed) {
                // A client that leaves once there is nothing more to come has missed nothing.
                (Poll::Ready(Err(TunnelEnd::Client)), Poll::Ready(Ok(())), _) => {
                    return Poll::Ready(TunnelEnd::Closed);
                }
                (Poll::Ready(Err(end)), _, _) | (_, Poll::Ready(Err(end)), _) => {
                    return Poll::Ready(end);
                }
                (_, _, Poll::Ready(Err(_))) => return Poll::Ready(TunnelEnd::Client),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => {
                    return Poll::Ready(TunnelEnd::Closed);
                }
                _ => {}
            }
            let half_closed = upward.is_ready();
            loop {
                let mut due = last + self.idle;
                if half_closed {
                    due = due.min(looked + LOOK);
                }
                // One that fires early is looked at again; moving it at each byte would cost more.
                if due < timer.at() {
                    timer.reset(due);
                }
                ready!(timer.poll_elapsed(cx));
                let now = Instant::now();
                if last + self.idle <= now {
                    return Poll::Ready(TunnelEnd::Idle);
                }
                due = last + self.idle;
                if half_closed {
                    // A stream of HTTP/2 that was reset reads as one that has ended.
                    if let Poll::Ready(Err(_)) = Pin::new(&mut client).poll_flush(cx) {
                        return Poll::Ready(TunnelEnd::Client);
                    }
                    looked = now;
                    due = due.min(looked + LOOK);
                }
                timer.reset(due);
            }
        })
        .await;
        match end {
            TunnelEnd::Closed => {}
            TunnelEnd::Idle => {
                self.record.failed("tunnel_idle");
                let told = async {
                    client.shutdown().await?;
                    poll_fn(|cx| flush(cx)).await
                };
                // Whether it arrives changes nothing.
                let _ = tokio::time::timeout(GOODBYE, told).await;
            }
            TunnelEnd::Client => self.record.failed("client_closed"),
            TunnelEnd::Upstream => self.record.failed("upstream_closed"),
        }
        end
    }
}

/// Bytes on their way from one side to the other.
#[derive(Debug)]
struct Direction {
    /// What it means when the reader fails, ...
    reader: TunnelEnd,
    /// ... and when the writer does.
    writer: TunnelEnd,
    buffer: BytesMut,
    /// Bytes that were taken from the reader.
    bytes: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Something was written that may not be on its way.
    Unflushed,
    /// The writer takes no more. What still comes is thrown away: bytes that nobody has read turn
    /// a close into a reset, which would take the other direction's last bytes with it.
    Refused,
    /// The reader has ended.
    Ending,
    Ended,
}

impl Direction {
    fn new(reader: TunnelEnd, early: BytesMut, writer: TunnelEnd) -> Self {
        Self {
            reader,
            writer,
            bytes: early.len() as u64,
            buffer: early,
            state: State::Open,
        }
    }

    /// Moves what can be moved; ready when the end was passed on.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<Result<(), TunnelEnd>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while !self.buffer.is_empty() {
                match ready!(Pin::new(&mut *writer).poll_write(cx, &self.buffer)) {
                    Ok(written) if written > 0 => self.buffer.advance(written),
                    // It may have said its last before it closed: that is still to be read, and
                    // shows whether it broke off.
                    _ if self.writer == TunnelEnd::Upstream => {
                        self.buffer.clear();
                        self.state = State::Refused;
                        continue;
                    }
                    _ => return Poll::Ready(Err(self.writer)),
                }
                self.state = State::Unflushed;
            }
            match self.state {
                State::Open | State::Unflushed => {
                    self.buffer.reserve(BUFFER);
                    match pin!(reader.read_buf(&mut self.buffer)).poll(cx) {
                        Poll::Ready(Ok(0)) => self.state = State::Ending,
                        Poll::Ready(Ok(count)) => self.bytes += count as u64,
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(self.reader)),
                        Poll::Pending => {
                            // Most tunnels wait most of the time.
                            self.buffer = BytesMut::new();
                            if self.state == State::Unflushed {
                                match ready!(Pin::new(&mut *writer).poll_flush(cx)) {
                                    Ok(()) => self.state = State::Open,
                                    Err(_) => return Poll::Ready(Err(self.writer)),
                                }
                            }
                            return Poll::Pending;
                        }
                    }
                }
                State::Refused => {
                    self.buffer.reserve(BUFFER);
                    match pin!(reader.read_buf(&mut self.buffer)).poll(cx) {
                        Poll::Ready(Ok(0)) => self.state = State::Ended,
                        Poll::Ready(Ok(count)) => self.bytes += count as u64,
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(self.reader)),
                        Poll::Pending => {
                            self.buffer = BytesMut::new();
                            return Poll::Pending;
                        }
                    }
                    self.buffer.clear();
                }
                State::Ending => {
                    match ready!(Pin::new(&mut *writer).poll_shutdown(cx)) {
                        // A side that is gone already needs not be told.
                        Ok(()) | Err(_) => self.state = State::Ended,
                    }
                    self.buffer = BytesMut::new();
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}
