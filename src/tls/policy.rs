//! A `[tls.NAME]` policy made ready: rustls configurations and what sessions need.

use std::sync::Arc;

use tokio_rustls::rustls;
use tokio_rustls::rustls::compress::{CompressionCache, ZLIB_COMPRESSOR, ZLIB_DECOMPRESSOR};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::server::{
    ProducesTickets, ServerConfig, ServerSessionMemoryCache, StoresServerSessions,
};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::certificates::{LoadedCertificate, PairResolver};
use super::hooks::{TimedStore, TimedTicketer};
use super::provider::provider;
use crate::config::Policy;
use crate::report::ProtocolVersion;

/// A policy with its provider, its ticket keys and its session store.
///
/// Each policy has keys and a store of its own, so that a session made under one policy never
/// resumes under another (CVE-2025-23419). They live as long as this value: a snapshot takes it
/// over from the last one while the policy's spec is unchanged.
#[derive(Debug)]
pub struct TlsPolicy {
    spec: Policy,
    provider: Arc<CryptoProvider>,
    ticketer: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

/// Session IDs of TLS 1.2 that are kept for clients without tickets; the oldest go first. About
/// 300 bytes each.
const SESSIONS: usize = 4096;

/// TLS 1.3 tickets sent after each full handshake: a browser opens two connections at once.
const TLS13_TICKETS: usize = 2;

impl TlsPolicy {
    /// Makes `spec` ready, with new ticket keys and an empty store.
    ///
    /// # Errors
    /// rustls's own; the system may have no randomness for ticket keys.
    pub fn new(spec: Policy) -> Result<Self, rustls::Error> {
        let provider = provider(&spec.cipher_suites, &spec.groups);
        let ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self {
            spec,
            provider,
            ticketer: Arc::new(TimedTicketer(ticketer)),
            sessions: Arc::new(TimedStore(ServerSessionMemoryCache::new(SESSIONS))),
        })
    }

    /// The policy's spec.
    #[must_use]
    pub const fn spec(&self) -> &Policy {
        &self.spec
    }

    /// The rustls configuration for one certificate under this policy.
    ///
    /// # Errors
    /// rustls's own: versions and suites that do not go together, which validation excludes.
    pub fn server_config(
        &self,
        certificate: Arc<LoadedCertificate>,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let versions: Vec<_> = self
            .spec
            .versions
            .iter()
            .map(|version| match version {
                ProtocolVersion::Tls12 => &TLS12,
                ProtocolVersion::Tls13 => &TLS13,
            })
            .collect();
        let pairs = certificate.algorithms().count();
        let resolver = PairResolver::new(certificate, self.spec.cipher_suites.clone());
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = self
            .spec
            .alpn
            .iter()
            .map(|protocol| protocol.name().as_bytes().to_vec())
            .collect();
        // The order of `cipher_suites` is the server's.
        config.ignore_client_order = true;
        config.ticketer = self.ticketer.clone();
        config.session_storage = self.sessions.clone();
        config.send_tls13_tickets = TLS13_TICKETS;
        compress_certificates(&mut config, self.spec.certificate_compression, pairs);
        Ok(Arc::new(config))
    }
}

/// Certificate compression (RFC 8879) in TLS 1.3: zlib alone, the one algorithm that all but
/// Chromium's clients share and that costs no large dependency.
fn compress_certificates(config: &mut ServerConfig, enabled: bool, pairs: usize) {
    if enabled {
        config.cert_compressors = vec![ZLIB_COMPRESSOR];
        config.cert_decompressors = vec![ZLIB_DECOMPRESSOR];
    } else {
        config.cert_compressors.clear();
        config.cert_decompressors.clear();
    }
    // Each chain is compressed once: with an OCSP response, and without for clients that ask for
    // none.
    config.cert_compression_cache = Arc::new(CompressionCache::new(2 * pairs));
}
