//! Our own parser of the raw ClientHello (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2).
//!
//! rustls tells nothing of a ClientHello that it rejects, and of others neither the versions nor
//! the key shares. The choice of policy and every diagnosis start from these facts, so they are
//! read from the bytes before rustls sees them. Unknown extensions are kept by number: order and
//! presence matter to fingerprints.

use std::net::IpAddr;

use super::wire::Reader;
use crate::host;

/// What a client offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// `legacy_version`
    pub legacy_version: u16,
    /// Length of `legacy_session_id`; a TLS 1.3 client sends a random one for middleboxes.
    pub session_id: Vec<u8>,
    /// Cipher suites in the client's order, GREASE and signalling values included.
    pub cipher_suites: Vec<u16>,
    /// Extension numbers in order of appearance.
    pub extensions: Vec<u16>,
    /// `supported_versions`; `None` when the extension is absent (a TLS 1.2 client).
    pub supported_versions: Option<Vec<u16>>,
    /// `supported_groups`; `None` when absent.
    pub groups: Option<Vec<u16>>,
    /// Groups with a key share; `None` when the extension is absent.
    pub key_shares: Option<Vec<u16>>,
    /// `signature_algorithms`; `None` when absent.
    pub signature_algorithms: Option<Vec<u16>>,
    /// `server_name`
    pub server_name: ServerName,
    /// `application_layer_protocol_negotiation`; `None` when absent.
    pub alpn: Option<Vec<Vec<u8>>>,
    /// Whether a session ticket was offered (RFC 5077): present and not empty.
    pub ticket: bool,
    /// Whether tickets are taken (RFC 5077): the extension is present, empty or not.
    pub takes_tickets: bool,
    /// Whether a pre-shared key was offered (RFC 8446 section 4.2.11).
    pub pre_shared_key: bool,
    /// Whether early data was announced.
    pub early_data: bool,
    /// Whether `extended_master_secret` was offered (RFC 7627).
    pub extended_master_secret: bool,
}

/// The `server_name` extension (RFC 6066 section 3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServerName {
    /// Absent, empty, or an IP literal, which RFC 6066 does not permit as a name.
    #[default]
    None,
    /// A host name in lower case and without a trailing dot.
    Name(String),
    /// Bytes that are no host name.
    Invalid,
}

/// Why bytes are no ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The handshake message is of another type.
    #[error("the first handshake message is of type {0}, not a ClientHello")]
    NotClientHello(u8),
    /// Its structure does not decode.
    #[error("the ClientHello does not decode at its {0}")]
    Malformed(&'static str),
    /// An extension stands twice (RFC 8446 section 4.2).
    #[error("extension {0} stands twice in the ClientHello")]
    DuplicateExtension(u16),
}

const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;
/// TLS_FALLBACK_SCSV, no suite but a signal.
const FALLBACK_SCSV: u16 = 0x5600;

impl ClientHello {
    /// Parses one handshake message with its four-byte header.
    ///
    /// # Errors
    /// Where the bytes break the structure.
    pub fn parse(message: &[u8]) -> Result<Self, HelloError> {
        use HelloError::Malformed;

        let mut reader = Reader::new(message);
        let kind = reader.u8().ok_or(Malformed("header"))?;
        if kind != 1 {
            return Err(HelloError::NotClientHello(kind));
        }
        let length = reader.take(3).ok_or(Malformed("header"))?;
        let length = u32::from_be_bytes([0, length[0], length[1], length[2]]);
        if usize::try_from(length) != Ok(reader.rest().len()) {
            return Err(Malformed("length"));
        }

        let legacy_version = reader.u16().ok_or(Malformed("version"))?;
        reader.take(32).ok_or(Malformed("random"))?;
        let session_id = reader
            .vec8()
            .ok_or(Malformed("session id"))?
            .rest()
            .to_vec();
        if session_id.len() > 32 {
            return Err(Malformed("session id"));
        }
        let cipher_suites = reader
            .vec16()
            .and_then(Reader::u16s)
            .filter(|suites| !suites.is_empty())
            .ok_or(Malformed("cipher suites"))?;
        reader
            .vec8()
            .filter(|methods| !methods.is_empty())
            .ok_or(Malformed("compression methods"))?;
        let mut hello = Self {
            legacy_version,
            session_id,
            cipher_suites,
            ..Self::default()
        };
        if reader.is_empty() {
            return Ok(hello);
        }

        let mut extensions = reader.vec16().ok_or(Malformed("extensions"))?;
        if !reader.is_empty() {
            return Err(Malformed("end"));
        }
        while !extensions.is_empty() {
            let number = extensions.u16().ok_or(Malformed("extensions"))?;
            let body = extensions.vec16().ok_or(Malformed("extensions"))?;
            if hello.extensions.contains(&number) {
                return Err(HelloError::DuplicateExtension(number));
            }
            // A ClientHello of 64 KiB holds 16 Ki extensions; the search above stays cheap.
            if hello.extensions.len() >= MAX_EXTENSIONS {
                return Err(Malformed("number of extensions"));
            }
            hello.extensions.push(number);
            hello.extension(number, body)?;
        }
        Ok(hello)
    }

    /// The TLS versions the client offers, as wire values: `supported_versions`, else all up to
    /// `legacy_version` from TLS 1.0.
    #[must_use]
    pub fn versions(&self) -> Vec<u16> {
        match &self.supported_versions {
            Some(versions) => versions
                .iter()
                .copied()
                .filter(|&v| !is_grease(v))
                .collect(),
            None => (0x0301..=self.legacy_version.min(TLS12)).rev().collect(),
        }
    }

    /// Whether TLS 1.3 is offered.
    #[must_use]
    pub fn offers_tls13(&self) -> bool {
        self.supported_versions
            .as_ref()
            .is_some_and(|versions| versions.contains(&TLS13))
    }

    /// Whether the client says that it can do better than it offers: it tries an older version
    /// after a failure (RFC 7507).
    #[must_use]
    pub fn falls_back(&self) -> bool {
        !self.offers_tls13() && self.cipher_suites.contains(&FALLBACK_SCSV)
    }

    /// Whether TLS 1.2 is offered.
    #[must_use]
    pub fn offers_tls12(&self) -> bool {
        match &self.supported_versions {
            Some(versions) => versions.contains(&TLS12),
            None => self.legacy_version >= TLS12,
        }
    }

    /// The server name, where a valid one was sent.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.server_name {
            ServerName::Name(name) => Some(name),
            ServerName::None | ServerName::Invalid => None,
        }
    }

    fn extension(&mut self, number: u16, mut body: Reader<'_>) -> Result<(), HelloError> {
        use HelloError::Malformed;

        match number {
            0 => self.server_name = server_name(body).ok_or(Malformed("server_name"))?,
            10 => {
                let groups = body.vec16().and_then(Reader::u16s);
                self.groups = Some(groups.ok_or(Malformed("supported_groups"))?);
            }
            13 => {
                let schemes = body.vec16().and_then(Reader::u16s);
                self.signature_algorithms = Some(schemes.ok_or(Malformed("signature_algorithms"))?);
            }
            16 => self.alpn = Some(alpn(body).ok_or(Malformed("ALPN"))?),
            23 => self.extended_master_secret = true,
            35 => {
                self.takes_tickets = true;
                self.ticket = !body.is_empty();
            }
            41 => self.pre_shared_key = true,
            42 => self.early_data = true,
            43 => {
                let versions = body.vec8().and_then(Reader::u16s);
                self.supported_versions = Some(versions.ok_or(Malformed("supported_versions"))?);
            }
            51 => self.key_shares = Some(key_shares(body).ok_or(Malformed("key_share"))?),
            _ => {}
        }
        Ok(())
    }
}

/// Whether `value` is one that clients send to keep servers tolerant (RFC 8701).
#[must_use]
pub const fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

const MAX_EXTENSIONS: usize = 256;

fn server_name(mut body: Reader<'_>) -> Option<ServerName> {
    if body.is_empty() {
        return Some(ServerName::None);
    }
    let mut list = body.vec16()?;
    let mut found = ServerName::None;
    while !list.is_empty() {
        let kind = list.u8()?;
        let name = list.vec16()?.rest();
        if kind != 0 || found != ServerName::None {
            continue;
        }
        let text = std::str::from_utf8(name).ok();
        found = match text {
            Some(text) if text.parse::<IpAddr>().is_ok() => ServerName::None,
            Some(text) => host::normalize(text).map_or(ServerName::Invalid, ServerName::Name),
            None => ServerName::Invalid,
        };
    }
    Some(found)
}

fn alpn(mut body: Reader<'_>) -> Option<Vec<Vec<u8>>> {
    let mut list = body.vec16()?;
    let mut protocols = Vec::new();
    while !list.is_empty() {
        let protocol = list.vec8()?.rest();
        if protocol.is_empty() {
            return None;
        }
        protocols.push(protocol.to_vec());
    }
    Some(protocols)
}

fn key_shares(mut body: Reader<'_>) -> Option<Vec<u16>> {
    let mut list = body.vec16()?;
    let mut groups = Vec::new();
    while !list.is_empty() {
        groups.push(list.u16()?);
        list.vec16()?;
    }
    Some(groups)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A ClientHello with these extensions.
    fn message(extensions: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.push(0);
        body.extend([0, 4, 0x13, 0x01, 0xc0, 0x2b, 1, 0]);
        let mut all = Vec::new();
        for (number, content) in extensions {
            all.extend(number.to_be_bytes());
            all.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            all.extend(*content);
        }
        body.extend(u16::try_from(all.len()).unwrap().to_be_bytes());
        body.extend(all);
        let mut message = vec![1, 0];
        message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        message.extend(body);
        message
    }

    #[test]
    fn the_facts_are_read() {
        let hello = ClientHello::parse(&message(&[
            (0, b"\0\x0e\0\0\x0bExample.CoM"),
            (10, &[0, 4, 0x11, 0xec, 0, 29]),
            (13, &[0, 2, 4, 3]),
            (16, b"\0\x0c\x02h2\x08http/1.1"),
            (35, b"t"),
            (43, &[4, 3, 4, 3, 3]),
            (51, &[0, 6, 0, 29, 0, 2, 9, 9]),
        ]))
        .unwrap();
        assert_eq!(hello.name(), Some("example.com"));
        assert_eq!(hello.groups, Some(vec![0x11ec, 29]));
        assert_eq!(hello.key_shares, Some(vec![29]));
        assert_eq!(hello.signature_algorithms, Some(vec![0x0403]));
        assert_eq!(hello.alpn, Some(vec![b"h2".to_vec(), b"http/1.1".to_vec()]));
        assert!(hello.ticket && hello.offers_tls13() && hello.offers_tls12());
        assert!(!hello.pre_shared_key);
        assert_eq!(hello.extensions, [0, 10, 13, 16, 35, 43, 51]);
    }

    #[test]
    fn an_old_client_offers_what_its_version_says() {
        let mut bytes = message(&[]);
        assert_eq!(
            ClientHello::parse(&bytes).unwrap().versions(),
            [0x0303, 0x0302, 0x0301]
        );
        bytes[5] = 2;
        let hello = ClientHello::parse(&bytes).unwrap();
        assert_eq!(hello.versions(), [0x0302, 0x0301]);
        assert!(!hello.offers_tls12() && !hello.offers_tls13());
    }

    #[test]
    fn names_that_are_none() {
        let ip = ClientHello::parse(&message(&[(0, b"\0\x0c\0\0\x09127.0.0.1")])).unwrap();
        assert_eq!(ip.server_name, ServerName::None);
        let bad = ClientHello::parse(&message(&[(0, b"\0\x06\0\0\x03a b")])).unwrap();
        assert_eq!(bad.server_name, ServerName::Invalid);
    }

    #[test]
    fn what_does_not_decode_is_named() {
        let whole = message(&[(43, &[2, 3, 4])]);
        assert_eq!(
            ClientHello::parse(&whole[..whole.len() - 1]),
            Err(HelloError::Malformed("length"))
        );
        assert_eq!(
            ClientHello::parse(&message(&[(43, &[3, 3, 4])])),
            Err(HelloError::Malformed("supported_versions"))
        );
        assert_eq!(
            ClientHello::parse(&message(&[(23, &[]), (23, &[])])),
            Err(HelloError::DuplicateExtension(23))
        );
        assert_eq!(
            ClientHello::parse(&[2, 0, 0, 0]),
            Err(HelloError::NotClientHello(2))
        );
    }

    #[test]
    fn grease_is_told() {
        assert!(is_grease(0x0a0a) && is_grease(0xfafa));
        assert!(!is_grease(0x0a1a) && !is_grease(0x1301));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = ClientHello::parse(&bytes);
        }

        #[test]
        fn no_changed_hello_panics(at in 0usize..90, value: u8) {
            let mut bytes = message(&[
                (0, b"\0\x0e\0\0\x0bexample.com"),
                (16, b"\0\x0c\x02h2\x08http/1.1"),
                (43, &[4, 3, 4, 3, 3]),
            ]);
            if let Some(byte) = bytes.get_mut(at) { *byte = value; }
            let _ = ClientHello::parse(&bytes);
        }
    }
}
