//! The tape read: which messages passed, and what they chose.

use std::collections::HashMap;
use std::time::Duration;

use super::opener::Opener;
use super::secrets::Secret;
use super::tape::{Record, Tape};
use crate::config::{CipherSuite, Group};
use crate::report::{Direction, ProtocolVersion};
use crate::tls::{ClientHello, Reader, is_grease};

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// The messages in order.
    pub(super) lines: Vec<Line>,
    /// What they chose.
    pub(super) facts: Facts,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Who sent it: in is from the client.
    pub(super) direction: Direction,
    /// Its name in the RFCs.
    pub(super) name: &'static str,
    /// Its length with its header; of the record where it could not be read.
    pub(super) bytes: usize,
    /// When its last byte passed.
    pub(super) at: Duration,
    /// Whether it was encrypted.
    pub(super) encrypted: bool,
    /// What it says beyond what its name does.
    pub(super) detail: Option<String>,
    /// The alert that it is.
    pub(super) alert: Option<u8>,
}

/// What was chosen, as far as it got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) version: Option<ProtocolVersion>,
    pub(super) cipher: Option<u16>,
    pub(super) group: Option<u16>,
    pub(super) alpn: Option<String>,
    pub(super) signature: Option<u16>,
    pub(super) hello_retry: bool,
    pub(super) resumed: bool,
    /// Of TLS 1.2; TLS 1.3 has no need of it.
    pub(super) extended_master_secret: Option<bool>,
    pub(super) ocsp: bool,
    pub(super) certificate_requested: bool,
    pub(super) tickets: usize,
    /// The fatal alert of the server.
    pub(super) server_alert: Option<u8>,
    /// The fatal alert that the probe sent.
    pub(super) client_alert: Option<u8>,
}

#[derive(Debug, Default)]
struct Lane {
    protection: Protection,
    /// Bytes of a message that is not whole yet.
    message: Vec<u8>,
    finished: bool,
}

#[derive(Debug, Default)]
enum Protection {
    #[default]
    Clear,
    /// Encrypted, and read with these keys.
    Open(Box<Opener>),
    /// Encrypted, and not to be read.
    Sealed,
}

struct Reading<'a> {
    secrets: HashMap<&'a str, &'a [u8]>,
    client: Lane,
    server: Lane,
    script: Script,
}

/// More than any handshake has.
const MAX_LINES: usize = 64;
/// The longest message that is put together.
const MAX_MESSAGE: usize = 1 << 18;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const CLOSE_NOTIFY: u8 = 0;

/// The random of a ServerHello that is a HelloRetryRequest (RFC 8446 section 4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

impl Script {
    /// Reads what passed.
    pub(super) fn read(tape: &Tape, secrets: &[Secret]) -> Self {
        let secrets = secrets
            .iter()
            .map(|(label, secret)| (label.as_str(), secret.as_slice()));
        let mut reading = Reading {
            secrets: secrets.collect(),
            client: Lane::default(),
            server: Lane::default(),
            script: Self::default(),
        };
        for record in tape.records() {
            reading.record(record);
        }
        reading.script
    }

    /// How long the server took for each of its flights: from the client's last byte before it to
    /// its first. `until`: when the client could send its request, if it got so far.
    pub(super) fn round_trips(&self, until: Option<Duration>) -> Vec<Duration> {
        let mut trips = Vec::new();
        let mut asked = None;
        for line in &self.lines {
            if until.is_some_and(|until| line.at > until) {
                break;
            }
            match line.direction {
                Direction::In => asked = Some(line.at),
                Direction::Out => {
                    let trip = asked.take().map(|asked| line.at.saturating_sub(asked));
                    trips.extend(trip);
                }
            }
        }
        trips
    }
}

impl Reading<'_> {
    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::In => &mut self.client,
            Direction::Out => &mut self.server,
        }
    }

    fn record(&mut self, record: &Record) {
        let Some((&[kind, ..], body)) = record.bytes.split_at_checked(5) else {
            return;
        };
        // It is never encrypted, and in TLS 1.3 a dummy (RFC 8446 appendix D.4).
        if kind == CHANGE_CIPHER_SPEC {
            self.change_cipher_spec(record, body.len());
            return;
        }
        match &mut self.lane(record.direction).protection {
            Protection::Clear => self.content(record, kind, body, false),
            Protection::Open(opener) => match opener.open(&record.bytes) {
                Some((kind, content)) => self.content(record, kind, &content, true),
                None => {
                    self.lane(record.direction).protection = Protection::Sealed;
                    self.sealed(record, kind);
                }
            },
            Protection::Sealed => self.sealed(record, kind),
        }
    }

    fn change_cipher_spec(&mut self, record: &Record, bytes: usize) {
        let tls12 = self.script.facts.version == Some(ProtocolVersion::Tls12);
        if tls12 {
            let waits = self.script.lines.iter();
            let full = waits.filter(|line| line.name == "ServerHelloDone").count() > 0;
            self.script.facts.resumed = !full;
            self.lane(record.direction).protection = Protection::Sealed;
        }
        self.push(record, "ChangeCipherSpec", bytes, false, None);
    }

    /// A record that cannot be read: in TLS 1.2 its type is in clear.
    fn sealed(&mut self, record: &Record, kind: u8) {
        let finished = self.lane(record.direction).finished;
        let length = record.bytes.len();
        match kind {
            HANDSHAKE if !finished => {
                self.lane(record.direction).finished = true;
                self.push(record, "Finished", length, true, None);
            }
            // After both sides are done it is most likely close_notify.
            ALERT if !(self.client.finished && self.server.finished) => {
                self.push(record, "Alert", length, true, None);
            }
            APPLICATION_DATA if self.script.facts.version == Some(ProtocolVersion::Tls13) => {
                self.push(record, "(unread)", length, true, None);
            }
            _ => {}
        }
    }

    fn content(&mut self, record: &Record, kind: u8, body: &[u8], encrypted: bool) {
        match kind {
            ALERT => {
                let code = body.get(1).copied();
                let over = self.client.finished && self.server.finished;
                if over && code == Some(CLOSE_NOTIFY) {
                    return;
                }
                self.push(record, "Alert", body.len(), encrypted, None);
                if let Some(line) = self.script.lines.last_mut() {
                    line.alert = code;
                }
                let facts = &mut self.script.facts;
                match record.direction {
                    Direction::In => facts.client_alert = code,
                    Direction::Out => facts.server_alert = code,
                }
            }
            HANDSHAKE => self.handshake(record, body, encrypted),
            _ => {}
        }
    }

    fn handshake(&mut self, record: &Record, body: &[u8], encrypted: bool) {
        let mut message = std::mem::take(&mut self.lane(record.direction).message);
        message.extend_from_slice(body);
        let mut rest = message.as_slice();
        while let Some(&[_, a, b, c]) = rest.get(..4) {
            let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(MAX_MESSAGE);
            let Some((whole, more)) = rest.split_at_checked(4 + length) else {
                break;
            };
            self.message(record, whole, encrypted);
            rest = more;
        }
        if rest.len() < MAX_MESSAGE {
            self.lane(record.direction).message = rest.to_vec();
        }
    }

    fn message(&mut self, record: &Record, whole: &[u8], encrypted: bool) {
        let direction = record.direction;
        let kind = whole.first().copied().unwrap_or_default();
        let mut body = Reader::new(whole.get(4..).unwrap_or_default());
        let server = direction == Direction::Out;
        let mut detail = None;
        let mut name = match kind {
            0 => "HelloRequest",
            1 => "ClientHello",
            2 => "ServerHello",
            4 => "NewSessionTicket",
            8 => "EncryptedExtensions",
            11 => "Certificate",
            12 => "ServerKeyExchange",
            13 => "CertificateRequest",
            14 => "ServerHelloDone",
            15 => "CertificateVerify",
            16 => "ClientKeyExchange",
            20 => "Finished",
            22 => "CertificateStatus",
            24 => "KeyUpdate",
            25 => "CompressedCertificate",
            _ => "unknown",
        };
        let facts = &mut self.script.facts;
        match kind {
            1 => detail = ClientHello::parse(whole).ok().map(|hello| offered(&hello)),
            2 if server && server_hello(facts, &mut body) == Some(true) => {
                name = "HelloRetryRequest";
            }
            4 if server => {
                facts.tickets += 1;
                let lifetime = body.take(4).and_then(|bytes| bytes.try_into().ok());
                detail = lifetime
                    .map(u32::from_be_bytes)
                    .filter(|seconds| *seconds > 0)
                    .map(|seconds| format!("It is good for {seconds} s."));
            }
            8 => {
                let _ = encrypted_extensions(facts, &mut body);
            }
            11 if !server && whole.len() <= 8 => detail = Some("It shows none.".to_owned()),
            12 => {
                let _ = server_key_exchange(facts, &mut body);
            }
            13 if server => facts.certificate_requested = true,
            15 if server => facts.signature = body.u16(),
            22 if server => facts.ocsp = true,
            _ => {}
        }
        let signs = matches!(kind, 12 | 15) && server;
        if let Some(scheme) = facts.signature.filter(|_| signs) {
            detail = Some(format!("The signature is {}.", signature_name(scheme)));
        }
        self.push(record, name, whole.len(), encrypted, detail);
        match (name, direction) {
            ("ServerHello", Direction::Out) => self.open_handshake(),
            ("Finished", _) => self.finished(direction),
            _ => {}
        }
    }

    /// From ServerHello on both sides encrypt, in TLS 1.3.
    fn open_handshake(&mut self) {
        if self.script.facts.version == Some(ProtocolVersion::Tls13) {
            self.client.protection = self.keys("CLIENT_HANDSHAKE_TRAFFIC_SECRET");
            self.server.protection = self.keys("SERVER_HANDSHAKE_TRAFFIC_SECRET");
        }
    }

    fn finished(&mut self, direction: Direction) {
        self.lane(direction).finished = true;
        if self.script.facts.version == Some(ProtocolVersion::Tls13) {
            let label = match direction {
                Direction::In => "CLIENT_TRAFFIC_SECRET_0",
                Direction::Out => "SERVER_TRAFFIC_SECRET_0",
            };
            self.lane(direction).protection = self.keys(label);
        }
    }

    fn keys(&self, label: &str) -> Protection {
        let suite = self.script.facts.cipher;
        let opener = suite
            .zip(self.secrets.get(label))
            .and_then(|(suite, secret)| Opener::new(suite, secret));
        opener.map_or(Protection::Sealed, |opener| {
            Protection::Open(Box::new(opener))
        })
    }

    fn push(
        &mut self,
        record: &Record,
        name: &'static str,
        bytes: usize,
        encrypted: bool,
        detail: Option<String>,
    ) {
        if self.script.lines.len() < MAX_LINES {
            self.script.lines.push(Line {
                direction: record.direction,
                name,
                bytes,
                at: record.at,
                encrypted,
                detail,
                alert: None,
            });
        }
    }
}

/// Reads a ServerHello; true when it is a HelloRetryRequest.
fn server_hello(facts: &mut Facts, body: &mut Reader<'_>) -> Option<bool> {
    body.u16()?;
    let retry = body.take(32)? == RETRY_RANDOM;
    body.vec8()?;
    facts.cipher = Some(body.u16()?);
    body.u8()?;
    facts.hello_retry |= retry;
    let mut version = ProtocolVersion::Tls12;
    let mut extended = false;
    let mut extensions = body.vec16().unwrap_or(Reader::new(&[]));
    while !extensions.is_empty() {
        let number = extensions.u16()?;
        let mut content = extensions.vec16()?;
        match number {
            16 => facts.alpn = protocol(&mut content),
            23 => extended = true,
            41 => facts.resumed = true,
            43 if content.u16() == Some(0x0304) => version = ProtocolVersion::Tls13,
            51 => facts.group = content.u16(),
            _ => {}
        }
    }
    facts.version = Some(version);
    facts.extended_master_secret = (version == ProtocolVersion::Tls12).then_some(extended);
    Some(retry)
}

fn encrypted_extensions(facts: &mut Facts, body: &mut Reader<'_>) -> Option<()> {
    let mut extensions = body.vec16()?;
    while !extensions.is_empty() {
        let number = extensions.u16()?;
        let mut content = extensions.vec16()?;
        if number == 16 {
            facts.alpn = protocol(&mut content);
        }
    }
    Some(())
}

/// The group and the signature scheme of TLS 1.2 (RFC 8422 section 5.4).
fn server_key_exchange(facts: &mut Facts, body: &mut Reader<'_>) -> Option<()> {
    const NAMED_CURVE: u8 = 3;
    if body.u8()? == NAMED_CURVE {
        facts.group = Some(body.u16()?);
        body.vec8()?;
        facts.signature = Some(body.u16()?);
    }
    Some(())
}

fn protocol(content: &mut Reader<'_>) -> Option<String> {
    let name = content.vec16()?.vec8()?.rest();
    Some(String::from_utf8_lossy(name).into_owned())
}

/// What a ClientHello says, as a sentence.
fn offered(hello: &ClientHello) -> String {
    let versions: Vec<_> = hello
        .versions()
        .into_iter()
        .filter_map(|version| match version {
            0x0304 => Some("1.3"),
            0x0303 => Some("1.2"),
            _ => None,
        })
        .collect();
    let suites = hello.cipher_suites.iter();
    let suites = suites.filter(|suite| **suite != 0x00ff && !is_grease(**suite));
    let mut text = match hello.name() {
        Some(name) => format!("The client asks for {name} and offers"),
        None => "The client names no server and offers".to_owned(),
    };
    let count = suites.count();
    let versions = versions.join(" and ");
    text.push_str(&format!(" TLS {versions}, {count} cipher suites"));
    let shares = hello.key_shares.iter().flatten();
    let shares: Vec<_> = shares.map(|group| group_name(*group)).collect();
    if !shares.is_empty() {
        text.push_str(", a key share for ");
        text.push_str(&shares.join(" and "));
    }
    if let Some(alpn) = &hello.alpn {
        let names: Vec<_> = alpn
            .iter()
            .map(|name| String::from_utf8_lossy(name))
            .collect();
        text.push_str(", ALPN ");
        text.push_str(&names.join(" and "));
    }
    if hello.pre_shared_key || hello.ticket {
        text.push_str(", and a session of before");
    }
    text.push('.');
    text
}

/// The IANA name of a suite, or its number.
pub(super) fn cipher_name(code: u16) -> String {
    CipherSuite::by_code(code).map_or_else(|| format!("{code:#06x}"), |it| it.name.to_owned())
}

/// The IANA name of a group, or its number.
pub(super) fn group_name(code: u16) -> String {
    Group::by_code(code).map_or_else(|| format!("{code:#06x}"), |it| it.name.to_owned())
}

/// The IANA name of a signature scheme, or its number.
pub(super) fn signature_name(code: u16) -> String {
    let name = match code {
        0x0401 => "rsa_pkcs1_sha256",
        0x0501 => "rsa_pkcs1_sha384",
        0x0601 => "rsa_pkcs1_sha512",
        0x0403 => "ecdsa_secp256r1_sha256",
        0x0503 => "ecdsa_secp384r1_sha384",
        0x0603 => "ecdsa_secp521r1_sha512",
        0x0804 => "rsa_pss_rsae_sha256",
        0x0805 => "rsa_pss_rsae_sha384",
        0x0806 => "rsa_pss_rsae_sha512",
        0x0807 => "ed25519",
        0x0808 => "ed448",
        0x0809 => "rsa_pss_pss_sha256",
        0x080a => "rsa_pss_pss_sha384",
        0x080b => "rsa_pss_pss_sha512",
        _ => return format!("{code:#06x}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn round_trips_end_when_the_client_is_done() {
        let line = |direction, at| Line {
            direction,
            name: "unknown",
            bytes: 1,
            at: Duration::from_millis(at),
            encrypted: false,
            detail: None,
            alert: None,
        };
        let (client, server) = (Direction::In, Direction::Out);
        let script = Script {
            lines: vec![
                line(client, 1),
                line(server, 11),
                line(server, 12),
                line(client, 13),
                line(server, 33),
            ],
            facts: Facts::default(),
        };
        let millis = |until| -> Vec<_> {
            let trips = script.round_trips(until);
            trips.iter().map(Duration::as_millis).collect()
        };
        assert_eq!(millis(None), [10, 20]);
        assert_eq!(millis(Some(Duration::from_millis(14))), [10]);
    }

    proptest! {
        #[test]
        fn no_records_panic(
            pieces in proptest::collection::vec(
                (any::<bool>(), 20u8..24, proptest::collection::vec(any::<u8>(), 0..80)),
                0..12,
            ),
        ) {
            let mut tape = Tape::new(Instant::now());
            for (client, kind, body) in pieces {
                let length = u16::try_from(body.len()).unwrap().to_be_bytes();
                let record = [&[kind, 3, 3], &length[..], &body].concat();
                let direction = if client { Direction::In } else { Direction::Out };
                tape.passed(direction, &record, Instant::now());
            }
            let script = Script::read(&tape, &[]);
            prop_assert!(script.lines.len() <= MAX_LINES);
        }
    }
}
