//! `reload.max_broken_clients`: a reload that would turn clients away is refused.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Daemon, Origin, Output, Settings, Tool, wait_until};

const SOON: Duration = Duration::from_secs(10);

fn settings(max: &str) -> Settings {
    let lines = format!("watch = false\nmax_broken_clients = {max}");
    Settings::new(Origin::start().address()).reload(&lines)
}

/// openssl, which offers this version alone; whether it gets through.
fn connect(daemon: &Daemon, version: &str) -> bool {
    let output = Tool::new("openssl")
        .words("s_client -servername example.test")
        .args([version, "-connect", &daemon.https().to_string()])
        .run();
    output.code == 0
}

/// Rewrites the configuration with TLS 1.3 alone.
fn without_tls12(daemon: &Daemon, settings: &Settings) {
    let settings = settings.clone().policy(r#"versions = ["1.3"]"#);
    daemon.rewrite(&settings.render(daemon.dir()));
}

fn refused(output: &Output) {
    assert_eq!(output.code, 1, "{output}");
    for words in [
        "refused: it would turn away 1 of 3 handshakes",
        "more than max_broken_clients = 1%",
        "1 handshakes to example.test (https) from t12d",
        "TLS 1.2",
        "generation 1 serves on",
        "handfast reload --force",
    ] {
        assert!(output.stderr.contains(words), "{words}: {output}");
    }
}

#[test]
fn a_reload_that_turns_clients_away_is_refused_until_it_is_forced() {
    let settings = settings("\"1%\"");
    let daemon = Daemon::run(&settings);
    for version in ["-tls1_2", "-tls1_3", "-tls1_3"] {
        assert!(connect(&daemon, version));
    }
    without_tls12(&daemon, &settings);
    refused(&daemon.command("reload").run());
    assert!(connect(&daemon, "-tls1_2"), "the old policy serves on");
    let guarded = [("result", "guarded")];
    assert_eq!(daemon.metric("config_reloads_total", &guarded), 1.0);

    let json = daemon.command("status --json").run().success().stdout;
    let summary: Value = serde_json::from_str(&json).unwrap();
    let last = &summary["last_reload"];
    assert_eq!(last["result"], "guarded", "{last:#}");
    let broken = &last["broken"];
    assert_eq!(broken["max"], "1%");
    assert_eq!(
        (&broken["get_through"], &broken["would_fail"]),
        (&3.into(), &1.into())
    );
    let failure = &broken["failures"][0];
    assert_eq!(failure["server_name"], "example.test", "{failure:#}");
    assert_eq!(failure["class"], "no_shared_version");
    assert!(failure["ja4"].as_str().unwrap().starts_with("t12"));
    let status = daemon.command("status").run().success().stdout;
    assert!(status.contains("refused: it would turn away"), "{status}");
    assert!(status.contains("from t12"), "{status}");
    assert!(daemon.admin("/").text().contains("refused"));
    let told = daemon.log().records();
    let told = told.iter().filter(|record| record["level"] == "ERROR");
    assert!(
        told.clone()
            .any(|record| record["class"] == "no_shared_version")
    );

    // Nobody is there to force a signal.
    daemon.signal("HUP");
    wait_until(SOON, "the second one is refused too", || {
        daemon.metric("config_reloads_total", &guarded) > 1.0
    });
    assert!(connect(&daemon, "-tls1_2"));

    let output = daemon.command("reload --force").run().success();
    assert!(output.stdout.contains("generation 2 serves"), "{output}");
    assert!(!connect(&daemon, "-tls1_2"));
    assert!(connect(&daemon, "-tls1_3"));
    // Whoever is turned away now does not count any more.
    daemon.command("reload").run().success();
}

#[test]
fn as_many_as_are_permitted_may_be_turned_away() {
    let settings = settings("0.4");
    let daemon = Daemon::run(&settings);
    for version in ["-tls1_2", "-tls1_3", "-tls1_3"] {
        assert!(connect(&daemon, version));
    }
    without_tls12(&daemon, &settings);
    daemon.command("reload").run().success();
    assert!(!connect(&daemon, "-tls1_2"));
}

#[test]
fn clients_whose_name_goes_are_turned_away_too() {
    let settings = settings("\"0%\"");
    let daemon = Daemon::run(&settings);
    assert!(connect(&daemon, "-tls1_3"));
    let text = settings.render(daemon.dir());
    let narrower = "[certificates.main]\nnames = [\"localhost\"]";
    daemon.rewrite(&text.replace("[certificates.main]", narrower));
    let (status, report) = daemon.socket("POST", "/api/reload", "");
    assert_eq!(status, 409, "{report:#}");
    assert_eq!(report["broken"]["failures"][0]["class"], "unknown_sni");
    // A change that turns nobody away is no matter for the guard.
    daemon.rewrite(&text.replace("[admin]", "[limits]\nconnections = 77\n[admin]"));
    daemon.command("reload").run().success();
    daemon.rewrite(&text.replace("[certificates.main]", narrower));
    let (status, report) = daemon.socket("POST", "/api/reload", r#"{"force": true}"#);
    assert_eq!(
        (status, &report["result"]),
        (200, &"ok".into()),
        "{report:#}"
    );
    let (status, _) = daemon.socket("POST", "/api/reload", r#"{"forced": true}"#);
    assert_eq!(status, 400);
}
