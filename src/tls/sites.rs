//! Which certificate and policy a client gets, by the server name it sends.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use tokio_rustls::rustls;
use tokio_rustls::rustls::server::ServerConfig;

use super::certificates::LoadedCertificate;
use super::hello::{ClientHello, ServerName};
use super::hello_ring::HelloRing;
use super::policy::TlsPolicy;
use super::remedy::Remedies;
use crate::config::{FalseStartMode, Policy, SniAction};
use crate::host::{HostMap, HostPattern};
use crate::report::{ProtocolVersion, ServerNameLabel};

/// What one listener serves: its names, and the site for clients without a known one.
#[derive(Debug)]
pub struct Sites {
    named: HostMap<(Arc<str>, Arc<Site>)>,
    default: Arc<Site>,
    policy: Arc<TlsPolicy>,
    remedies: Remedies,
    /// The names as labels, for people.
    labels: BTreeSet<Arc<str>>,
    hellos: Arc<HelloRing>,
}

/// One certificate under one policy.
#[derive(Debug)]
pub struct Site {
    config: Arc<ServerConfig>,
    /// Instead of `config` where TLS 1.2 is going to be negotiated.
    tls12: Option<Arc<ServerConfig>>,
    policy: Arc<TlsPolicy>,
    certificate: Arc<LoadedCertificate>,
}

/// The answer to a server name.
#[derive(Debug)]
pub(super) enum Choice {
    /// Serve this site.
    Site(Arc<Site>),
    /// The name is not configured, and the policy refuses such.
    UnknownName,
    /// No name was sent, and the policy refuses that.
    MissingName,
}

impl Site {
    /// `certificate` under `policy`.
    ///
    /// # Errors
    /// rustls's own.
    pub fn new(
        certificate: Arc<LoadedCertificate>,
        policy: Arc<TlsPolicy>,
    ) -> Result<Self, rustls::Error> {
        let config = policy.server_config(certificate.clone())?;
        let discourage = policy.spec().false_start == FalseStartMode::Discourage;
        let tls12 = discourage.then(|| {
            let mut config = (*config).clone();
            config.alpn_protocols.clear();
            Arc::new(config)
        });
        Ok(Self {
            config,
            tls12,
            policy,
            certificate,
        })
    }

    /// The same certificate under a changed policy, to rehearse with; `None` where rustls takes no
    /// such policy.
    pub(super) fn under(&self, spec: Policy) -> Option<Self> {
        let policy = Arc::new(self.policy.changed(spec));
        Self::new(self.certificate.clone(), policy).ok()
    }

    /// The rustls configuration for a handshake of `version`.
    pub(super) fn config(&self, version: ProtocolVersion) -> &Arc<ServerConfig> {
        match version {
            ProtocolVersion::Tls12 => self.tls12.as_ref().unwrap_or(&self.config),
            ProtocolVersion::Tls13 => &self.config,
        }
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &Arc<TlsPolicy> {
        &self.policy
    }

    /// The certificate.
    #[must_use]
    pub const fn certificate(&self) -> &Arc<LoadedCertificate> {
        &self.certificate
    }
}

impl Sites {
    /// A listener's sites: `default` for clients without a known name, `policy` says whether such
    /// are served at all.
    #[must_use]
    pub fn new(default: Arc<Site>, policy: Arc<TlsPolicy>) -> Self {
        Self {
            named: HostMap::new(),
            default,
            policy,
            remedies: Remedies::default(),
            labels: BTreeSet::new(),
            hellos: Arc::default(),
        }
    }

    /// The names that are served, sorted.
    pub(super) const fn labels(&self) -> &BTreeSet<Arc<str>> {
        &self.labels
    }

    /// The same, counting its clients in the process's ring instead of one of its own.
    #[must_use]
    pub fn with_hellos(self, hellos: Arc<HelloRing>) -> Self {
        Self { hellos, ..self }
    }

    /// Where clients are counted.
    pub(super) const fn hellos(&self) -> &Arc<HelloRing> {
        &self.hellos
    }

    /// The same names and certificates under changed policies, to rehearse with: those that
    /// `change` has another spec for.
    ///
    /// # Errors
    /// rustls's own, and what `change` refuses.
    pub fn changed<E: From<rustls::Error>>(
        &self,
        change: impl Fn(&Policy) -> Result<Option<Policy>, E>,
    ) -> Result<Self, E> {
        let policy = |own: &Arc<TlsPolicy>| -> Result<Arc<TlsPolicy>, E> {
            Ok(match change(own.spec())? {
                Some(spec) => Arc::new(own.changed(spec)),
                None => own.clone(),
            })
        };
        let site = |own: &Arc<Site>| -> Result<Arc<Site>, E> {
            let site = Site::new(own.certificate.clone(), policy(&own.policy)?)?;
            Ok(Arc::new(site))
        };
        let named = |(label, own): &(Arc<str>, Arc<Site>)| -> Result<_, E> {
            Ok((label.clone(), site(own)?))
        };
        Ok(Self {
            named: self.named.try_map(named)?,
            labels: self.labels.clone(),
            ..Self::new(site(&self.default)?, policy(&self.policy)?)
        })
    }

    /// The searches for remedies of this listener and generation.
    pub(super) const fn remedies(&self) -> &Remedies {
        &self.remedies
    }

    /// The site for clients without a known name.
    pub(super) const fn default_site(&self) -> &Arc<Site> {
        &self.default
    }

    /// Serves `site` under `name`. The first certificate of a name keeps it, and is returned.
    pub fn add(&mut self, name: &HostPattern, site: Arc<Site>) -> Option<Arc<Site>> {
        if let Some((_, first)) = self.named.get_pattern_mut(name) {
            return Some(first.clone());
        }
        let label: Arc<str> = name.to_string().into();
        self.labels.insert(label.clone());
        self.named.insert(name, (label, site));
        None
    }

    /// The listener's policy, which holds until a name has chosen another.
    #[must_use]
    pub const fn policy(&self) -> &Arc<TlsPolicy> {
        &self.policy
    }

    /// The policy that `host` (normalised) is served under here: what a client that sends it as its
    /// server name gets. Addresses count as no name.
    #[must_use]
    pub fn policy_of(&self, host: &str) -> &Arc<TlsPolicy> {
        let spec = self.policy.spec();
        let action = match self.policy_named(host) {
            Some(policy) => return policy,
            None if host.parse::<IpAddr>().is_ok() => spec.missing_sni,
            None => spec.unknown_sni,
        };
        match action {
            SniAction::DefaultCertificate => self.default.policy(),
            SniAction::Reject => &self.policy,
        }
    }

    /// The policy of the certificate that is here for `host` (normalised), if there is one.
    #[must_use]
    pub fn policy_named(&self, host: &str) -> Option<&Arc<TlsPolicy>> {
        self.named.find(host).map(|(_, site)| site.policy())
    }

    /// The site for a client, and the label of its server name.
    pub(super) fn choose(&self, hello: &ClientHello) -> (Choice, ServerNameLabel) {
        match &hello.server_name {
            ServerName::Name(name) => match self.named.find(name) {
                Some((label, site)) => (
                    Choice::Site(site.clone()),
                    ServerNameLabel::Configured(label.clone()),
                ),
                None => (
                    self.fallback(self.policy.spec().unknown_sni, Choice::UnknownName),
                    ServerNameLabel::Other,
                ),
            },
            ServerName::Invalid => (
                self.fallback(self.policy.spec().unknown_sni, Choice::UnknownName),
                ServerNameLabel::Other,
            ),
            ServerName::None => (
                self.fallback(self.policy.spec().missing_sni, Choice::MissingName),
                ServerNameLabel::None,
            ),
        }
    }

    fn fallback(&self, action: SniAction, refusal: Choice) -> Choice {
        match action {
            SniAction::DefaultCertificate => Choice::Site(self.default.clone()),
            SniAction::Reject => refusal,
        }
    }
}
