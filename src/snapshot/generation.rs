//! One immutable generation of everything the configuration describes.
//!
//! Built whole or not at all: certificates are loaded and checked, policies made ready, routes
//! and clusters assembled, and only then is the generation published with one atomic store. What
//! did not change is taken over from the last generation: ticket keys and sessions of a policy,
//! pools and health of an upstream.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::builder::Builder;
use super::kept::KeptCertificate;
use crate::bearer::BearerToken;
use crate::config::{
    Certificate, Config, Diagnostics, Loaded, Location, PeerSet, Position, RouteId, Sources,
    Upstream, UpstreamId,
};
use crate::route::RouteTable;
use crate::telemetry::{ListenerMetrics, Metrics, RequestMetrics};
use crate::tls::{Forecast, HelloRing, KeyLog, LoadedCertificate, Sites, TlsPolicy};
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
    /// In the order of the configuration.
    certificates: Vec<Arc<LoadedCertificate>>,
    kept: Vec<KeptCertificate>,
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
        let key_log = previous.map_or_else(
            || Arc::new(KeyLog::new(metrics.key_log())),
            |previous| previous.key_log.clone(),
        );
        let hellos = previous.map_or_else(Arc::default, |previous| previous.hellos.clone());
        let mut builder = Builder::new(&config, previous, key_log.clone(), hellos.clone());
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
        let kept = builder.kept;
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
            kept,
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
            kept: Vec::new(),
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

    /// The certificates that are still those of an earlier generation, because their files cannot
    /// be used now.
    #[must_use]
    pub fn kept(&self) -> &[KeptCertificate] {
        &self.kept
    }

    /// The files of its configuration.
    #[must_use]
    pub const fn sources(&self) -> &Sources {
        &self.warnings.sources
    }

    fn position(&self, location: Location) -> Option<Position<'_>> {
        self.sources().position(location)
    }

    /// The certificate that serves as `spec` says, if it was loaded from the same files under the
    /// same name; and what keeps it from being read again, if anything does.
    pub(super) fn certificate_of(
        &self,
        spec: &Certificate,
    ) -> Option<(&Arc<LoadedCertificate>, Option<&KeptCertificate>)> {
        let own = self.config.certificates.iter();
        let index = own
            .zip(&self.certificates)
            .position(|(own, _)| own.name == spec.name && own.pairs == spec.pairs)?;
        let kept = self.kept.iter().find(|kept| kept.name == spec.name);
        Some((&self.certificates[index], kept))
    }

    /// The policy called `name`.
    pub(super) fn policy(&self, name: &str) -> Option<&TlsPolicy> {
        let mut policies = self.policies.iter();
        let own = policies.find(|policy| *policy.spec().name == *name);
        own.map(Arc::as_ref)
    }

    /// Who of the clients that came would be turned away by `next`. Listeners that are not in it,
    /// or do not speak TLS in one of both, are left out. Blocks as [`Forecast::make`] does.
    #[must_use]
    pub fn forecast(&self, next: &Self) -> Forecast {
        let sites = self.listeners.iter().filter_map(|own| {
            let then = next.listener(&own.name)?.sites.as_ref()?;
            Some((&*own.name, (&**own.sites.as_ref()?, &**then)))
        });
        Forecast::make(self.hellos.census(), &sites.collect())
    }

    /// Tells what this generation holds to the gauges that describe the one that serves, and
    /// what is wrong with it to the log. Begins what upstreams do by themselves: checks, names.
    pub fn announce(&self, metrics: &Metrics) {
        for warning in &self.warnings.items {
            let place = warning.location.and_then(|at| self.position(at));
            let place = place.map(|position| position.to_string());
            tracing::warn!(place, "{}", warning.message);
        }
        for kept in &self.kept {
            for fault in &kept.faults {
                let place = fault.location.and_then(|at| self.position(at));
                let place = place.map(|position| position.to_string());
                tracing::error!(
                    certificate = %kept.name,
                    file = %kept.file.display(),
                    place,
                    error = fault.message,
                    "the certificate cannot be used: the one before serves on"
                );
            }
        }
        metrics.certificates_kept(self.kept.len());
        let specs = &self.config.certificates;
        metrics.retain_certificates(|name| specs.iter().any(|own| *own.name == *name));
        for (spec, loaded) in specs.iter().zip(&self.certificates) {
            metrics.certificate_not_after(&spec.name, loaded.not_after());
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
