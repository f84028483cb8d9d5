//! One immutable generation of everything the configuration describes.
//!
//! Built whole or not at all: certificates are loaded and checked, policies made ready, routes
//! and clusters assembled, and only then is the generation published with one atomic store. What
//! did not change is taken over from the last generation: ticket keys and sessions of a policy,
//! pools and health of an upstream.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::bearer::BearerToken;
use crate::config::{
    Certificate, CertificateId, Config, Diagnostic, Diagnostics, Listener, ListenerMode, Loaded,
    Location, PeerSet, PemSource, PolicyId, RouteId, Upstream, UpstreamId,
};
use crate::host::HostPattern;
use crate::route::RouteTable;
use crate::telemetry::{ListenerMetrics, Metrics, RequestMetrics};
use crate::tls::{HelloRing, KeyLog, LoadedCertificate, Site, Sites, TlsPolicy};
use crate::upstream::{ClientTls, Cluster};

/// Where the current generation is read from: one atomic pointer.
pub type SnapshotStore = ArcSwap<Snapshot>;

/// One immutable generation.
#[derive(Debug)]
pub struct Snapshot {
    /// The configuration it was built from.
    pub config: Arc<Config>,
    /// The routes.
    pub routes: RouteTable,
    listeners: Vec<Arc<ListenerState>>,
    policies: Vec<Arc<TlsPolicy>>,
    clusters: Vec<Arc<Cluster>>,
    requests: Vec<Vec<Arc<RequestMetrics>>>,
    certificates: Vec<(Arc<str>, i64)>,
    /// Whether any policy lets no client without a certificate through.
    guards: bool,
    warnings: Diagnostics,
    key_log: Arc<KeyLog>,
    admin_token: Option<Arc<BearerToken>>,
    hellos: Arc<HelloRing>,
}

/// What a connection needs of its listener; kept by the connection for its life.
#[derive(Debug)]
pub struct ListenerState {
    /// Index into the configuration's listeners.
    pub index: usize,
    /// The listener's name.
    pub name: Arc<str>,
    /// The TLS sites; `None` for a plain listener.
    pub sites: Option<Arc<Sites>>,
    /// Whose connections begin with a PROXY header.
    pub proxied: PeerSet,
    /// The listener's metrics.
    pub metrics: Arc<ListenerMetrics>,
}

impl Snapshot {
    /// Builds a generation from a valid configuration. Reads certificate files; publishes
    /// nothing and changes nothing of `previous`.
    ///
    /// # Errors
    /// Every certificate that cannot be used, and every upstream without usable TLS, located.
    pub fn build(
        loaded: &Loaded,
        metrics: &Metrics,
        previous: Option<&Self>,
    ) -> Result<Self, Diagnostics> {
        let config = Arc::new(loaded.config.clone());
        let mut builder = Builder {
            config: &config,
            previous,
            faults: Vec::new(),
            warnings: Vec::new(),
            key_log: previous.map_or_else(
                || Arc::new(KeyLog::new(metrics.key_log())),
                |previous| previous.key_log.clone(),
            ),
            hellos: previous.map_or_else(Arc::default, |previous| previous.hellos.clone()),
        };
        let policies = builder.policies();
        let certificates = builder.certificates();
        let listeners = match (&policies, &certificates) {
            (Some(policies), Some(certificates)) => {
                builder.listeners(policies, certificates, metrics)
            }
            _ => None,
        };
        let client_tls = builder.client_tls();
        let admin_token = builder.admin_token();
        let (
            Some(policies),
            Some(certificates),
            Some(listeners),
            Some(client_tls),
            Some(admin_token),
        ) = (policies, certificates, listeners, client_tls, admin_token)
        else {
            return Err(Diagnostics {
                sources: loaded.sources.clone(),
                items: builder.faults,
            });
        };
        let warnings = Diagnostics {
            sources: loaded.sources.clone(),
            items: builder.warnings,
        };
        let certificates = config
            .certificates
            .iter()
            .zip(&certificates)
            .map(|(spec, loaded)| (spec.name.clone(), loaded.not_after()))
            .collect();
        let clusters = config
            .upstreams
            .iter()
            .zip(client_tls)
            .map(|(spec, tls)| {
                previous
                    .and_then(|previous| previous.cluster_with(spec, tls.as_ref()))
                    .unwrap_or_else(|| {
                        Arc::new(Cluster::new(spec, tls, metrics.upstream(&spec.name)))
                    })
            })
            .collect();
        let requests = config
            .listeners
            .iter()
            .map(|listener| {
                let routes = config.routes.iter().map(|route| &*route.name);
                routes
                    .chain(["none"])
                    .map(|route| metrics.requests(&listener.name, route))
                    .collect()
            })
            .collect();
        let Builder {
            key_log, hellos, ..
        } = builder;
        let routes = RouteTable::new(&config.routes);
        let guards = policies.iter().any(|policy| policy.requires_certificate());
        Ok(Self {
            guards,
            config,
            routes,
            listeners,
            policies,
            clusters,
            requests,
            certificates,
            warnings,
            key_log,
            admin_token,
            hellos,
        })
    }

    /// A generation of parts that were made for it, without listeners: for tests of what stands
    /// above the routes. `clusters` and the inner vectors of `requests` have the order of the
    /// configuration's upstreams and routes; the last of each inner vector counts requests that
    /// match no route.
    #[must_use]
    pub fn assemble(
        config: Arc<Config>,
        routes: RouteTable,
        clusters: Vec<Arc<Cluster>>,
        requests: Vec<Vec<Arc<RequestMetrics>>>,
    ) -> Self {
        Self {
            config,
            routes,
            listeners: Vec::new(),
            policies: Vec::new(),
            clusters,
            requests,
            certificates: Vec::new(),
            guards: false,
            warnings: Diagnostics::default(),
            key_log: Arc::default(),
            admin_token: None,
            hellos: Arc::default(),
        }
    }

    /// The token of `admin.token_file`.
    #[must_use]
    pub const fn admin_token(&self) -> Option<&Arc<BearerToken>> {
        self.admin_token.as_ref()
    }

    /// The process's key log, which every generation takes over from the last.
    #[must_use]
    pub const fn key_log(&self) -> &Arc<KeyLog> {
        &self.key_log
    }

    /// The kinds of clients that came, which every generation counts on.
    #[must_use]
    pub const fn hellos(&self) -> &Arc<HelloRing> {
        &self.hellos
    }

    /// The listeners.
    #[must_use]
    pub fn listeners(&self) -> &[Arc<ListenerState>] {
        &self.listeners
    }

    /// What is wrong with this generation, though not so wrong that it cannot serve: certificates
    /// that have expired, chains with gaps.
    #[must_use]
    pub const fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }

    /// Tells what this generation holds to the gauges that describe the one that serves, and
    /// what is wrong with it to the log. Begins what upstreams do by themselves: checks, names.
    pub fn announce(&self, metrics: &Metrics) {
        for warning in &self.warnings.items {
            let place = warning
                .location
                .and_then(|location| self.warnings.sources.position(location))
                .map(|position| position.to_string());
            tracing::warn!(place, "{}", warning.message);
        }
        let names = &self.certificates;
        metrics.retain_certificates(|name| names.iter().any(|(own, _)| **own == *name));
        for (name, not_after) in names {
            metrics.certificate_not_after(name, *not_after);
        }
        for cluster in &self.clusters {
            cluster.activate();
        }
        self.upkeep(metrics);
        metrics.configure(&self.config.metrics);
        let limits = &self.config.limits;
        metrics.limit("connections", limits.connections as u64);
        match limits.connections_per_ip {
            Some(limit) => metrics.limit("connections_per_ip", limit as u64),
            None => metrics.unlimited("connections_per_ip"),
        }
        metrics.limit("handshakes", limits.handshakes as u64);
        metrics.limit("request_line", limits.request_line as u64);
        metrics.limit("request_headers", limits.request_headers as u64);
        metrics.limit("request_header_count", limits.request_header_count as u64);
        metrics.limit("h2_streams", u64::from(limits.h2_streams));
        metrics.limit("h2_resets", u64::from(limits.h2_resets.count));
        metrics.limit(
            "h2_control_frames",
            u64::from(limits.h2_control_frames.count),
        );
    }

    /// Keeps ticket keys and stored sessions up to date. Blocks on files; to be called every few
    /// seconds.
    pub fn upkeep(&self, metrics: &Metrics) {
        for policy in &self.policies {
            policy.upkeep();
        }
        self.announce_ticket_keys(metrics);
    }

    /// `next` takes its place: upstreams that are not in it do nothing by themselves any more, and
    /// the gauges of those whose names are gone say so.
    pub fn retire(&self, next: &Self, metrics: &Metrics) {
        for (name, cluster) in self.upstreams() {
            if next.clusters.iter().any(|own| Arc::ptr_eq(own, cluster)) {
                continue;
            }
            cluster.retire();
            if !next.upstreams().any(|(own, _)| own == name) {
                metrics.upstream(name).servers(0, 0);
            }
        }
    }

    fn announce_ticket_keys(&self, metrics: &Metrics) {
        let keys = self.policies.iter().filter_map(|policy| {
            let made = policy.ticket_key_made()?;
            Some((policy.spec().name.clone(), made.into()))
        });
        metrics.ticket_keys(keys.collect());
    }

    /// The listener called `name`; `None` once a reload has removed it.
    #[must_use]
    pub fn listener(&self, name: &str) -> Option<&Arc<ListenerState>> {
        self.listeners
            .iter()
            .find(|listener| *listener.name == *name)
    }

    /// Whether a request for `host` (normalised; empty is the server name's) came to the wrong
    /// connection: one of `listener` that was made under `policy`, or without TLS.
    ///
    /// A connection serves the names of its own policy. A name that only clients with a certificate
    /// reach, at whichever listener has it, is not reached at one that does not have it, nor without
    /// TLS.
    #[must_use]
    pub fn is_misdirected(&self, listener: &str, policy: Option<&TlsPolicy>, host: &str) -> bool {
        if host.is_empty() {
            return false;
        }
        let serves = |named: &TlsPolicy| policy.is_some_and(|own| own.serves_names_of(named));
        if policy.is_some()
            && let Some(sites) = self.listener(listener).and_then(|it| it.sites.as_ref())
        {
            if !serves(sites.policy_of(host)) {
                return true;
            }
            if sites.policy_named(host).is_some() {
                return false;
            }
        }
        if !self.guards {
            return false;
        }
        let mut named = self
            .listeners
            .iter()
            .filter_map(|listener| listener.sites.as_ref()?.policy_named(host))
            .peekable();
        named.peek().is_some() && named.all(|it| it.requires_certificate() && !serves(it))
    }

    /// The upstreams with their names, in the order of the configuration.
    pub fn upstreams(&self) -> impl Iterator<Item = (&str, &Arc<Cluster>)> {
        let specs = self.config.upstreams.iter().map(|spec| &*spec.name);
        specs.zip(&self.clusters)
    }

    /// The upstream at `id`.
    #[must_use]
    pub fn cluster(&self, id: UpstreamId) -> &Arc<Cluster> {
        &self.clusters[id.0]
    }

    /// The request counters of a listener (by its index in the configuration) and a route, or of
    /// requests that match none. `None` where a reload has removed the listener.
    #[must_use]
    pub fn requests(
        &self,
        listener: usize,
        route: Option<RouteId>,
    ) -> Option<&Arc<RequestMetrics>> {
        let row = self.requests.get(listener)?;
        row.get(route.map_or(row.len().checked_sub(1)?, |route| route.0))
    }

    /// The cluster of an upstream that has not changed, and neither have the files it names.
    fn cluster_with(&self, spec: &Upstream, tls: Option<&ClientTls>) -> Option<Arc<Cluster>> {
        let index = self.config.upstreams.iter().position(|own| own == spec)?;
        let cluster = self.clusters.get(index)?;
        let same = match (cluster.tls(), tls) {
            (Some(own), Some(tls)) => own.is_same(tls),
            (None, None) => true,
            _ => false,
        };
        same.then(|| cluster.clone())
    }
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

struct Builder<'a> {
    config: &'a Config,
    previous: Option<&'a Snapshot>,
    faults: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    key_log: Arc<KeyLog>,
    hellos: Arc<HelloRing>,
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

impl Builder<'_> {
    fn fault(&mut self, location: Option<Location>, error: &dyn Error) {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        self.faults.push(Diagnostic {
            location,
            message,
            help: None,
        });
    }

    fn policies(&mut self) -> Option<Vec<Arc<TlsPolicy>>> {
        let mut ready = Vec::with_capacity(self.config.policies.len());
        for spec in &self.config.policies {
            // Made anew, because the files that it names may have changed; it takes over what it
            // can of the last one of its name.
            let previous = self.previous.and_then(|previous| {
                let mut policies = previous.policies.iter();
                policies.find(|policy| policy.spec().name == spec.name)
            });
            match TlsPolicy::new(spec.clone(), previous.map(Arc::as_ref)) {
                Ok(policy) => {
                    ready.push(Arc::new(policy.with_key_log(self.key_log.clone())));
                }
                Err(error) => self.fault(error.location(spec), &error),
            }
        }
        (ready.len() == self.config.policies.len()).then_some(ready)
    }

    fn certificates(&mut self) -> Option<Vec<Arc<LoadedCertificate>>> {
        let mut ready = Vec::with_capacity(self.config.certificates.len());
        for spec in &self.config.certificates {
            match LoadedCertificate::load(&spec.pairs) {
                Ok(certificate) => {
                    self.check_names(spec, &certificate);
                    for warning in certificate.warnings(spec.names.is_some()) {
                        let place = place_of(spec, &warning.path);
                        self.warnings.push(Diagnostic::at(place, warning.text));
                    }
                    ready.push(Arc::new(certificate));
                }
                Err(error) => self.fault(Some(place_of(spec, error.path())), &error),
            }
        }
        (self.faults.is_empty() && ready.len() == self.config.certificates.len()).then_some(ready)
    }

    /// What each upstream needs for TLS, `None` for those without.
    fn client_tls(&mut self) -> Option<Vec<Option<ClientTls>>> {
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
    fn admin_token(&mut self) -> Option<Option<Arc<BearerToken>>> {
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

    /// Reports configured names that the certificate is not for.
    fn check_names(&mut self, spec: &Certificate, certificate: &LoadedCertificate) {
        let names = spec.names.iter().flatten().zip(&spec.name_locations);
        for (name, location) in names {
            if let Err(error) = certificate.check_name(name) {
                self.fault(Some(*location), &error);
            }
        }
    }

    fn listeners(
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
