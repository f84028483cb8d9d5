//! One request and its response on one connection.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::UPGRADE;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::ext::on_informational;
use tokio::time::{Instant, sleep_until, timeout};

use super::error::ExchangeError;
use super::framing;
use super::link::{Link, SendError};
use super::pool::{Place, Pool};
use super::request_body::{RequestBody, Upload};

/// A connection with its place in the pool, for the time of one exchange. Dropping it closes the
/// connection; [`Lease::end`] keeps it where it can be kept.
#[derive(Debug)]
pub(super) struct Lease {
    link: Link,
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
    /// may or may not have acted on it.
    Unanswered(ExchangeError),
    /// The server says that it has not acted on the request: any may be sent again whose body is
    /// not gone.
    Refused(ExchangeError),
    /// Sending again would not be right.
    Final(ExchangeError),
}

impl Lease {
    /// A lease of `link`.
    pub(super) const fn new(link: Link, pool: Arc<Pool>, place: Place, origin: Origin) -> Self {
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
    pub(super) const fn link(&mut self) -> &mut Link {
        &mut self.link
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
    /// client does not count.
    ///
    /// # Errors
    /// See [`SendFailure`]. The connection is closed.
    pub(super) async fn send(
        mut self,
        mut request: Box<Request<RequestBody>>,
        first_byte: Duration,
    ) -> Result<(Response<Incoming>, Self), SendFailure> {
        let method = request.method().clone();
        let asked = request.headers().get(UPGRADE).cloned();
        let upload = request.body().upload();
        if let Some(upload) = upload.clone()
            && upload.is_held()
        {
            on_informational(&mut request, move |response| {
                if response.status() == StatusCode::CONTINUE {
                    upload.wanted();
                }
            });
        }
        let answer = {
            let mut answer = pin!(self.link.send(*request));
            let mut deadline = pin!(sleep_until(Instant::now() + first_byte));
            let mut steps = 0;
            let link = &mut self.link;
            poll_fn(|cx| {
                // The link first: it is what makes the answer ready, also when it ends.
                let ended = link.poll(cx).is_ready();
                if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                    return Poll::Ready(Ok(answer));
                }
                if ended {
                    return Poll::Ready(Err(Silence::Ended));
                }
                if let Some(upload) = &upload {
                    if upload.waits_for_client() {
                        return Poll::Pending;
                    }
                    if upload.steps() != steps {
                        steps = upload.steps();
                        deadline.as_mut().reset(Instant::now() + first_byte);
                    }
                }
                deadline.as_mut().poll(cx).map(|()| Err(Silence::Late))
            })
            .await
        };
        match answer {
            Ok(Ok(response)) => {
                self.link.head_came();
                if let Some(upload) = &upload {
                    upload.answered();
                }
                let (mut head, body) = response.into_parts();
                framing::check(&method, asked.as_ref(), head.status, &mut head.headers)
                    .map_err(|error| SendFailure::Final(ExchangeError::BadFraming(error)))?;
                if head.status == StatusCode::SWITCHING_PROTOCOLS {
                    // hyper ends with the head.
                    let ended = poll_fn(|cx| self.link.poll(cx));
                    Box::pin(timeout(first_byte, ended))
                        .await
                        .map_err(|_| SendFailure::Final(ExchangeError::FirstByteTimeout))?;
                }
                Ok((Response::from_parts(head, body), self))
            }
            Ok(Err(error)) => Err(self.failure(error, upload.as_deref())),
            Err(Silence::Late) => Err(SendFailure::Final(ExchangeError::FirstByteTimeout)),
            Err(Silence::Ended) => Err(SendFailure::Final(self.ended(None))),
        }
    }

    fn failure(&self, mut error: SendError, upload: Option<&Upload>) -> SendFailure {
        if let Some(request) = error.take_message() {
            let error = self.ended(Some(error.into_error()));
            return SendFailure::Unsent(Box::new(request), error);
        }
        if let Some(error) = upload.and_then(Upload::error) {
            return SendFailure::Final(ExchangeError::RequestBody(error));
        }
        let error = error.into_error();
        if error.is_parse() || error.is_parse_too_large() || self.link.head_is_endless() {
            SendFailure::Final(ExchangeError::BadResponse(error))
        } else if self.link.answered() {
            SendFailure::Final(self.ended(Some(error)))
        } else {
            SendFailure::Unanswered(self.ended(Some(error)))
        }
    }

    fn ended(&self, error: Option<hyper::Error>) -> ExchangeError {
        if self.link.tls_failed() {
            ExchangeError::TlsEnded(error)
        } else {
            ExchangeError::Closed(error)
        }
    }
}

/// Why the wait for hyper's answer ended without one.
enum Silence {
    /// The connection ended; hyper answers before it does, so this is not expected.
    Ended,
    /// The deadline passed.
    Late,
}
