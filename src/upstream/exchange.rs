//! One request and its response on one connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::UPGRADE;
use http::{Request, Response};
use hyper::body::SizeHint;
use tokio::time::Instant;

use super::client_tls::Offer;
use super::error::{ConnectionError, ExchangeError};
use super::link::{self, Link, LinkError};
use super::pool::{Place, Pool};
use super::request_body::{RequestBody, Upload};
use super::response_body::Content;
use super::socket::UpstreamSocket;

/// A connection with its place in the pool, for the time of one exchange. Dropping it closes the
/// connection; [`Lease::end`] keeps it where it can be kept.
#[derive(Debug)]
pub(super) struct Lease {
    /// Boxed, because links move in and out of pools, exchanges and bodies.
    link: Box<Link>,
    pool: Arc<Pool>,
    place: Place,
    origin: Origin,
}

/// Where the connection of a [`Lease`] is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Just made.
    New,
    /// It served an exchange before: the server may be about to close it.
    Kept,
}

/// Why there is no response, and whether the request may be sent once more.
#[derive(Debug)]
pub(super) enum SendFailure {
    /// Nothing of the request was written: any request may be sent again.
    Unsent(Box<Request<RequestBody>>, ExchangeError),
    /// The request was written and the connection ended without a byte of an answer: the server
    /// may or may not have acted on it. The request is there if it has no body and is kept.
    Unanswered(Option<Box<Request<RequestBody>>>, ExchangeError),
    /// The server says that it has not acted on the request: any may be sent again whose body is
    /// not gone.
    Refused(ExchangeError),
    /// Sending again would not be right.
    Final(ExchangeError),
}

impl Lease {
    /// A lease of `link`.
    pub(super) const fn new(
        link: Box<Link>,
        pool: Arc<Pool>,
        place: Place,
        origin: Origin,
    ) -> Self {
        Self {
            link,
            pool,
            place,
            origin,
        }
    }

    /// Where the connection is from.
    pub(super) const fn origin(&self) -> Origin {
        self.origin
    }

    /// The connection.
    pub(super) fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// See [`Link::size_hint`].
    pub(super) fn size_hint(&self) -> SizeHint {
        self.link.size_hint()
    }

    /// The connection, where the server has switched to another protocol. The place in the pool is
    /// given up.
    ///
    /// # Errors
    /// It has not.
    pub(super) fn into_tunnel(self) -> Result<Box<UpstreamSocket>, Self> {
        let Self {
            link,
            pool,
            place,
            origin,
        } = self;
        link.into_tunnel()
            .map_err(|link| Self::new(link, pool, place, origin))
    }

    /// Ends the exchange: the connection is kept if both messages are complete and it may be
    /// reused, else closed. An upstream server that answers before it has the whole request
    /// leaves bytes of unknown meaning on the way, so its connection is always closed.
    pub(super) fn end(self) {
        let Self {
            link, pool, place, ..
        } = self;
        if link.is_idle() {
            pool.keep(link);
        }
        // After the connection is back in the pool: a place given up earlier would let others
        // open a connection above the limit.
        drop(place);
    }

    /// Sends `request` and waits for the head of the response, at most `first_byte` after the
    /// request was written; while a body is on its way, after its last piece. Waiting for the
    /// client does not count. `offer` is [`Offer::Http1`] for a request that has an `Upgrade`.
    ///
    /// # Errors
    /// See [`SendFailure`]. The connection is closed.
    pub(super) async fn send(
        mut self,
        request: Box<Request<RequestBody>>,
        offer: Offer,
        first_byte: Duration,
    ) -> Result<(Response<Content>, Self), SendFailure> {
        // Whether there is one was looked up before.
        let upgrade = match offer {
            Offer::Http1 => request.headers().get(UPGRADE).cloned(),
            Offer::Configured => None,
        };
        let upload = request.body().upload();
        self.link.send(request, upgrade);
        let mut deadline = Instant::now() + first_byte;
        let mut steps = 0;
        let link = &mut self.link;
        let answer = poll_fn(|cx| {
            if let Poll::Ready(answer) = link.poll_head(cx) {
                return Poll::Ready(Some(answer));
            }
            if let Some(upload) = &upload {
                if upload.waits_for_client() {
                    return Poll::Pending;
                }
                if upload.steps() != steps {
                    steps = upload.steps();
                    deadline = Instant::now() + first_byte;
                }
            }
            link.poll_until(deadline, cx).map(|()| None)
        })
        .await;
        match answer {
            Some(Ok(head)) => {
                if let Some(upload) = &upload {
                    upload.answered();
                }
                Ok((Response::from_parts(head, Content::Link), self))
            }
            Some(Err(error)) => Err(self.failure(error, upload.as_deref())),
            None => Err(SendFailure::Final(ExchangeError::FirstByteTimeout)),
        }
    }

    fn failure(&mut self, error: LinkError, upload: Option<&Upload>) -> SendFailure {
        if let Some(error) = upload.and_then(Upload::error) {
            return SendFailure::Final(ExchangeError::RequestBody(error));
        }
        match error {
            LinkError::Unsent(error) => match self.link.take_unsent() {
                Some(request) => SendFailure::Unsent(request, ended(error)),
                None => SendFailure::Final(ended(error)),
            },
            LinkError::RequestBody(error) => SendFailure::Final(ExchangeError::RequestBody(error)),
            LinkError::Framing(error) => SendFailure::Final(ExchangeError::BadFraming(error)),
            LinkError::Connection(error) => match ended(error) {
                closed @ (ExchangeError::Closed(_) | ExchangeError::TlsEnded(_))
                    if !self.link.answered() =>
                {
                    SendFailure::Unanswered(self.link.take_unanswered(), closed)
                }
                other => SendFailure::Final(other),
            },
        }
    }
}

/// What to make of a connection that ended before there was a response.
fn ended(error: ConnectionError) -> ExchangeError {
    match error {
        ConnectionError::Head(_) | ConnectionError::Body(_) => ExchangeError::BadResponse(error),
        ConnectionError::Io(ref io) if link::is_tls(io) => ExchangeError::TlsEnded(error),
        ConnectionError::Io(_) | ConnectionError::Closed | ConnectionError::Http2(_) => {
            ExchangeError::Closed(error)
        }
    }
}
