//! Trailers: what may pass of them (RFC 9110 section 6.5.1).
//!
//! Some recipients merge trailers into the fields of the head. So what decides over framing,
//! routing, access or the reading of the content never comes that way, nor what only we may say.
//!
//! Their number and size is bounded by the protocols' readers: requests by `limits`, responses by
//! 100 fields and 16 KiB.

use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, COOKIE, DATE, EXPECT, EXPIRES, HOST, LOCATION, MAX_FORWARDS, PRAGMA,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, RETRY_AFTER, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VARY, WARNING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::headers::is_claim;

const FORBIDDEN: [HeaderName; 29] = [
    AGE,
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    DATE,
    EXPECT,
    EXPIRES,
    HOST,
    HeaderName::from_static("keep-alive"),
    LOCATION,
    MAX_FORWARDS,
    PRAGMA,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    RANGE,
    RETRY_AFTER,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    VARY,
    WARNING,
    WWW_AUTHENTICATE,
];

/// Removes what may not pass.
pub(super) fn filter(trailers: &mut HeaderMap) {
    let removed: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| !may_pass(name))
        .cloned()
        .collect();
    for name in removed {
        trailers.remove(name);
    }
}

/// Leaves of `Trailer` the names that may pass, or removes it: hyper sends to clients of HTTP/1.1
/// what this field names, and nothing else.
pub(super) fn filter_announced(headers: &mut HeaderMap) {
    if !headers.contains_key(TRAILER) {
        return;
    }
    let names: Vec<HeaderName> = headers
        .get_all(TRAILER)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(may_pass)
        .collect();
    headers.remove(TRAILER);
    for name in names {
        headers.append(TRAILER, HeaderValue::from(name));
    }
}

fn may_pass(name: &HeaderName) -> bool {
    let text = name.as_str();
    // The last is no token; h2 lets it through.
    !FORBIDDEN.contains(name) && !text.starts_with("if-") && !is_claim(text) && !text.contains('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_decides_never_comes_as_a_trailer() {
        let mut trailers = HeaderMap::new();
        for name in [
            "content-length",
            "transfer-encoding",
            "host",
            "authorization",
            "set-cookie",
            "if-match",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-tls-client-verify",
            "grpc-status",
            "digest",
            "digest",
        ] {
            let value = HeaderValue::from_static("x");
            trailers.append(HeaderName::from_static(name), value);
        }
        // No token, but a name to the library.
        let quote = HeaderName::from_lowercase(b"x\"y").unwrap();
        trailers.append(quote, HeaderValue::from_static("x"));
        filter(&mut trailers);
        assert_eq!(names(&trailers), ["digest", "grpc-status"]);
        assert_eq!(trailers.get_all("digest").iter().count(), 2);
    }

    #[test]
    fn only_what_may_pass_is_announced() {
        let mut headers = HeaderMap::new();
        headers.append(TRAILER, HeaderValue::from_static("Digest,, Host , a b"));
        headers.append(TRAILER, HeaderValue::from_static("x-sum"));
        filter_announced(&mut headers);
        let announced: Vec<_> = headers.get_all(TRAILER).iter().collect();
        assert_eq!(announced, ["digest", "x-sum"]);
        headers.insert(TRAILER, HeaderValue::from_static("content-length"));
        filter_announced(&mut headers);
        assert!(headers.is_empty());
    }
}
