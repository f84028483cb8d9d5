//! The key log: the secrets that clients have themselves, of those that were asked for and of
//! nobody else.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{Daemon, Origin, Settings, Tool, wait_until};

const SOON: Duration = Duration::from_secs(10);
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n";

fn settings() -> Settings {
    Settings::new(Origin::start().address())
}

/// A request by openssl from this address; its own key log.
fn visit(daemon: &Daemon, from: &str, args: &str) -> PathBuf {
    let file = daemon.dir().join("client-keys");
    // It appends.
    let _ = std::fs::remove_file(&file);
    let output = Tool::new("openssl")
        .words("s_client -servername example.test -ign_eof -verify_return_error")
        .args(["-CAfile", &daemon.ca()])
        .args(["-connect", &daemon.https().to_string()])
        .args(["-bind", &format!("{from}:0")])
        .args(["-keylogfile", &file.display().to_string()])
        .words(args)
        .stdin(REQUEST)
        .run()
        .success();
    assert!(output.stdout.contains("HTTP/1.1 200"), "{output}");
    file
}

/// The lines of a key log, in an order that does not depend on who writes.
fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let secrets = text.lines().filter(|line| !line.starts_with('#'));
    let mut lines: Vec<_> = secrets.map(str::to_ascii_lowercase).collect();
    lines.sort();
    lines
}

fn start(daemon: &Daemon, client: &str, duration: &str, file: &Path) {
    let file = file.display();
    let args = format!("key-log --client {client} --duration {duration} --file {file}");
    daemon.command(&args).run().success();
}

fn ended(daemon: &Daemon) -> usize {
    let records = daemon.log().records();
    let of_end = |record: &&serde_json::Value| {
        let message = record["message"].as_str().unwrap_or_default();
        record["level"] == "WARN" && message.starts_with("key log ended")
    };
    records.iter().filter(of_end).count()
}

#[test]
fn the_secrets_are_those_of_the_client() {
    let daemon = Daemon::run(&settings());
    let session = daemon.dir().join("session").display().to_string();
    let out = format!("-tls1_2 -sess_out {session}");
    let resume = format!("-tls1_2 -sess_in {session}");
    for (index, (args, count)) in [
        ("-tls1_3", 5),
        ("-tls1_3 -groups P-521:X25519", 5),
        (&out, 1),
        (&resume, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let file = daemon.dir().join(format!("keys-{index}"));
        start(&daemon, "127.0.0.2", "10m", &file);
        assert_eq!(daemon.metric("tls_key_log_active", &[]), 1.0);
        let theirs = lines(&visit(&daemon, "127.0.0.2", args));
        let shown = daemon.command("status").run().success().stdout;
        assert!(shown.contains("KEY LOG"), "{shown}");
        let stopped = daemon.command("key-log --stop").run().success();
        assert!(stopped.stdout.contains("1 sessions"), "{stopped}");
        assert_eq!(lines(&file), theirs, "{args}");
        assert_eq!(theirs.len(), count, "{args}: {theirs:?}");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
    assert_eq!(daemon.metric("tls_key_log_active", &[]), 0.0);
    assert_eq!(daemon.metric("tls_key_log_sessions_total", &[]), 4.0);
    assert_eq!(ended(&daemon), 4);
    let none = daemon.command("key-log --stop").run();
    assert_eq!(none.code, 1, "{none}");
    assert!(none.stderr.contains("no key log runs"), "{none}");
}

#[test]
fn clients_of_other_networks_are_not_in_the_file_before_and_after_a_reload() {
    let daemon = Daemon::run(&settings());
    let file = daemon.dir().join("keys");
    visit(&daemon, "127.0.0.2", "");
    start(&daemon, "127.0.0.2/32", "10m", &file);
    visit(&daemon, "127.0.0.3", "-tls1_3");
    visit(&daemon, "127.0.0.3", "-tls1_2");
    assert_eq!(lines(&file), [""; 0]);
    daemon.command("reload").run().success();
    visit(&daemon, "127.0.0.3", "-tls1_3");
    let theirs = lines(&visit(&daemon, "127.0.0.2", "-tls1_3"));
    daemon.command("key-log --stop").run().success();
    visit(&daemon, "127.0.0.2", "-tls1_3");
    assert_eq!(lines(&file), theirs);
}

#[test]
fn after_its_time_nothing_is_written() {
    let daemon = Daemon::run(&settings());
    let file = daemon.dir().join("keys");
    start(&daemon, "127.0.0.0/8", "200ms", &file);
    wait_until(SOON, "its end is logged", || ended(&daemon) == 1);
    let written = lines(&file);
    visit(&daemon, "127.0.0.2", "-tls1_3");
    assert_eq!(lines(&file), written);
    assert_eq!(daemon.metric("tls_key_log_active", &[]), 0.0);
    let (_, summary) = daemon.socket("GET", "/api/summary", "");
    assert!(summary["key_log"].is_null(), "{summary}");
}

#[test]
fn what_is_not_bounded_is_refused() {
    let daemon = Daemon::run(&settings());
    let file = daemon.dir().join("keys");
    let ask = |client: &str, more: &str, file: &Path| {
        let file = file.display();
        let body = format!(r#"{{"client": "{client}", "file": "{file}"{more}}}"#);
        let (status, answer) = daemon.socket("POST", "/api/key-log", &body);
        (
            status,
            answer["error"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let hour = r#", "duration": "1h""#;
    let existing = daemon.dir().join("handfast.toml");
    let nowhere = daemon.dir().join("no/keys");
    for (client, more, path, part) in [
        ("0.0.0.0/0", hour, &*file, "every client"),
        ("::/0", hour, &file, "every client"),
        ("all", hour, &file, "is a network"),
        ("127.0.0.1", "", &file, "duration"),
        ("127.0.0.1", r#", "duration": "61m""#, &file, "1 h"),
        ("127.0.0.1", r#", "duration": "0s""#, &file, "1 ms"),
        ("127.0.0.1", hour, Path::new("keys"), "absolute path"),
        ("127.0.0.1", hour, &existing, "exists"),
        ("127.0.0.1", hour, &nowhere, "No such file"),
    ] {
        let (status, error) = ask(client, more, path);
        assert_eq!(status, 400, "{client} {more}: {error}");
        assert!(error.contains(part), "{client} {more}: {error}");
    }
    assert!(!file.exists());
    let any = r#", "duration": "1h", "any": true"#;
    assert_eq!(ask("0.0.0.0/0", any, &file).0, 201);
    let (status, error) = ask("127.0.0.1", hour, &daemon.dir().join("more"));
    assert_eq!(status, 409, "{error}");
    assert_eq!(daemon.socket("DELETE", "/api/key-log", "").0, 200);
    assert_eq!(daemon.socket("DELETE", "/api/key-log", "").0, 404);
}

#[test]
fn the_environment_switches_nothing_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    let before = format!("export SSLKEYLOGFILE={}", file.display());
    let daemon = Daemon::run_after(&settings(), &before);
    visit(&daemon, "127.0.0.2", "-tls1_3");
    visit(&daemon, "127.0.0.2", "-tls1_2");
    assert!(!file.exists());
}
