//! The stream below rustls: one TLS record at a time during the handshake.
//!
//! A `RecordIo` has two lives. During the handshake it hands rustls at most one whole record a
//! read, so the time from handing out a record to rustls's next IO call is the time rustls spent
//! on it; it keeps the messages and the facts of the clear ones, and it enforces the handshake's
//! one deadline, because errors give the stream back and a dropped future would not. Afterwards
//! it passes bytes through, what it had read ahead first.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::clock::Clock;
use super::door::Ahead;
use super::false_start::EarlyData;
use super::first_flight::{Assembly, FirstFlight};
use super::inbox::{Inbox, record_length};
use super::slot_wait::Readmission;
use super::streaming::{FirstRequest, Streaming};
use super::transcript::Transcript;
use super::transport::Transport;
use crate::deadline::Deadline;
use crate::report::{Phase, ProtocolVersion};

/// A stream that knows TLS records.
#[derive(Debug)]
pub struct RecordIo<S> {
    pub(super) io: S,
    pub(super) life: Life,
}

#[derive(Debug)]
pub(super) enum Life {
    Handshake(Box<Handshake>),
    Streaming(Streaming),
}

/// What a handshake needs; freed when it is complete.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) clock: Clock,
    pub(super) transcript: Transcript,
    pub(super) deadline: Deadline,
    pub(super) early_data: EarlyData,
    pub(super) readmission: Readmission,
    pub(super) flights: Flights,
    stage: Stage,
    pub(super) inbox: Inbox,
    /// The kernel did not take all of our flight yet.
    write_blocked: bool,
    /// When we began to write what ends the handshake.
    pub(super) finishing: Option<Instant>,
}

/// How much went in the first flights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flights {
    /// What had come when the first ClientHello was whole.
    pub(super) client: u32,
    /// What the kernel took of us before anything of the client's flight came.
    pub(super) server: u32,
    /// Round trips more than one that ours takes, because the congestion window was smaller.
    pub(super) window_round_trips: u8,
}

/// How far the handshake is, as far as waits and writes need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The first ClientHello is not whole yet.
    ClientHello,
    /// It is whole, and rustls reads it to tell what it asks for.
    Accepting,
    /// rustls works on a ClientHello, or our flight is going out.
    ServerFlight,
    /// HelloRetryRequest is out.
    Retry,
    /// Our flight is out, nothing of the client's yet.
    ClientFlightWait,
    /// The client's flight has begun.
    ClientFlight,
}

/// The most that is read ahead: a ClientHello of 64 KiB in records, and one record more.
pub(super) const MAX_AHEAD: usize = 96 * 1024;
/// Most ClientHellos fit; one with a post-quantum key share has about 1,800 bytes.
const READ_SIZE: usize = 4096;
/// Ten segments of 536 bytes, the smallest that a connection begins with (RFC 6928, RFC 9293).
/// Only a flight beyond it is worth the call that asks for the congestion window.
const SMALLEST_WINDOW: usize = 5360;

impl<S> RecordIo<S> {
    /// Begins a handshake on `io` that was accepted at `accepted`.
    pub(super) fn new(io: S, accepted: Instant, deadline: Deadline) -> Self {
        Self {
            io,
            life: Life::Handshake(Box::new(Handshake {
                clock: Clock::start(accepted),
                transcript: Transcript::new(accepted),
                deadline,
                early_data: EarlyData::Accept,
                readmission: Readmission::None,
                flights: Flights::default(),
                stage: Stage::ClientHello,
                inbox: Inbox::default(),
                write_blocked: false,
                finishing: None,
            })),
        }
    }

    /// The stream below.
    pub const fn get_ref(&self) -> &S {
        &self.io
    }

    /// The stream below. Reading or writing it directly breaks the TLS connection above.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.io
    }

    /// See [`Transport::end`].
    pub(super) fn end(&mut self)
    where
        S: Transport,
    {
        self.io.end();
    }

    /// The stream below, without what was read ahead.
    pub(super) fn into_inner(self) -> S {
        self.io
    }

    /// Begins with what was read of the connection before. The time since then is ours.
    pub(super) fn begin_with(&mut self, ahead: Ahead) {
        let Life::Handshake(handshake) = &mut self.life else {
            return;
        };
        let Ahead {
            accepted,
            bytes,
            came,
            read,
        } = ahead;
        handshake.clock.enter(Phase::ClientHelloWait, accepted);
        if let Some(came) = came {
            handshake.clock.received(came, read);
        }
        handshake.clock.enter(Phase::ReadQueue, read);
        handshake.inbox.came = came;
        handshake.inbox.bytes = bytes;
    }

    /// The handshake's state, until [`RecordIo::finish`].
    pub(super) fn handshake(&mut self) -> Option<&mut Handshake> {
        match &mut self.life {
            Life::Handshake(handshake) => Some(handshake),
            Life::Streaming(_) => None,
        }
    }

    /// Ends the first life. `first` is told how long the first bytes after it were in coming;
    /// bytes that are here already count as none.
    pub(super) fn finish(&mut self, first: Option<FirstRequest>) {
        let Life::Handshake(handshake) = &mut self.life else {
            return;
        };
        let ahead = handshake.inbox.take_rest();
        self.life = Life::Streaming(Streaming::new(ahead, first));
    }
}

impl<S: Transport> RecordIo<S> {
    /// Reads until the first ClientHello is whole, over however many records and segments it
    /// comes. The bytes stay here for rustls to read again.
    ///
    /// # Errors
    /// The stream's own; [`io::ErrorKind::TimedOut`] when the deadline has passed.
    pub(super) async fn read_client_hello(&mut self) -> io::Result<FirstFlight> {
        let Self {
            io,
            life: Life::Handshake(handshake),
        } = self
        else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut assembly = Assembly::default();
        // See [`RecordIo::begin_with`].
        let mut begun = !handshake.inbox.bytes.is_empty();
        if !begun {
            handshake
                .clock
                .enter(Phase::ClientHelloWait, Instant::now());
        }
        loop {
            let mut first = begun;
            if !std::mem::take(&mut begun) {
                first = handshake.inbox.bytes.is_empty();
                let closed = std::future::poll_fn(|cx| handshake.fill(io, cx)).await?;
                if closed {
                    return Ok(FirstFlight::Closed {
                        bytes: handshake.inbox.bytes.len(),
                    });
                }
            }
            if first {
                handshake
                    .clock
                    .enter(Phase::ClientHelloRead, Instant::now());
            }
            if let Some(flight) = assembly.advance(&handshake.inbox.bytes) {
                handshake.clock.enter(Phase::Select, Instant::now());
                handshake.stage = Stage::Accepting;
                handshake.flights.client =
                    u32::try_from(handshake.inbox.bytes.len()).unwrap_or(u32::MAX);
                return Ok(flight);
            }
            if first {
                io.acknowledge();
            }
        }
    }
}

impl Handshake {
    /// Reads more into the inbox; true at the end of the stream.
    pub(super) fn fill<S: Transport>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        if self.inbox.head == self.inbox.bytes.len() {
            self.inbox.bytes.clear();
            self.inbox.head = 0;
        }
        if self.inbox.bytes.len() >= MAX_AHEAD {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        let mut chunk = [const { MaybeUninit::uninit() }; READ_SIZE];
        let mut buffer = ReadBuf::uninit(&mut chunk);
        match io.poll_read_at(cx, &mut buffer) {
            Poll::Ready(Ok(arrival)) => {
                self.inbox.came = arrival;
                if let Some(arrival) = arrival {
                    self.clock.received(arrival, Instant::now());
                }
                self.inbox.bytes.extend_from_slice(buffer.filled());
                self.inbox.eof = buffer.filled().is_empty();
                Poll::Ready(Ok(self.inbox.eof))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.pending(cx),
        }
    }

    /// `Pending`, unless the deadline has passed.
    pub(super) fn pending<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.deadline.poll_elapsed(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// rustls asks for bytes.
    fn poll_read<S: Transport>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut now = Instant::now();
        // rustls also reads when the kernel takes no more of its flight: then that is not over.
        if self.stage == Stage::ServerFlight && !self.write_blocked {
            self.stage = match self.transcript.server().retry_pending {
                true => Stage::Retry,
                false => Stage::ClientFlightWait,
            };
        }
        loop {
            self.watch_early_data()?;
            let admitted = self.stage != Stage::Retry || ready!(self.poll_readmitted(io, cx))?;
            if admitted && self.hand_out(out, now) {
                return Poll::Ready(Ok(()));
            }
            self.clock.enter(self.wait_phase(), now);
            if self.inbox.eof {
                return Poll::Ready(Ok(()));
            }
            ready!(self.fill(io, cx))?;
            now = Instant::now();
            if !self.inbox.eof && self.stage == Stage::ClientFlightWait {
                self.clock.enter(Phase::ClientFlightRead, now);
                self.stage = Stage::ClientFlight;
            }
        }
    }

    /// The phase of waiting for the next record.
    const fn wait_phase(&self) -> Phase {
        match self.stage {
            _ if self.write_blocked => self.write_phase(),
            Stage::ClientHello | Stage::Accepting => Phase::ClientHelloRead,
            Stage::Retry => Phase::RetryWait,
            Stage::ServerFlight | Stage::ClientFlightWait => Phase::ClientFlightWait,
            Stage::ClientFlight => Phase::ClientFlightRead,
        }
    }

    const fn write_phase(&self) -> Phase {
        match self.stage {
            Stage::ClientFlight => Phase::ServerFinishWrite,
            _ => Phase::ServerFlightWrite,
        }
    }

    /// Whether the peer has sent nothing at all.
    pub(super) const fn nothing_came(&self) -> bool {
        matches!(self.stage, Stage::ClientHello) && self.inbox.bytes.is_empty()
    }

    /// The driver lets rustls work on the ClientHello.
    pub(super) fn begin_server_flight(&mut self) {
        self.clock.hand_over(Phase::ServerFlight, Instant::now());
        self.stage = Stage::ServerFlight;
    }

    /// After the last record of the client's flight rustls looks for more before it says that it
    /// is done: that look was no wait for the client.
    pub(super) fn end_client_flight(&mut self) {
        if self.stage == Stage::ClientFlight && self.clock.phase() == Phase::ClientFlightRead {
            self.clock.relabel(Phase::ClientFinished);
        }
    }

    /// The driver checks what rustls has made of the client's flight.
    pub(super) fn begin_check(&mut self) {
        self.end_client_flight();
        self.clock.hand_over(Phase::ClientFinished, Instant::now());
    }

    /// Gives rustls the record at the head if it is whole, or what is left of it.
    fn hand_out(&mut self, out: &mut ReadBuf<'_>, now: Instant) -> bool {
        if self.inbox.record_left == 0 {
            let bytes = self.inbox.bytes.get(self.inbox.head..).unwrap_or_default();
            let Some(length) = record_length(bytes) else {
                return false;
            };
            self.inbox.record_left = length;
            self.transcript.record_in(&bytes[..length], now);
            let phase = match self.stage {
                Stage::ClientHello | Stage::Accepting => Phase::Select,
                Stage::ServerFlight | Stage::Retry => Phase::ServerFlight,
                Stage::ClientFlightWait | Stage::ClientFlight => {
                    self.stage = Stage::ClientFlight;
                    Phase::ClientFinished
                }
            };
            self.clock.hand_over(phase, now);
        }
        let start = self.inbox.head;
        let length = self.inbox.record_left.min(out.remaining());
        out.put_slice(&self.inbox.bytes[start..start + length]);
        self.inbox.head += length;
        self.inbox.record_left -= length;
        true
    }

    /// Whether what rustls writes now is tickets, or an alert that the connection ends with.
    fn ends_with_tickets(&self) -> bool {
        self.stage == Stage::ClientFlight
            && self.transcript.server().version == Some(ProtocolVersion::Tls13)
    }

    /// rustls writes: its work is done, the kernel's begins.
    fn begin_write(&mut self) {
        self.end_client_flight();
        if self.stage == Stage::Retry {
            self.stage = Stage::ServerFlight;
        }
        let now = Instant::now();
        if self.stage == Stage::ClientFlight {
            self.finishing.get_or_insert(now);
        }
        self.clock.enter(self.write_phase(), now);
    }
}

impl<S: Transport> AsyncRead for RecordIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.life {
            Life::Handshake(handshake) => handshake.poll_read(&mut this.io, cx, out),
            Life::Streaming(streaming) => streaming.poll_read(&mut this.io, cx, out),
        }
    }
}

impl<S: Transport> AsyncWrite for RecordIo<S> {
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
        let this = self.get_mut();
        let Life::Handshake(handshake) = &mut this.life else {
            return Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        };
        handshake.begin_write();
        if handshake.ends_with_tickets() {
            this.io.defer();
        }
        let flight = handshake.stage == Stage::ServerFlight;
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if flight && length > SMALLEST_WINDOW {
            let facts = this.io.tcp_facts().unwrap_or_default();
            let more = facts.round_trips_beyond_the_first(length);
            handshake.flights.window_round_trips = handshake.flights.window_round_trips.max(more);
        }
        let result = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        handshake.write_blocked = result.is_pending();
        match result {
            Poll::Ready(Ok(written)) => {
                let now = Instant::now();
                if flight {
                    let server = &mut handshake.flights.server;
                    *server = server.saturating_add(u32::try_from(written).unwrap_or(u32::MAX));
                }
                let mut left = written;
                for slice in slices {
                    let length = left.min(slice.len());
                    handshake.transcript.bytes_out(&slice[..length], now);
                    left -= length;
                }
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => handshake.pending(cx),
        }
    }

    /// Without this rustls would write each record of a flight by itself.
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
