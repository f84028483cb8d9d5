//! Why a request of HTTP/1.1 is refused before hyper reads it: the status and the reason word.

use http::StatusCode;

/// Why a request is refused before it is read to its end. The connection ends with the answer:
/// where the next request begins is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A line ends with a line feed alone (RFC 9112 section 2.2).
    BareLineFeed,
    /// Not method, target and version with one space between them (RFC 9112 section 3).
    RequestLine,
    /// The header of the PROXY protocol, from a peer that is not in `proxy_protocol_from`.
    ProxyHeader,
    /// The target has a fragment, or bytes that no URI has (RFC 9112 section 3.2).
    Target,
    /// Not HTTP/1.0 or HTTP/1.1 (RFC 9110 section 15.6.6).
    Version,
    /// Longer than `limits.request_line`.
    RequestLineTooLong,
    /// More than `limits.request_headers` or `limits.request_header_count`.
    FieldsTooLarge,
    /// Not one number (RFC 9112 section 6.3).
    ContentLength,
    /// `Content-Length` and `Transfer-Encoding`, codings after `chunked`, or any in HTTP/1.0 (RFC
    /// 9112 section 6.1).
    Framing,
    /// A coding beside `chunked` (RFC 9112 section 6.1).
    TransferEncoding,
}

impl Refusal {
    /// The status of the answer.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::BareLineFeed
            | Self::RequestLine
            | Self::ProxyHeader
            | Self::Target
            | Self::ContentLength
            | Self::Framing => StatusCode::BAD_REQUEST,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::RequestLineTooLong => StatusCode::URI_TOO_LONG,
            Self::FieldsTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TransferEncoding => StatusCode::NOT_IMPLEMENTED,
        }
    }

    /// The reason word, as of requests that are refused later.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::BareLineFeed => "bare_line_feed",
            Self::RequestLine => "request_line",
            Self::ProxyHeader => "proxy_header",
            Self::Target => "bad_target",
            Self::Version => "http_version",
            Self::RequestLineTooLong => "request_line_too_long",
            Self::FieldsTooLarge => "request_headers_too_large",
            Self::ContentLength => "content_length",
            Self::Framing => "framing",
            Self::TransferEncoding => "transfer_encoding",
        }
    }
}
