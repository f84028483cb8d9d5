//! The handshake messages as they pass, and what the clear ones tell.
//!
//! Read from the records themselves, so that the facts survive a failure: rustls keeps its own
//! to itself when a handshake fails.

use std::time::{Duration, Instant};

use super::wire::Reader;
use crate::report::{Direction, Message, ProtocolVersion};

/// The messages of one handshake.
#[derive(Debug)]
pub(super) struct Transcript {
    accepted: Instant,
    messages: Vec<Message>,
    inbound: Lane,
    outbound: Lane,
    server: ServerFacts,
    alert_received: Option<u8>,
    alert_sent: Option<u8>,
    /// Whether a full handshake asks for a client certificate.
    asks_certificate: bool,
}

/// What our clear messages say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerFacts {
    /// The version of our ServerHello.
    pub(super) version: Option<ProtocolVersion>,
    /// Its cipher suite.
    pub(super) cipher_suite: Option<u16>,
    /// The group of its key share or of our ServerKeyExchange.
    pub(super) group: Option<u16>,
    /// Whether it resumes a session.
    pub(super) resumed: bool,
    /// Whether a HelloRetryRequest was sent.
    pub(super) hello_retry: bool,
    /// Whether it was the last ServerHello so far.
    pub(super) retry_pending: bool,
}

#[derive(Debug, Default)]
struct Lane {
    /// Bytes of a record that is not whole yet (outbound only).
    record: Vec<u8>,
    /// Bytes of a clear handshake message that is not whole yet.
    message: Vec<u8>,
    /// Whether records are encrypted from now on.
    encrypted: bool,
    /// Encrypted handshake records so far.
    encrypted_records: u32,
}

/// More messages than any handshake has; the rest is not kept.
const MAX_MESSAGES: usize = 32;
/// The longest handshake message that is assembled; longer ones fail in rustls.
const MAX_MESSAGE: usize = 64 * 1024;

/// A record that goes on with what the one before began.
const CONTINUED: &str = "(continued)";
const CERTIFICATE: &str = "Certificate";

/// The suite of TLS 1.3 whose hash has 48 bytes.
const AES_256_GCM_SHA384: u16 = 0x1302;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// The random of a ServerHello that is a HelloRetryRequest (RFC 8446 section 4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

impl Transcript {
    /// An empty transcript; times count from `accepted`.
    pub(super) fn new(accepted: Instant) -> Self {
        Self {
            accepted,
            messages: Vec::with_capacity(12),
            inbound: Lane::default(),
            outbound: Lane::default(),
            server: ServerFacts::default(),
            alert_received: None,
            alert_sent: None,
            asks_certificate: false,
        }
    }

    /// The policy asks clients for a certificate, or does not.
    pub(super) const fn expect_client_certificate(&mut self, asks: bool) {
        self.asks_certificate = asks;
    }

    /// Names the records of the client's encrypted flight, now that it is known to be whole and
    /// whether it held a certificate. Clients send it in one record or in one a message; a request
    /// may have come right after it.
    pub(super) fn name_client_flight(&mut self, presented: bool) {
        if !self.certificate_flight() {
            return;
        }
        // Only Finished has this length: record header, message header, hash, content type, tag.
        let hash = match self.server.cipher_suite {
            Some(AES_256_GCM_SHA384) => 48,
            _ => 32,
        };
        let finished = 5 + 4 + hash + 1 + 16;
        let flight = |message: &&mut Message| {
            message.direction == Direction::In && [CERTIFICATE, CONTINUED].contains(&message.name)
        };
        let mut records: Vec<_> = self.messages.iter_mut().filter(flight).collect();
        let last = records.iter().position(|record| record.bytes == finished);
        let names: &[&'static str] = match (last, presented) {
            (Some(2), true) => &[CERTIFICATE, "CertificateVerify", "Finished"],
            (Some(1), true) => &["Certificate CertificateVerify", "Finished"],
            (Some(1), false) => &[CERTIFICATE, "Finished"],
            (_, true) => &["Certificate CertificateVerify Finished"],
            (_, false) => &["Certificate Finished"],
        };
        let mut names = names.iter();
        for record in &mut records {
            record.name = names.next().copied().unwrap_or_default();
        }
        // What came after Finished is no handshake message.
        self.messages.retain(|message| !message.name.is_empty());
    }

    /// Whether the client's flight is an encrypted one that begins with Certificate.
    fn certificate_flight(&self) -> bool {
        self.asks_certificate
            && self.server.version == Some(ProtocolVersion::Tls13)
            && !self.server.resumed
    }

    /// What our clear messages said so far.
    pub(super) const fn server(&self) -> ServerFacts {
        self.server
    }

    /// The alert that came in clear.
    pub(super) const fn alert_received(&self) -> Option<u8> {
        self.alert_received
    }

    /// The alert that went out in clear.
    pub(super) const fn alert_sent(&self) -> Option<u8> {
        self.alert_sent
    }

    /// Whether the client has sent its Finished of TLS 1.2, and nothing of our ChangeCipherSpec
    /// is written: the client cannot have seen our Finished. Never so in a resumed handshake, in
    /// which ours comes first.
    pub(super) fn owes_finished(&self) -> bool {
        self.server.version == Some(ProtocolVersion::Tls12)
            && self.inbound.encrypted_records > 0
            && !self.outbound.encrypted
    }

    /// Whether anything was written.
    pub(super) fn wrote(&self) -> bool {
        self.messages
            .iter()
            .any(|message| message.direction == Direction::Out)
    }

    /// Takes the messages.
    pub(super) fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.messages)
    }

    /// A whole record of the client, with its header.
    pub(super) fn record_in(&mut self, record: &[u8], now: Instant) {
        self.record(Direction::In, record, now);
    }

    /// Bytes that the kernel took from us: records in pieces of any size.
    pub(super) fn bytes_out(&mut self, bytes: &[u8], now: Instant) {
        let mut buffer = std::mem::take(&mut self.outbound.record);
        buffer.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(header) = buffer.get(at..at + 5) {
            let length = 5 + usize::from(u16::from_be_bytes([header[3], header[4]]));
            let Some(record) = buffer.get(at..at + length) else {
                break;
            };
            self.record(Direction::Out, record, now);
            at += length;
        }
        buffer.drain(..at);
        self.outbound.record = buffer;
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::In => &mut self.inbound,
            Direction::Out => &mut self.outbound,
        }
    }

    fn record(&mut self, direction: Direction, record: &[u8], now: Instant) {
        let (kind, body) = match record {
            [kind, _, _, _, _, body @ ..] => (*kind, body),
            _ => return,
        };
        let encrypted = self.lane(direction).encrypted;
        match kind {
            CHANGE_CIPHER_SPEC => {
                self.push(direction, "ChangeCipherSpec", body.len(), now);
                // In TLS 1.3 it is a dummy for middleboxes (RFC 8446 appendix D.4).
                if self.server.version == Some(ProtocolVersion::Tls12) {
                    self.lane(direction).encrypted = true;
                }
            }
            ALERT if !encrypted => {
                self.push(direction, "Alert", body.len(), now);
                let alert = body.get(1).copied();
                match direction {
                    Direction::In => self.alert_received = alert,
                    Direction::Out => self.alert_sent = alert,
                }
            }
            ALERT => self.push(direction, "Alert", record.len(), now),
            HANDSHAKE if !encrypted => self.clear_handshake(direction, body, now),
            // In TLS 1.2 the ticket goes in clear before ChangeCipherSpec; only Finished follows.
            HANDSHAKE => {
                self.lane(direction).encrypted_records += 1;
                self.push(direction, "Finished", record.len(), now);
            }
            APPLICATION_DATA => self.application_data(direction, record.len(), now),
            _ => {}
        }
    }

    /// TLS 1.3 records after ServerHello all look like application data; which messages they hold
    /// follows from the protocol (RFC 8446 section 2).
    fn application_data(&mut self, direction: Direction, bytes: usize, now: Instant) {
        if self.server.version != Some(ProtocolVersion::Tls13) {
            return;
        }
        let client_finished = self.inbound.encrypted_records > 0;
        let certificates = self.certificate_flight();
        let lane = self.lane(direction);
        lane.encrypted_records += 1;
        let first = lane.encrypted_records == 1;
        let name = match direction {
            // Until the flight is known to be whole.
            Direction::In if first && certificates => CERTIFICATE,
            Direction::In if certificates => CONTINUED,
            Direction::In if first => "Finished",
            // What follows Finished is no handshake message any more.
            Direction::In => return,
            Direction::Out if client_finished => "NewSessionTicket",
            Direction::Out if !first => CONTINUED,
            Direction::Out if self.server.resumed => "EncryptedExtensions Finished",
            Direction::Out if certificates => {
                "EncryptedExtensions CertificateRequest Certificate CertificateVerify Finished"
            }
            Direction::Out => "EncryptedExtensions Certificate CertificateVerify Finished",
        };
        self.push(direction, name, bytes, now);
    }

    fn clear_handshake(&mut self, direction: Direction, body: &[u8], now: Instant) {
        let mut message = std::mem::take(&mut self.lane(direction).message);
        message.extend_from_slice(body);
        let mut at = 0;
        while let Some(&[kind, a, b, c]) = message.get(at..at + 4) {
            let length =
                4 + usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX - 4);
            let Some(whole) = message.get(at..at.saturating_add(length)) else {
                break;
            };
            self.clear_message(direction, kind, whole, now);
            at += length;
        }
        message.drain(..at);
        if message.len() > MAX_MESSAGE {
            message.clear();
        }
        self.lane(direction).message = message;
    }

    fn clear_message(&mut self, direction: Direction, kind: u8, whole: &[u8], now: Instant) {
        let mut body = Reader::new(whole.get(4..).unwrap_or_default());
        let mut name = match kind {
            0 => "HelloRequest",
            1 => "ClientHello",
            2 => "ServerHello",
            4 => "NewSessionTicket",
            11 => CERTIFICATE,
            12 => "ServerKeyExchange",
            13 => "CertificateRequest",
            14 => "ServerHelloDone",
            15 => "CertificateVerify",
            16 => "ClientKeyExchange",
            20 => "Finished",
            22 => "CertificateStatus",
            _ => "unknown",
        };
        if direction == Direction::Out {
            match kind {
                2 => {
                    let retry = self.server_hello(&mut body).unwrap_or(false);
                    if retry {
                        name = "HelloRetryRequest";
                    }
                }
                // curve_type 3 is named_curve (RFC 8422 section 5.4).
                12 if body.u8() == Some(3) => self.server.group = body.u16(),
                _ => {}
            }
        }
        self.push(direction, name, whole.len(), now);
    }

    /// Reads a ServerHello; true when it is a HelloRetryRequest.
    fn server_hello(&mut self, body: &mut Reader<'_>) -> Option<bool> {
        body.u16()?;
        let retry = body.take(32)? == RETRY_RANDOM;
        body.vec8()?;
        let cipher_suite = body.u16()?;
        body.u8()?;
        let mut facts = ServerFacts {
            version: Some(ProtocolVersion::Tls12),
            cipher_suite: Some(cipher_suite),
            hello_retry: self.server.hello_retry || retry,
            retry_pending: retry,
            ..ServerFacts::default()
        };
        if !body.is_empty() {
            let mut extensions = body.vec16()?;
            while !extensions.is_empty() {
                let number = extensions.u16()?;
                let mut content = extensions.vec16()?;
                match number {
                    41 => facts.resumed = true,
                    43 if content.u16()? == 0x0304 => facts.version = Some(ProtocolVersion::Tls13),
                    51 => facts.group = content.u16(),
                    _ => {}
                }
            }
        }
        self.server = facts;
        Some(retry)
    }

    fn push(&mut self, direction: Direction, name: &'static str, bytes: usize, now: Instant) {
        if self.messages.len() < MAX_MESSAGES {
            let at: Duration = now.saturating_duration_since(self.accepted);
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.messages.push(Message {
                direction,
                name,
                bytes,
                at,
            });
        }
    }
}
