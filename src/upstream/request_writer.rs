//! A request on its way to an HTTP/1.1 server (RFC 9112): head, body, and how far they are.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request};
use hyper::body::Body;
use tokio::io::AsyncWrite;

use super::error::RequestBodyError;
use super::request_body::RequestBody;
use super::transport::Transport;

/// The body is not asked for more while so much of it waits to be written, ...
const QUEUE: usize = 64 * 1024;
/// ... or so many chunks, of three pieces each. What waits goes to the kernel in one call.
const CHUNKS: usize = 16;
/// A head of this size needs no second allocation; what a larger one took is given back.
const HEAD: usize = 1024;

/// Writes requests, one after another.
#[derive(Debug)]
pub(super) struct RequestWriter {
    state: State,
    head: Vec<u8>,
    /// So much of the head was written.
    sent: usize,
    body: Queue,
}

#[derive(Debug)]
enum State {
    /// There is none.
    Idle,
    /// Nothing of it was written, nor taken from its body.
    Untouched(Box<Request<RequestBody>>, Framing),
    /// Its body goes on.
    Flowing(Box<Request<RequestBody>>, Framing),
    /// All that is left of it is queued.
    Ending,
    /// All of it was written; one without a body could be sent once more.
    Sent(Option<Box<Request<RequestBody>>>),
    /// The server has closed its side: it may have answered before.
    Refused,
}

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// So much is to come.
    Left(u64),
    Chunked,
}

/// Pieces that wait to be written.
#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Bytes>,
    length: usize,
}

/// Why a request cannot be written to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// Nothing of it was written: [`RequestWriter::take_unsent`] has it.
    #[error("nothing of the request was written")]
    Unsent(#[source] io::Error),
    #[error("the request was not written to its end")]
    Io(#[source] io::Error),
    #[error("the request body failed")]
    Body(#[source] RequestBodyError),
}

impl RequestWriter {
    /// A writer of nothing.
    pub(super) const fn new() -> Self {
        Self {
            state: State::Idle,
            head: Vec::new(),
            sent: 0,
            body: Queue {
                pieces: VecDeque::new(),
                length: 0,
            },
        }
    }

    /// Takes up `request`, which is in origin form. The one before has been sent.
    pub(super) fn begin(&mut self, request: Box<Request<RequestBody>>) {
        self.head.clear();
        self.head.reserve(HEAD);
        self.sent = 0;
        self.body = Queue::default();
        let framing = write_head(&request, &mut self.head);
        self.state = State::Untouched(request, framing);
    }

    /// Whether another request can be written.
    pub(super) const fn is_ready(&self) -> bool {
        matches!(self.state, State::Idle | State::Sent(_))
    }

    /// Whether the server has closed its side before all was written.
    pub(super) const fn is_refused(&self) -> bool {
        matches!(self.state, State::Refused)
    }

    /// The request of which nothing was written.
    pub(super) fn take_unsent(&mut self) -> Option<Box<Request<RequestBody>>> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Untouched(request, _) => Some(request),
            state => {
                self.state = state;
                None
            }
        }
    }

    /// The request that was written, if it has no body.
    pub(super) fn take_sent(&mut self) -> Option<Box<Request<RequestBody>>> {
        match &mut self.state {
            State::Sent(request) => request.take(),
            _ => None,
        }
    }

    /// Gives back memory that few requests need.
    pub(super) fn rest(&mut self) {
        if self.head.capacity() > HEAD {
            self.head = Vec::new();
        }
        self.body.pieces = VecDeque::new();
    }

    /// Writes what can be written; ready when there is nothing more to write.
    ///
    /// # Errors
    /// See [`WriteError`]. That the server has closed its side is none: its answer may be there.
    pub(super) fn poll(
        &mut self,
        transport: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WriteError>> {
        if matches!(self.state, State::Idle | State::Sent(_) | State::Refused) {
            return Poll::Ready(Ok(()));
        }
        loop {
            let more = self.gather(cx).map_err(WriteError::Body)?;
            match ready!(self.poll_queue(transport, cx)) {
                Ok(()) => {}
                Err(error) if is_closed(error.kind()) => {
                    if let State::Untouched(..) = self.state {
                        return Poll::Ready(Err(WriteError::Unsent(error)));
                    }
                    self.state = State::Refused;
                    self.body = Queue::default();
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(WriteError::Io(error))),
            }
            if matches!(self.state, State::Ending) {
                self.state = State::Sent(None);
            }
            if matches!(self.state, State::Sent(_)) {
                return Poll::Ready(Ok(()));
            }
            ready!(more);
        }
    }

    /// Takes from the body until that has nothing at hand, which is pending, or the queue is full.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, RequestBodyError> {
        loop {
            let (State::Untouched(request, framing) | State::Flowing(request, framing)) =
                &mut self.state
            else {
                return Ok(Poll::Ready(()));
            };
            // One without a body is its head alone, and not touched before that is written.
            if request.body().is_empty() || self.body.is_full() {
                return Ok(Poll::Ready(()));
            }
            let frame = match Pin::new(request.body_mut()).poll_frame(cx) {
                Poll::Ready(frame) => frame.transpose()?,
                Poll::Pending => return Ok(Poll::Pending),
            };
            let ends = match frame.map(hyper::body::Frame::into_data) {
                None => {
                    self.body.end(*framing, None)?;
                    true
                }
                Some(Ok(data)) => {
                    self.body.push(data, framing)?;
                    let ends = request.body().is_end_stream();
                    if ends {
                        self.body.end(*framing, None)?;
                    }
                    ends
                }
                Some(Err(frame)) => {
                    // Nothing comes after trailers.
                    let trailers = frame.into_trailers().ok();
                    self.body.end(*framing, trailers.as_ref())?;
                    true
                }
            };
            self.state = match (std::mem::replace(&mut self.state, State::Ending), ends) {
                (State::Untouched(request, framing) | State::Flowing(request, framing), false) => {
                    State::Flowing(request, framing)
                }
                _ => State::Ending,
            };
        }
    }

    /// Writes all that is queued.
    fn poll_queue(
        &mut self,
        transport: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let head = &self.head[self.sent..];
            if head.is_empty() && self.body.pieces.is_empty() {
                break;
            }
            let written = if self.body.pieces.is_empty() {
                ready!(Pin::new(&mut *transport).poll_write(cx, head))?
            } else {
                let mut slices = [IoSlice::new(&[]); 3 * CHUNKS + 2];
                let mut count = 0;
                let head = std::iter::once(head).filter(|head| !head.is_empty());
                let pieces = self.body.pieces.iter().map(|piece| &piece[..]);
                for (slot, bytes) in slices.iter_mut().zip(head.chain(pieces)) {
                    *slot = IoSlice::new(bytes);
                    count += 1;
                }
                ready!(Pin::new(&mut *transport).poll_write_vectored(cx, &slices[..count]))?
            };
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            let of_head = written.min(head.len());
            self.sent += of_head;
            self.body.advance(written - of_head);
            if let State::Untouched(..) = self.state {
                self.state = match std::mem::replace(&mut self.state, State::Ending) {
                    State::Untouched(request, framing) => State::Flowing(request, framing),
                    state => state,
                };
            }
        }
        self.state = match std::mem::replace(&mut self.state, State::Ending) {
            State::Flowing(request, _) if request.body().is_empty() => State::Sent(Some(request)),
            state => state,
        };
        // TLS may hold back what a write took.
        Pin::new(transport).poll_flush(cx)
    }
}

impl Queue {
    fn is_full(&self) -> bool {
        self.length >= QUEUE || self.pieces.len() >= 3 * CHUNKS
    }

    /// Queues a piece of a body.
    ///
    /// # Errors
    /// It is more than was announced.
    fn push(&mut self, data: Bytes, framing: &mut Framing) -> Result<(), RequestBodyError> {
        if data.is_empty() {
            return Ok(());
        }
        match framing {
            Framing::Left(left) => {
                *left = left
                    .checked_sub(data.len() as u64)
                    .ok_or(RequestBodyError::Broken)?;
            }
            Framing::Chunked => {
                // Its CRLF goes with it: servers that hand on whole chunks wait for that.
                self.add(Bytes::from(format!("{:x}\r\n", data.len())));
                self.add(data);
                self.add(Bytes::from_static(b"\r\n"));
                return Ok(());
            }
        }
        self.add(data);
        Ok(())
    }

    /// Queues the end of a body, with `trailers` where there is a place for them.
    ///
    /// # Errors
    /// It is less than was announced.
    fn end(
        &mut self,
        framing: Framing,
        trailers: Option<&HeaderMap>,
    ) -> Result<(), RequestBodyError> {
        match framing {
            Framing::Left(0) => Ok(()),
            Framing::Left(_) => Err(RequestBodyError::Broken),
            Framing::Chunked => {
                let mut end = b"0\r\n".to_vec();
                if let Some(trailers) = trailers {
                    write_fields(trailers, &mut end);
                }
                end.extend_from_slice(b"\r\n");
                self.add(Bytes::from(end));
                Ok(())
            }
        }
    }

    fn add(&mut self, bytes: Bytes) {
        self.length += bytes.len();
        self.pieces.push_back(bytes);
    }

    fn advance(&mut self, mut written: usize) {
        self.length = self.length.saturating_sub(written);
        while let Some(first) = self.pieces.front_mut()
            && written > 0
        {
            let of_first = written.min(first.len());
            first.advance(of_first);
            written -= of_first;
            if first.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

/// Writes the head of `request` and says how its body is delimited. Where the fields do not say it,
/// one is added.
fn write_head(request: &Request<RequestBody>, head: &mut Vec<u8>) -> Framing {
    let target = request.uri().path_and_query();
    head.extend_from_slice(request.method().as_str().as_bytes());
    head.extend_from_slice(b" ");
    head.extend_from_slice(target.map_or("/", |target| target.as_str()).as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    let fields = request.headers();
    write_fields(fields, head);
    let framing = if fields.contains_key(TRANSFER_ENCODING) {
        Framing::Chunked
    } else if request.body().is_empty() {
        Framing::Left(0)
    } else if let Some(length) = fields.get(CONTENT_LENGTH) {
        // What is no number would have been refused; a body beside it breaks off.
        let length = length.to_str().ok().and_then(|text| text.parse().ok());
        Framing::Left(length.unwrap_or_default())
    } else if let Some(length) = request.body().size_hint().exact() {
        head.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
        Framing::Left(length)
    } else {
        head.extend_from_slice(b"transfer-encoding: chunked\r\n");
        Framing::Chunked
    };
    head.extend_from_slice(b"\r\n");
    framing
}

fn write_fields(fields: &HeaderMap, to: &mut Vec<u8>) {
    for (name, value) in fields {
        to.extend_from_slice(name.as_str().as_bytes());
        to.extend_from_slice(b": ");
        to.extend_from_slice(value.as_bytes());
        to.extend_from_slice(b"\r\n");
    }
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::Method;
    use http::header::HOST;
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    use super::*;
    use crate::upstream::byte_stream::ByteStream;

    fn request(value: &str) -> Box<Request<RequestBody>> {
        let request = Request::builder().method(Method::DELETE).uri("/a?b=c");
        let request = request.header(HOST, "a.test").header("X-Y", value);
        Box::new(request.body(RequestBody::empty()).unwrap())
    }

    #[tokio::test]
    async fn a_request_without_a_body_is_its_head() {
        let (client, mut server) = UnixStream::pair().unwrap();
        let mut transport = Transport::Plain(ByteStream::Unix(client));
        let mut writer = RequestWriter::new();
        for value in ["z", &"long".repeat(1000)] {
            assert!(writer.is_ready());
            writer.begin(request(value));
            assert!(!writer.is_ready());
            poll_fn(|cx| writer.poll(&mut transport, cx)).await.unwrap();
            let head = format!("DELETE /a?b=c HTTP/1.1\r\nhost: a.test\r\nx-y: {value}\r\n\r\n");
            let mut seen = vec![0; head.len()];
            server.read_exact(&mut seen).await.unwrap();
            assert_eq!(String::from_utf8(seen).unwrap(), head);
            assert!(writer.take_unsent().is_none());
            assert_eq!(writer.take_sent().unwrap().headers()["x-y"], *value);
            assert!(writer.take_sent().is_none());
            writer.rest();
            assert!(writer.head.capacity() <= HEAD);
        }
    }

    #[tokio::test]
    async fn a_request_that_was_not_written_is_given_back() {
        let (client, server) = UnixStream::pair().unwrap();
        drop(server);
        let mut transport = Transport::Plain(ByteStream::Unix(client));
        let mut writer = RequestWriter::new();
        writer.begin(request("z"));
        let error = poll_fn(|cx| writer.poll(&mut transport, cx))
            .await
            .unwrap_err();
        assert!(matches!(error, WriteError::Unsent(_)), "{error:?}");
        assert_eq!(writer.take_unsent().unwrap().headers()["x-y"], "z");
    }

    #[test]
    fn chunks_are_delimited_and_lengths_are_kept() {
        let text = |queue: &Queue| {
            let pieces: Vec<_> = queue
                .pieces
                .iter()
                .flat_map(|piece| piece.to_vec())
                .collect();
            assert_eq!(queue.length, pieces.len());
            String::from_utf8(pieces).unwrap()
        };
        let mut queue = Queue::default();
        let mut framing = Framing::Chunked;
        for piece in ["0123456789", "", "x"] {
            queue.push(Bytes::from(piece), &mut framing).unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("sum", "1".parse().unwrap());
        queue.end(framing, Some(&trailers)).unwrap();
        assert_eq!(
            text(&queue),
            "a\r\n0123456789\r\n1\r\nx\r\n0\r\nsum: 1\r\n\r\n"
        );
        queue.advance(18);
        assert_eq!(text(&queue), "x\r\n0\r\nsum: 1\r\n\r\n");

        let mut queue = Queue::default();
        let mut framing = Framing::Left(3);
        queue.push(Bytes::from("ab"), &mut framing).unwrap();
        assert_eq!(queue.end(framing, None), Err(RequestBodyError::Broken));
        let more = queue.push(Bytes::from("cd"), &mut framing);
        assert_eq!(more, Err(RequestBodyError::Broken));
        queue.push(Bytes::from("c"), &mut framing).unwrap();
        queue.end(framing, Some(&trailers)).unwrap();
        assert_eq!(text(&queue), "abc");
        queue.advance(3);
        assert!(queue.pieces.is_empty());
    }
}
