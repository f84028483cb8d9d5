//! Why a request is answered by us.

use http::{Method, StatusCode};

use super::authority::TargetError;
use super::headers::FieldError;
use crate::telemetry::UpstreamFailure;
use crate::upstream::{ExchangeError, RequestBodyError};

/// Why a request is answered by us and not by an upstream.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// CONNECT and TRACE are never forwarded.
    #[error("method {0} is not served")]
    Method(Method),
    /// An extended CONNECT (RFC 8441) to another protocol than WebSocket, or to an upstream that
    /// takes none.
    #[error("the protocol of an extended connect is not served")]
    Protocol,
    /// The kernel gives no random bytes.
    #[error("no random bytes")]
    NoRandom,
    /// The upstream's answer to a WebSocket handshake is not valid (RFC 6455 section 4.1).
    #[error("the upstream's answer to the websocket handshake is not valid")]
    BadUpgrade,
    /// The target is longer than `limits.request_line` lets it be.
    #[error("the request line is longer than limits.request_line")]
    RequestLine,
    /// More fields than `limits.request_header_count` or more bytes than `limits.request_headers`.
    #[error("the request has more fields than limits.request_headers lets it have")]
    RequestHeaders,
    /// Whom or what the request is for is missing or ambiguous.
    #[error("the request's target is not valid")]
    Target(#[source] TargetError),
    /// A field that decides over the message is missing, ambiguous or not supported.
    #[error("the request's fields are not valid")]
    Fields(#[source] FieldError),
    /// The host has another TLS policy than the connection (RFC 9110 section 15.5.20).
    #[error("the host has another tls policy than the connection")]
    Misdirected,
    /// No route matches.
    #[error("no route matches")]
    NoRoute,
    /// The route or listener would redirect the client to where it is.
    #[error("the redirect leads to itself")]
    RedirectLoop,
    /// The request body is announced or found to be too large, stalled, or broke off.
    #[error("the request body failed")]
    Body(#[source] RequestBodyError),
    /// No response from the upstream.
    #[error("no response from the upstream")]
    Upstream(#[source] ExchangeError),
}

impl ProxyError {
    /// The status of our answer.
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Protocol => StatusCode::NOT_IMPLEMENTED,
            Self::NoRandom => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BadUpgrade => StatusCode::BAD_GATEWAY,
            Self::RequestLine => StatusCode::URI_TOO_LONG,
            Self::RequestHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Target(_) => StatusCode::BAD_REQUEST,
            Self::Fields(error) => match error {
                FieldError::TransferEncoding => StatusCode::NOT_IMPLEMENTED,
                FieldError::Expect => StatusCode::EXPECTATION_FAILED,
                FieldError::ContentLength
                | FieldError::Name
                | FieldError::Value
                | FieldError::Connection => StatusCode::BAD_REQUEST,
            },
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::RedirectLoop => StatusCode::LOOP_DETECTED,
            Self::Body(RequestBodyError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(RequestBodyError::Idle) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(RequestBodyError::Broken) => StatusCode::BAD_REQUEST,
            Self::Upstream(ExchangeError::Untranslatable) => StatusCode::BAD_REQUEST,
            Self::Upstream(error) => match error.failure() {
                Some(UpstreamFailure::PoolFull) => StatusCode::SERVICE_UNAVAILABLE,
                Some(UpstreamFailure::ConnectTimeout | UpstreamFailure::FirstByteTimeout) => {
                    StatusCode::GATEWAY_TIMEOUT
                }
                _ => StatusCode::BAD_GATEWAY,
            },
        }
    }

    /// The reason word: all that clients learn, and what the access log has. From a fixed list.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Method(_) => "method_not_allowed",
            Self::Protocol => "protocol_not_served",
            Self::NoRandom => "internal",
            Self::BadUpgrade => UpstreamFailure::BadResponse.name(),
            Self::RequestLine => "request_line_too_long",
            Self::RequestHeaders => "request_headers_too_large",
            Self::Target(_) => "bad_target",
            Self::Fields(FieldError::TransferEncoding) => "transfer_encoding",
            Self::Fields(FieldError::Expect) => "expectation",
            Self::Fields(FieldError::ContentLength) => "content_length",
            Self::Fields(FieldError::Name) => "field_name",
            Self::Fields(FieldError::Value) => "field_value",
            Self::Fields(FieldError::Connection) => "connection",
            Self::Misdirected => "misdirected",
            Self::NoRoute => "no_route",
            Self::RedirectLoop => "redirect_loop",
            Self::Body(error) => body_reason(*error),
            Self::Upstream(ExchangeError::Untranslatable) => "bad_target",
            Self::Upstream(error) => match error.failure() {
                Some(failure) => failure.name(),
                None => "request_body_broken",
            },
        }
    }

    /// Whether the connection is not to be trusted with another request: where the message ends
    /// is in doubt, or its rest is not wanted. Streams of HTTP/2 end apart.
    pub(super) const fn closes(&self) -> bool {
        !matches!(
            self,
            Self::Misdirected
                | Self::NoRoute
                | Self::RedirectLoop
                | Self::Upstream(_)
                | Self::BadUpgrade
        )
    }
}

impl From<ExchangeError> for ProxyError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::RequestBody(error) => Self::Body(error),
            ExchangeError::NoExtendedConnect => Self::Protocol,
            other => Self::Upstream(other),
        }
    }
}

/// The reason word of a failed request body.
pub(super) const fn body_reason(error: RequestBodyError) -> &'static str {
    match error {
        RequestBodyError::TooLarge => "request_body_too_large",
        RequestBodyError::Idle => "request_body_timeout",
        RequestBodyError::Broken => "request_body_broken",
    }
}
