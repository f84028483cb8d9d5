//! What comes first on a connection: a ClientHello over however many records, or something else.

use super::wire::Reader;
use crate::proxy_protocol::ProxyHeader;

/// What reading the first flight came to.
#[derive(Debug)]
pub(super) enum FirstFlight {
    /// The whole handshake message, with its header.
    ClientHello(Vec<u8>),
    /// The peer closed; `bytes` tells how much had come.
    Closed { bytes: usize },
    /// The first bytes are no TLS record.
    NotTls(Vec<u8>),
    /// A TLS record of this type, which cannot come first.
    WrongRecord(u8),
    /// A record longer than TLS allows.
    LongRecord,
    /// The records or the message break the rules.
    Malformed(&'static str),
}

/// Assembles the ClientHello; each byte is looked at once, in whatever pieces it comes.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    message: Vec<u8>,
    /// Where the first record starts that is not taken yet.
    next: usize,
}

/// The longest record body that anybody may send, encrypted (RFC 5246 section 6.2.3), ...
pub(super) const MAX_RECORD: usize = MAX_PLAINTEXT + 2048;
/// ... and in clear (section 6.2.1, RFC 8446 section 5.1).
const MAX_PLAINTEXT: usize = 16384;
/// rustls takes none longer.
const MAX_MESSAGE: usize = 4 + 65535;
/// So many bytes tell HTTP from noise: the longest method that people use and a space.
const HTTP_PREFIX: usize = 10;

impl Assembly {
    /// Looks at all that has come so far; `None` while it is not decided.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Option<FirstFlight> {
        loop {
            let rest = bytes.get(self.next..)?;
            if let Some(verdict) = self.judge_start(rest, bytes) {
                return verdict;
            }
            let mut reader = Reader::new(rest.get(3..)?);
            let length = usize::from(reader.u16()?);
            if length == 0 {
                return Some(FirstFlight::Malformed("an empty handshake record"));
            }
            if length > MAX_PLAINTEXT {
                return Some(FirstFlight::LongRecord);
            }
            let body = reader.take(length)?;
            self.message.extend_from_slice(body);
            self.next += 5 + length;
            if let Some(&[_, a, b, c]) = self.message.get(..4) {
                let body = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
                let whole = 4 + body;
                if whole > MAX_MESSAGE {
                    return Some(FirstFlight::Malformed("a ClientHello longer than 64 KiB"));
                }
                if self.message.len() >= whole {
                    self.message.truncate(whole);
                    return Some(FirstFlight::ClientHello(std::mem::take(&mut self.message)));
                }
            }
        }
    }

    /// Judges the start of a record: `None` when a handshake record goes on, `Some(None)` when
    /// more bytes have to come.
    fn judge_start(&self, rest: &[u8], all: &[u8]) -> Option<Option<FirstFlight>> {
        match rest {
            [] => Some(None),
            [22] | [22, 3, ..] => None,
            // Once one record was a handshake record, this is TLS that breaks its rules.
            _ if self.next > 0 => Some(Some(FirstFlight::Malformed(
                "another record type inside the ClientHello",
            ))),
            [20 | 21 | 23 | 24] => Some(None),
            [kind @ (20 | 21 | 23 | 24), 3, ..] => Some(Some(FirstFlight::WrongRecord(*kind))),
            _ if all.len() < HTTP_PREFIX && all.iter().all(u8::is_ascii_uppercase) => Some(None),
            // Of a PROXY header the refusal should say so.
            _ if ProxyHeader::begins(all).is_none() => Some(None),
            _ => Some(Some(FirstFlight::NotTls(all.to_vec()))),
        }
    }
}

/// Whether bytes start as an HTTP request line does (RFC 9112 section 3).
pub(super) fn looks_like_http(bytes: &[u8]) -> bool {
    let method = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase())
        .count();
    (1..HTTP_PREFIX).contains(&method) && bytes.get(method) == Some(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello of `length` bytes in records of `piece` bytes.
    fn hello(length: usize, piece: usize) -> Vec<u8> {
        let mut message = vec![1, 0];
        message.extend(u16::try_from(length).unwrap().to_be_bytes());
        message.resize(4 + length, 7);
        message
            .chunks(piece)
            .flat_map(|chunk| {
                let length = u16::try_from(chunk.len()).unwrap().to_be_bytes();
                [&[22, 3, 1], &length[..], chunk].concat()
            })
            .collect()
    }

    #[test]
    fn any_pieces_make_the_same_message() {
        for piece in [1, 5, 512, 2000] {
            let bytes = hello(1500, piece);
            let mut assembly = Assembly::default();
            for end in 0..bytes.len() {
                assert!(assembly.advance(&bytes[..end]).is_none(), "{piece} {end}");
            }
            match assembly.advance(&bytes) {
                Some(FirstFlight::ClientHello(message)) => assert_eq!(message.len(), 1504),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn http_is_told_from_noise() {
        for (bytes, http) in [
            ("GET / HTTP/1.1", true),
            ("PROPFIND / HTTP/1.1", true),
            ("SSH-2.0-x\r\n", false),
        ] {
            let verdict = Assembly::default().advance(bytes.as_bytes());
            assert!(matches!(verdict, Some(FirstFlight::NotTls(_))), "{bytes}");
            assert_eq!(looks_like_http(bytes.as_bytes()), http, "{bytes}");
        }
        assert!(Assembly::default().advance(b"PO").is_none());
        assert!(matches!(
            Assembly::default().advance(b"P\0"),
            Some(FirstFlight::NotTls(_))
        ));
    }

    #[test]
    fn broken_records_are_named() {
        for bytes in [&[22, 3, 1, 0, 0][..], &[22, 3, 1, 0, 1, 1, 23, 3, 3]] {
            let verdict = Assembly::default().advance(bytes);
            assert!(
                matches!(verdict, Some(FirstFlight::Malformed(_))),
                "{bytes:?} {verdict:?}"
            );
        }
        for (length, long) in [(16384_u16, false), (16385, true), (u16::MAX, true)] {
            let [a, b] = length.to_be_bytes();
            let verdict = Assembly::default().advance(&[22, 3, 1, a, b]);
            assert_eq!(matches!(verdict, Some(FirstFlight::LongRecord)), long);
        }
        assert!(matches!(
            Assembly::default().advance(&[21, 3, 3]),
            Some(FirstFlight::WrongRecord(21))
        ));
    }
}
