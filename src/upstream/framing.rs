//! How long the body of a response is, and what an intermediary must not let through.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use super::body_decoder::BodyLength;

/// The longest content that may be announced, either way: a length of 18 digits. Many servers hold
/// lengths in signed numbers of 64 bits, or of as many digits (RFC 9110 section 8.6). A longer one is
/// answered with 400, or with 502 where it is the upstream's.
pub const MOST_CONTENT: u64 = 999_999_999_999_999_999;

/// Why the head of a response is not acceptable (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Both lengths are given: a sign of response splitting.
    #[error("content-length and transfer-encoding in one response")]
    TwoLengths,
    /// Two different lengths, or none that is a number.
    #[error("content-length is not one number")]
    ContentLength,
    /// Only `chunked` can be undone here, and HTTP/1.0 does not have it.
    #[error("transfer-encoding other than chunked")]
    TransferEncoding,
    /// 101 to a request without `Upgrade`, or to a protocol that this did not name (RFC 9110
    /// section 7.8).
    #[error("switches to a protocol that nobody asked for")]
    UnaskedUpgrade,
}

/// Says how long the body of a response is, and leaves the one field that says so:
/// `Transfer-Encoding` is removed (the hop's own affair), `Content-Length` is a single number.
/// `asked` is the `Upgrade` of the request.
///
/// # Errors
/// Two different readers could see two different bodies.
pub(super) fn check(
    method: &Method,
    asked: Option<&HeaderValue>,
    parts: &mut Parts,
) -> Result<BodyLength, FramingError> {
    let (status, headers) = (parts.status, &mut parts.headers);
    if status == StatusCode::SWITCHING_PROTOCOLS {
        if !asked.is_some_and(|asked| is_among(asked, headers)) {
            return Err(FramingError::UnaskedUpgrade);
        }
        // RFC 9110 section 8.6: neither may stand here, and the bytes that follow have no length.
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        return Ok(BodyLength::Known(0));
    }
    let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    if bodiless {
        // A length here describes a body that is not sent; hyper would drop it over HTTP/1 and
        // clients disagree over HTTP/2.
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        return Ok(BodyLength::Known(0));
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        if headers.contains_key(CONTENT_LENGTH) {
            return Err(FramingError::TwoLengths);
        }
        let chunked = is_chunked(headers) && parts.version != Version::HTTP_10;
        if !chunked && method != Method::HEAD {
            return Err(FramingError::TransferEncoding);
        }
        headers.remove(TRANSFER_ENCODING);
        return Ok(match method == Method::HEAD {
            true => BodyLength::Known(0),
            false => BodyLength::Chunked,
        });
    }
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let length = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(only), None) if only.to_str().is_ok_and(is_number) => number(only),
        _ => {
            let length = repeated_number(headers).ok_or(FramingError::ContentLength)?;
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            Some(length)
        }
    };
    Ok(match length {
        _ if method == Method::HEAD => BodyLength::Known(0),
        Some(length) => BodyLength::Known(length),
        None => BodyLength::UntilClose,
    })
}

/// Whether a response switches to protocols that were asked for, and to one at least.
fn is_among(asked: &HeaderValue, headers: &HeaderMap) -> bool {
    fn protocols(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
        let names = value.as_bytes().split(|&byte| byte == b',');
        names
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty())
    }
    let mut chosen = headers
        .get_all(UPGRADE)
        .iter()
        .flat_map(protocols)
        .peekable();
    chosen.peek().is_some()
        && chosen.all(|name| protocols(asked).any(|asked| asked.eq_ignore_ascii_case(name)))
}

/// Whether the coding is `chunked` and nothing else.
fn is_chunked(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = values
        .next()
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
    chunked && values.next().is_none()
}

/// The length where it is given several times, always the same (RFC 9110 section 8.6).
fn repeated_number(headers: &HeaderMap) -> Option<u64> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for number in value.to_str().ok()?.split(',').map(str::trim) {
            let number = is_number(number).then(|| number.parse().ok())??;
            if length.is_some_and(|length| length != number) {
                return None;
            }
            length = Some(number);
        }
    }
    length
}

fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

fn is_number(text: &str) -> bool {
    // `parse` alone would accept a sign.
    text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse().is_ok_and(|number: u64| number <= MOST_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(
        method: &Method,
        status: u16,
        fields: &[(&'static str, &'static str)],
    ) -> Result<Vec<(String, String)>, FramingError> {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        for (name, value) in fields {
            parts.headers.append(*name, HeaderValue::from_static(value));
        }
        parts.status = StatusCode::from_u16(status).unwrap();
        let asked = HeaderValue::from_static("websocket, foo/2");
        check(method, Some(&asked), &mut parts)?;
        Ok(parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
            .collect())
    }

    #[test]
    fn ambiguous_lengths_are_refused() {
        let get = |fields: &[_]| checked(&Method::GET, 200, fields);
        assert_eq!(
            get(&[("content-length", "3"), ("transfer-encoding", "chunked")]),
            Err(FramingError::TwoLengths)
        );
        assert_eq!(
            get(&[("content-length", "3"), ("content-length", "5")]),
            Err(FramingError::ContentLength)
        );
        for bad in ["+3", "3, 4", "", "0x3", "1000000000000000000"] {
            assert_eq!(
                get(&[("content-length", bad)]),
                Err(FramingError::ContentLength),
                "{bad}"
            );
        }
        for bad in ["gzip", "gzip, chunked", "identity"] {
            assert_eq!(
                get(&[("transfer-encoding", bad)]),
                Err(FramingError::TransferEncoding),
                "{bad}"
            );
        }
        assert_eq!(
            get(&[
                ("transfer-encoding", "gzip"),
                ("transfer-encoding", "chunked")
            ]),
            Err(FramingError::TransferEncoding)
        );
    }

    #[test]
    fn equal_lengths_become_one() {
        let one = vec![("content-length".to_owned(), "3".to_owned())];
        for fields in [
            &[("content-length", "3")][..],
            &[("content-length", "3"), ("content-length", "3")],
            &[("content-length", "3, 3")],
        ] {
            assert_eq!(checked(&Method::GET, 200, fields), Ok(one.clone()));
        }
    }

    #[test]
    fn head_keeps_its_length_and_304_does_not() {
        let length = [("content-length", "1234")];
        assert_eq!(checked(&Method::HEAD, 200, &length).unwrap().len(), 1);
        assert_eq!(checked(&Method::GET, 304, &length), Ok(vec![]));
        assert_eq!(checked(&Method::GET, 204, &length), Ok(vec![]));
    }

    #[test]
    fn only_what_was_asked_for_is_switched_to() {
        let switch = |fields: &[_]| checked(&Method::GET, 101, fields);
        for bad in [
            &[][..],
            &[("upgrade", "")],
            &[("upgrade", "foo")],
            &[("upgrade", "foo/3")],
            &[("upgrade", "websocket, bar")],
            &[("upgrade", "websocket"), ("upgrade", "h2c")],
        ] {
            assert_eq!(switch(bad), Err(FramingError::UnaskedUpgrade), "{bad:?}");
        }
        let kept = switch(&[("upgrade", "WebSocket"), ("content-length", "5")]).unwrap();
        assert_eq!(kept, [("upgrade".to_owned(), "WebSocket".to_owned())]);
        let (mut parts, ()) = http::Response::new(()).into_parts();
        let websocket = HeaderValue::from_static("websocket");
        parts.headers.insert(UPGRADE, websocket);
        parts.status = StatusCode::SWITCHING_PROTOCOLS;
        let unasked = check(&Method::GET, None, &mut parts);
        assert_eq!(unasked, Err(FramingError::UnaskedUpgrade));
    }

    #[test]
    fn the_end_of_a_body_is_known() {
        const CHUNKED: (&str, &str) = ("transfer-encoding", "Chunked");
        const SIZED: (&str, &str) = ("content-length", "3");
        for (method, status, version, field, length) in [
            (
                Method::GET,
                200,
                Version::HTTP_11,
                None,
                Ok(BodyLength::UntilClose),
            ),
            (
                Method::GET,
                200,
                Version::HTTP_10,
                Some(SIZED),
                Ok(BodyLength::Known(3)),
            ),
            (
                Method::GET,
                200,
                Version::HTTP_11,
                Some(CHUNKED),
                Ok(BodyLength::Chunked),
            ),
            (
                Method::GET,
                200,
                Version::HTTP_10,
                Some(CHUNKED),
                Err(FramingError::TransferEncoding),
            ),
            (
                Method::HEAD,
                200,
                Version::HTTP_11,
                None,
                Ok(BodyLength::Known(0)),
            ),
            (
                Method::HEAD,
                200,
                Version::HTTP_11,
                Some(SIZED),
                Ok(BodyLength::Known(0)),
            ),
            (
                Method::HEAD,
                200,
                Version::HTTP_11,
                Some(CHUNKED),
                Ok(BodyLength::Known(0)),
            ),
            (
                Method::GET,
                204,
                Version::HTTP_11,
                Some(CHUNKED),
                Ok(BodyLength::Known(0)),
            ),
            (
                Method::GET,
                304,
                Version::HTTP_11,
                Some(SIZED),
                Ok(BodyLength::Known(0)),
            ),
        ] {
            let (mut parts, ()) = http::Response::new(()).into_parts();
            parts.status = StatusCode::from_u16(status).unwrap();
            parts.version = version;
            if let Some((name, value)) = field {
                parts.headers.insert(name, HeaderValue::from_static(value));
            }
            let told = check(&method, None, &mut parts);
            assert_eq!(told, length, "{method} {status} {version:?} {field:?}");
        }
    }
}
