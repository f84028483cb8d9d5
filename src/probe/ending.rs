//! How a handshake of ours failed: who ended it, with which alert, and what that means.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use tokio_rustls::rustls;

use super::judge::Verification;
use super::script::Script;
use super::target::Target;
use crate::report::{Direction, FailureClass, Side, alert_meaning, alert_name};

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The reason, from a closed list.
    pub class: EndingClass,
    /// Who ended it: the client is the probe.
    pub side: Side,
    /// The alert that was sent or received.
    pub alert: Option<u8>,
    /// What happened and what it means, in sentences.
    pub what: String,
}

/// Why a probe failed: the classes of a server's report where they fit, and some of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndingClass {
    /// The name has no address.
    NoAddress,
    /// Nobody listens on the port.
    ConnectRefused,
    /// There is no way to the host.
    ConnectFailed,
    /// The server closed the connection without an alert.
    ServerClosed,
    /// The server sent an alert that has no class of its own.
    ServerAlert,
    /// As the server would call it.
    Handshake(FailureClass),
}

impl EndingClass {
    /// The name in the output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoAddress => "no_address",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectFailed => "connect_failed",
            Self::ServerClosed => "server_closed",
            Self::ServerAlert => "server_alert",
            Self::Handshake(class) => class.name(),
        }
    }
}

impl Serialize for Ending {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Ending", 5)?;
        out.serialize_field("class", self.class.name())?;
        out.serialize_field("side", self.side.name())?;
        out.serialize_field("alert", &self.alert)?;
        out.serialize_field("alert_name", &self.alert.map(alert_name))?;
        out.serialize_field("what", &self.what)?;
        out.end()
    }
}

impl Ending {
    /// The name has no address.
    pub(super) fn no_address(target: &Target, error: Option<&io::Error>) -> Self {
        let cause = error.map_or_else(String::new, |error| format!(" ({error})"));
        Self {
            class: EndingClass::NoAddress,
            side: Side::Network,
            alert: None,
            what: format!("{} has no address{cause}.", target.host),
        }
    }

    /// No connection.
    pub(super) fn connect(address: SocketAddr, error: &io::Error) -> Self {
        let (class, side, what) = match error.kind() {
            io::ErrorKind::ConnectionRefused => (
                EndingClass::ConnectRefused,
                Side::Server,
                format!("Nobody listens on {address}: the connection was refused."),
            ),
            _ => (
                EndingClass::ConnectFailed,
                Side::Network,
                format!("There is no connection to {address}: {error}."),
            ),
        };
        Self {
            class,
            side,
            alert: None,
            what,
        }
    }

    /// The time given was over.
    pub(super) fn timeout(limit: Duration, waited_for: &str) -> Self {
        Self {
            class: EndingClass::Handshake(FailureClass::Timeout),
            side: Side::Client,
            alert: None,
            what: format!(
                "The probe gave up after {limit:?} (--timeout), waiting for {waited_for}."
            ),
        }
    }

    /// The handshake failed with `error`.
    pub(super) fn handshake(
        error: &io::Error,
        script: &Script,
        alien: Option<&[u8]>,
        seen: Option<&Verification>,
    ) -> Self {
        if let Some(bytes) = alien {
            return Self::not_tls(bytes);
        }
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(rustls::Error::AlertReceived(alert)) => Self::alert((*alert).into(), script),
            // Read from the tape: rustls may have stumbled over something else.
            _ if script.facts.server_alert.is_some_and(|code| code != 0) => {
                Self::alert(script.facts.server_alert.unwrap_or_default(), script)
            }
            Some(error) => Self::of_ours(error, script, seen),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof => Self::closed(script),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self {
                    class: EndingClass::Handshake(FailureClass::Reset),
                    side: Side::Network,
                    alert: None,
                    what: format!(
                        "The connection was reset {}. The server, or something on the way to it, \
                         broke it without a word.",
                        progress(script)
                    ),
                },
                _ => Self {
                    class: EndingClass::ConnectFailed,
                    side: Side::Network,
                    alert: None,
                    what: format!("The connection broke {}: {error}.", progress(script)),
                },
            },
        }
    }

    fn not_tls(bytes: &[u8]) -> Self {
        let line = bytes.split(|byte| *byte == b'\n').next();
        let line = line.unwrap_or_default().trim_ascii_end();
        let shown = line.escape_ascii();
        let (class, what) = if bytes.starts_with(b"HTTP/") {
            (
                FailureClass::PlainHttp,
                format!("The server speaks HTTP without TLS on this port: it said \"{shown}\"."),
            )
        } else {
            (
                FailureClass::NotTls,
                format!("What listens there does not speak TLS: it said \"{shown}\"."),
            )
        };
        Self {
            class: EndingClass::Handshake(class),
            side: Side::Client,
            alert: None,
            what,
        }
    }

    fn closed(script: &Script) -> Self {
        Self {
            class: EndingClass::ServerClosed,
            side: Side::Server,
            alert: None,
            what: format!(
                "The server closed the connection {} without an alert.",
                progress(script)
            ),
        }
    }

    fn alert(code: u8, script: &Script) -> Self {
        use FailureClass as Class;

        let asked = script.facts.certificate_requested;
        let class = match code {
            70 => EndingClass::Handshake(Class::NoSharedVersion),
            71 => EndingClass::Handshake(Class::NoSharedCipher),
            112 => EndingClass::Handshake(Class::UnknownSni),
            116 => EndingClass::Handshake(Class::ClientCertMissing),
            120 => EndingClass::Handshake(Class::NoSharedAlpn),
            // Servers of TLS 1.2 say it like this.
            40 | 42 if asked => EndingClass::Handshake(Class::ClientCertMissing),
            20 | 51 => EndingClass::Handshake(Class::DecryptError),
            _ => EndingClass::ServerAlert,
        };
        let mut what = format!(
            "The server ended it {} with alert {code}, {}: {}.",
            progress(script),
            alert_name(code),
            alert_meaning(code)
        );
        match class {
            EndingClass::Handshake(Class::ClientCertMissing) => what.push_str(
                " It asked for a client certificate, and the probe has none to show: clients with \
                 one may well succeed.",
            ),
            EndingClass::ServerAlert if code == 40 => what.push_str(
                " That is the version, a cipher suite, a group, a signature scheme, or the type \
                 of its certificate: TLS does not say which. The server's log may.",
            ),
            _ => {}
        }
        Self {
            class,
            side: Side::Server,
            alert: Some(code),
            what,
        }
    }

    /// It was the probe that did not want to go on.
    fn of_ours(error: &rustls::Error, script: &Script, seen: Option<&Verification>) -> Self {
        use FailureClass as Class;
        use rustls::Error;

        let alert = script.facts.client_alert;
        let (class, what) = match error {
            Error::InvalidCertificate(_) => {
                let seen = seen.and_then(|it| it.reason.as_deref());
                let reason = seen.map_or_else(|| error.to_string(), ToOwned::to_owned);
                let what = format!("The probe does not trust the server: {reason}.");
                (Class::ClientRejectedCert, what)
            }
            Error::InvalidMessage(_) => (
                Class::Malformed,
                format!("The server sent what does not decode: {error}."),
            ),
            Error::PeerIncompatible(_) => (
                Class::ProtocolViolation,
                format!("The server chose what the probe does not speak: {error}."),
            ),
            Error::DecryptError => (
                Class::DecryptError,
                "A record of the server does not decrypt.".to_owned(),
            ),
            Error::NoApplicationProtocol => (
                Class::NoSharedAlpn,
                "The server chose a protocol that was not offered.".to_owned(),
            ),
            _ => (
                Class::ProtocolViolation,
                format!("The probe ended it: {error}."),
            ),
        };
        Self {
            class: EndingClass::Handshake(class),
            side: Side::Client,
            alert,
            what,
        }
    }
}

/// How far it had got: after which message of the server.
pub(super) fn progress(script: &Script) -> String {
    let server = |line: &&super::script::Line| {
        line.direction == Direction::Out && !["Alert", "ChangeCipherSpec"].contains(&line.name)
    };
    match script.lines.iter().rfind(server) {
        Some(line) => format!("after its {}", line.name),
        None => "in answer to the ClientHello".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: rustls::Error, script: &Script) -> Ending {
        let error = io::Error::new(io::ErrorKind::InvalidData, error);
        Ending::handshake(&error, script, None, None)
    }

    #[test]
    fn alerts_have_the_class_that_the_server_would_give() {
        let mut script = Script::default();
        for (alert, asked, class) in [
            (
                rustls::AlertDescription::ProtocolVersion,
                false,
                "no_shared_version",
            ),
            (
                rustls::AlertDescription::UnrecognisedName,
                false,
                "unknown_sni",
            ),
            (
                rustls::AlertDescription::HandshakeFailure,
                false,
                "server_alert",
            ),
            (
                rustls::AlertDescription::HandshakeFailure,
                true,
                "client_cert_missing",
            ),
        ] {
            script.facts.certificate_requested = asked;
            let ending = of(rustls::Error::AlertReceived(alert), &script);
            assert_eq!(ending.class.name(), class, "{alert:?}");
            assert_eq!(ending.side, Side::Server);
            assert_eq!(ending.alert, Some(alert.into()));
        }
    }

    #[test]
    fn what_is_not_tls_is_shown_and_cannot_harm() {
        let error = io::ErrorKind::InvalidData.into();
        let script = Script::default();
        let ending = Ending::handshake(&error, &script, Some(b"220 mail\x1b[0m\r\nx"), None);
        assert_eq!(ending.class.name(), "not_tls");
        assert!(
            ending.what.ends_with("it said \"220 mail\\x1b[0m\"."),
            "{}",
            ending.what
        );
        let ending = Ending::handshake(&error, &script, Some(b"HTTP/1.1 400 Bad"), None);
        assert_eq!(ending.class.name(), "plain_http");
    }
}
