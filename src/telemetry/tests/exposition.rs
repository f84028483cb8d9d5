//! How the text is written: the two formats, exemplars, labels.

use crate::config;
use crate::telemetry::{Format, Metrics, sample, scrape};

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
    assert_eq!(samples.len(), scrape::of(&metrics).len());
    assert_eq!(plain(samples), plain(scrape::of(&metrics)));
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
fn label_values_are_escaped() {
    let metrics = Metrics::default();
    metrics.listener("a\\b\"c\nd").connection_opened();
    let samples = scrape::of(&metrics);
    assert_eq!(
        samples[r#"handfast_connections_open{listener="a\\b\"c\nd"}"#],
        1.0
    );
}
