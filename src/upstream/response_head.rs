//! The head of a response as an HTTP/1.1 server sends it (RFC 9112 sections 2 and 4).

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::CONNECTION;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};
use httparse::{Header, ParserConfig, Status};
use hyper::ext::ReasonPhrase;

/// The most that a head may take; one of 4 KiB is large. Past it the response is refused.
pub(super) const LARGEST: usize = 64 * 1024;
/// The most fields that a head may have, and a trailer section.
pub(super) const MOST_FIELDS: usize = 100;

/// Why what came is no head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not by the grammar.
    #[error("not the head of an http/1.1 response")]
    Syntax(#[source] httparse::Error),
    /// More than 64 KiB, or 256 KiB with all interim responses before it.
    #[error("the head is too large")]
    TooLarge,
}

/// Reads heads from what came.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// So much of what came is known to hold no end of a head: a head that comes byte by byte is
    /// not parsed as often.
    searched: usize,
}

impl HeadReader {
    /// Takes the next head out of `inbox`; `None`: it is not whole.
    ///
    /// # Errors
    /// It never will be.
    pub(super) fn read(&mut self, inbox: &mut BytesMut) -> Result<Option<Parts>, HeadError> {
        if inbox.is_empty() || (self.searched > 0 && !self.finds_end(inbox)) {
            return self.wait(inbox);
        }
        let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let status = ParserConfig::default()
            .parse_response_with_uninit_headers(&mut parsed, inbox, &mut fields)
            .map_err(HeadError::Syntax)?;
        let length = match status {
            Status::Complete(length) if length <= LARGEST => length,
            Status::Complete(_) => return Err(HeadError::TooLarge),
            Status::Partial => return self.wait(inbox),
        };
        let mut parts = Response::new(()).into_parts().0;
        parts.version = match parsed.version {
            Some(0) => Version::HTTP_10,
            _ => Version::HTTP_11,
        };
        parts.status = StatusCode::from_u16(parsed.code.unwrap_or_default())
            .map_err(|_| HeadError::Syntax(httparse::Error::Status))?;
        let reason = parsed.reason.filter(|reason| {
            !reason.is_empty() && Some(*reason) != parts.status.canonical_reason()
        });
        if let Some(reason) = reason.and_then(|text| ReasonPhrase::try_from(text.as_bytes()).ok()) {
            parts.extensions.insert(reason);
        }
        let ranges = ranges(inbox, parsed.headers);
        let count = parsed.headers.len();
        self.searched = 0;
        let head = inbox.split_to(length).freeze();
        parts.headers = collect(&head, &ranges[..count])?;
        Ok(Some(parts))
    }

    fn wait(&mut self, inbox: &BytesMut) -> Result<Option<Parts>, HeadError> {
        self.searched = inbox.len();
        match inbox.len() < LARGEST {
            true => Ok(None),
            false => Err(HeadError::TooLarge),
        }
    }

    /// Whether an empty line came since the last look.
    fn finds_end(&self, inbox: &[u8]) -> bool {
        let new = &inbox[self.searched.saturating_sub(3).min(inbox.len())..];
        new.windows(2).any(|two| two == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n")
    }
}

/// Whether the server keeps the connection after this response (RFC 9112 section 9.3).
pub(super) fn keeps_connection(parts: &Parts) -> bool {
    let named = |option: &str| {
        let values = parts.headers.get_all(CONNECTION).iter();
        let mut options = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
        options.any(|named| named.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    };
    match parts.version {
        Version::HTTP_11 => !named("close"),
        _ => named("keep-alive") && !named("close"),
    }
}

/// The fields of a trailer section that is whole in `section` (RFC 9112 section 7.1.2).
///
/// # Errors
/// See [`HeadError`].
pub(super) fn trailers(section: &Bytes) -> Result<HeaderMap, HeadError> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    match httparse::parse_headers(section, &mut fields).map_err(HeadError::Syntax)? {
        Status::Complete((length, found)) if length == section.len() => {
            let ranges = ranges(section, found);
            collect(section, &ranges[..found.len()])
        }
        _ => Err(HeadError::Syntax(httparse::Error::NewLine)),
    }
}

/// Where in a head a field's name and value lie.
#[derive(Clone, Copy, Default)]
struct FieldRange {
    name: (u32, u32),
    value: (u32, u32),
}

/// Where `fields` lie in `head`, which they point into.
fn ranges(head: &[u8], fields: &[Header<'_>]) -> [FieldRange; MOST_FIELDS] {
    let mut ranges = [FieldRange::default(); MOST_FIELDS];
    let range = |part: &[u8]| {
        let start = (part.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize);
        // Heads are far below 4 GiB.
        (start as u32, (start + part.len()) as u32)
    };
    for (place, field) in ranges.iter_mut().zip(fields) {
        *place = FieldRange {
            name: range(field.name.as_bytes()),
            value: range(field.value),
        };
    }
    ranges
}

/// The fields as they stand in `head`; values are not copied.
fn collect(head: &Bytes, ranges: &[FieldRange]) -> Result<HeaderMap, HeadError> {
    let mut headers = HeaderMap::with_capacity(ranges.len());
    for range in ranges {
        let name = &head[range.name.0 as usize..range.name.1 as usize];
        let value = head.slice(range.value.0 as usize..range.value.1 as usize);
        let name = HeaderName::from_bytes(name)
            .map_err(|_| HeadError::Syntax(httparse::Error::HeaderName))?;
        let value = HeaderValue::from_maybe_shared(value)
            .map_err(|_| HeadError::Syntax(httparse::Error::HeaderValue))?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Parts>, HeadError> {
        let mut inbox = BytesMut::from(text);
        HeadReader::default().read(&mut inbox)
    }

    #[test]
    fn a_head_is_taken_and_the_rest_is_left() {
        let text =
            "HTTP/1.1 200 Fine\r\nA: b\r\nSet-Cookie: x\r\nset-cookie:\ty \r\nE:\r\n\r\nbody";
        let mut inbox = BytesMut::from(text);
        let parts = HeadReader::default().read(&mut inbox).unwrap().unwrap();
        assert_eq!(&inbox[..], b"body");
        assert_eq!(
            (parts.status, parts.version),
            (StatusCode::OK, Version::HTTP_11)
        );
        let fields: Vec<_> = parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(
            fields,
            [
                ("a", "b"),
                ("set-cookie", "x"),
                ("set-cookie", "y"),
                ("e", "")
            ]
        );
        assert_eq!(
            parts.extensions.get::<ReasonPhrase>().unwrap().as_bytes(),
            b"Fine"
        );
        let usual = read("HTTP/1.0 404 Not Found\r\n\r\n").unwrap().unwrap();
        assert_eq!(usual.version, Version::HTTP_10);
        assert!(usual.extensions.get::<ReasonPhrase>().is_none());
    }

    #[test]
    fn a_head_may_come_byte_by_byte() {
        for end in ["\r\n", "\n"] {
            let text = format!("HTTP/1.1 200 OK{end}a: b{end}c: d{end}{end}");
            let mut reader = HeadReader::default();
            let mut inbox = BytesMut::new();
            for (at, byte) in text.bytes().enumerate() {
                inbox.extend_from_slice(&[byte]);
                let head = reader.read(&mut inbox).unwrap();
                assert_eq!(head.is_some(), at + 1 == text.len(), "{at} of {text:?}");
            }
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for bad in [
            "HTTP/2 200 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: c\r\n\r\n",
        ] {
            assert!(matches!(read(bad), Err(HeadError::Syntax(_))), "{bad:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101));
        let most = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(100));
        assert_eq!(
            read(&many).unwrap_err(),
            HeadError::Syntax(httparse::Error::TooManyHeaders)
        );
        assert_eq!(read(&most).unwrap().unwrap().headers.len(), 100);
        let large = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(LARGEST));
        assert_eq!(read(&large).unwrap_err(), HeadError::TooLarge);
    }

    #[test]
    fn the_server_says_whether_it_keeps_the_connection() {
        for (head, keeps) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nconnection: x, CLOSE\r\n\r\n", false),
            (
                "HTTP/1.1 200 OK\r\nconnection: x\r\nconnection: close\r\n\r\n",
                false,
            ),
            ("HTTP/1.1 200 OK\r\nconnection: closed\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\n\r\n", true),
            (
                "HTTP/1.0 200 OK\r\nconnection: keep-alive, close\r\n\r\n",
                false,
            ),
        ] {
            assert_eq!(
                keeps_connection(&read(head).unwrap().unwrap()),
                keeps,
                "{head:?}"
            );
        }
    }

    #[test]
    fn trailers_are_fields() {
        let section = Bytes::from_static(b"a: b\r\nC: d\r\n\r\n");
        let fields = trailers(&section).unwrap();
        assert_eq!(
            (&fields["a"], &fields["c"]),
            (&"b".parse().unwrap(), &"d".parse().unwrap())
        );
        for bad in ["a: b\r\n\r\nx", "a: b\r\n", "a b\r\n\r\n"] {
            assert!(
                trailers(&Bytes::from_static(bad.as_bytes())).is_err(),
                "{bad:?}"
            );
        }
    }
}
