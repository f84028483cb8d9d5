//! A handshake message by message, with a sentence for each: what it does, what was chosen.
//!
//! For handshakes that came in, from their report, and for those that `handfast probe` makes.

use serde::Serialize;

use super::alert::{alert_meaning, alert_name};
use super::handshake::{Direction, HandshakeKind, HandshakeReport, Outcome, ProtocolVersion};
use super::json::micros;

/// What the sentences name, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreed<'a> {
    /// The version.
    pub version: Option<ProtocolVersion>,
    /// Whether a session is resumed.
    pub resumed: bool,
    /// The cipher suite.
    pub cipher: Option<&'a str>,
    /// The key exchange group.
    pub group: Option<&'a str>,
    /// The server name that was asked for.
    pub server_name: Option<&'a str>,
    /// The protocol of ALPN.
    pub alpn: Option<&'a str>,
    /// The alert, in clear or as the other end's TLS library tells it.
    pub alert: Option<u8>,
}

/// A handshake as a walk: the answer to `GET /api/handshakes/ID`.
#[derive(Debug, Serialize)]
pub struct Walk<'a> {
    /// The report.
    handshake: &'a HandshakeReport,
    /// Its messages in order.
    pub(crate) walk: Vec<WalkStep>,
    /// The phases that took any time, in wire order.
    phases: Vec<WalkPhase>,
}

/// One message.
#[derive(Debug, Serialize)]
pub(crate) struct WalkStep {
    pub(crate) step: usize,
    pub(crate) direction: &'static str,
    pub(crate) name: &'static str,
    pub(crate) bytes: u32,
    pub(crate) at_us: f64,
    pub(crate) what: String,
}

#[derive(Debug, Serialize)]
struct WalkPhase {
    phase: &'static str,
    kind: &'static str,
    us: f64,
}

impl<'a> Walk<'a> {
    /// The walk through a handshake that came in.
    #[must_use]
    pub fn of(report: &'a HandshakeReport) -> Self {
        let alert = match &report.outcome {
            Outcome::Failed(failure) => failure.alert,
            Outcome::Ok | Outcome::Probe => None,
        };
        let agreed = Agreed {
            version: report.version,
            resumed: report.kind == Some(HandshakeKind::Resumed),
            cipher: report.cipher,
            group: report.group,
            server_name: report.server_name.as_deref(),
            alpn: report.alpn,
            alert,
        };
        let walk = report.messages.iter().enumerate();
        let walk = walk.map(|(index, message)| WalkStep {
            step: index + 1,
            direction: message.direction.name(),
            name: message.name,
            bytes: message.bytes,
            at_us: micros(message.at),
            what: sentence(message.direction, message.name, &agreed),
        });
        let phases = report.phases.iter().filter(|(_, nanos)| *nanos > 0);
        let phases = phases.map(|(phase, nanos)| WalkPhase {
            phase: phase.name(),
            kind: phase.kind().name(),
            us: micros(std::time::Duration::from_nanos(nanos)),
        });
        Self {
            handshake: report,
            walk: walk.collect(),
            phases: phases.collect(),
        }
    }
}

/// What a message does, in a sentence; in several where one encrypted record holds several
/// messages (their names are separated by spaces).
#[must_use]
pub fn sentence(direction: Direction, name: &str, agreed: &Agreed<'_>) -> String {
    let sentences: Vec<_> = name
        .split(' ')
        .map(|name| one(direction, name, agreed))
        .collect();
    sentences.join(" ")
}

fn one(direction: Direction, name: &str, agreed: &Agreed<'_>) -> String {
    let tls13 = agreed.version == Some(ProtocolVersion::Tls13);
    let who = match direction {
        Direction::In => "The client",
        Direction::Out => "The server",
    };
    let fixed = match (name, direction) {
        ("ClientHello", _) => return client_hello(agreed),
        ("HelloRetryRequest", _) => {
            return match agreed.group {
                Some(group) => format!(
                    "The client's key share is of no use to the server, which asks for one of \
                     {group}: a round trip more."
                ),
                None => "The client's key share is of no use to the server, which asks for \
                         another: a round trip more."
                    .to_owned(),
            };
        }
        ("ServerHello", _) => return server_hello(agreed, tls13),
        ("EncryptedExtensions", _) => {
            return match agreed.alpn {
                Some(alpn) => format!(
                    "Everything is encrypted from here on. The server chooses the protocol {alpn}."
                ),
                None => "Everything is encrypted from here on. The server chooses no protocol \
                         with ALPN."
                    .to_owned(),
            };
        }
        ("Alert", _) => {
            return match agreed.alert {
                Some(code) => format!(
                    "{who} ends it with alert {code}, {}: {}.",
                    alert_name(code),
                    alert_meaning(code)
                ),
                None => format!("{who} ends it with an alert, which is encrypted."),
            };
        }
        ("Certificate" | "CompressedCertificate", Direction::Out) => {
            "The server shows its certificate chain."
        }
        ("Certificate" | "CompressedCertificate", Direction::In) => {
            "The client shows the certificate that it was asked for, or none."
        }
        ("CertificateStatus", _) => "The server vouches for its certificate: the OCSP response.",
        ("CertificateRequest", _) => "The server asks for a client certificate.",
        ("CertificateVerify", Direction::Out) => {
            "The server signs the handshake so far: it has the certificate's key."
        }
        ("CertificateVerify", Direction::In) => {
            "The client signs the handshake so far: it has its certificate's key."
        }
        ("ServerKeyExchange", _) => {
            return match agreed.group {
                Some(group) => {
                    format!("The server's half of the key exchange in {group}, signed.")
                }
                None => "The server's half of the key exchange, signed.".to_owned(),
            };
        }
        ("ServerHelloDone", _) => "The server waits for the client: the first round trip is over.",
        ("ClientKeyExchange", _) => {
            "The client's half of the key exchange: both sides can compute the keys."
        }
        ("ChangeCipherSpec", _) if tls13 => {
            "Means nothing in TLS 1.3; it is sent for old middleboxes."
        }
        ("ChangeCipherSpec", _) => return format!("{who} encrypts from here on."),
        ("Finished", Direction::In) => return finished(true, agreed.resumed, tls13),
        ("Finished", Direction::Out) => return finished(false, agreed.resumed, tls13),
        ("NewSessionTicket", _) => {
            "The server gives a ticket, with which the client can resume the session later."
        }
        ("HelloRequest", _) => "The server asks for another handshake, which is refused.",
        ("KeyUpdate", _) => return format!("{who} changes its keys."),
        ("(continued)", _) => return format!("{who} goes on with the flight that it began."),
        _ => return format!("{who} sends a message that is not known here."),
    };
    fixed.to_owned()
}

fn client_hello(agreed: &Agreed<'_>) -> String {
    match agreed.server_name {
        Some(name) => {
            format!("The client says what it can do, and that it wants to talk to {name}.")
        }
        None => "The client says what it can do, and names no server.".to_owned(),
    }
}

fn server_hello(agreed: &Agreed<'_>, tls13: bool) -> String {
    let mut text = "The server chooses".to_owned();
    if let Some(version) = agreed.version {
        text.push_str(" TLS ");
        text.push_str(version.name());
    }
    if let Some(cipher) = agreed.cipher {
        let joint = if agreed.version.is_some() {
            " with "
        } else {
            " "
        };
        text.push_str(joint);
        text.push_str(cipher);
    }
    match agreed.group {
        Some(group) if tls13 => {
            text.push_str(" and sends its half of the key exchange in ");
            text.push_str(group);
        }
        _ => {}
    }
    text.push('.');
    if agreed.resumed {
        text.push_str(" It resumes the session that the client offered: no certificate needed.");
    }
    text
}

fn finished(client: bool, resumed: bool, tls13: bool) -> String {
    let last = match (client, tls13, resumed) {
        (true, true, _) | (true, false, true) => {
            " The client's side is complete: it can send its request."
        }
        (false, false, false) => " The handshake is complete: the client can send its request.",
        (true, false, false) => " A client of False Start sends its request already.",
        (false, true, _) => " The server's side is complete; its answers could begin.",
        (false, false, true) => " The server's side is complete.",
    };
    let who = if client { "The client" } else { "The server" };
    format!("{who} proves that it saw the same handshake.{last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_several_messages_has_a_sentence_for_each() {
        let agreed = Agreed {
            version: Some(ProtocolVersion::Tls13),
            alpn: Some("h2"),
            ..Agreed::default()
        };
        let name = "EncryptedExtensions Certificate CertificateVerify Finished";
        assert_eq!(
            sentence(Direction::Out, name, &agreed),
            "Everything is encrypted from here on. The server chooses the protocol h2. \
             The server shows its certificate chain. \
             The server signs the handshake so far: it has the certificate's key. \
             The server proves that it saw the same handshake. \
             The server's side is complete; its answers could begin."
        );
    }

    #[test]
    fn what_was_chosen_is_named() {
        let agreed = Agreed {
            version: Some(ProtocolVersion::Tls13),
            resumed: true,
            cipher: Some("TLS_AES_128_GCM_SHA256"),
            group: Some("X25519"),
            alert: Some(112),
            ..Agreed::default()
        };
        assert_eq!(
            sentence(Direction::Out, "ServerHello", &agreed),
            "The server chooses TLS 1.3 with TLS_AES_128_GCM_SHA256 and sends its half of the \
             key exchange in X25519. It resumes the session that the client offered: no \
             certificate needed."
        );
        assert_eq!(
            sentence(Direction::Out, "Alert", &agreed),
            "The server ends it with alert 112, unrecognized_name: it serves no such name."
        );
    }
}
