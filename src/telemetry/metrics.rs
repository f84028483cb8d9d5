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
use super::listener_metrics::{self, HandshakeTotals, ListenerMetrics, UnderWay};
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
        listener_metrics::write(&mut out, &listeners);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{
        AcceptFault, CheckResult, HttpProtocol, RetryReason, UpstreamFailure, sample, scrape,
        stream::Stream,
    };
    use super::*;
    use crate::report::{
        FailureClass, HandshakeKind, HandshakeReport, Outcome, Phase, ServerNameLabel,
    };

    fn read(metrics: &Metrics) -> scrape::Samples {
        scrape::read(&metrics.render(Format::Prometheus))
    }

    #[test]
    fn both_formats_hold_the_same_series_and_one_has_exemplars() {
        let metrics = Metrics::default();
        let listener = metrics.listener("a\"b\\c");
        listener.handshake_started();
        listener.handshake_finished(&sample::complete());
        let text = metrics.render(Format::OpenMetrics);
        let (samples, exemplars) = scrape::read_openmetrics(&text);
        // Bounds are written differently; everything else is the same.
        let plain = |samples: scrape::Samples| -> Vec<_> {
            let keep = |(series, _): &(String, f64)| !series.contains("le=\"");
            samples.into_iter().filter(keep).collect()
        };
        assert_eq!(samples.len(), read(&metrics).len());
        assert_eq!(plain(samples), plain(read(&metrics)));
        let bucket = r#"handfast_tls_handshake_duration_seconds_bucket{listener="a\"b\\c",version="1.3",kind="full",le="0.0025"}"#;
        assert_eq!(
            exemplars,
            [(
                bucket.to_owned(),
                r#"{connection_id="0000000000000abc"} 0.0015 1795407045.001"#.to_owned()
            )]
        );
        for le in ["1e-05", "2.5e-05", "0.0001", "1.0", "10.0"] {
            assert!(text.contains(&format!(",le=\"{le}\"}} ")), "{le}");
        }
        metrics.configure(&config::Metrics {
            exemplars: false,
            ..config::defaults::METRICS
        });
        let text = metrics.render(Format::OpenMetrics);
        assert_eq!(scrape::read_openmetrics(&text).1, []);
    }

    #[test]
    fn server_names_are_no_labels_when_they_are_off() {
        let metrics = Metrics::default();
        metrics.configure(&config::Metrics {
            per_sni: config::PerSni::Off,
            ..config::defaults::METRICS
        });
        let listener = metrics.listener("https");
        for report in [sample::complete(), sample::failed()] {
            listener.handshake_started();
            listener.handshake_finished(&report);
        }
        let text = metrics.render(Format::Prometheus);
        assert!(!text.contains("example.com"), "{text}");
        let series = r#"handfast_tls_handshakes_total{listener="https",server_name="other",version="1.3",kind="full"}"#;
        assert_eq!(read(&metrics)[series], 1.0);
    }

    #[test]
    fn a_fresh_process_already_has_its_series() {
        let metrics = Metrics::default();
        let _listener = metrics.listener("https");
        let _requests = metrics.requests("https", "example.com/");
        let _upstream = metrics.upstream("api");
        let samples = read(&metrics);
        for &class in FailureClass::ALL {
            let of_class: Vec<_> = samples
                .iter()
                .filter(|(series, _)| series.contains(&format!("class=\"{class}\"")))
                .collect();
            assert_eq!(of_class.len(), 1, "{class}");
            assert_eq!(*of_class[0].1, 0.0);
        }
        let version = env!("CARGO_PKG_VERSION");
        assert!(samples.keys().any(|series| {
            series.starts_with(&format!("handfast_build_info{{version=\"{version}\""))
        }));
        for series in [
            r#"handfast_connections_open{listener="https"}"#,
            r#"handfast_accept_errors_total{listener="https",class="unexpected"}"#,
            r#"handfast_tls_handshakes_started_total{listener="https"}"#,
            r#"handfast_tls_handshakes_in_flight{listener="https"}"#,
            r#"handfast_tls_handshakes_total{listener="https",server_name="none",version="1.2",kind="full"}"#,
            r#"handfast_tls_handshake_duration_seconds_bucket{listener="https",version="1.3",kind="resumed",le="0.00001"}"#,
            r#"handfast_tls_handshake_part_seconds_bucket{listener="https",part="sign",le="+Inf"}"#,
            r#"handfast_tls_probe_connections_total{listener="https"}"#,
            r#"handfast_tls_resumption_total{listener="https",version="1.2",result="cache_miss"}"#,
            r#"handfast_tls_hello_retry_total{listener="https"}"#,
            r#"handfast_tls_handshake_undetermined_total{listener="https"}"#,
            r#"handfast_tls_false_start_total{listener="https",result="eligible_unused"}"#,
            r#"handfast_tls_avoidable_wait_seconds_total{listener="https",cause="split_flight"}"#,
            r#"handfast_http_requests_total{listener="https",route="example.com/",code="5xx",protocol="h2"}"#,
            r#"handfast_http_request_duration_seconds_count{route="example.com/"}"#,
            r#"handfast_upstream_requests_total{upstream="api",reused="true"}"#,
            r#"handfast_upstream_first_byte_seconds_sum{upstream="api"}"#,
            r#"handfast_upstream_connect_seconds_count{upstream="api"}"#,
            r#"handfast_upstream_connections_open{upstream="api"}"#,
            r#"handfast_upstream_retries_total{upstream="api",reason="refused"}"#,
            r#"handfast_upstream_ejections_total{upstream="api"}"#,
            r#"handfast_upstream_health_checks_total{upstream="api",result="broken"}"#,
            r#"handfast_upstream_failures_total{upstream="api",reason="upstream_connect"}"#,
            r#"handfast_config_reloads_total{result="failed"}"#,
            r#"handfast_config_reloads_total{result="guarded"}"#,
            r#"handfast_config_reloads_total{result="partial"}"#,
            "handfast_tls_certificates_kept",
            r#"handfast_log_events_dropped_total{stream="daemon",reason="output"}"#,
            r#"handfast_log_events_dropped_total{stream="handshake",reason="rate"}"#,
            "handfast_admin_unauthorized_total",
            "handfast_tls_key_log_active",
            "handfast_tls_key_log_lines_dropped_total",
            "handfast_tls_key_log_sessions_total",
        ] {
            assert_eq!(samples.get(series), Some(&0.0), "{series}");
        }
    }

    #[test]
    fn handshakes_are_counted_where_they_belong() {
        let metrics = Metrics::default();
        let listener = metrics.listener("https");
        for _ in 0..4 {
            listener.handshake_started();
        }
        listener.handshake_finished(&sample::complete());
        listener.first_request_wait_of(HandshakeKind::Full, Duration::ZERO);
        listener.first_request_wait(Duration::from_millis(3));
        listener.handshake_finished(&HandshakeReport {
            server_name_label: ServerNameLabel::Other,
            hello_retry: true,
            ..sample::failed()
        });
        listener.handshake_finished(&HandshakeReport {
            outcome: Outcome::Probe,
            ..sample::complete()
        });
        let counts = metrics.counts();
        assert_eq!((counts.full, counts.resumed), (1, 0));
        assert_eq!((counts.failed(), counts.probes), (1, 1));
        let mean = counts.mean(Phase::ClientFlightWait);
        assert_eq!(mean, Some(Duration::from_micros(1200)));
        let median = counts.quantile(0.5);
        assert_eq!(median, Some(Duration::from_micros(1750)));
        let samples = read(&metrics);
        for (series, value) in [
            (r#"tls_handshakes_started_total{listener="https"}"#, 4.0),
            (r#"tls_handshakes_in_flight{listener="https"}"#, 1.0),
            (r#"tls_probe_connections_total{listener="https"}"#, 1.0),
            (r#"tls_hello_retry_total{listener="https"}"#, 1.0),
            (
                r#"tls_handshakes_total{listener="https",server_name="*.example.com",version="1.3",kind="full"}"#,
                1.0,
            ),
            (
                r#"tls_handshake_failures_total{listener="https",server_name="other",class="no_shared_version",side="server"}"#,
                1.0,
            ),
            (
                r#"tls_handshake_duration_seconds_sum{listener="https",version="1.3",kind="full"}"#,
                0.0015,
            ),
            (
                r#"tls_handshake_duration_seconds_bucket{listener="https",version="1.3",kind="full",le="0.001"}"#,
                0.0,
            ),
            (
                r#"tls_handshake_duration_seconds_bucket{listener="https",version="1.3",kind="full",le="0.0025"}"#,
                1.0,
            ),
            (
                r#"tls_handshake_phase_seconds_count{listener="https",kind="full",phase="client_flight_wait"}"#,
                1.0,
            ),
            (
                r#"tls_handshake_phase_seconds_count{listener="https",kind="full",phase="first_request_wait"}"#,
                1.0,
            ),
            (
                r#"tls_handshake_phase_seconds_sum{listener="https",kind="unknown",phase="first_request_wait"}"#,
                0.003,
            ),
            (
                r#"tls_handshake_part_seconds_sum{listener="https",part="key_exchange"}"#,
                0.000_080_123,
            ),
            (
                r#"tls_handshake_part_seconds_count{listener="https",part="ticket"}"#,
                0.0,
            ),
            (
                r#"tls_resumption_total{listener="https",version="1.3",result="not_offered"}"#,
                1.0,
            ),
            (
                r#"tls_false_start_total{listener="https",result="not_applicable"}"#,
                1.0,
            ),
            (
                r#"tls_negotiated_total{listener="https",version="1.3",cipher="TLS13_AES_128_GCM_SHA256",group="X25519"}"#,
                1.0,
            ),
        ] {
            let series = format!("handfast_{series}");
            assert_eq!(samples.get(&series), Some(&value), "{series}");
        }
        let absent = format!("phase=\"{}\"", Phase::RetryWait.name());
        assert!(!samples.keys().any(|series| series.contains(&absent)));
        assert_eq!(
            metrics.totals().handshakes,
            HandshakeTotals {
                in_flight: 1,
                complete: 1,
                failed: 1,
                probes: 1
            }
        );
    }

    #[test]
    fn configured_names_never_make_more_series_than_their_bound() {
        let metrics = Metrics::default();
        let listener = metrics.listener("https");
        for name in 0..1100 {
            listener.handshake_finished(&HandshakeReport {
                server_name_label: ServerNameLabel::Configured(format!("{name}.example").into()),
                ..sample::complete()
            });
        }
        let samples = read(&metrics);
        let complete: Vec<_> = samples
            .iter()
            .filter(|(series, _)| series.starts_with("handfast_tls_handshakes_total"))
            .collect();
        assert_eq!(
            complete.iter().map(|(_, value)| **value).sum::<f64>(),
            1100.0
        );
        assert!(complete.len() <= 1024 + 8, "{}", complete.len());
        let other = r#"handfast_tls_handshakes_total{listener="https",server_name="other",version="1.3",kind="full"}"#;
        assert_eq!(samples[other], 78.0);
    }

    #[test]
    fn requests_and_upstreams_are_counted() {
        let metrics = Metrics::default();
        let requests = metrics.requests("https", "/");
        requests.record(Some(204), HttpProtocol::H2, Duration::from_millis(5));
        requests.record(Some(999), HttpProtocol::Http11, Duration::ZERO);
        requests.record(None, HttpProtocol::Http10, Duration::from_secs(20));
        metrics.requests("http", "/").record(
            Some(301),
            HttpProtocol::Http11,
            Duration::from_millis(6),
        );
        let upstream = metrics.upstream("api");
        upstream.connection_opened();
        upstream.connection_opened();
        upstream.connection_closed();
        upstream.request(true);
        upstream.retry(RetryReason::Closed);
        upstream.ejection();
        upstream.check(CheckResult::Timeout);
        upstream.servers(3, 2);
        upstream.first_byte(Duration::from_millis(8));
        upstream.connected(Duration::from_millis(1));
        upstream.failure(UpstreamFailure::Truncated);
        let samples = read(&metrics);
        for (series, value) in [
            (
                r#"http_requests_total{listener="https",route="/",code="2xx",protocol="h2"}"#,
                1.0,
            ),
            (
                r#"http_requests_total{listener="https",route="/",code="5xx",protocol="http/1.1"}"#,
                1.0,
            ),
            (
                r#"http_requests_total{listener="https",route="/",code="4xx",protocol="http/1.0"}"#,
                1.0,
            ),
            (r#"http_request_duration_seconds_count{route="/"}"#, 4.0),
            (
                r#"http_request_duration_seconds_bucket{route="/",le="0.005"}"#,
                2.0,
            ),
            (
                r#"http_request_duration_seconds_bucket{route="/",le="10"}"#,
                3.0,
            ),
            (r#"upstream_connections_open{upstream="api"}"#, 1.0),
            (
                r#"upstream_requests_total{upstream="api",reused="true"}"#,
                1.0,
            ),
            (
                r#"upstream_retries_total{upstream="api",reason="closed"}"#,
                1.0,
            ),
            (r#"upstream_ejections_total{upstream="api"}"#, 1.0),
            (
                r#"upstream_health_checks_total{upstream="api",result="timeout"}"#,
                1.0,
            ),
            (r#"upstream_servers{upstream="api"}"#, 3.0),
            (r#"upstream_healthy{upstream="api"}"#, 2.0),
            (r#"upstream_first_byte_seconds_sum{upstream="api"}"#, 0.008),
            (r#"upstream_connect_seconds_count{upstream="api"}"#, 1.0),
            (
                r#"upstream_failures_total{upstream="api",reason="upstream_truncated"}"#,
                1.0,
            ),
        ] {
            let series = format!("handfast_{series}");
            assert_eq!(samples.get(&series), Some(&value), "{series}");
        }
        assert_eq!(metrics.totals().requests, 4);
    }

    #[test]
    fn handles_and_counts_outlive_a_reload() {
        let metrics = Metrics::default();
        let listener = metrics.listener("a");
        listener.connection_opened();
        listener.accept_error(AcceptFault::Exhausted);
        assert!(Arc::ptr_eq(&listener, &metrics.listener("a")));
        assert!(Arc::ptr_eq(
            &metrics.requests("a", "/"),
            &metrics.requests("a", "/")
        ));
        metrics.config_reload(ReloadOutcome::Ok);
        metrics.limit("connections", 20_000);
        metrics.limit("connections", 10_000);
        metrics.certificate_not_after("old", 1);
        metrics.certificate_not_after("new", -2);
        metrics.retain_certificates(|name| name == "new");
        metrics.dropped.add(Stream::Access, 3);
        let samples = read(&metrics);
        for (series, value) in [
            (r#"connections_open{listener="a"}"#, 1.0),
            (
                r#"accept_errors_total{listener="a",class="exhausted"}"#,
                1.0,
            ),
            (r#"config_reloads_total{result="ok"}"#, 1.0),
            (r#"limit{limit="connections"}"#, 10_000.0),
            (
                r#"tls_certificate_not_after_timestamp_seconds{certificate="new"}"#,
                -2.0,
            ),
            (
                r#"log_events_dropped_total{stream="access",reason="output"}"#,
                3.0,
            ),
        ] {
            let series = format!("handfast_{series}");
            assert_eq!(samples.get(&series), Some(&value), "{series}");
        }
        assert!(!samples.keys().any(|series| series.contains("\"old\"")));
    }

    #[test]
    fn label_values_are_escaped() {
        let metrics = Metrics::default();
        metrics.listener("a\\b\"c\nd").connection_opened();
        let samples = read(&metrics);
        assert_eq!(
            samples[r#"handfast_connections_open{listener="a\\b\"c\nd"}"#],
            1.0
        );
    }

    #[test]
    fn a_scrape_amid_recording_is_consistent() {
        let metrics = Metrics::default();
        let listener = metrics.listener("https");
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        listener.handshake_started();
                        listener.handshake_finished(&sample::complete());
                    }
                });
            }
            for _ in 0..5 {
                read(&metrics);
            }
        });
        let samples = read(&metrics);
        let count = r#"handfast_tls_handshake_duration_seconds_count{listener="https",version="1.3",kind="full"}"#;
        assert_eq!(samples[count], 6000.0);
        assert_eq!(
            samples[r#"handfast_tls_handshakes_in_flight{listener="https"}"#],
            0.0
        );
    }
}
