//! What the admin listener tells, and that it tells the same as the event log.

use std::time::Duration;

use crate::support::{Daemon, Origin, Settings, get, wait_for};

/// Every class that a failed handshake can have.
const CLASSES: [&str; 29] = [
    "no_shared_version",
    "no_shared_cipher",
    "cert_type_mismatch",
    "no_shared_group",
    "no_shared_sigalg",
    "no_shared_alpn",
    "unknown_sni",
    "missing_sni",
    "client_rejected_cert",
    "client_cert_missing",
    "client_cert_expired",
    "client_cert_revoked",
    "client_cert_unknown_ca",
    "client_cert_invalid",
    "client_cert_not_allowed",
    "plain_http",
    "not_tls",
    "malformed",
    "proxy_header",
    "client_closed",
    "reset",
    "timeout",
    "client_cancelled",
    "client_alert",
    "decrypt_error",
    "protocol_violation",
    "refused_overload",
    "false_start_refused",
    "internal",
];

fn daemon() -> Daemon {
    Daemon::run(&Settings::new(Origin::start().address()))
}

#[test]
fn health_and_readiness_are_200_while_serving() {
    let daemon = daemon();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(daemon.admin(path).head.status(), 200, "{path}");
    }
    assert_eq!(daemon.admin("/no-such-page").head.status(), 404);
}

#[test]
fn the_health_listener_shows_what_probes_and_scrapers_need() {
    let health = "[health]\naddress = \"0.0.0.0:0\"";
    let mut daemon = Daemon::run(&Settings::new(Origin::start().address()).more(health));
    let port = daemon.wait_listening("health").port();
    let address = ([127, 0, 0, 1], port).into();
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(address, path).unwrap().head.status(), 200, "{path}");
    }
    for path in ["/api/summary", "/api/handshakes", "/"] {
        assert_eq!(get(address, path).unwrap().head.status(), 404, "{path}");
    }
}

#[test]
fn every_failure_class_is_a_series_from_the_start() {
    let daemon = daemon();
    let response = daemon.admin("/metrics");
    let content_type = response.head.one("content-type").unwrap_or_default();
    assert!(content_type.starts_with("text/plain"), "{content_type}");
    let text = response.text();
    for family in [
        ("build_info", "gauge"),
        ("connections_open", "gauge"),
        ("tls_handshakes_started_total", "counter"),
        ("tls_handshakes_in_flight", "gauge"),
        ("tls_handshake_failures_total", "counter"),
        ("tls_probe_connections_total", "counter"),
    ] {
        let line = format!("# TYPE handfast_{} {}\n", family.0, family.1);
        assert!(text.contains(&line), "{line:?} is missing in:\n{text}");
    }
    let samples = daemon.metrics();
    for listener in ["https", "rsa"] {
        for class in CLASSES {
            let sample = samples.iter().find(|sample| {
                sample.name == "handfast_tls_handshake_failures_total"
                    && sample.labels["class"] == class
                    && sample.labels["listener"] == listener
            });
            assert_eq!(sample.map(|sample| sample.value), Some(0.0), "{class}");
        }
    }
}

#[test]
fn one_request_is_counted_once_everywhere() {
    let daemon = daemon();
    daemon.curl("--http2 --tlsv1.3", "/").run().success();
    let listener = ("listener", "https");
    daemon.wait_metric(
        "http_requests_total",
        &[listener, ("code", "2xx"), ("protocol", "h2")],
        1.0,
    );
    daemon.wait_metric("connections_open", &[listener], 0.0);
    let full = [
        listener,
        ("server_name", "example.test"),
        ("version", "1.3"),
        ("kind", "full"),
    ];
    let negotiated = [
        listener,
        ("version", "1.3"),
        ("cipher", "TLS_AES_128_GCM_SHA256"),
        ("group", "X25519"),
    ];
    for (name, labels, value) in [
        ("tls_handshakes_started_total", &[listener][..], 1.0),
        ("tls_handshakes_total", &full, 1.0),
        ("tls_handshakes_total", &[], 1.0),
        ("tls_negotiated_total", &negotiated, 1.0),
        ("tls_handshakes_in_flight", &[], 0.0),
        ("tls_handshake_failures_total", &[], 0.0),
        (
            "tls_handshake_duration_seconds_count",
            &[listener, ("kind", "full")],
            1.0,
        ),
        (
            "tls_handshake_phase_seconds_count",
            &[listener, ("phase", "server_flight")],
            1.0,
        ),
        (
            "tls_handshake_part_seconds_count",
            &[listener, ("part", "sign")],
            1.0,
        ),
        (
            "tls_resumption_total",
            &[listener, ("result", "not_offered")],
            1.0,
        ),
    ] {
        assert_eq!(daemon.metric(name, labels), value, "{name} {labels:?}");
    }
    let text = daemon.admin("/metrics").text();
    for histogram in ["duration", "phase", "part"] {
        let line = format!("# TYPE handfast_tls_handshake_{histogram}_seconds histogram\n");
        assert!(text.contains(&line), "{line:?} is missing in:\n{text}");
    }
}

#[test]
fn the_event_is_what_the_api_says() {
    let daemon = daemon();
    let (_, handshake) = daemon.new_handshake(|| daemon.curl("", "/").run().success());
    let id = handshake.text("id").unwrap();
    let event = wait_for(Duration::from_secs(10), "the event is logged", || {
        let records = daemon.log().records();
        let mut events = records
            .into_iter()
            .filter(|record| record["event"] == "tls.handshake");
        events.find(|record| record["id"] == id)
    });
    for (field, value) in handshake.0.as_object().unwrap() {
        assert_eq!(&event[field], value, "{field}");
    }
    assert!(
        handshake.text("time").unwrap().ends_with('Z'),
        "{handshake}"
    );
    assert!(
        handshake.text("peer").unwrap().starts_with("127.0.0.1:"),
        "{handshake}"
    );
}

#[test]
fn handshakes_are_filtered_and_newest_first() {
    let daemon = daemon();
    let first = daemon
        .new_handshake(|| daemon.curl("", "/").run().success())
        .1;
    let second = daemon
        .new_handshake(|| daemon.curl("", "/").run().success())
        .1;
    let plain = |()| get(daemon.https(), "/").unwrap();
    let failed = daemon.new_handshake(|| plain(())).1;
    let ids = |query: &str| -> Vec<String> {
        let response = daemon.admin(&format!("/api/handshakes{query}"));
        assert_eq!(response.head.status(), 200, "{query}");
        let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        let list = body["handshakes"].as_array().unwrap().clone();
        list.iter()
            .map(|handshake| handshake["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let id = |of: &crate::support::Handshake| of.text("id").unwrap().to_owned();
    assert_eq!(ids(""), [id(&failed), id(&second), id(&first)]);
    assert_eq!(ids("?limit=1"), [id(&failed)]);
    assert_eq!(ids("?outcome=failed"), [id(&failed)]);
    assert_eq!(ids("?class=plain_http"), [id(&failed)]);
    assert_eq!(ids("?server_name=example.test"), [id(&second), id(&first)]);
    assert_eq!(ids("?sort=slowest").len(), 3);
    assert_eq!(
        daemon.admin("/api/handshakes?outcome=sad").head.status(),
        400
    );
}
