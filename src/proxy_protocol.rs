//! The header of the PROXY protocol, versions 1 and 2: whom a connection is forwarded for.
//!
//! A parser of our own and not a crate: it works on whatever has come so far, allocates nothing,
//! bounds a header before it is read, and refuses what senders never write. Source: HAProxy's
//! `doc/proxy-protocol.txt`, sections 2.1 and 2.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// How many bytes it has.
    pub length: usize,
    /// The client that the connection is forwarded for. `None`: the sender speaks for itself
    /// (`LOCAL`, a health check) or knows no internet address (`UNKNOWN`, `UNSPEC`, unix sockets).
    pub source: Option<SocketAddr>,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// They begin as neither version does.
    #[error("the first bytes are no PROXY header")]
    Missing,
    /// Version 1: no line end within 107 bytes.
    #[error("a PROXY line longer than 107 bytes")]
    LongLine,
    /// Version 1: not the words that a line has.
    #[error("a PROXY line that cannot be read")]
    Line,
    /// Version 2: not version 2, or neither LOCAL nor PROXY.
    #[error("a PROXY header of an unknown version or command")]
    Command,
    /// Version 2: not a stream over IPv4, IPv6 or a unix socket.
    #[error("a PROXY header of an unknown address family or transport")]
    Family,
    /// Version 2: more than [`MAX_HEADER`].
    #[error("a PROXY header longer than 4 KiB")]
    LongHeader,
    /// Version 2: shorter than its addresses.
    #[error("a PROXY header without room for its addresses")]
    Short,
}

/// The longest header that is read, in bytes: addresses and what else a sender adds to them.
pub const MAX_HEADER: usize = 4096;

const SIGNATURE_1: &[u8] = b"PROXY ";
const SIGNATURE_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end (section 2.1).
const MAX_LINE: usize = 107;
/// Signature, version and command, family, length.
const FIXED: usize = 16;

impl ProxyHeader {
    /// Reads a header at the start of `bytes`; `None` while it is not whole.
    ///
    /// # Errors
    /// What has come cannot become a header; told as soon as it shows.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, ProxyHeaderError> {
        match starts(bytes) {
            None => Ok(None),
            Some(Version::One) => line(bytes),
            Some(Version::Two) => block(bytes),
            Some(Version::Neither) => Err(ProxyHeaderError::Missing),
        }
    }

    /// Whether `bytes` begin with the signature of a header, of either version; `None` while they
    /// are too few to tell.
    #[must_use]
    pub fn begins(bytes: &[u8]) -> Option<bool> {
        starts(bytes).map(|version| version != Version::Neither)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
    Neither,
}

fn starts(bytes: &[u8]) -> Option<Version> {
    for (signature, version) in [(SIGNATURE_1, Version::One), (SIGNATURE_2, Version::Two)] {
        if bytes.starts_with(signature) {
            return Some(version);
        }
        if signature.starts_with(bytes) {
            return None;
        }
    }
    Some(Version::Neither)
}

/// Version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n`.
fn line(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let window = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return match bytes.len() < MAX_LINE {
            true => Ok(None),
            false => Err(ProxyHeaderError::LongLine),
        };
    };
    let length = end + 1;
    let source = std::str::from_utf8(&window[..end])
        .ok()
        .and_then(|text| text.strip_suffix('\r'))
        .and_then(|text| text.strip_prefix("PROXY "))
        .ok_or(ProxyHeaderError::Line)?;
    // Whatever stands behind UNKNOWN is to be ignored.
    let source = if source == "UNKNOWN" || source.starts_with("UNKNOWN ") {
        None
    } else {
        Some(addresses(source).ok_or(ProxyHeaderError::Line)?)
    };
    Ok(Some(ProxyHeader { length, source }))
}

fn addresses(text: &str) -> Option<SocketAddr> {
    let mut words = text.split(' ');
    let family = words.next()?;
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, _) = (address()?, address()?);
    let mut port = || -> Option<u16> {
        let word = words.next()?;
        let plain = word.bytes().all(|byte| byte.is_ascii_digit())
            && (word.len() == 1 || !word.starts_with('0'));
        plain.then(|| word.parse().ok()).flatten()
    };
    let (port, _) = (port()?, port()?);
    words
        .next()
        .is_none()
        .then(|| SocketAddr::new(source, port))
}

/// Version 2: signature, version and command, family and transport, length, addresses, TLVs.
fn block(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let local = match bytes.get(12) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(ProxyHeaderError::Command),
    };
    let Some(&family) = bytes.get(13) else {
        return Ok(None);
    };
    // What a LOCAL header says of addresses is to be ignored.
    let needed = match family {
        _ if local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Err(ProxyHeaderError::Family),
    };
    let Some(&[high, low]) = bytes.get(14..FIXED) else {
        return Ok(None);
    };
    let rest = usize::from(u16::from_be_bytes([high, low]));
    if rest < needed {
        return Err(ProxyHeaderError::Short);
    }
    let length = FIXED + rest;
    if length > MAX_HEADER {
        return Err(ProxyHeaderError::LongHeader);
    }
    let Some(body) = bytes.get(FIXED..length) else {
        return Ok(None);
    };
    let source = match (local, family) {
        (false, 0x11) => source::<4>(body).map(|(ip, port)| (Ipv4Addr::from(ip), port).into()),
        (false, 0x21) => source::<16>(body).map(|(ip, port)| (Ipv6Addr::from(ip), port).into()),
        _ => None,
    };
    Ok(Some(ProxyHeader { length, source }))
}

/// The first of two addresses of `N` bytes and the first of the two ports behind them.
fn source<const N: usize>(body: &[u8]) -> Option<([u8; N], u16)> {
    let address = *body.first_chunk::<N>()?;
    let port = body.get(2 * N..)?.first_chunk::<2>()?;
    Some((address, u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version_2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE_2, &[command, family], &length, body].concat()
    }

    /// Every shorter piece is undecided, and what follows is not looked at.
    #[track_caller]
    fn check(bytes: &[u8], source: Option<&str>) {
        for end in 0..bytes.len() {
            assert_eq!(ProxyHeader::parse(&bytes[..end]), Ok(None), "{end}");
        }
        let header = ProxyHeader {
            length: bytes.len(),
            source: source.map(|source| source.parse().unwrap()),
        };
        assert_eq!(ProxyHeader::parse(bytes), Ok(Some(header)));
        let more = [bytes, b"\x16\x03\x01\r\n"].concat();
        assert_eq!(ProxyHeader::parse(&more), Ok(Some(header)));
        assert_eq!(ProxyHeader::begins(bytes), Some(true));
    }

    #[track_caller]
    fn refused(bytes: &[u8], error: ProxyHeaderError) {
        assert_eq!(
            ProxyHeader::parse(bytes),
            Err(error),
            "{}",
            bytes.escape_ascii()
        );
    }

    #[test]
    fn lines_are_read() {
        for (line, source) in [
            (
                "TCP4 192.0.2.1 198.51.100.1 56324 443",
                Some("192.0.2.1:56324"),
            ),
            (
                "TCP4 255.255.255.255 255.255.255.255 65535 0",
                Some("255.255.255.255:65535"),
            ),
            ("TCP6 2001:db8::1 ::1 1 2", Some("[2001:db8::1]:1")),
            ("UNKNOWN", None),
            ("UNKNOWN 192.0.2.1 junk", None),
        ] {
            check(format!("PROXY {line}\r\n").as_bytes(), source);
        }
        // The longest that the protocol has: 107 bytes.
        let group = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let line = format!("PROXY UNKNOWN {group} {group} 65535 65535\r\n");
        assert_eq!(line.len(), MAX_LINE);
        check(line.as_bytes(), None);
    }

    #[test]
    fn lines_that_no_sender_writes_are_refused() {
        for line in [
            "TCP4 192.0.2.1 198.51.100.1 56324 443\n",
            "TCP4  192.0.2.1 198.51.100.1 56324 443\r\n",
            "TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            "TCP4 192.0.2.1 198.51.100.1 56324 443 \r\n",
            "TCP4 192.0.2.1 198.51.100.1 56324 443 1\r\n",
            "TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
            "TCP4 192.0.2.1 198.51.100.1 +1 443\r\n",
            "TCP4 192.0.2.1 198.51.100.1 01 443\r\n",
            "TCP4 192.0.2.01 198.51.100.1 1 443\r\n",
            "TCP4 ::1 ::1 1 443\r\n",
            "TCP6 192.0.2.1 192.0.2.1 1 443\r\n",
            "TCP5 192.0.2.1 192.0.2.1 1 443\r\n",
            "UDP4 192.0.2.1 192.0.2.1 1 443\r\n",
            "tcp4 192.0.2.1 192.0.2.1 1 443\r\n",
            "UNKNOWNX\r\n",
            "\r\n",
            "TCP4 a.test b.test 1 443\r\n",
            "TCP4 192.0.2.1\r\n192.0.2.1 1 443\r\n",
        ] {
            refused(format!("PROXY {line}").as_bytes(), ProxyHeaderError::Line);
        }
        refused(b"PROXY TCP4 \xff\r\n", ProxyHeaderError::Line);
        let long = format!("PROXY UNKNOWN{}", " x".repeat(47));
        assert_eq!(long.len(), MAX_LINE);
        refused(long.as_bytes(), ProxyHeaderError::LongLine);
        refused(format!("{long}\r\n").as_bytes(), ProxyHeaderError::LongLine);
    }

    #[test]
    fn blocks_are_read() {
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
        let mut six = [0; 36];
        six[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        six[15] = 1;
        six[32..34].copy_from_slice(&[0, 7]);
        check(&version_2(0x21, 0x11, &four), Some("192.0.2.1:56324"));
        check(&version_2(0x21, 0x21, &six), Some("[2001:db8::1]:7"));
        // With TLVs, as many as there is room for.
        let tlv = [&four[..], &[4; MAX_HEADER - FIXED - 12]].concat();
        check(&version_2(0x21, 0x11, &tlv), Some("192.0.2.1:56324"));
        check(&version_2(0x21, 0x31, &[b'a'; 216]), None);
        check(&version_2(0x21, 0x00, &[]), None);
        check(&version_2(0x21, 0x00, &[1, 2, 3]), None);
        check(&version_2(0x20, 0x00, &[]), None);
        check(&version_2(0x20, 0x11, &four), None);
        check(&version_2(0x20, 0xff, &[1]), None);
    }

    #[test]
    fn blocks_that_no_sender_writes_are_refused() {
        use ProxyHeaderError::{Command, Family, LongHeader, Short};
        for (command, family, error) in [
            (0x11, 0x11, Command),
            (0x22, 0x11, Command),
            (0x31, 0x11, Command),
            (0x21, 0x12, Family),
            (0x21, 0x01, Family),
            (0x21, 0x41, Family),
            (0x21, 0x10, Family),
        ] {
            refused(&version_2(command, family, &[0; 216]), error);
        }
        refused(&version_2(0x21, 0x11, &[0; 11]), Short);
        refused(&version_2(0x21, 0x21, &[0; 35]), Short);
        refused(&version_2(0x21, 0x31, &[0; 215]), Short);
        // Known from the fixed part alone.
        let long = version_2(0x21, 0x11, &[0; MAX_HEADER - FIXED + 1]);
        refused(&long[..FIXED], LongHeader);
        refused(&version_2(0x20, 0, &[0; MAX_HEADER])[..FIXED], LongHeader);
    }

    #[test]
    fn anything_else_is_told_at_once() {
        for bytes in [
            &b"\x16"[..],
            b"G",
            b"PR0",
            b"POST",
            b"\r\n\r\n\0\r\nQUIT ",
            b"\n",
        ] {
            refused(bytes, ProxyHeaderError::Missing);
            assert_eq!(ProxyHeader::begins(bytes), Some(false));
        }
        for bytes in [&b""[..], b"P", b"PROXY", b"\r", b"\r\n\r\n\0\r\nQUIT"] {
            assert_eq!(ProxyHeader::begins(bytes), None);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", SIGNATURE_2, b"\r\n\r\n\0\r\nQUIT\n\x21\x11"]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [start, &rest].concat();
            if let Ok(Some(header)) = ProxyHeader::parse(&bytes) {
                prop_assert!(header.length <= bytes.len() && header.length <= MAX_HEADER);
            }
        }

        #[test]
        fn pieces_never_change_the_verdict(
            command in 0x1f_u8..0x23,
            family in prop::sample::select(vec![0_u8, 0x11, 0x12, 0x21, 0x31, 0x41]),
            body in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = version_2(command, family, &body);
            let whole = ProxyHeader::parse(&bytes);
            let early = (0..bytes.len())
                .map(|end| ProxyHeader::parse(&bytes[..end]))
                .find(|verdict| *verdict != Ok(None));
            prop_assert!(early.is_none_or(|verdict| verdict == whole));
        }

        #[test]
        fn lines_of_any_addresses_are_read(source: SocketAddr, port: u16) {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let ip = source.ip();
            let line = format!("PROXY {family} {ip} {ip} {} {port}\r\n", source.port());
            let header = ProxyHeader::parse(line.as_bytes()).unwrap().unwrap();
            let expected = SocketAddr::new(ip, source.port());
            prop_assert_eq!(header.source, Some(expected));
        }
    }
}
