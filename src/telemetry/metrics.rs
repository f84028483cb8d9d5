//! The metrics of the process, and how they are written out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::composition::Compositions;
use super::counts::Counts;
use super::exposition::{Exposition, Format, Kind};
use super::key_log_metrics::{self, KeyLogMetrics};
use super::limit_metrics::{Limit, LimitRefusals};
use super::listener_families;
use super::listener_metrics::{HandshakeTotals, ListenerMetrics, UnderWay};
use super::metrics_settings::MetricsSettings;
use super::mix::Mix;
use super::reload_metrics::{ReloadMetrics, ReloadOutcome};
use super::request_metrics::{self, RequestMetrics};
use super::stream::Dropped;
use super::upstream_metrics::{self, UpstreamMetrics, UpstreamTotals};
use crate::config;

/// All metrics of the process. Handles are asked for when a configuration is built and kept by
/// what they belong to; recording on a handle never comes back here. A handle asked for again by
/// the same name is the same one, so counters outlive reloads.
#[derive(Debug, Default)]
pub struct Metrics {
    handles: Mutex<Handles>,
    settings: Arc<MetricsSettings>,
    reloads: ReloadMetrics,
    admin_unauthorized: AtomicU64,
    limit_refusals: LimitRefusals,
    key_log: Arc<KeyLogMetrics>,
    pub(super) dropped: Arc<Dropped>,
}

/// What the process has counted so far, over all listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Client connections that are open.
    pub connections_open: u64,
    /// Handshakes.
    pub handshakes: HandshakeTotals,
    /// Finished requests.
    pub requests: u64,
}

/// Kept by name and sorted, because series are written in this order.
#[derive(Debug, Default)]
struct Handles {
    listeners: BTreeMap<Arc<str>, Arc<ListenerMetrics>>,
    requests: BTreeMap<(Arc<str>, Arc<str>), Arc<RequestMetrics>>,
    upstreams: BTreeMap<Arc<str>, Arc<UpstreamMetrics>>,
    limits: BTreeMap<&'static str, u64>,
    certificates: BTreeMap<Arc<str>, i64>,
    ticket_keys: BTreeMap<Arc<str>, SystemTime>,
}

impl Metrics {
    /// The listener's metrics, made at first use and kept for good.
    #[must_use]
    pub fn listener(&self, name: &str) -> Arc<ListenerMetrics> {
        let mut handles = self.handles();
        match handles.listeners.get(name) {
            Some(metrics) => metrics.clone(),
            None => {
                let metrics = Arc::new(ListenerMetrics::new(self.settings.clone()));
                handles.listeners.insert(name.into(), metrics.clone());
                metrics
            }
        }
    }

    /// Follows `[metrics]` from now on. What was counted under a server name stays.
    pub fn configure(&self, settings: &config::Metrics) {
        self.settings.set(settings);
    }

    /// Request counters of one listener and route (`none` where no route matched).
    #[must_use]
    pub fn requests(&self, listener: &str, route: &str) -> Arc<RequestMetrics> {
        let key = (listener.into(), route.into());
        self.handles().requests.entry(key).or_default().clone()
    }

    /// An upstream's metrics.
    #[must_use]
    pub fn upstream(&self, name: &str) -> Arc<UpstreamMetrics> {
        let mut handles = self.handles();
        match handles.upstreams.get(name) {
            Some(metrics) => metrics.clone(),
            None => handles.upstreams.entry(name.into()).or_default().clone(),
        }
    }

    /// `limit{limit}`: the configured value of a limit.
    pub fn limit(&self, limit: &'static str, value: u64) {
        self.handles().limits.insert(limit, value);
    }

    /// `limit_refusals_total{limit}` +1.
    pub fn limit_refused(&self, limit: Limit) {
        self.limit_refusals.add(limit);
    }

    /// Forgets the configured value of a limit, which is unlimited now.
    pub fn unlimited(&self, limit: &str) {
        self.handles().limits.remove(limit);
    }

    /// `tls_certificate_not_after_timestamp_seconds{certificate}`.
    pub fn certificate_not_after(&self, certificate: &str, unix_seconds: i64) {
        self.handles()
            .certificates
            .insert(certificate.into(), unix_seconds);
    }

    /// Forgets the expiry of every certificate that `keep` does not want: after a reload an alert
    /// on a certificate that is no longer served would never go away.
    pub fn retain_certificates(&self, keep: impl Fn(&str) -> bool) {
        self.handles().certificates.retain(|name, _| keep(name));
    }

    /// `tls_ticket_key_age_seconds{policy}`: when the key that seals tickets was made, of every
    /// policy that has one.
    pub fn ticket_keys(&self, made: BTreeMap<Arc<str>, SystemTime>) {
        self.handles().ticket_keys = made;
    }

    /// The key log's metrics.
    #[must_use]
    pub fn key_log(&self) -> Arc<KeyLogMetrics> {
        self.key_log.clone()
    }

    /// `config_reloads_total{result}`.
    pub fn config_reload(&self, outcome: ReloadOutcome) {
        self.reloads.add(outcome);
    }

    /// `tls_certificates_kept`: how many serve as they were, because their files cannot be used.
    pub fn certificates_kept(&self, certificates: usize) {
        self.reloads.kept(certificates);
    }

    /// `admin_unauthorized_total`: a request to the admin listener without its token.
    pub fn admin_unauthorized(&self) {
        self.admin_unauthorized.fetch_add(1, Ordering::Relaxed);
    }

    /// Which configuration is serving, counted from 1: every reload that is not refused makes the
    /// next.
    #[must_use]
    pub fn generation(&self) -> u64 {
        let taken = [ReloadOutcome::Ok, ReloadOutcome::Partial];
        1 + taken
            .map(|outcome| self.reloads.count(outcome))
            .iter()
            .sum::<u64>()
    }

    /// Sums over all listeners, for the summary of the admin API.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let handles = self.handles();
        let mut totals = Totals {
            requests: handles.requests.values().map(|route| route.total()).sum(),
            ..Totals::default()
        };
        for listener in handles.listeners.values() {
            let handshakes = listener.handshakes();
            totals.connections_open += listener.connections_open();
            totals.handshakes.in_flight += handshakes.in_flight;
            totals.handshakes.complete += handshakes.complete;
            totals.handshakes.failed += handshakes.failed;
            totals.handshakes.probes += handshakes.probes;
        }
        totals
    }

    /// What is under way now, over all listeners.
    #[must_use]
    pub fn under_way(&self) -> UnderWay {
        let handles = self.handles();
        let mut all = UnderWay::default();
        for listener in handles.listeners.values() {
            let own = listener.under_way();
            all.handshakes += own.handshakes;
            all.requests += own.requests;
            all.http2_connections += own.http2_connections;
            all.websockets += own.websockets;
            all.other_tunnels += own.other_tunnels;
        }
        all
    }

    /// What windows are made of, over all listeners.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let handles = self.handles();
        let mut counts = Counts {
            requests: handles.requests.values().map(|route| route.total()).sum(),
            ..Counts::default()
        };
        for listener in handles.listeners.values() {
            listener.add_to(&mut counts);
        }
        counts
    }

    /// How the time of all complete handshakes is made up, over all listeners.
    #[must_use]
    pub fn compositions(&self) -> Compositions {
        let mut compositions = Compositions::default();
        for listener in self.handles().listeners.values() {
            listener.add_compositions_to(&mut compositions);
        }
        compositions
    }

    /// What complete handshakes negotiated, over all listeners.
    #[must_use]
    pub fn mix(&self) -> Mix {
        let mut mix = Mix::default();
        for listener in self.handles().listeners.values() {
            listener.add_mix_to(&mut mix);
        }
        mix
    }

    /// The certificates that serve and when they expire, in seconds since 1970.
    #[must_use]
    pub fn certificates(&self) -> Vec<(Arc<str>, i64)> {
        let handles = self.handles();
        let certificates = handles.certificates.iter();
        certificates
            .map(|(name, end)| (name.clone(), *end))
            .collect()
    }

    /// The upstreams and what was counted of them.
    #[must_use]
    pub fn upstreams(&self) -> Vec<(Arc<str>, UpstreamTotals)> {
        let handles = self.handles();
        let upstreams = handles.upstreams.iter();
        upstreams
            .map(|(name, metrics)| (name.clone(), metrics.totals()))
            .collect()
    }

    /// Everything as text for a scraper, families sorted by name.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        let mut out = Exposition::new(format);
        let handles = self.handles();
        let listeners: Vec<_> = named(&handles.listeners);
        listener_families::write(&mut out, &listeners);
        let requests: Vec<_> = handles
            .requests
            .iter()
            .map(|((listener, route), metrics)| (&**listener, &**route, &**metrics))
            .collect();
        request_metrics::write(&mut out, &requests);
        upstream_metrics::write(&mut out, &named(&handles.upstreams));
        self.write_process(&mut out, &handles);
        out.finish()
    }

    fn write_process(&self, out: &mut Exposition, handles: &Handles) {
        out.family(
            "build_info",
            Kind::Gauge,
            "The running build; the value is always 1.",
            |family| {
                let labels = [
                    ("version", env!("CARGO_PKG_VERSION")),
                    ("arch", std::env::consts::ARCH),
                    ("os", std::env::consts::OS),
                ];
                family.sample(&labels, 1);
            },
        );
        out.family(
            "admin_unauthorized",
            Kind::Counter,
            "Requests to the admin listener without its token.",
            |family| family.sample(&[], self.admin_unauthorized.load(Ordering::Relaxed)),
        );
        out.family("limit", Kind::Gauge, "Configured limits.", |family| {
            for (limit, value) in &handles.limits {
                family.sample(&[("limit", limit)], value);
            }
        });
        self.limit_refusals.write(out);
        out.family(
            "tls_certificate_not_after_timestamp_seconds",
            Kind::Gauge,
            "When a certificate expires, in seconds since 1970.",
            |family| {
                for (certificate, not_after) in &handles.certificates {
                    family.sample(&[("certificate", certificate)], not_after);
                }
            },
        );
        key_log_metrics::write(out, &self.key_log);
        let now = SystemTime::now();
        out.family(
            "tls_ticket_key_age_seconds",
            Kind::Gauge,
            "The age of the key that seals session tickets.",
            |family| {
                for (policy, made) in &handles.ticket_keys {
                    let age = now.duration_since(*made).unwrap_or_default();
                    family.sample(&[("policy", policy)], age.as_secs());
                }
            },
        );
        self.reloads.write(out);
        out.family(
            "log_events_dropped",
            Kind::Counter,
            "Log lines dropped, because the output did not take them or by a rate.",
            |family| {
                for (stream, reason, count) in self.dropped.iter() {
                    let labels = [("stream", stream.name()), ("reason", reason.name())];
                    family.sample(&labels, count);
                }
            },
        );
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        // A panic in the middle leaves maps of whole entries.
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn named<T>(handles: &BTreeMap<Arc<str>, Arc<T>>) -> Vec<(&str, &T)> {
    handles
        .iter()
        .map(|(name, metrics)| (&**name, &**metrics))
        .collect()
}
