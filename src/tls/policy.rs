//! A `[tls.NAME]` policy made ready: rustls configurations and what sessions need.

use std::sync::Arc;

use tokio_rustls::rustls;
use tokio_rustls::rustls::compress::{CompressionCache, ZLIB_COMPRESSOR, ZLIB_DECOMPRESSOR};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::server::{NoServerSessionStorage, ServerConfig};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::certificates::{LoadedCertificate, PairResolver};
use super::client_auth::{ClientAuthError, ClientVerifier};
use super::key_log::KeyLog;
use super::offer::Offer;
use super::provider::provider;
use super::resumption::Sessions;
use super::scope::Scope;
use super::ticket_ring::TicketKeyError;
use super::timestamp::Timestamp;
use crate::config::{ClientAuthMode, Location, Policy, ResumptionMode, Rotation, TicketKeys};
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
    clients: Option<Arc<ClientVerifier>>,
    key_log: Arc<KeyLog>,
}

/// Why a policy cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Its ticket keys.
    #[error("the ticket keys cannot be used")]
    TicketKeys(#[from] TicketKeyError),
    /// A file of `client_auth`.
    #[error(transparent)]
    ClientAuth(#[from] ClientAuthError),
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
            (Self::ClientAuth(error), _) => error.location,
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
        let clients = match &spec.client_auth {
            Some(spec) => Some(Arc::new(ClientVerifier::load(spec)?)),
            None => None,
        };
        let provider = provider(&spec.cipher_suites, &spec.groups);
        let scope = match &clients {
            // Whoever was accepted under other settings is not accepted by a session of then.
            Some(clients) => clients
                .settings()
                .into_iter()
                .fold(Scope::of(&spec), |scope, (name, value)| {
                    scope.with(name, value)
                }),
            None => Scope::of(&spec),
        };
        if let ResumptionMode::Tickets(TicketKeys::Rotated(Rotation { file: None, .. })) =
            &spec.resumption.mode
        {
            let policy = &*spec.name;
            tracing::debug!(
                policy,
                "no runtime.state_dir: tickets end with this process"
            );
        }
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
            clients,
            key_log: Arc::default(),
        })
    }

    /// The same with the process's key log instead of one that never runs.
    #[must_use]
    pub fn with_key_log(self, key_log: Arc<KeyLog>) -> Self {
        Self { key_log, ..self }
    }

    /// Where secrets go while somebody captures them.
    pub(super) const fn key_log(&self) -> &Arc<KeyLog> {
        &self.key_log
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

    /// Whether a session that a client of `version` offers opens here. Nothing is consumed or noted;
    /// rustls looks for itself later, at what was said with the session too.
    pub(super) fn resumes(&self, version: ProtocolVersion, offer: Option<Offer<'_>>) -> bool {
        let permitted = self
            .clients
            .as_ref()
            .is_none_or(|clients| clients.resumes());
        permitted && offer.is_some_and(|offer| self.sessions.know(version, &offer))
    }

    /// The policy's spec.
    #[must_use]
    pub const fn spec(&self) -> &Policy {
        &self.spec
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
            sessions: self.sessions.clone(),
            clients: Some(Arc::new(clients)),
            key_log: self.key_log.clone(),
        }
    }

    /// The same policy with another spec, to rehearse with: no file is read, and what verifies
    /// client certificates stays.
    pub(super) fn changed(&self, spec: Policy) -> Self {
        Self {
            provider: provider(&spec.cipher_suites, &spec.groups),
            spec,
            sessions: self.sessions.clone(),
            clients: self.clients.clone(),
            key_log: Arc::default(),
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
        let pairs = certificate.algorithms().count();
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
        // Never rustls's `KeyLogFile`, which SSLKEYLOGFILE would switch on for everybody.
        config.key_log = self.key_log.clone();
        // The order of `cipher_suites` is the server's.
        config.ignore_client_order = true;
        if self.clients.as_ref().is_none_or(|it| it.resumes()) {
            config.ticketer = self.sessions.clone();
            config.session_storage = self.sessions.clone();
            config.send_tls13_tickets = self.sessions.tickets();
        } else {
            // rustls's ticketer makes none by default, its store would keep sessions.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
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
