//! Many connections and requests at once: not one goes wrong.

use std::time::Duration;

use crate::support::{Daemon, Origin, Settings, Tool};

fn daemon() -> Daemon {
    Daemon::run_alone(&Settings::new(Origin::start().address()))
}

/// The number that stands before `word` in `text`.
#[track_caller]
fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().unwrap_or_default();
    let number = before.split_whitespace().next_back().unwrap_or_default();
    number
        .parse()
        .unwrap_or_else(|_| panic!("no number before {word:?} in:\n{text}"))
}

/// Nothing is left behind once the clients have gone.
fn assert_nothing_left(daemon: &Daemon) {
    daemon.wait_metric("tls_handshakes_in_flight", &[], 0.0);
    daemon.wait_metric("connections_open", &[("listener", "https")], 0.0);
    assert_eq!(daemon.metric("tls_handshake_failures_total", &[]), 0.0);
}

#[test]
fn wrk_gets_nothing_but_200() {
    let daemon = daemon();
    let output = Tool::new("wrk")
        .words("-t1 -c64 -d5s --timeout 10s")
        .args([format!("https://{}/", daemon.https())])
        .limit(Duration::from_secs(60))
        .run()
        .success();
    assert!(!output.stdout.contains("Non-2xx"), "{output}");
    assert!(!output.stdout.contains("Socket errors"), "{output}");
    let requests = number_before(&output.stdout, "requests in");
    assert!(requests > 64, "{output}");
    let counted = daemon.metric("http_requests_total", &[("code", "2xx")]);
    assert!(counted >= requests as f64, "{counted} counted: {output}");
    assert_nothing_left(&daemon);
}

#[test]
fn h2load_gets_nothing_but_200() {
    let daemon = daemon();
    let output = Tool::new("h2load")
        .words("-n 20000 -c 16 -m 16")
        .args([format!("https://{}/", daemon.https())])
        .limit(Duration::from_secs(120))
        .run()
        .success();
    assert!(
        output.stdout.contains("Application protocol: h2\n"),
        "{output}"
    );
    let requests = "requests: 20000 total, 20000 started, 20000 done, 20000 succeeded, \
                    0 failed, 0 errored, 0 timeout";
    assert!(output.stdout.contains(requests), "{output}");
    let codes = "status codes: 20000 2xx, 0 3xx, 0 4xx, 0 5xx";
    assert!(output.stdout.contains(codes), "{output}");
    let labels = [("code", "2xx"), ("protocol", "h2")];
    daemon.wait_metric("http_requests_total", &labels, 20_000.0);
    daemon.wait_metric("tls_handshakes_total", &[("listener", "https")], 16.0);
    assert_nothing_left(&daemon);
}
