//! The body of a response, which carries its connection until its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::carrier::Carrier;
use super::error::{BodyError, ConnectionError};
use super::idle_timer::IdleTimer;
use super::link::{Link, LinkError};
use super::request_body::Upload;
use super::server::Turn;
use super::socket::UpstreamSocket;

/// The body of a response. Polling it drives the connection, the rest of the request body
/// included; dropping it before its end closes the connection at once.
#[derive(Debug)]
pub struct ResponseBody {
    content: Content,
    /// `None` once the exchange has ended: both messages are complete, or one failed.
    carrier: Option<Carrier>,
    /// Whether a piece of it came.
    begun: bool,
    /// Whether all of it was handed out.
    complete: bool,
    upload: Option<Arc<Upload>>,
    steps: u64,
    idle: IdleTimer,
    /// `None` once the exchange has ended.
    turn: Option<Turn>,
}

/// Where the body of a response is.
#[derive(Debug)]
pub(super) enum Content {
    /// On the connection of HTTP/1.1 that carries it.
    Link,
    /// On a stream of HTTP/2.
    Stream(Incoming),
    /// Here: all of it came with the head.
    Whole(Bytes),
}

impl ResponseBody {
    /// The body that came over `carrier`, with at most `idle` between two pieces of it while they
    /// are waited for.
    pub(super) fn new(
        mut content: Content,
        mut carrier: Carrier,
        upload: Option<Arc<Upload>>,
        idle: Duration,
        turn: Turn,
    ) -> Self {
        // A short response is often whole by now: then others can use the connection already.
        if let Some(whole) = carrier.link().and_then(Link::take_whole) {
            content = Content::Whole(whole);
        }
        let (complete, ended) = match &content {
            // A switch has no body.
            Content::Link => (carrier.is_switched(), false),
            Content::Stream(incoming) => (incoming.is_end_stream(), incoming.is_end_stream()),
            Content::Whole(bytes) => (bytes.is_empty(), true),
        };
        let mut body = Self {
            content,
            begun: false,
            complete,
            upload,
            steps: 0,
            idle: IdleTimer::new(idle),
            turn: Some(turn),
            carrier: Some(carrier),
        };
        if ended && !body.is_switched() {
            body.end();
        }
        body
    }

    fn is_switched(&mut self) -> bool {
        self.carrier.as_mut().is_some_and(Carrier::is_switched)
    }

    /// The connection, where the response has switched protocols (101), or the stream that is a
    /// tunnel (200 to an extended CONNECT). There is no body then.
    pub fn take_tunnel(&mut self) -> Option<Box<UpstreamSocket>> {
        if !self.is_switched() {
            return None;
        }
        let mut tunnel = match self.carrier.take()?.into_tunnel() {
            Ok(tunnel) => tunnel,
            Err(carrier) => {
                self.carrier = Some(carrier);
                return None;
            }
        };
        let turn = self.turn.take();
        if let Some(turn) = &turn {
            turn.succeeded();
        }
        tunnel.hold(turn);
        Some(tunnel)
    }

    /// Has at most `bytes` read at once from a connection of HTTP/1.1 from now on; at first 32 KiB.
    pub fn read_at_most(&mut self, bytes: usize) {
        if let Some(link) = self.carrier.as_mut().and_then(Carrier::link) {
            link.read_at_most(bytes);
        }
    }

    /// Whether the last piece was handed out, as far as is known.
    fn is_at_end(&mut self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Stream(incoming) => incoming.is_end_stream(),
            Content::Link => match self.carrier.as_mut().and_then(Carrier::link) {
                Some(link) => link.is_ended(),
                None => self.complete,
            },
        }
    }

    fn end(&mut self) {
        if let Some(carrier) = self.carrier.take() {
            carrier.end();
        }
        if let Some(turn) = self.turn.take() {
            turn.succeeded();
        }
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        self.carrier = None;
        // Where the request body failed first, the rest follows from it.
        let error = match self.upload.as_ref().and_then(|upload| upload.error()) {
            Some(cause) => BodyError::RequestBody(cause),
            None => error,
        };
        if let (Some(turn), Some(failure)) = (self.turn.take(), error.failure()) {
            turn.broke(failure);
        }
        error
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = match &mut this.content {
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                this.complete = true;
                return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
            }
            Content::Stream(incoming) => Pin::new(incoming)
                .poll_frame(cx)
                .map_err(|error| Some(ConnectionError::Http2(error))),
            Content::Link => match this.carrier.as_mut().and_then(Carrier::link) {
                Some(link) => link.poll_frame(cx).map_err(|error| match error {
                    LinkError::Connection(error) => Some(error),
                    // Of the request's body, which says so itself: no other comes here.
                    _ => None,
                }),
                None => Poll::Ready(None),
            },
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.idle.progress(0);
                // Streams of events end when the client leaves, and never in order.
                if let (false, Some(turn)) = (this.begun, &this.turn) {
                    this.begun = true;
                    turn.succeeded();
                }
                // Nothing comes after trailers, and nobody asks for more then.
                this.complete = frame.is_trailers() || this.is_at_end();
                if this.complete {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(error) = &error {
                    tracing::debug!(%error, "response body broke off");
                }
                Poll::Ready(Some(Err(this.fail(BodyError::Truncated(error)))))
            }
            // To hyper a stream that was reset with NO_ERROR has ended.
            Poll::Ready(None) if !this.is_at_end() => {
                Poll::Ready(Some(Err(this.fail(BodyError::Truncated(None)))))
            }
            Poll::Ready(None) => {
                this.complete = true;
                this.end();
                Poll::Ready(None)
            }
            Poll::Pending => {
                // The client's silence is not the server's, and a server that takes a long upload
                // piece by piece is not idle. Over HTTP/2 another task moves the upload: then
                // this is looked at when the time is up.
                if let Some(upload) = &this.upload
                    && (upload.waits_for_client() || upload.steps() != this.steps)
                {
                    this.steps = upload.steps();
                    this.idle.progress(0);
                }
                match this.idle.poll_expired(cx) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(this.fail(BodyError::Idle)))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.complete
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream(incoming) => incoming.size_hint(),
            Content::Link => match &self.carrier {
                Some(Carrier::Http1(lease)) => lease.size_hint(),
                _ => SizeHint::with_exact(0),
            },
        }
    }
}
