//! The series of handshakes: what counts where, and under which server names.

use std::time::Duration;

use crate::config;
use crate::report::{HandshakeKind, HandshakeReport, Outcome, Phase, ServerNameLabel};
use crate::telemetry::{Format, HandshakeTotals, Metrics, sample, scrape};

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
    let samples = scrape::of(&metrics);
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
    assert_eq!(scrape::of(&metrics)[series], 1.0);
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
    let samples = scrape::of(&metrics);
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
            scrape::of(&metrics);
        }
    });
    let samples = scrape::of(&metrics);
    let count = r#"handfast_tls_handshake_duration_seconds_count{listener="https",version="1.3",kind="full"}"#;
    assert_eq!(samples[count], 6000.0);
    assert_eq!(
        samples[r#"handfast_tls_handshakes_in_flight{listener="https"}"#],
        0.0
    );
}
