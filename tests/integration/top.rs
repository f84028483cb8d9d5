//! `handfast top`, and the windows that it shows.

use std::time::Duration;

use crate::support::{Daemon, Origin, Settings, Tool, get, wait_until};

const SOON: Duration = Duration::from_secs(10);

fn busy() -> Daemon {
    let daemon = Daemon::run(&Settings::new(Origin::start().address()));
    for _ in 0..2 {
        daemon.curl("", "/").run().success();
    }
    get(daemon.https(), "/").unwrap();
    // Requests are counted at their end, which a client does not see.
    daemon.wait_metric("http_requests_total", &[], 2.0);
    daemon.wait_metric("tls_handshake_failures_total", &[], 1.0);
    daemon
}

#[test]
fn windows_count_what_has_just_happened() {
    let daemon = busy();
    let (status, summary) = daemon.socket("GET", "/api/summary", "");
    assert_eq!(status, 200);
    let windows = summary["windows"].as_array().unwrap();
    let spans: Vec<_> = windows
        .iter()
        .map(|it| it["span_seconds"].clone())
        .collect();
    assert_eq!(spans, [10, 60, 900]);
    for window in windows {
        let counts = &window["handshakes"];
        assert_eq!((&counts["full"], &counts["failed"]), (&2.into(), &1.into()));
        assert_eq!(window["requests"], 2);
        assert_eq!(window["failures"]["plain_http"], 1);
        assert_eq!(window["resumption"]["not_offered"], 2);
        let quantile = |name: &str| window["duration_us"][name].as_f64().unwrap();
        assert!(quantile("p50") > 0.0, "{window}");
        assert!(quantile("p50") <= quantile("p95"), "{window}");
        assert!(quantile("p95") <= quantile("p99"), "{window}");
        assert!(window["phases_us"]["server_flight"].as_f64().unwrap() > 0.0);
        assert!(window["seconds"].as_f64().unwrap() >= 0.0);
    }
    let ring = &summary["ring"];
    assert_eq!(ring["handshakes"], 6, "three, and each among the slowest");
    assert!(ring["bytes"].as_u64().unwrap() > 1000, "{ring}");
}

#[test]
fn one_screen_goes_into_a_pipe() {
    let daemon = busy();
    let address = daemon.address("admin").to_string();
    let over_tcp = Tool::new(env!("CARGO_BIN_EXE_handfast"))
        .words("top --once --address")
        .args([address]);
    for tool in [daemon.command("top --once"), over_tcp] {
        let screen = tool.run().success().stdout;
        for words in [
            "ready",
            "handshakes/s",
            "server_flight",
            "plain_http",
            "not_offered",
        ] {
            assert!(screen.contains(words), "{words} is missing in\n{screen}");
        }
        assert!(screen.lines().all(|line| line.len() < 80), "{screen}");
        assert!(!screen.contains('\x1b'), "{screen}");
    }
    let nowhere = Tool::new(env!("CARGO_BIN_EXE_handfast"))
        .words("top --once --socket /nonexistent/admin.sock")
        .run();
    assert_eq!(nowhere.code, 1, "{nowhere}");
    assert!(nowhere.stderr.contains("nobody listens on"), "{nowhere}");
}

#[test]
fn it_watches_until_it_is_interrupted() {
    let mut daemon = busy();
    let top = daemon.command("top").start();
    wait_until(SOON, "two screens", || {
        top.stdout().matches("handshakes/s").count() >= 2
    });
    top.interrupt();
    top.finish().success();
    daemon.assert_running();

    let top = daemon.command("top").start();
    wait_until(SOON, "a screen", || top.printed() > 0);
    daemon.signal("TERM");
    // It ends with the daemon.
    assert_eq!(top.finish().code, 1);
}
