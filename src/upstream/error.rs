//! How exchanges with upstream servers fail.

use std::io;

use super::body_decoder::BodySyntaxError;
use super::framing::FramingError;
use super::response_head::HeadError;
use crate::telemetry::UpstreamFailure;

/// Why there is no response. Nothing of it may be shown to clients but the reason word.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The server's name does not resolve.
    #[error("cannot resolve the upstream server's name")]
    Resolve(#[source] io::Error),
    /// The connection was refused, or the server is unreachable: no such socket, say.
    #[error("cannot connect to the upstream server")]
    Connect(#[source] io::Error),
    /// Connect and TLS handshake took longer than `timeouts.connect`.
    #[error("connecting to the upstream server took too long")]
    ConnectTimeout,
    /// The TLS handshake failed.
    #[error("the tls handshake with the upstream server failed")]
    Tls(#[source] io::Error),
    /// The server's certificate is not accepted.
    #[error("the upstream server's certificate is not accepted")]
    TlsVerify(#[source] io::Error),
    /// The server ended the TLS connection with an alert, or broke its protocol, before the head
    /// of the response was whole. In TLS 1.3 the refusal of a client certificate comes so late.
    #[error("the tls connection to the upstream server failed")]
    TlsEnded(#[source] ConnectionError),
    /// Every server of the cluster stayed at `pool.max_connections` for `pool.wait`.
    #[error("no upstream connection became free in time")]
    PoolFull,
    /// The connection ended before the head of the response was whole.
    #[error("the upstream server closed before it answered")]
    Closed(#[source] ConnectionError),
    /// The request has no form in HTTP/2.
    #[error("the request cannot be sent over http/2")]
    Untranslatable,
    /// The server does not agree to HTTP/2 by ALPN.
    #[error("the upstream server does not speak http/2")]
    NoHttp2,
    /// The server takes no extended CONNECT: its SETTINGS do not say so (RFC 8441 section 3).
    #[error("the upstream server takes no extended connect")]
    NoExtendedConnect,
    /// No head of a response within `timeouts.first_byte`.
    #[error("the upstream server did not answer in time")]
    FirstByteTimeout,
    /// What came is no HTTP response.
    #[error("the upstream server's answer is not valid HTTP")]
    BadResponse(#[source] ConnectionError),
    /// The head of the response is ambiguous or answers another question.
    #[error("the upstream server's answer is not acceptable")]
    BadFraming(#[source] FramingError),
    /// The client's side of the exchange failed: no fault of the upstream server.
    #[error("the request body failed")]
    RequestBody(#[source] RequestBodyError),
}

impl ExchangeError {
    /// The failure to count against the upstream; `None` where the client is at fault.
    #[must_use]
    pub const fn failure(&self) -> Option<UpstreamFailure> {
        Some(match self {
            Self::Resolve(_) => UpstreamFailure::Resolve,
            Self::Connect(_) => UpstreamFailure::Connect,
            Self::ConnectTimeout => UpstreamFailure::ConnectTimeout,
            Self::Tls(_) | Self::TlsEnded(_) | Self::NoHttp2 => UpstreamFailure::Tls,
            Self::TlsVerify(_) => UpstreamFailure::TlsVerify,
            Self::PoolFull => UpstreamFailure::PoolFull,
            Self::Closed(_) => UpstreamFailure::Closed,
            Self::FirstByteTimeout => UpstreamFailure::FirstByteTimeout,
            Self::BadResponse(_) | Self::BadFraming(_) => UpstreamFailure::BadResponse,
            Self::RequestBody(_) | Self::Untranslatable | Self::NoExtendedConnect => return None,
        })
    }
}

/// Why a connection, or a stream of one, is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// It ended.
    #[error("the server closed the connection")]
    Closed,
    /// Reading or writing failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// What came in place of a head is none.
    #[error("the head of the response is not valid")]
    Head(#[source] HeadError),
    /// What came in place of a body is none.
    #[error("the body of the response is not valid")]
    Body(#[source] BodySyntaxError),
    /// A stream of HTTP/2, or its connection, failed.
    #[error("http/2 failed")]
    Http2(#[source] hyper::Error),
}

/// Why the client's request body cannot be forwarded to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestBodyError {
    /// More than `limits.request_body`.
    #[error("the request body is larger than the limit")]
    TooLarge,
    /// No progress within `timeouts.request_body_idle`.
    #[error("the client stopped sending the request body")]
    Idle,
    /// The client broke off, or its body is not valid.
    #[error("the request body broke off")]
    Broken,
}

/// Why the body of a response ends early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The upstream server broke off, or its body is not valid. The cause is no `source`: hyper
    /// would tell the client the code of the server's RST_STREAM, and NO_ERROR looks like an end.
    #[error("the response body broke off")]
    Truncated(Option<ConnectionError>),
    /// No progress within `timeouts.idle`.
    #[error("the upstream server stopped sending the response body")]
    Idle,
    /// The request body, still on its way, failed.
    #[error("the request body failed")]
    RequestBody(#[source] RequestBodyError),
}

impl BodyError {
    /// The failure to count against the upstream; `None` where the client is at fault.
    #[must_use]
    pub const fn failure(&self) -> Option<UpstreamFailure> {
        Some(match self {
            Self::Truncated(_) => UpstreamFailure::Truncated,
            Self::Idle => UpstreamFailure::IdleTimeout,
            Self::RequestBody(_) => return None,
        })
    }
}
