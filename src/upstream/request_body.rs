//! The body of a request on its way upstream: bounded, timed and watched.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use super::error::RequestBodyError;
use super::idle_timer::IdleTimer;

/// Less than this in `timeouts.request_body_idle` is no progress: a byte now and then would hold
/// the connection, and one to the upstream server, for ever.
const LEAST: u64 = 1024;
/// How long a body that the client holds back is held for the upstream server's word: many servers
/// never say 100. Clients wait as long by custom.
const CONTINUE: Duration = Duration::from_secs(1);

/// The body of a request. The connection polls it only when it can take more, so nothing is
/// buffered beyond what waits to be written: 64 KiB, or hyper's own buffers over HTTP/2.
#[derive(Debug)]
pub struct RequestBody(Option<Stream>);

#[derive(Debug)]
struct Stream {
    incoming: Incoming,
    version: Version,
    limit: Option<u64>,
    idle: IdleTimer,
    upload: Arc<Upload>,
    /// Leaves what may pass of the trailers.
    trailers: fn(&mut HeaderMap),
    /// While the body is held: when that ends, made at the first poll.
    held: Option<Pin<Box<Sleep>>>,
}

/// What is known of a body that another owner holds: how far it is, and how it failed.
#[derive(Debug, Default)]
pub struct Upload {
    state: AtomicU8,
    steps: AtomicU64,
    bytes: AtomicU64,
    permission: AtomicU8,
}

/// Whether the upstream server wants a body that its client holds back (`Expect: 100-continue`, RFC
/// 9110 section 10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Permission {
    /// The client sends anyway, or may.
    Given = 0,
    /// The server has not said.
    Awaited,
    /// The server answered without it.
    Refused,
}

/// Whom an upload waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum State {
    /// What came was taken; the upstream server decides when more is.
    Flowing = 0,
    /// The upstream server would take more; the client has not sent it.
    Waiting,
    /// All sent.
    Done,
    /// Failed by [`RequestBodyError`].
    TooLarge,
    /// As above.
    Idle,
    /// As above.
    Broken,
}

impl RequestBody {
    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self(None)
    }

    /// The client's body, which came by `version`, of at most `limit` bytes, with at most `idle` of
    /// waiting for each KiB of it. `trailers` takes away what may not pass of the trailers. A body
    /// that is known to be empty becomes [`RequestBody::empty`].
    #[must_use]
    pub fn new(
        incoming: Incoming,
        version: Version,
        limit: Option<u64>,
        idle: Duration,
        trailers: fn(&mut HeaderMap),
    ) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        Self(Some(Stream {
            incoming,
            version,
            limit,
            idle: IdleTimer::at_least(idle, LEAST),
            upload: Arc::default(),
            trailers,
            held: None,
        }))
    }

    /// Does not ask the client for the body before the server has: with 100, or with its silence
    /// for a second. If the server answers first, the client is never asked.
    #[must_use]
    pub fn held(self) -> Self {
        if let Some(stream) = &self.0 {
            stream.upload.permit(Permission::Awaited);
        }
        self
    }

    /// The body's progress; `None` where there is no body.
    #[must_use]
    pub fn upload(&self) -> Option<Arc<Upload>> {
        self.0.as_ref().map(|stream| stream.upload.clone())
    }

    /// Whether there is no body.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Upload {
    /// Bytes taken from the client so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the response came before the server wanted the body, which was then not read.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.permission.load(Ordering::Relaxed) == Permission::Refused as u8
    }

    /// Whether the server has yet to say that it wants the body.
    pub(super) fn is_held(&self) -> bool {
        self.permission.load(Ordering::Relaxed) == Permission::Awaited as u8
    }

    /// The server wants the body.
    pub(super) fn wanted(&self) {
        if self.is_held() {
            self.permit(Permission::Given);
        }
    }

    /// The response has come: what is still held is not wanted.
    pub(super) fn answered(&self) {
        if self.is_held() {
            self.permit(Permission::Refused);
        }
    }

    fn permit(&self, permission: Permission) {
        self.permission.store(permission as u8, Ordering::Relaxed);
    }

    /// How the body failed, if it did.
    #[must_use]
    pub fn error(&self) -> Option<RequestBodyError> {
        match self.state.load(Ordering::Relaxed) {
            state if state == State::TooLarge as u8 => Some(RequestBodyError::TooLarge),
            state if state == State::Idle as u8 => Some(RequestBodyError::Idle),
            state if state == State::Broken as u8 => Some(RequestBodyError::Broken),
            _ => None,
        }
    }

    /// Whether the next step is the client's: then no wait counts against the upstream server.
    pub(super) fn waits_for_client(&self) -> bool {
        self.state.load(Ordering::Relaxed) == State::Waiting as u8
    }

    /// Whether the next step is the upstream server's: it has not taken what came, and there is more.
    pub(super) fn waits_for_server(&self) -> bool {
        self.state.load(Ordering::Relaxed) == State::Flowing as u8
    }

    /// A number that grows with every piece, and with the end.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    fn step(&self, state: State, bytes: u64) {
        // One task polls the body, others only read: no read-modify-write is needed.
        self.bytes.store(self.bytes() + bytes, Ordering::Relaxed);
        self.steps.store(self.steps() + 1, Ordering::Relaxed);
        self.set(state);
    }

    fn fail(&self, error: RequestBodyError) -> RequestBodyError {
        self.set(match error {
            RequestBodyError::TooLarge => State::TooLarge,
            RequestBodyError::Idle => State::Idle,
            RequestBodyError::Broken => State::Broken,
        });
        error
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let Some(stream) = &mut self.get_mut().0 else {
            return Poll::Ready(None);
        };
        let upload = &stream.upload;
        if upload.is_refused() {
            // The exchange ends with the response.
            return Poll::Pending;
        }
        if upload.is_held() {
            // Whoever reads a 100 polls the body after it, so that needs no waker of its own.
            let patience = stream.held.get_or_insert_with(|| Box::pin(sleep(CONTINUE)));
            ready!(patience.as_mut().poll(cx));
            upload.wanted();
        }
        match Pin::new(&mut stream.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    (stream.trailers)(trailers);
                }
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                stream.idle.progress(bytes);
                let total = upload.bytes().saturating_add(bytes);
                if stream.limit.is_some_and(|limit| total > limit) {
                    return Poll::Ready(Some(Err(upload.fail(RequestBodyError::TooLarge))));
                }
                let done = stream.incoming.is_end_stream();
                upload.step(if done { State::Done } else { State::Flowing }, bytes);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "request body broke off");
                Poll::Ready(Some(Err(upload.fail(RequestBodyError::Broken))))
            }
            // To hyper a stream that was reset with NO_ERROR has ended.
            Poll::Ready(None)
                if stream.version == Version::HTTP_2 && !stream.incoming.is_end_stream() =>
            {
                Poll::Ready(Some(Err(upload.fail(RequestBodyError::Broken))))
            }
            Poll::Ready(None) => {
                upload.step(State::Done, 0);
                Poll::Ready(None)
            }
            Poll::Pending => {
                upload.set(State::Waiting);
                match stream.idle.poll_expired(cx) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(upload.fail(RequestBodyError::Idle)))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|stream| stream.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |s| s.incoming.size_hint())
    }
}
