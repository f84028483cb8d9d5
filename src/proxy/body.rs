//! The body of a response to a client.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::request_record::RequestRecord;
use super::trailers;
use super::tunnel::Tunnel;
use crate::upstream::{BodyError, ResponseBody};

/// The body of a response: an upstream's, or a short text of our own.
///
/// It counts what passes and tells the request's record at its end. A body that breaks off is an
/// error, so that hyper aborts the response: no end of chunks over HTTP/1.1, RST_STREAM over
/// HTTP/2.
#[derive(Debug)]
pub struct ProxyBody {
    source: Source,
    /// `None` once told. Boxed, because bodies are handed on often.
    record: Option<Box<RequestRecord>>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are an upstream's, and a box would be an allocation a request"
)]
#[derive(Debug)]
enum Source {
    Text(Bytes),
    Upstream(ResponseBody),
    /// No body: the connection, or the stream, becomes a tunnel.
    Tunnel(Option<Box<Tunnel>>),
}

impl ProxyBody {
    /// A text of our own; empty is no body.
    pub(super) const fn text(text: Bytes, record: Box<RequestRecord>) -> Self {
        Self {
            source: Source::Text(text),
            record: Some(record),
        }
    }

    /// What an upstream sends.
    pub(super) const fn upstream(body: ResponseBody, record: Box<RequestRecord>) -> Self {
        Self {
            source: Source::Upstream(body),
            record: Some(record),
        }
    }

    /// No body, and a tunnel once the head of the response is sent.
    pub(super) fn tunnel(tunnel: Tunnel) -> Self {
        Self {
            source: Source::Tunnel(Some(Box::new(tunnel))),
            record: None,
        }
    }

    /// What the connection is to become, once.
    pub fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        match &mut self.source {
            Source::Tunnel(tunnel) => tunnel.take(),
            Source::Text(_) | Source::Upstream(_) => None,
        }
    }

    /// Has at most `bytes` read at once of what comes from an upstream, from now on; at first 32 KiB.
    /// What was read already may be more.
    pub fn read_at_most(&mut self, bytes: usize) {
        if let Source::Upstream(body) = &mut self.source {
            body.read_at_most(bytes);
        }
    }

    fn tell_if_ended(&mut self) {
        if self.is_end_stream() {
            self.record = None;
        }
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let mut next = match &mut this.source {
            Source::Tunnel(_) => Poll::Ready(None),
            Source::Text(text) if text.is_empty() => Poll::Ready(None),
            Source::Text(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Source::Upstream(body) => Pin::new(body).poll_frame(cx),
        };
        if let Poll::Ready(Some(Ok(frame))) = &mut next
            && let Some(fields) = frame.trailers_mut()
        {
            trailers::filter(fields);
        }
        match &next {
            Poll::Pending => {}
            Poll::Ready(None) => this.record = None,
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(data), Some(record)) = (frame.data_ref(), &mut this.record) {
                    record.sent(data.len());
                }
                this.tell_if_ended();
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(mut record) = this.record.take() {
                    record.body_failed(error);
                }
            }
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Tunnel(_) => true,
            Source::Text(text) => text.is_empty(),
            Source::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Tunnel(_) => SizeHint::with_exact(0),
            Source::Text(text) => SizeHint::with_exact(text.len() as u64),
            Source::Upstream(body) => body.size_hint(),
        }
    }
}

impl Drop for ProxyBody {
    fn drop(&mut self) {
        // A body without bytes is never asked for them; any other was not taken to its end.
        let ended = self.is_end_stream();
        if let Some(record) = &mut self.record
            && !ended
        {
            record.failed("client_closed");
        }
    }
}
