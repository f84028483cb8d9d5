//! One handshake as it was seen from the server.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::failure::Failure;
use super::network::{ExtraRoundTrip, Network};
use super::phase::{Parts, Phases};
use super::resumption::{FalseStart, Resumption};

/// Everything known of one handshake, failed ones included.
#[derive(Clone, Debug)]
pub struct HandshakeReport {
    /// The connection it belongs to; access log lines carry the same.
    pub id: ConnectionId,
    /// When the connection was accepted.
    pub time: SystemTime,
    /// The listener's configured name.
    pub listener: Arc<str>,
    /// The other end, or the client that a PROXY header gives.
    pub peer: Peer,
    /// Who sent a PROXY header; `None`: there was none.
    pub proxy: Option<Peer>,
    /// How it ended.
    pub outcome: Outcome,
    /// The negotiated version; `None` when the handshake did not get so far.
    pub version: Option<ProtocolVersion>,
    /// Full or resumed; `None` when the handshake did not get so far.
    pub kind: Option<HandshakeKind>,
    /// Whether a HelloRetryRequest was sent (RFC 8446 section 4.1.4).
    pub hello_retry: bool,
    /// The negotiated cipher suite by its IANA name.
    pub cipher: Option<&'static str>,
    /// The negotiated group by its IANA name; `None` also for resumption without key exchange.
    pub group: Option<&'static str>,
    /// The server name the client sent, lower case and without a trailing dot. From the wire:
    /// never a label.
    pub server_name: Option<Arc<str>>,
    /// The configured name that it matched (`example.com`, `*.example.com`): fit for a label.
    pub server_name_label: ServerNameLabel,
    /// The negotiated ALPN protocol.
    pub alpn: Option<&'static str>,
    /// The key type of the certificate that signed: `ecdsa`, `rsa`, `ed25519`; `None` where none
    /// did, as with a resumed session.
    pub certificate_type: Option<&'static str>,
    /// What became of the offer to resume.
    pub resumption: Resumption,
    /// The age of the session that was resumed, counted from its full handshake.
    pub session_age: Option<Duration>,
    /// What became of False Start.
    pub false_start: FalseStart,
    /// The JA4 fingerprint of the ClientHello, where it decodes.
    pub ja4: Option<Arc<str>>,
    /// What the kernel knew of the network, and how much went over it.
    pub network: Network,
    /// Why it took more round trips than the one that each takes, once for each of them.
    pub extra_round_trips: Vec<ExtraRoundTrip>,
    /// From accept to handshake complete, or to its failure.
    pub total: Duration,
    /// Where the total went; adds up to it exactly.
    pub phases: Phases,
    /// What was computed.
    pub parts: Parts,
    /// The handshake messages in order.
    pub messages: Vec<Message>,
}

/// A server name as a metric label: only configured names, so that the wire never makes a series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServerNameLabel {
    /// A configured name or wildcard.
    Configured(Arc<str>),
    /// A name was sent that is not configured.
    Other,
    /// No name was sent.
    #[default]
    None,
}

impl ServerNameLabel {
    /// The label's value: the configured name, `other` or `none`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Configured(name) => name,
            Self::Other => "other",
            Self::None => "none",
        }
    }
}

/// How a handshake ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Complete.
    Ok,
    /// Failed.
    Failed(Failure),
    /// The peer connected and sent nothing until it closed or the deadline passed: a health
    /// check or a port probe. Counted apart and never an event.
    Probe,
}

/// A connection's number, unique in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    /// Sixteen hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A text that is no connection's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a connection's number has 16 hexadecimal digits")]
pub struct ConnectionIdError;

impl FromStr for ConnectionId {
    type Err = ConnectionIdError;

    /// Sixteen hexadecimal digits, of either case.
    fn from_str(text: &str) -> Result<Self, ConnectionIdError> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        id.map(Self).ok_or(ConnectionIdError)
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A peer on a unix socket, which has no address.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// A TLS version that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProtocolVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl ProtocolVersion {
    /// Every version.
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// `1.2` or `1.3`, as in configuration, metrics and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

/// Whether a handshake established a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeKind {
    /// A new session.
    Full,
    /// A session of before: a ticket, a session ID or a PSK.
    Resumed,
}

impl HandshakeKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Full, Self::Resumed];

    /// The name in metrics, events and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
        }
    }
}

/// One handshake message, or one encrypted record that holds several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sent it.
    pub direction: Direction,
    /// Its name in RFC 8446 or RFC 5246; several names where one record holds several encrypted
    /// messages, which then follow from the protocol.
    pub name: &'static str,
    /// Its length: of the message with its header where it is in clear, else of the record.
    pub bytes: u32,
    /// When its last byte passed, since accept.
    pub at: Duration,
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    In,
    /// To the client.
    Out,
}

impl Direction {
    /// The name in events and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// A report of nothing, for tests.
#[cfg(test)]
pub(super) fn sample() -> HandshakeReport {
    HandshakeReport {
        id: ConnectionId(255),
        time: SystemTime::UNIX_EPOCH,
        listener: "https".into(),
        peer: Peer::Unix,
        proxy: None,
        outcome: Outcome::Ok,
        version: None,
        kind: None,
        hello_retry: false,
        cipher: None,
        group: None,
        server_name: None,
        server_name_label: ServerNameLabel::None,
        alpn: None,
        certificate_type: None,
        resumption: Resumption::NotOffered,
        session_age: None,
        false_start: FalseStart::NotApplicable,
        ja4: None,
        network: Network::default(),
        extra_round_trips: Vec::new(),
        total: Duration::ZERO,
        phases: Phases::default(),
        parts: Parts::default(),
        messages: Vec::new(),
    }
}
