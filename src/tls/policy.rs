//! A `[tls.NAME]` policy made ready: rustls configurations and what sessions need.

use std::sync::Arc;

use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::server::{
    NoServerSessionStorage, ProducesTickets, ServerConfig, ServerSessionMemoryCache,
    StoresServerSessions,
};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::certificates::{LoadedCertificate, PairResolver};
use super::client_auth::{ClientAuthError, ClientVerifier};
use super::hooks::{TimedStore, TimedTicketer};
use super::provider::provider;
use crate::config::{ClientAuthMode, Policy};
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
    clients: Option<Arc<ClientVerifier>>,
}

/// Why a policy cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file of `client_auth`.
    #[error(transparent)]
    ClientAuth(#[from] ClientAuthError),
    /// rustls's own; the system may have no randomness for ticket keys.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// Session IDs of TLS 1.2 that are kept for clients without tickets; the oldest go first. About
/// 300 bytes each.
const SESSIONS: usize = 4096;

/// TLS 1.3 tickets sent after each full handshake: a browser opens two connections at once.
const TLS13_TICKETS: usize = 2;

impl TlsPolicy {
    /// Makes `spec` ready, with new ticket keys and an empty store. Reads the files of
    /// `client_auth`.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn new(spec: Policy) -> Result<Self, PolicyError> {
        let clients = match &spec.client_auth {
            Some(spec) => Some(Arc::new(ClientVerifier::load(spec)?)),
            None => None,
        };
        let provider = provider(&spec.cipher_suites, &spec.groups);
        let ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self {
            spec,
            provider,
            ticketer: Arc::new(TimedTicketer(ticketer)),
            sessions: Arc::new(TimedStore(ServerSessionMemoryCache::new(SESSIONS))),
            clients,
        })
    }

    /// The policy's spec.
    #[must_use]
    pub const fn spec(&self) -> &Policy {
        &self.spec
    }

    /// Whether a new policy of the same spec would be the same: the files of `client_auth` have
    /// not changed.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.clients.as_ref().is_none_or(|it| it.is_current())
    }

    /// Whether a connection made under this policy may carry requests for names of `other`: both
    /// are the same policy, before and after a reload maybe, and the reload has not changed which
    /// clients it accepts.
    #[must_use]
    pub fn serves_names_of(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || (self.spec.name == other.spec.name
                && match (&self.clients, &other.clients) {
                    (None, None) => true,
                    (Some(ours), Some(theirs)) => ours.accepts_the_same(theirs),
                    _ => false,
                })
    }

    /// Whether no client without a certificate gets through.
    #[must_use]
    pub fn requires_certificate(&self) -> bool {
        let spec = self.spec.client_auth.as_ref();
        spec.is_some_and(|spec| spec.mode == ClientAuthMode::Required)
    }

    /// The same policy with the same sessions, and another verifier.
    #[cfg(test)]
    pub(super) fn with_clients(&self, clients: ClientVerifier) -> Self {
        Self {
            spec: self.spec.clone(),
            provider: self.provider.clone(),
            ticketer: self.ticketer.clone(),
            sessions: self.sessions.clone(),
            clients: Some(Arc::new(clients)),
        }
    }

    /// What verifies client certificates; `None` where none are asked for.
    pub(super) const fn clients(&self) -> Option<&Arc<ClientVerifier>> {
        self.clients.as_ref()
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
        let resolver = PairResolver::new(certificate, self.spec.cipher_suites.clone());
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&versions)?;
        let mut config = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
        }
        .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = self
            .spec
            .alpn
            .iter()
            .map(|protocol| protocol.name().as_bytes().to_vec())
            .collect();
        // The order of `cipher_suites` is the server's.
        config.ignore_client_order = true;
        if self.clients.as_ref().is_none_or(|it| it.resumes()) {
            config.ticketer = self.ticketer.clone();
            config.session_storage = self.sessions.clone();
            config.send_tls13_tickets = TLS13_TICKETS;
        } else {
            // rustls's ticketer makes none by default, its store would keep sessions.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Arc::new(config))
    }
}
