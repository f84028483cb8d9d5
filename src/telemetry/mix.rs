//! What complete handshakes negotiated, as shares of all of them.

use std::collections::BTreeMap;

use crate::report::ProtocolVersion;

/// Complete handshakes since the start by each thing that was negotiated, over all listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mix {
    /// By TLS version.
    pub versions: BTreeMap<&'static str, u64>,
    /// By cipher suite.
    pub ciphers: BTreeMap<&'static str, u64>,
    /// By key exchange group; `none` where a session was resumed without one.
    pub groups: BTreeMap<&'static str, u64>,
    /// By application protocol.
    pub alpn: BTreeMap<&'static str, u64>,
    /// By the key type of the certificate that signed; `none` for resumed sessions.
    pub certificates: BTreeMap<&'static str, u64>,
}

impl Mix {
    pub(super) fn add_negotiated(
        &mut self,
        version: ProtocolVersion,
        cipher: &'static str,
        group: &'static str,
        count: u64,
    ) {
        *self.versions.entry(version.name()).or_default() += count;
        *self.ciphers.entry(cipher).or_default() += count;
        *self.groups.entry(group).or_default() += count;
    }

    pub(super) fn add_protocol(
        &mut self,
        alpn: &'static str,
        certificate: &'static str,
        count: u64,
    ) {
        *self.alpn.entry(alpn).or_default() += count;
        *self.certificates.entry(certificate).or_default() += count;
    }
}
