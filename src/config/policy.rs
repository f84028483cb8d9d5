//! `[tls.NAME]` after validation.

use std::sync::Arc;
use std::time::Duration;

use super::client_auth::ClientAuth;
use super::names::{CipherSuite, Group};
use super::resumption::Resumption;
use crate::report::ProtocolVersion;

/// `[tls.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The table's name; `default` for the built-in one.
    pub name: Arc<str>,
    /// `versions`, by default the preset's; never empty.
    pub versions: Vec<ProtocolVersion>,
    /// `cipher_suites` in server order, by default the preset's; one at least per version.
    pub cipher_suites: Vec<&'static CipherSuite>,
    /// `groups`, by default the preset's; never empty.
    pub groups: Vec<&'static Group>,
    /// `alpn` in server order, default `h2`, `http/1.1`; empty: none is negotiated.
    pub alpn: Vec<Alpn>,
    /// `unknown_sni`, default [`SniAction::Reject`]
    pub unknown_sni: SniAction,
    /// `missing_sni`, default [`SniAction::DefaultCertificate`]
    pub missing_sni: SniAction,
    /// `handshake_timeout`, default 10 s: one deadline from accept to handshake complete.
    pub handshake_timeout: Duration,
    /// `resumption`
    pub resumption: Resumption,
    /// `client_auth`; `None` (the default) is `mode = "off"`.
    pub client_auth: Option<ClientAuth>,
    /// `false_start`, default [`FalseStartMode::Allow`]
    pub false_start: FalseStartMode,
    /// `certificate_compression`, default true: zlib, for TLS 1.3 clients that ask (RFC 8879).
    pub certificate_compression: bool,
}

/// `false_start` of a policy: what to do about clients that send application data before the
/// handshake of TLS 1.2 is complete (RFC 7918).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FalseStartMode {
    /// Accept it.
    Allow,
    /// Negotiate no ALPN in TLS 1.2, without which browsers hold back (and lose h2).
    Discourage,
    /// End such a handshake with `unexpected_message`.
    Refuse,
}

/// An application protocol (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// `h2` (RFC 9113).
    H2,
    /// `http/1.1` (RFC 9112).
    Http11,
}

impl Alpn {
    /// The protocol's name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::H2 => "h2",
            Self::Http11 => "http/1.1",
        }
    }
}

/// What to do with a client whose server name is not configured, or that sends none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SniAction {
    /// Refuse with `unrecognized_name` (RFC 6066 section 3).
    Reject,
    /// Answer with the listener's first certificate.
    DefaultCertificate,
}
