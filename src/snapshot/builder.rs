//! What a generation is made of, put together from a configuration; faults and warnings on the way.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::generation::{ListenerState, Snapshot};
use super::kept::KeptCertificate;
use crate::bearer::BearerToken;
use crate::config::{
    Certificate, CertificateId, Config, Diagnostic, Listener, ListenerMode, Location, PemSource,
    PolicyId,
};
use crate::host::HostPattern;
use crate::telemetry::Metrics;
use crate::tls::{CertificateError, HelloRing, KeyLog, LoadedCertificate, Site, Sites, TlsPolicy};
use crate::upstream::ClientTls;

/// The parts of the next generation.
pub(super) struct Builder<'a> {
    config: &'a Config,
    previous: Option<&'a Snapshot>,
    /// What makes it impossible.
    pub(super) faults: Vec<Diagnostic>,
    /// What is wrong with it all the same.
    pub(super) warnings: Vec<Diagnostic>,
    /// Certificates of the last generation in place of those whose files cannot be used.
    pub(super) kept: Vec<KeptCertificate>,
    key_log: Arc<KeyLog>,
    hellos: Arc<HelloRing>,
}

impl<'a> Builder<'a> {
    pub(super) const fn new(
        config: &'a Config,
        previous: Option<&'a Snapshot>,
        key_log: Arc<KeyLog>,
        hellos: Arc<HelloRing>,
    ) -> Self {
        Self {
            config,
            previous,
            faults: Vec::new(),
            warnings: Vec::new(),
            kept: Vec::new(),
            key_log,
            hellos,
        }
    }

    fn fault(&mut self, location: Option<Location>, error: &dyn Error) {
        self.faults.push(fault(location, error));
    }

    pub(super) fn policies(&mut self) -> Option<Vec<Arc<TlsPolicy>>> {
        let mut ready = Vec::with_capacity(self.config.policies.len());
        for spec in &self.config.policies {
            // Made anew, because the files that it names may have changed; it takes over what it
            // can of the last one of its name.
            let previous = self.previous.and_then(|it| it.policy(&spec.name));
            match TlsPolicy::new(spec.clone(), previous) {
                Ok(policy) => {
                    ready.push(Arc::new(policy.with_key_log(self.key_log.clone())));
                }
                Err(error) => self.fault(error.location(spec), &error),
            }
        }
        (ready.len() == self.config.policies.len()).then_some(ready)
    }

    /// Loads every certificate. One whose files cannot be used is served as it was before, if it
    /// was.
    pub(super) fn certificates(&mut self) -> Option<Vec<Arc<LoadedCertificate>>> {
        let mut ready = Vec::with_capacity(self.config.certificates.len());
        for spec in &self.config.certificates {
            let certificate = match load(spec) {
                Ok(certificate) => Arc::new(certificate),
                Err(Unusable { file, faults }) => match self.as_before(spec) {
                    Some((certificate, since)) => {
                        self.kept.push(KeptCertificate {
                            name: spec.name.clone(),
                            file,
                            faults,
                            since,
                        });
                        certificate
                    }
                    None => {
                        self.faults.extend(faults);
                        continue;
                    }
                },
            };
            for warning in certificate.warnings(spec.names.is_some()) {
                let place = place_of(spec, &warning.path);
                self.warnings.push(Diagnostic::at(place, warning.text));
            }
            ready.push(certificate);
        }
        (self.faults.is_empty() && ready.len() == self.config.certificates.len()).then_some(ready)
    }

    /// The certificate of `spec` that serves now, if it is for all the names that `spec` has for
    /// it, and since when its files cannot be used.
    fn as_before(&self, spec: &Certificate) -> Option<(Arc<LoadedCertificate>, SystemTime)> {
        let (certificate, kept) = self.previous?.certificate_of(spec)?;
        let mut names = spec.names.iter().flatten();
        let fits = names.all(|name| certificate.check_name(name).is_ok());
        let since = kept.map_or_else(SystemTime::now, |kept| kept.since);
        fits.then(|| (certificate.clone(), since))
    }

    /// What each upstream needs for TLS, `None` for those without.
    pub(super) fn client_tls(&mut self) -> Option<Vec<Option<ClientTls>>> {
        let mut ready = Vec::with_capacity(self.config.upstreams.len());
        for upstream in &self.config.upstreams {
            let Some(spec) = &upstream.tls else {
                ready.push(None);
                continue;
            };
            if !spec.verify {
                let message = format!(
                    "the upstream `{}` does not verify certificates: whoever answers at its \
                     addresses is believed",
                    upstream.name
                );
                self.warnings.push(Diagnostic::at(spec.location, message));
            }
            match ClientTls::load(spec, upstream.protocol, &upstream.servers) {
                Ok(tls) => ready.push(Some(tls)),
                Err(error) => self.fault(Some(error.location(spec)), &error),
            }
        }
        (ready.len() == self.config.upstreams.len()).then_some(ready)
    }

    /// Reads the token of the admin listener, where there is to be one. The inner `None`: there is
    /// not.
    pub(super) fn admin_token(&mut self) -> Option<Option<Arc<BearerToken>>> {
        let Some(spec) = &self.config.admin.token_file else {
            return Some(None);
        };
        match BearerToken::read(&spec.path) {
            Ok(token) => Some(Some(Arc::new(token))),
            Err(error) => {
                self.fault(Some(spec.location), &error);
                None
            }
        }
    }

    pub(super) fn listeners(
        &mut self,
        policies: &[Arc<TlsPolicy>],
        certificates: &[Arc<LoadedCertificate>],
        metrics: &Metrics,
    ) -> Option<Vec<Arc<ListenerState>>> {
        let mut ready = Vec::with_capacity(self.config.listeners.len());
        for (index, listener) in self.config.listeners.iter().enumerate() {
            let sites = match &listener.mode {
                ListenerMode::Plain => None,
                ListenerMode::Tls {
                    policy,
                    certificates: ids,
                } => match self.sites(listener, (*policy, ids), policies, certificates) {
                    Some(sites) => Some(Arc::new(sites)),
                    None => continue,
                },
            };
            ready.push(Arc::new(ListenerState {
                index,
                name: listener.name.clone(),
                sites,
                proxied: listener.proxy_protocol_from.clone(),
                metrics: metrics.listener(&listener.name),
            }));
        }
        (ready.len() == self.config.listeners.len()).then_some(ready)
    }

    /// The sites of a TLS listener; `None` when something is wrong with them, which is reported.
    fn sites(
        &mut self,
        listener: &Listener,
        (policy, ids): (PolicyId, &[CertificateId]),
        policies: &[Arc<TlsPolicy>],
        certificates: &[Arc<LoadedCertificate>],
    ) -> Option<Sites> {
        let config = self.config;
        let mut whole = true;
        let mut sites: Option<Sites> = None;
        for id in ids {
            let spec = &config.certificates[id.0];
            let loaded = &certificates[id.0];
            let own = &policies[spec.policy.unwrap_or(policy).0];
            let site = match Site::new(loaded.clone(), own.clone()) {
                Ok(site) => Arc::new(site),
                Err(error) => {
                    self.fault(Some(listener.location), &error);
                    whole = false;
                    continue;
                }
            };
            let sites =
                sites.get_or_insert_with(|| Sites::new(site.clone(), policies[policy.0].clone()));
            for name in spec.names.as_deref().unwrap_or_else(|| loaded.names()) {
                let first = sites.add(name, site.clone());
                if let Some(first) = first.filter(|it| !Arc::ptr_eq(it.policy(), own)) {
                    self.faults
                        .push(conflict(spec, name, first.policy(), own, listener));
                    whole = false;
                }
            }
        }
        let hellos = self.hellos.clone();
        sites
            .filter(|_| whole)
            .map(|sites| sites.with_hellos(hellos))
    }
}

/// An error with its causes, at a place.
fn fault(location: Option<Location>, error: &dyn Error) -> Diagnostic {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    Diagnostic {
        location,
        message,
        help: None,
    }
}

/// Why a certificate cannot be served: the file, and what is wrong with it, at least one thing.
struct Unusable {
    file: PathBuf,
    faults: Vec<Diagnostic>,
}

/// Loads the certificate of `spec`, for all its names.
fn load(spec: &Certificate) -> Result<LoadedCertificate, Unusable> {
    let refused = |location, error: &CertificateError| Unusable {
        file: error.path().to_owned(),
        faults: vec![fault(Some(location), error)],
    };
    let certificate = LoadedCertificate::load(&spec.pairs)
        .map_err(|error| refused(place_of(spec, error.path()), &error))?;
    let names = spec.names.iter().flatten().zip(&spec.name_locations);
    let faults = names.filter_map(|(name, location)| {
        let error = certificate.check_name(name).err()?;
        Some(refused(*location, &error))
    });
    match faults.reduce(Unusable::and) {
        None => Ok(certificate),
        Some(unusable) => Err(unusable),
    }
}

impl Unusable {
    fn and(mut self, other: Self) -> Self {
        self.faults.extend(other.faults);
        self
    }
}

/// Where the configuration names a file of a certificate.
fn place_of(spec: &Certificate, file: &Path) -> Location {
    let mut sources = spec
        .pairs
        .iter()
        .flat_map(|pair| [Some(&pair.chain), Some(&pair.key), pair.ocsp.as_ref()])
        .flatten();
    let named = sources.find_map(|source| match source {
        PemSource::File { path, location } if path == file => Some(*location),
        _ => None,
    });
    named.unwrap_or(spec.location)
}

/// Two certificates of a listener have a name in common and different policies: which one holds
/// for the name would depend on their order.
fn conflict(
    certificate: &Certificate,
    name: &HostPattern,
    first: &TlsPolicy,
    second: &TlsPolicy,
    listener: &Listener,
) -> Diagnostic {
    let (first, second) = (&first.spec().name, &second.spec().name);
    let message = format!(
        "the certificate `{}` would put `{name}` under the tls policy `{second}`; another \
         certificate of the listener `{}` has it under `{first}`",
        certificate.name, listener.name
    );
    let help = "give both the same `tls`, or leave the name out of one with `names`";
    Diagnostic::at(certificate.location, message).help(help)
}
