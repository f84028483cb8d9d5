//! Answers of our own in the form that gRPC has for them.
//!
//! A client of gRPC reads `grpc-status` and takes the status of HTTP only for want of it. What we
//! answer is therefore a response that consists of trailers alone, as of a server of gRPC.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC: &[u8] = b"application/grpc";

/// Whether a request is one of gRPC: over HTTP/2, with its content type. gRPC-Web is not.
pub(super) fn is_grpc(version: Version, headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(GRPC));
    version == Version::HTTP_2 && matches!(kind, Some([] | [b'+' | b';' | b' ', ..]))
}

/// Turns an answer with this `status` and `reason` into that of gRPC: 200 without a body.
pub(super) fn put<B>(response: &mut Response<B>, status: StatusCode, reason: &'static str) {
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(code(status)));
    // Reason words need no encoding.
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(reason));
}

/// The code of gRPC for a status of HTTP, by gRPC's own mapping ("HTTP to gRPC Status Code
/// Mapping"); 413 is beside it, as `limits` are no fault of the client's reading.
const fn code(status: StatusCode) -> u16 {
    match status {
        StatusCode::BAD_REQUEST => 13,
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::FORBIDDEN => 7,
        StatusCode::NOT_FOUND => 12,
        StatusCode::PAYLOAD_TOO_LARGE => 8,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_itself_is_meant() {
        let is = |version, kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            is_grpc(version, &headers)
        };
        for kind in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;a=b",
        ] {
            assert!(is(Version::HTTP_2, kind), "{kind}");
            assert!(!is(Version::HTTP_11, kind), "{kind}");
        }
        for kind in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "text/plain",
        ] {
            assert!(!is(Version::HTTP_2, kind), "{kind}");
        }
        assert!(!is_grpc(Version::HTTP_2, &HeaderMap::new()));
    }

    #[test]
    fn the_status_is_in_the_fields() {
        for (status, code) in [
            (503, "14"),
            (504, "14"),
            (404, "12"),
            (413, "8"),
            (421, "2"),
        ] {
            let mut response = Response::new(());
            put(
                &mut response,
                StatusCode::from_u16(status).unwrap(),
                "no_route",
            );
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()[GRPC_STATUS], code);
            assert_eq!(response.headers()[GRPC_MESSAGE], "no_route");
        }
    }
}
