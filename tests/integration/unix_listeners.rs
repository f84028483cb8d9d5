//! Listeners on unix sockets: the same service, without an address at the other end.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use crate::support::{Daemon, Origin, Output, Settings, Tool, wait_until};

const SOON: Duration = Duration::from_secs(15);

const LISTENERS: &str = r#"
[[listeners]]
name = "local"
address = "unix:local.sock"
certificates = ["main"]

[[listeners]]
address = "unix:plain.sock"
tls = false
"#;

fn run(origin: &Origin, more: &str) -> Daemon {
    let settings = Settings::new(origin.address()).more(LISTENERS).more(more);
    let daemon = Daemon::run(&settings);
    wait_until(SOON, "the sockets are there", || {
        daemon.dir().join("plain.sock").exists()
    });
    daemon
}

fn curl(socket: &Path, args: &str, url: &str) -> Output {
    Tool::new("curl")
        .words("-sSk --max-time 20 --unix-socket")
        .args([socket])
        .words(args)
        .args([url])
        .run()
        .success()
}

#[test]
fn both_protocols_are_served_with_and_without_tls() {
    let origin = Origin::start();
    let daemon = run(&origin, "");
    let (local, plain) = (
        daemon.dir().join("local.sock"),
        daemon.dir().join("plain.sock"),
    );
    for args in ["--http1.1", "--http2"] {
        let (answer, handshake) = daemon.new_handshake(|| {
            let spoofed = format!("{args} -H X-Forwarded-For:192.0.2.9");
            curl(&local, &spoofed, "https://example.test/head").stdout
        });
        let answer = answer.to_ascii_lowercase();
        assert!(answer.starts_with("get /head http/1.1\n"), "{answer}");
        // There is no address, and nobody is believed.
        assert!(!answer.contains("x-forwarded-for"), "{answer}");
        assert!(answer.contains("x-forwarded-proto: https\n"), "{answer}");
        assert_eq!(handshake.text("outcome"), Some("ok"), "{handshake}");
        assert_eq!(handshake.text("listener"), Some("local"));
        assert_eq!(handshake.text("peer"), Some("unix"));
        handshake.assert_sum();
    }
    let answer = curl(&plain, "", "http://example.test/head").stdout;
    assert!(answer.starts_with("GET /head HTTP/1.1\n"), "{answer}");
    wait_until(SOON, "the access log has them", || {
        let of = |record: &serde_json::Value| {
            record["event"] == "http.request"
                && record["peer"] == "unix"
                && record["client"].is_null()
        };
        let records = daemon.log().records();
        records.iter().filter(|record| of(record)).count() == 3
    });
    let status = daemon.command("status").run().success().stdout;
    let place = format!("local on unix:{}", local.display());
    assert!(status.contains(&place), "{status}");
}

#[test]
fn the_word_of_trusted_peers_counts() {
    let origin = Origin::start();
    let daemon = run(&origin, "[forwarding]\ntrusted_proxies = [\"unix\"]");
    let plain = daemon.dir().join("plain.sock");
    let args = "-H X-Forwarded-For:192.0.2.9";
    let answer = curl(&plain, args, "http://example.test/head").stdout;
    let answer = answer.to_ascii_lowercase();
    assert!(answer.contains("x-forwarded-for: 192.0.2.9\n"), "{answer}");
    wait_until(SOON, "the access log has the client", || {
        let records = daemon.log().records();
        records
            .iter()
            .any(|record| record["peer"] == "unix" && record["client"] == "192.0.2.9")
    });
}

#[test]
fn sockets_stay_over_a_reload_and_go_with_their_listener() {
    let origin = Origin::start();
    let mut daemon = run(&origin, "");
    let (local, plain) = (
        daemon.dir().join("local.sock"),
        daemon.dir().join("plain.sock"),
    );
    let before = fs::metadata(&plain).unwrap();
    assert_eq!(before.permissions().mode() & 0o7777, 0o666);
    let reload = |listeners: &str, result: &str, count: f64| {
        let settings = Settings::new(origin.address()).more(listeners);
        daemon.rewrite(&settings.render(daemon.dir()));
        daemon.signal("HUP");
        daemon.wait_metric("config_reloads_total", &[("result", result)], count);
    };
    let plain_alone = LISTENERS.split_once("\n\n").unwrap().1;
    reload(&format!("{plain_alone}backlog = 7\n"), "ok", 1.0);
    wait_until(SOON, "a socket goes with its listener", || !local.exists());
    assert_eq!(fs::metadata(&plain).unwrap().ino(), before.ino());
    curl(&plain, "", "http://example.test/");

    // What is in the way is not removed, and nothing changes.
    fs::write(&local, "precious").unwrap();
    reload(LISTENERS, "failed", 1.0);
    assert_eq!(fs::read(&local).unwrap(), b"precious");
    curl(&plain, "", "http://example.test/");
    fs::remove_file(&local).unwrap();
    reload(LISTENERS, "ok", 2.0);
    curl(&local, "", "https://example.test/");

    daemon.signal("TERM");
    assert!(daemon.wait_exit(SOON).success());
    assert!(!local.exists() && !plain.exists());
}
