//! A `[tls.NAME]` policy made ready: rustls configurations and what sessions need.

use std::sync::Arc;

use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::server::ServerConfig;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::certificates::{LoadedCertificate, PairResolver};
use super::provider::provider;
use super::resumption::Sessions;
use super::scope::Scope;
use super::ticket_ring::TicketKeyError;
use super::timestamp::Timestamp;
use crate::config::{Location, Policy, ResumptionMode, TicketKeys};
use crate::report::ProtocolVersion;

/// A policy with its provider, its ticket keys and its session store.
///
/// Keys and store belong to one [`Scope`], so that a session made under one policy never resumes
/// under another (CVE-2025-23419), even where both read their keys from one directory. They
/// outlive this value: after a reload the policy of this name takes them over.
#[derive(Debug)]
pub struct TlsPolicy {
    spec: Policy,
    provider: Arc<CryptoProvider>,
    sessions: Arc<Sessions>,
}

/// Why a policy cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Its ticket keys.
    #[error("the ticket keys cannot be used")]
    TicketKeys(#[from] TicketKeyError),
}

impl PolicyError {
    /// Where `spec` names what is at fault.
    #[must_use]
    pub const fn location(&self, spec: &Policy) -> Option<Location> {
        match (self, &spec.resumption.mode) {
            (
                Self::TicketKeys(TicketKeyError::Directory(_)),
                ResumptionMode::Tickets(TicketKeys::Directory(directory)),
            ) => Some(directory.location),
            (Self::TicketKeys(_), _) => None,
        }
    }
}

impl TlsPolicy {
    /// Makes `spec` ready. Ticket keys and stored sessions are taken over from `previous`, the
    /// policy of this name before a reload; none resumes that `spec` does not permit.
    ///
    /// # Errors
    /// What is wrong with the files that it names; the system may have no randomness.
    pub fn new(spec: Policy, previous: Option<&Self>) -> Result<Self, PolicyError> {
        let provider = provider(&spec.cipher_suites, &spec.groups);
        let scope = Scope::of(&spec);
        let kept = previous.map(|previous| &previous.sessions);
        let kept = kept.filter(|sessions| sessions.serve(&spec.resumption, &scope));
        let sessions = match kept {
            Some(sessions) => {
                sessions.check()?;
                sessions.clone()
            }
            None => {
                let previous = previous.map(|previous| &*previous.sessions);
                Arc::new(Sessions::new(spec.resumption.clone(), scope, previous)?)
            }
        };
        Ok(Self {
            spec,
            provider,
            sessions,
        })
    }

    /// When the key that seals tickets was made; `None` without tickets.
    #[must_use]
    pub fn ticket_key_made(&self) -> Option<Timestamp> {
        self.sessions.newest_key()
    }

    /// Changes ticket keys if it is time, reads them again from their directory, and forgets
    /// sessions that are over. Blocks on files; to be called every few seconds.
    pub fn upkeep(&self) {
        self.sessions.upkeep(&self.spec.name);
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
        config.ticketer = self.sessions.clone();
        config.session_storage = self.sessions.clone();
        config.send_tls13_tickets = self.sessions.tickets();
        Ok(Arc::new(config))
    }
}
