//! The series of the process: there from the start, counted for requests and upstreams, and kept
//! over reloads.

use std::sync::Arc;
use std::time::Duration;

use crate::report::FailureClass;
use crate::telemetry::stream::Stream;
use crate::telemetry::{
    AcceptFault, CheckResult, HttpProtocol, Metrics, ReloadOutcome, RetryReason, UpstreamFailure,
    scrape,
};

#[test]
fn a_fresh_process_already_has_its_series() {
    let metrics = Metrics::default();
    let _listener = metrics.listener("https");
    let _requests = metrics.requests("https", "example.com/");
    let _upstream = metrics.upstream("api");
    let samples = scrape::of(&metrics);
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
fn requests_and_upstreams_are_counted() {
    let metrics = Metrics::default();
    let requests = metrics.requests("https", "/");
    requests.record(Some(204), HttpProtocol::H2, Duration::from_millis(5));
    requests.record(Some(999), HttpProtocol::Http11, Duration::ZERO);
    requests.record(None, HttpProtocol::Http10, Duration::from_secs(20));
    metrics
        .requests("http", "/")
        .record(Some(301), HttpProtocol::Http11, Duration::from_millis(6));
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
    let samples = scrape::of(&metrics);
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
    let samples = scrape::of(&metrics);
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
