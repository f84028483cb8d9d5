//! The admin socket: its file, its commands, and `handfast reload` and `status` at its other end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Daemon, Origin, Settings, Tool, get, wait_until};

const SOON: Duration = Duration::from_secs(10);

fn daemon() -> Daemon {
    Daemon::run(&Settings::new(Origin::start().address()))
}

fn logged(daemon: &Daemon, message: &str) -> Vec<Value> {
    let mut records = daemon.log().records();
    records.retain(|record| record["message"] == message);
    records
}

#[test]
fn the_socket_is_for_its_owner_and_goes_with_the_daemon() {
    let mut daemon = daemon();
    let path = daemon.dir().join("admin.sock");
    let metadata = std::fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    let (status, summary) = daemon.socket("GET", "/api/summary", "");
    assert_eq!(status, 200);
    assert_eq!(summary["listeners"][0]["name"], "https");

    // A second daemon with the same socket does not start, and does not take it away.
    let second = daemon.command("run").run();
    assert_eq!(second.code, 1, "{second}");
    assert!(
        second.stderr.contains("another process listens"),
        "{second}"
    );
    assert_eq!(daemon.socket("GET", "/healthz", "").0, 200);

    let (status, answer) = daemon.socket("POST", "/api/drain", "");
    assert_eq!((status, &answer["result"]), (202, &"draining".into()));
    assert!(daemon.wait_exit(SOON).success());
    assert!(!path.exists());
    let status = daemon.command("status").run();
    assert_eq!(status.code, 1, "{status}");
    assert!(status.stderr.contains("nobody listens on"), "{status}");
}

#[test]
fn a_socket_of_a_dead_daemon_is_replaced() {
    let daemon = daemon();
    daemon.signal("KILL");
    let path = daemon.dir().join("admin.sock");
    wait_until(SOON, "nobody listens", || {
        std::os::unix::net::UnixStream::connect(&path).is_err()
    });
    assert!(path.exists());
    let again = daemon.command("run").limit(SOON).start();
    wait_until(SOON, "another one listens", || {
        daemon.command("status --ready").run().code == 0
    });
    drop(again);
}

#[test]
fn commands_over_tcp_are_refused_with_the_way_to_go() {
    let daemon = daemon();
    let address = daemon.address("admin");
    let socket = daemon.dir().join("admin.sock").display().to_string();
    for (method, path) in [
        ("POST", "/api/reload"),
        ("POST", "/api/drain"),
        ("PUT", "/api/log-level"),
        ("POST", "/api/key-log"),
        ("DELETE", "/api/key-log"),
    ] {
        let output = Tool::new("curl")
            .args(["-sS", "-X", method, "-w", "%{http_code}"])
            .args([format!("http://{address}{path}")])
            .run()
            .success();
        assert!(output.stdout.ends_with("403"), "{method} {path}: {output}");
        assert!(output.stdout.contains(&socket), "{output}");
    }
    assert_eq!(get(address, "/api/reload").unwrap().head.status(), 405);
}

#[test]
fn a_reload_by_command_says_how_it_went() {
    let (first, second) = (Origin::named("first"), Origin::named("second"));
    let daemon = Daemon::run(&Settings::new(first.address()));
    let good = Settings::new(second.address()).render(daemon.dir());
    daemon.rewrite(&good);
    let output = daemon.command("reload").run().success();
    assert!(output.stdout.contains("generation 2 serves"), "{output}");
    // It waits: the new one serves when it is done.
    assert_eq!(daemon.curl("", "/").run().success().stdout, "second\n");

    daemon.rewrite(&good.replace("[[routes]]\nupstream", "[[routes]]\nupstraem"));
    let output = daemon.command("reload").run();
    assert_eq!(output.code, 78, "{output}");
    assert!(output.stderr.contains("handfast.toml:"), "{output}");
    assert!(output.stderr.contains("upstraem"), "{output}");
    let (status, report) = daemon.socket("POST", "/api/reload", "");
    assert_eq!((status, &report["result"]), (422, &"failed".into()));
    let diagnostics = report["diagnostics"].as_array().unwrap();
    let unknown = diagnostics
        .iter()
        .find(|item| item["message"].as_str().unwrap().contains("upstraem"))
        .unwrap();
    assert!(unknown["line"].as_u64().unwrap() > 1, "{unknown}");
    assert_eq!(unknown["column"], 1);
    assert!(unknown["file"].as_str().unwrap().ends_with("handfast.toml"));
    assert!(unknown["help"].as_str().unwrap().contains("upstream"));
    assert_eq!(daemon.curl("", "/").run().success().stdout, "second\n");

    // Text that is no TOML at all does not hide the socket from the command.
    daemon.rewrite(&format!("{good}\nx = = 1\n"));
    assert_eq!(daemon.command("reload").run().code, 78);

    let shown = daemon.command("status").run().success().stdout;
    assert!(
        shown.contains("failed: the configuration is wrong"),
        "{shown}"
    );
    assert!(shown.contains("generation   2"), "{shown}");
    let json = daemon.command("status --json").run().success().stdout;
    let summary: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(summary["last_reload"]["result"], "failed");
    assert_eq!(summary["generation"], 2);
    daemon.rewrite(&good);
    daemon.command("reload").run().success();
}

#[test]
fn the_log_level_changes_and_comes_back() {
    let daemon = daemon();
    let debug = || {
        let records = daemon.log().records();
        records.iter().any(|record| record["level"] == "DEBUG")
    };
    assert!(!debug());
    let set = |body: &str| daemon.socket("PUT", "/api/log-level", body);
    assert_eq!(set(r#"{"level": "debug"}"#).0, 200);
    wait_until(SOON, "a fault of a peer is told", || {
        let mut stream = TcpStream::connect(daemon.address("admin")).unwrap();
        stream.write_all(b"no request\r\n\r\n").unwrap();
        // Answered and closed, or closed.
        let _ = stream.read_to_end(&mut Vec::new());
        debug()
    });
    assert_eq!(set(r#"{"level": "debug", "duration": "20ms"}"#).0, 200);
    wait_until(SOON, "the level comes back", || {
        !logged(&daemon, "log level is back").is_empty()
    });
    for (body, part) in [
        (r#"{"level": "loud"}"#, "there are: error"),
        (r#"{"level": "info", "duration": "1"}"#, "1s"),
        (r#"{"level": "info", "until": 1}"#, "until"),
        ("{", "EOF"),
    ] {
        let (status, answer) = set(body);
        assert_eq!(status, 400, "{body}");
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains(part), "{body}: {error}");
    }
}

#[test]
fn status_shows_what_a_drain_waits_for() {
    let origin = Origin::start();
    let mut daemon = Daemon::run(&Settings::new(origin.address()));
    daemon.command("status --ready").run().success();
    let request = daemon.curl("-w %{http_code}", "/hold").start();
    wait_until(SOON, "the request reaches the origin", || {
        origin.requests() == 1
    });
    assert_eq!(daemon.socket("POST", "/api/drain", "").0, 202);
    wait_until(SOON, "the drain waits for the connection", || {
        let shown = daemon.command("status").run().success().stdout;
        shown.contains("waits for 1 h2 connection, 1 request, ")
    });
    assert_eq!(daemon.command("status --ready").run().code, 1);
    // Draining again is no second signal, and nothing is reloaded.
    assert_eq!(daemon.socket("POST", "/api/drain", "").0, 202);
    assert_eq!(daemon.socket("POST", "/api/reload", "").0, 503);
    daemon.assert_running();
    origin.open_gate();
    assert!(request.finish().success().stdout.ends_with("200"));
    assert!(daemon.wait_exit(SOON).success());
}
