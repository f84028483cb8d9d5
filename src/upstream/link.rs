//! One connection to an upstream server that speaks HTTP/1.1 (RFC 9112).
//!
//! hyper's client stands between a task that drives the connection and the one that waits for the
//! answer, and looks for the end of the connection after each exchange with a buffer of its own.
//! Here both are one: whoever has the connection drives it, a request is one write, and a body is
//! read only when somebody asks for it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::task::unconstrained;
use tokio::time::Instant;
use tokio_rustls::rustls;

use super::body_decoder::{BodyDecoder, BodyLength, Decoded};
use super::error::{ConnectionError, RequestBodyError};
use super::framing::{self, FramingError};
use super::lazy_sleep::LazySleep;
use super::request_body::{RequestBody, Upload};
use super::request_writer::{RequestWriter, WriteError};
use super::response_head::{self, HeadError, HeadReader};
use super::socket::UpstreamSocket;
use super::transport::Transport;
use crate::telemetry::UpstreamMetrics;

/// The room for a head, and a short body with it, on a new connection; it doubles with each read
/// that fills it. Small buffers come from the allocator's own cache.
const FIRST_READ: usize = 2 * 1024;
/// The most that this becomes.
const USUAL_READ: usize = 16 * 1024;
/// The most that is read of a body before somebody takes it, unless [`Link::read_at_most`] says less.
const LARGEST_READ: usize = 32 * 1024;
/// The most that all heads before the last, interim responses (1xx), may take together with it.
const HEADS: usize = 4 * response_head::LARGEST;

/// A connection. Nothing runs in the background: it moves only while someone polls it, and
/// dropping it closes it.
#[derive(Debug)]
pub(super) struct Link {
    transport: Transport,
    writer: RequestWriter,
    reading: Reading,
    /// What came and was not taken.
    inbox: BytesMut,
    /// The room for the next head.
    room: usize,
    /// The most that is read of this body at once, ...
    most: usize,
    /// ... and about twice what came the last time.
    pieces: usize,
    /// A byte came since the last [`Link::send`].
    answered: bool,
    timer: LazySleep,
    open: OpenConnection,
}

/// What is read next.
#[derive(Debug)]
enum Reading {
    /// Nothing: a byte that comes was not asked for.
    Idle,
    /// The head of a response.
    Head {
        reader: HeadReader,
        question: Question,
        /// What interim responses have taken.
        taken: usize,
    },
    /// The body of a response, ...
    Body(BodyDecoder, Keeping),
    /// ... all of which was read.
    Ended(Keeping),
    /// Another protocol.
    Switched,
}

/// What of a request its response depends on.
#[derive(Debug)]
struct Question {
    method: Method,
    /// The protocols that it would switch to.
    upgrade: Option<HeaderValue>,
    upload: Option<Arc<Upload>>,
}

/// Whether the server keeps the connection after this response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    Kept,
    Closed,
}

/// Counts as an open connection until it is dropped.
#[derive(Debug)]
struct OpenConnection(Arc<UpstreamMetrics>);

/// Why an exchange came to nothing. The connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// Nothing of the request was written: [`Link::take_unsent`] has it.
    #[error("the server closed before the request was written")]
    Unsent(#[source] ConnectionError),
    #[error("the request body failed")]
    RequestBody(#[source] RequestBodyError),
    #[error("the head of the response is not acceptable")]
    Framing(#[source] FramingError),
    #[error("the connection is of no more use")]
    Connection(#[source] ConnectionError),
}

impl Link {
    /// Speaks HTTP/1.1 on `transport`. Counts the connection as open until the link is dropped.
    pub(super) fn new(transport: Transport, metrics: Arc<UpstreamMetrics>) -> Self {
        metrics.connection_opened();
        Self {
            transport,
            writer: RequestWriter::new(),
            reading: Reading::Idle,
            inbox: BytesMut::new(),
            room: FIRST_READ,
            most: LARGEST_READ,
            pieces: LARGEST_READ,
            answered: false,
            timer: LazySleep::new(),
            open: OpenConnection(metrics),
        }
    }

    /// Begins an exchange on a link that is idle: `upgrade` is what `request` would switch to. It
    /// moves while the link is polled.
    pub(super) fn send(
        &mut self,
        request: Box<Request<RequestBody>>,
        upgrade: Option<HeaderValue>,
    ) {
        self.answered = false;
        self.most = LARGEST_READ;
        self.reading = Reading::Head {
            reader: HeadReader::default(),
            question: Question {
                method: request.method().clone(),
                upgrade,
                upload: request.body().upload(),
            },
            taken: 0,
        };
        self.writer.begin(request);
    }

    /// The head of the response. Moves the request, too.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Parts, LinkError>> {
        loop {
            if let Some(parts) = self.take_head()? {
                return Poll::Ready(Ok(parts));
            }
            // After that: an interim response may have let the body go.
            self.write(cx)?;
            if ready!(self.poll_read(self.room, cx)).map_err(LinkError::io)? == 0 {
                return Poll::Ready(Err(LinkError::Connection(ConnectionError::Closed)));
            }
            if self.inbox.len() >= self.room {
                self.room = (self.room * 2).min(USUAL_READ);
            }
        }
    }

    /// The next piece of the body, or its trailers; `None` at its end. Moves the request, too.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, LinkError>>> {
        if let Err(error) = self.write(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            let Reading::Body(decoder, keeping) = &mut self.reading else {
                return Poll::Ready(None);
            };
            let keeping = *keeping;
            let decoded = decoder.decode(&mut self.inbox);
            if self.inbox.is_empty() {
                // The rest of a buffer keeps all of it, for as long as nobody asks for more.
                self.inbox = BytesMut::new();
            }
            if decoder.is_ended() {
                self.reading = Reading::Ended(keeping);
            }
            let wanted = match decoded {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Decoded::Trailers(fields)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(fields))));
                }
                Ok(Decoded::End) => return Poll::Ready(None),
                Ok(Decoded::More(wanted)) => usize::try_from(wanted).unwrap_or(LARGEST_READ),
                Err(error) => {
                    let error = LinkError::Connection(ConnectionError::Body(error));
                    return Poll::Ready(Some(Err(error)));
                }
            };
            let wanted = wanted.clamp(FIRST_READ, self.most.min(self.pieces));
            let read = ready!(self.poll_read(wanted, cx));
            if let Ok(came) = read {
                // Where little comes at once, little is made room for.
                self.pieces = (2 * came)
                    .next_power_of_two()
                    .clamp(FIRST_READ, LARGEST_READ);
            }
            match read {
                Ok(0) => match &self.reading {
                    // A failed write may have eaten the socket's error: what ends with the
                    // connection must not look whole then.
                    Reading::Body(decoder, _)
                        if decoder.ends_with_connection() && !self.writer.is_refused() =>
                    {
                        self.reading = Reading::Ended(Keeping::Closed);
                        return Poll::Ready(None);
                    }
                    _ => {
                        let error = LinkError::Connection(ConnectionError::Closed);
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(LinkError::io(error)))),
            }
        }
    }

    /// All of the body, where it has come with the head and nothing is wrong with it: then the
    /// exchange is over. Else nothing is taken.
    pub(super) fn take_whole(&mut self) -> Option<Bytes> {
        match &self.reading {
            Reading::Ended(_) => Some(Bytes::new()),
            Reading::Body(decoder, keeping) => {
                let length = usize::try_from(decoder.left()?).ok()?;
                let keeping = *keeping;
                let whole = (length <= self.inbox.len()).then(|| self.inbox.split_to(length))?;
                self.reading = Reading::Ended(keeping);
                Some(whole.freeze())
            }
            Reading::Idle | Reading::Head { .. } | Reading::Switched => None,
        }
    }

    /// What is known of the length of what is left of the body.
    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.reading {
            Reading::Body(decoder, _) => decoder
                .left()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            _ => SizeHint::with_exact(0),
        }
    }

    /// Reads at most `bytes` of this body at once from now on, or so; 2 KiB at least, 32 at most.
    pub(super) fn read_at_most(&mut self, bytes: usize) {
        self.most = bytes.clamp(FIRST_READ, LARGEST_READ);
    }

    /// Whether all of the response was read.
    pub(super) const fn is_ended(&self) -> bool {
        matches!(self.reading, Reading::Ended(_))
    }

    /// Whether a request can be sent now: both messages of the last exchange are complete, the
    /// server agreed to keep the connection, and nothing came since.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.reading, Reading::Idle | Reading::Ended(Keeping::Kept))
            && self.writer.is_ready()
            && self.inbox.is_empty()
    }

    /// Whether it is idle and still open, as far as this side knows. Lets go of the task that used
    /// it: its memory would stay for as long as the link knows it.
    pub(super) fn rest(&mut self) -> bool {
        self.inbox = BytesMut::new();
        self.writer.rest();
        self.timer.forget_waiter();
        self.is_open()
    }

    /// Whether neither its end nor bytes that nobody asked for have come.
    pub(super) fn is_open(&mut self) -> bool {
        let mut unasked = [0; 1];
        let mut unasked = ReadBuf::new(&mut unasked);
        let cx = &mut Context::from_waker(Waker::noop());
        let transport = &mut self.transport;
        // Whatever the task has used up of its turn: what is overlooked here would be taken for the
        // next answer.
        let read = poll_fn(|cx| Pin::new(&mut *transport).poll_read(cx, &mut unasked));
        let pending = pin!(unconstrained(read)).poll(cx).is_pending();
        pending && self.is_idle()
    }

    /// Whether there is a tunnel to take.
    pub(super) const fn is_switched(&self) -> bool {
        matches!(self.reading, Reading::Switched)
    }

    /// The connection, after the server has switched to another protocol.
    ///
    /// # Errors
    /// It has not.
    pub(super) fn into_tunnel(self: Box<Self>) -> Result<Box<UpstreamSocket>, Box<Self>> {
        if !self.is_switched() {
            return Err(self);
        }
        let Self {
            transport,
            inbox,
            open,
            ..
        } = *self;
        let socket = UpstreamSocket::tunnel(transport, inbox.freeze(), open.0.clone());
        Ok(Box::new(socket))
    }

    /// The request of which nothing was written.
    pub(super) fn take_unsent(&mut self) -> Option<Box<Request<RequestBody>>> {
        self.writer.take_unsent()
    }

    /// The request that was written and not answered, if it has no body.
    pub(super) fn take_unanswered(&mut self) -> Option<Box<Request<RequestBody>>> {
        match self.answered {
            true => None,
            false => self.writer.take_sent(),
        }
    }

    /// Whether a byte came since the last [`Link::send`].
    pub(super) const fn answered(&self) -> bool {
        self.answered
    }

    /// Ready once `deadline` has passed; else the task is woken when it does.
    pub(super) fn poll_until(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.poll_until(deadline, cx)
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), LinkError> {
        match self.writer.poll(&mut self.transport, cx) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(WriteError::Unsent(error))) => {
                Err(LinkError::Unsent(ConnectionError::Io(error)))
            }
            Poll::Ready(Err(WriteError::Io(error))) => Err(LinkError::io(error)),
            Poll::Ready(Err(WriteError::Body(error))) => Err(LinkError::RequestBody(error)),
        }
    }

    /// The head of the last response in what came, if it is whole.
    fn take_head(&mut self) -> Result<Option<Parts>, LinkError> {
        let connection = |error| LinkError::Connection(ConnectionError::Head(error));
        loop {
            let Reading::Head {
                reader,
                question,
                taken,
            } = &mut self.reading
            else {
                return Ok(None);
            };
            let before = self.inbox.len();
            if *taken + before > HEADS {
                return Err(connection(HeadError::TooLarge));
            }
            let Some(mut parts) = reader.read(&mut self.inbox).map_err(connection)? else {
                return Ok(None);
            };
            *taken += before - self.inbox.len();
            let status = parts.status;
            if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                if let (StatusCode::CONTINUE, Some(upload)) = (status, &question.upload) {
                    upload.wanted();
                }
                continue;
            }
            // It is not needed again, and pins what was read of the client.
            drop(self.writer.take_sent());
            let keeping = match response_head::keeps_connection(&parts) {
                true => Keeping::Kept,
                false => Keeping::Closed,
            };
            let upgrade = question.upgrade.as_ref();
            let length = framing::check(&question.method, upgrade, &mut parts)
                .map_err(LinkError::Framing)?;
            self.reading = match length {
                _ if status == StatusCode::SWITCHING_PROTOCOLS => match self.writer.is_ready() {
                    true => Reading::Switched,
                    // Half a request, and then another protocol.
                    false => return Err(LinkError::Framing(FramingError::UnaskedUpgrade)),
                },
                BodyLength::Known(0) => Reading::Ended(keeping),
                length => Reading::Body(BodyDecoder::new(length), keeping),
            };
            return Ok(Some(parts));
        }
    }

    /// Reads once, up to about `wanted` bytes, and how many came; 0 at the end.
    fn poll_read(&mut self, wanted: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.inbox.capacity() - self.inbox.len() < wanted / 4 {
            self.inbox.reserve(wanted);
        }
        let mut room = (&mut self.inbox).limit(wanted);
        let read = pin!(self.transport.read_buf(&mut room));
        let came = ready!(read.poll(cx))?;
        self.answered |= came > 0;
        Poll::Ready(Ok(came))
    }
}

impl LinkError {
    const fn io(error: io::Error) -> Self {
        Self::Connection(ConnectionError::Io(error))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}

/// Whether it is rustls that failed, and not the connection below it.
pub(super) fn is_tls(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>())
}
