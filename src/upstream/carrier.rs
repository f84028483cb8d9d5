//! What one exchange runs on: a connection of HTTP/1.1, or a stream of HTTP/2.

use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Response};

use super::client_tls::Offer;
use super::exchange::{Lease, Origin, SendFailure};
use super::link::Link;
use super::request_body::RequestBody;
use super::response_body::Content;
use super::socket::UpstreamSocket;
use super::streams::StreamLease;

/// What one exchange runs on. Dropping it closes the connection, or resets the stream.
#[derive(Debug)]
pub(super) enum Carrier {
    Http1(Lease),
    Http2(StreamLease),
}

impl Carrier {
    /// Where the connection is from.
    pub(super) const fn origin(&self) -> Origin {
        match self {
            Self::Http1(lease) => lease.origin(),
            Self::Http2(stream) => stream.origin(),
        }
    }

    /// See [`Lease::send`] and [`StreamLease::send`].
    ///
    /// # Errors
    /// See [`SendFailure`].
    pub(super) async fn send(
        self,
        request: Box<Request<RequestBody>>,
        offer: Offer,
        server: &str,
        scheme: Scheme,
        first_byte: Duration,
    ) -> Result<(Response<Content>, Self), SendFailure> {
        match self {
            Self::Http1(lease) => {
                let (response, lease) = lease.send(request, offer, first_byte).await?;
                Ok((response, Self::Http1(lease)))
            }
            Self::Http2(stream) => {
                let sent = stream.send(*request, server, scheme, first_byte);
                // Boxed, as all that most requests do not need.
                let (response, stream) = Box::pin(sent).await?;
                Ok((response.map(Content::Stream), Self::Http2(stream)))
            }
        }
    }

    /// The connection of HTTP/1.1, if it is one.
    pub(super) fn link(&mut self) -> Option<&mut Link> {
        match self {
            Self::Http1(lease) => Some(lease.link()),
            Self::Http2(_) => None,
        }
    }

    /// Whether there is a tunnel to take.
    pub(super) fn is_switched(&mut self) -> bool {
        match self {
            Self::Http1(lease) => lease.link().is_switched(),
            Self::Http2(stream) => stream.is_switched(),
        }
    }

    /// The connection or stream, where the server has switched protocols. The place in the pool
    /// goes with a connection; a stream is kept by the tunnel.
    ///
    /// # Errors
    /// It has not: the exchange goes on.
    pub(super) fn into_tunnel(self) -> Result<Box<UpstreamSocket>, Self> {
        match self {
            Self::Http1(lease) => lease.into_tunnel().map_err(Self::Http1),
            Self::Http2(stream) => stream.into_tunnel().map_err(Self::Http2),
        }
    }

    /// Ends the exchange in order.
    pub(super) fn end(self) {
        if let Self::Http1(lease) = self {
            lease.end();
        }
    }
}
