//! One request and its response on a stream of HTTP/2.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::{Instant, sleep_until, timeout};

use super::error::{ConnectionError, ExchangeError};
use super::exchange::SendFailure;
use super::framing;
use super::link;
use super::request_body::{RequestBody, Upload};
use super::streams::StreamLease;

impl StreamLease {
    /// Sends `request`, which is as HTTP/1.1 has it, and waits for the head of the response as
    /// [`Lease::send`](super::exchange::Lease::send) does. `server` stands in for a host that the
    /// client did not name.
    ///
    /// A server's word that it wants a body (100) does not come through, so no body is held back.
    ///
    /// # Errors
    /// See [`SendFailure`]. The stream is reset.
    pub(super) async fn send(
        mut self,
        request: Request<RequestBody>,
        server: &str,
        scheme: Scheme,
        first_byte: Duration,
    ) -> Result<(Response<Incoming>, Self), SendFailure> {
        let method = request.method().clone();
        let connects = method == Method::CONNECT;
        if connects && !self.connects() {
            return Err(SendFailure::Final(ExchangeError::NoExtendedConnect));
        }
        let upload = request.body().upload();
        if let Some(upload) = &upload {
            upload.wanted();
        }
        let request = translate(request, server, scheme).map_err(SendFailure::Final)?;
        self.carries(upload.clone());
        let answer = {
            let mut answer = pin!(self.sender().try_send_request(request));
            let mut deadline = pin!(sleep_until(Instant::now() + first_byte));
            let mut steps = 0;
            poll_fn(|cx| {
                if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                    return Poll::Ready(Some(answer));
                }
                // Another task moves the body, so what it did is looked at when the time is up.
                while deadline.as_mut().poll(cx).is_ready() {
                    let Some(upload) = &upload else {
                        return Poll::Ready(None);
                    };
                    if upload.steps() == steps && !upload.waits_for_client() {
                        return Poll::Ready(None);
                    }
                    steps = upload.steps();
                    deadline.as_mut().reset(Instant::now() + first_byte);
                }
                Poll::Pending
            })
            .await
        };
        match answer {
            Some(Ok(mut response)) => {
                if connects && response.status() == StatusCode::OK {
                    // It is there with the head.
                    let tunnel = timeout(first_byte, hyper::upgrade::on(&mut response));
                    let tunnel = tunnel.await.map_err(|_| ExchangeError::FirstByteTimeout);
                    match tunnel.and_then(|it| it.map_err(ended)) {
                        Ok(tunnel) => self.becomes(tunnel),
                        Err(error) => return Err(SendFailure::Final(error)),
                    }
                }
                let (mut head, body) = response.into_parts();
                framing::check(&method, None, &mut head)
                    .map_err(|error| SendFailure::Final(ExchangeError::BadFraming(error)))?;
                Ok((Response::from_parts(head, body), self))
            }
            Some(Err(error)) => {
                let (failure, blame) = failure(error, upload.as_deref());
                if blame == Blame::Connection {
                    self.forsake();
                }
                Err(failure)
            }
            None => {
                // Where the network has lost the connection, others would wait for nothing too.
                self.forsake();
                Err(SendFailure::Final(ExchangeError::FirstByteTimeout))
            }
        }
    }
}

/// Turns the head into that of HTTP/2 (RFC 9113 section 8.3.1).
fn translate(
    mut request: Request<RequestBody>,
    server: &str,
    scheme: Scheme,
) -> Result<Request<RequestBody>, ExchangeError> {
    let headers = request.headers_mut();
    for name in [CONNECTION, EXPECT, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    let host = headers.remove(HOST);
    let host = host.as_ref().map_or(&b""[..], |host| host.as_bytes());
    let authority = Authority::try_from(host).or_else(|_| Authority::try_from(server));
    let path = request.uri().path_and_query().cloned();
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority.map_err(|_| ExchangeError::Untranslatable)?);
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| ExchangeError::Untranslatable)?;
    *request.version_mut() = Version::HTTP_2;
    Ok(request)
}

/// What has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    Stream,
    Connection,
}

/// What became of the request, where there is no response.
fn failure(
    mut error: TrySendError<Request<RequestBody>>,
    upload: Option<&Upload>,
) -> (SendFailure, Blame) {
    let unsent = error.take_message();
    let error = error.into_error();
    if let Some(mut request) = unsent {
        // Another connection may speak HTTP/1.1.
        restore(&mut request);
        let unsent = SendFailure::Unsent(Box::new(request), closed(error));
        return (unsent, Blame::Connection);
    }
    if let Some(error) = upload.and_then(Upload::error) {
        let failed = SendFailure::Final(ExchangeError::RequestBody(error));
        return (failed, Blame::Stream);
    }
    if let Some(stream) = h2_error(&error) {
        // RFC 9113 section 8.7: what was refused, or lies past the last stream of GOAWAY, was not
        // acted on.
        let blame = match stream.is_reset() {
            true => Blame::Stream,
            false => Blame::Connection,
        };
        let refused = stream.reason() == Some(h2::Reason::REFUSED_STREAM) || stream.is_go_away();
        if refused && stream.is_remote() {
            return (SendFailure::Refused(closed(error)), blame);
        }
        if !stream.is_io() {
            return (SendFailure::Final(ended(error)), blame);
        }
    }
    let failure = match ended(error) {
        closed @ ExchangeError::Closed(_) => SendFailure::Unanswered(None, closed),
        other => SendFailure::Final(other),
    };
    (failure, Blame::Connection)
}

/// Why a connection or a stream of it has ended.
pub(super) fn ended(error: hyper::Error) -> ExchangeError {
    let stream = h2_error(&error);
    let is_library = stream.is_some_and(h2::Error::is_library);
    let io = match stream {
        Some(stream) => stream.get_io(),
        None => error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>()),
    };
    if is_library {
        ExchangeError::BadResponse(ConnectionError::Http2(error))
    } else if io.is_some_and(link::is_tls) {
        ExchangeError::TlsEnded(ConnectionError::Http2(error))
    } else {
        closed(error)
    }
}

const fn closed(error: hyper::Error) -> ExchangeError {
    ExchangeError::Closed(ConnectionError::Http2(error))
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    error.source()?.downcast_ref()
}

/// Undoes [`translate`] as far as HTTP/1.1 needs it.
fn restore(request: &mut Request<RequestBody>) {
    let authority = request.uri().authority().map(|it| it.as_str().to_owned());
    if let Some(host) = authority.and_then(|it| HeaderValue::try_from(it).ok()) {
        request.headers_mut().insert(HOST, host);
    }
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = Uri::from(path);
    }
    *request.version_mut() = Version::HTTP_11;
    let sized = request.headers().contains_key(CONTENT_LENGTH);
    if !request.body().is_empty() && !sized {
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(TRANSFER_ENCODING, chunked);
    }
    if request.headers().contains_key(TE) {
        let te = HeaderValue::from_static("te");
        request.headers_mut().insert(CONNECTION, te);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, host: &'static str) -> Request<RequestBody> {
        Request::get(uri)
            .header(HOST, host)
            .header(CONNECTION, "te")
            .header(TE, "trailers")
            .header(EXPECT, "100-continue")
            .body(RequestBody::empty())
            .unwrap()
    }

    #[test]
    fn the_head_is_that_of_http2_and_back() {
        for (uri, host, whole) in [
            ("/a?b", "a.test:1", "https://a.test:1/a?b"),
            ("*", "a.test", "https://a.test*"),
            ("/", "", "https://10.0.0.1:80/"),
        ] {
            let mut request = translate(request(uri, host), "10.0.0.1:80", Scheme::HTTPS).unwrap();
            assert_eq!(request.uri().to_string(), whole);
            let fields: Vec<_> = request.headers().keys().map(|name| name.as_str()).collect();
            assert_eq!(fields, ["te"]);
            restore(&mut request);
            assert_eq!(request.uri(), uri);
            assert_eq!(request.headers()[CONNECTION], "te");
            assert!(request.headers().contains_key(HOST));
        }
    }
}
