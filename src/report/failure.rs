//! The closed list of reasons a handshake fails, and who ended it.

use std::fmt;
use std::sync::Arc;

use super::details::FailureDetails;
use super::phase::Phase;

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason, from the closed list.
    pub class: FailureClass,
    /// The phase the handshake had reached.
    pub phase: Phase,
    /// Who ended it: our deadline is the server, an RST the network.
    pub side: Side,
    /// The alert that was sent or received, by its code (RFC 8446 section 6), if one was.
    pub alert: Option<u8>,
    /// What happened, in words, for a person.
    pub diagnosis: String,
    /// What the diagnosis rests on.
    pub details: Box<FailureDetails>,
    /// The change of the policy with which this ClientHello would have got its answer.
    pub remedy: Remedy,
}

impl Failure {
    /// A failure without details, and for which no remedy was sought.
    #[must_use]
    pub fn new(
        class: FailureClass,
        phase: Phase,
        side: Side,
        alert: Option<u8>,
        diagnosis: String,
    ) -> Self {
        Self {
            class,
            phase,
            side,
            alert,
            diagnosis,
            details: Box::default(),
            remedy: Remedy::default(),
        }
    }

    /// The same with these details.
    #[must_use]
    pub fn with(self, details: FailureDetails) -> Self {
        Self {
            details: Box::new(details),
            ..self
        }
    }
}

/// Whether a change of the policy would have helped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Remedy {
    /// This one, in TOML: with it the same ClientHello gets the server's flight. Proven in memory.
    Proven(Arc<str>),
    /// None was found.
    None,
    /// None was sought: the class has none, or too many were asked for at once.
    #[default]
    NotSought,
}

impl Remedy {
    /// The change.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Proven(text) => Some(text),
            Self::None | Self::NotSought => None,
        }
    }

    /// The name in events and the API.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Proven(_) => "proven",
            Self::None => "none",
            Self::NotSought => "not_sought",
        }
    }
}

macro_rules! classes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// Why a handshake failed: one of a closed list, so that it can be a metric label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FailureClass {
            $($(#[$doc])* $variant,)+
        }

        impl FailureClass {
            /// Every class.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in metrics, events and the API.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

classes! {
    /// No TLS version in common.
    NoSharedVersion = "no_shared_version",
    /// No cipher suite in common.
    NoSharedCipher = "no_shared_cipher",
    /// Suites in common, but none for the type of our certificate (TLS 1.2).
    CertTypeMismatch = "cert_type_mismatch",
    /// No key exchange group in common.
    NoSharedGroup = "no_shared_group",
    /// No signature scheme in common that our certificate's key can make.
    NoSharedSigalg = "no_shared_sigalg",
    /// The client offered ALPN protocols, none of them ours.
    NoSharedAlpn = "no_shared_alpn",
    /// The server name is not one of ours and unknown names are rejected.
    UnknownSni = "unknown_sni",
    /// No server name was sent and the policy wants one.
    MissingSni = "missing_sni",
    /// The client did not accept our certificate.
    ClientRejectedCert = "client_rejected_cert",
    /// A client certificate is required and none came.
    ClientCertMissing = "client_cert_missing",
    /// The client's certificate has expired.
    ClientCertExpired = "client_cert_expired",
    /// The client's certificate is revoked.
    ClientCertRevoked = "client_cert_revoked",
    /// The client's certificate has an issuer that we do not know.
    ClientCertUnknownCa = "client_cert_unknown_ca",
    /// The client's certificate or its signature is not valid.
    ClientCertInvalid = "client_cert_invalid",
    /// The client's certificate is valid, but not on the list.
    ClientCertNotAllowed = "client_cert_not_allowed",
    /// HTTP without TLS came to the TLS port.
    PlainHttp = "plain_http",
    /// What came is no TLS.
    NotTls = "not_tls",
    /// A message that cannot be decoded.
    Malformed = "malformed",
    /// The PROXY header is missing, bad or unexpected.
    ProxyHeader = "proxy_header",
    /// The client closed the connection.
    ClientClosed = "client_closed",
    /// The connection was reset.
    Reset = "reset",
    /// The handshake deadline passed.
    Timeout = "timeout",
    /// The client cancelled (user_canceled or close_notify).
    ClientCancelled = "client_cancelled",
    /// The client sent another fatal alert.
    ClientAlert = "client_alert",
    /// A record or Finished does not verify.
    DecryptError = "decrypt_error",
    /// A message that decodes, but breaks a rule.
    ProtocolViolation = "protocol_violation",
    /// Refused: all crypto slots and the queue for them are taken.
    RefusedOverload = "refused_overload",
    /// False Start is refused by the policy and the client used it.
    FalseStartRefused = "false_start_refused",
    /// A fault of our own.
    Internal = "internal",
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who ended a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client, by an alert or an orderly close.
    Client,
    /// We did, by an alert or a deadline.
    Server,
    /// The connection broke.
    Network,
}

impl Side {
    /// Every side.
    pub const ALL: [Self; 3] = [Self::Client, Self::Server, Self::Network];

    /// The name in metrics, events and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Network => "network",
        }
    }
}
