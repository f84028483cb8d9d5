//! TLS towards upstreams: who is believed, what is shown, and what is resumed.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{
    Daemon, Demand, Origin, Output, Settings, TlsOrigin, Tool, certs, wait_for, wait_until,
};

const SOON: Duration = Duration::from_secs(10);
const BOTH: &[&str] = &["1.2", "1.3"];

/// The CA's file as the configuration names it; relative to the configuration's directory.
const TRUSTED: &str = r#"ca = "ca.pem""#;

/// Routes of the hosts `NAME.test` to upstreams with this address and `tls`.
fn settings(upstreams: &[(&str, SocketAddr, &str)]) -> Settings {
    let mut settings = Settings::new(Origin::start().address());
    for (name, address, tls) in upstreams {
        settings = settings.more(&format!(
            r#"
[[routes]]
host = "{name}.test"
upstream = "{name}"

[upstreams.{name}]
servers = [{{ address = "{address}" }}]
tls = {{ {tls} }}
timeouts = {{ connect = "10s" }}
"#
        ));
    }
    settings
}

/// Asks the upstream called `name` for `path`.
fn ask(daemon: &Daemon, name: &str, path: &str) -> Output {
    daemon
        .curl(
            &format!("--http1.1 -H Host:{name}.test -w /%{{http_code}}"),
            path,
        )
        .run()
}

/// What the upstream saw of the handshake.
#[track_caller]
fn facts(daemon: &Daemon, name: &str) -> String {
    let output = ask(daemon, name, "/facts").success().stdout;
    match output.strip_suffix("\n/200") {
        Some(facts) => facts.to_owned(),
        None => panic!("{output}\n{}", daemon.log().text()),
    }
}

/// Asserts that the upstream is not believed or not reached, for this reason.
#[track_caller]
fn assert_fails(daemon: &Daemon, name: &str, status: &str, word: &str) {
    let labels = [("upstream", name), ("reason", word)];
    let before = daemon.metric("upstream_failures_total", &labels);
    let output = ask(daemon, name, "/facts").success().stdout;
    assert!(output.ends_with(&format!("/{status}")), "{output}");
    let after = daemon.metric("upstream_failures_total", &labels);
    assert_eq!(
        (after - before).to_bits(),
        1.0_f64.to_bits(),
        "{name}: {word}"
    );
    let told = || {
        let lines = daemon.stdout().records().into_iter();
        let mut lines = lines.chain(daemon.log().records());
        lines.any(|line| line["upstream"] == name && line["error"] == word)
    };
    wait_until(SOON, "the access log tells the reason", told);
}

fn handshakes(daemon: &Daemon, name: &str, kind: &str) -> f64 {
    let labels = [("upstream", name), ("kind", kind)];
    daemon.metric("upstream_tls_handshakes_total", &labels)
}

#[test]
fn servers_are_verified_and_asked_for_by_name() {
    let origin = TlsOrigin::start(&certs().main, BOTH, Demand::Nothing).address();
    let daemon = Daemon::run(&settings(&[
        (
            "named",
            origin,
            &format!("{TRUSTED}, server_name = \"Example.Test\""),
        ),
        ("address", origin, TRUSTED),
    ]));
    let seen = facts(&daemon, "named");
    assert_eq!(seen, "TLSv1_3 full example.test http/1.1 0");
    // An address is no server name (RFC 6066 section 3), and the certificate is for it.
    assert_eq!(facts(&daemon, "address"), "TLSv1_3 full - http/1.1 0");
}

#[test]
fn certificates_that_are_not_accepted_are_502() {
    let good = TlsOrigin::start(&certs().main, BOTH, Demand::Nothing).address();
    let expired = TlsOrigin::start(&certs().expired, BOTH, Demand::Nothing).address();
    let upstreams = [
        ("unknown_issuer", good, r#"ca = "clients-ca.pem""#),
        (
            "name_mismatch",
            good,
            r#"ca = "ca.pem", server_name = "other.test""#,
        ),
        ("expired", expired, TRUSTED),
    ];
    let mut settings = settings(&upstreams);
    settings.log_level = "debug".to_owned();
    let daemon = Daemon::run(&settings);
    for (reason, ..) in upstreams {
        assert_fails(&daemon, reason, "502", "upstream_tls_verify");
        wait_until(SOON, reason, || {
            daemon.log().records().iter().any(|line| {
                line["message"] == "upstream tls handshake failed" && line["reason"] == reason
            })
        });
        assert_eq!(
            handshakes(&daemon, reason, "full").to_bits(),
            0.0_f64.to_bits()
        );
    }
}

#[test]
fn verification_can_be_turned_off_and_that_is_warned_about() {
    let origin = TlsOrigin::start(&certs().expired, BOTH, Demand::Nothing).address();
    let tls = r#"verify = false, server_name = "other.test""#;
    let daemon = Daemon::run(&settings(&[("any", origin, tls)]));
    assert_eq!(facts(&daemon, "any"), "TLSv1_3 full other.test http/1.1 0");
    let warnings = daemon.log().records();
    let warnings = warnings.iter().filter(|line| {
        line["level"] == "WARN" && line["message"].to_string().contains("does not verify")
    });
    assert_eq!(warnings.count(), 1, "{}", daemon.log().text());
}

#[test]
fn a_url_with_https_trusts_the_system() {
    let origin = TlsOrigin::start(&certs().main, BOTH, Demand::Nothing).address();
    let dir = TempDir::new().unwrap();
    certs().write(dir.path());
    let routes = format!(
        "[[routes]]\nhost = \"name.test\"\nupstream = \"https://localhost:{}\"\n\
         [[routes]]\nhost = \"address.test\"\nupstream = \"https://{origin}\"\n",
        origin.port()
    );
    let settings = Settings::new(Origin::start().address()).more(&routes);
    let bundle = dir.path().join("ca.pem");
    let before = format!("export SSL_CERT_FILE={}", bundle.display());
    let daemon = Daemon::run_after(&settings, &before);
    assert_eq!(facts(&daemon, "name"), "TLSv1_3 full localhost http/1.1 0");
    assert_eq!(facts(&daemon, "address"), "TLSv1_3 full - http/1.1 0");
}

#[test]
fn a_client_certificate_is_shown_to_servers_that_ask() {
    for version in BOTH {
        let demand = Demand::ClientCertificate;
        let origin = TlsOrigin::start(&certs().main, &[version], demand).address();
        let own = r#"ca = "ca.pem", certificate = { chain = "good.pem", key = "good.key" }"#;
        let other =
            r#"ca = "ca.pem", certificate = { chain = "stranger.pem", key = "stranger.key" }"#;
        let daemon = Daemon::run(&settings(&[
            ("own", origin, own),
            ("none", origin, TRUSTED),
            ("stranger", origin, other),
        ]));
        let seen = facts(&daemon, "own");
        assert!(seen.ends_with(" http/1.1 1"), "{version}: {seen}");
        assert_fails(&daemon, "none", "502", "upstream_tls");
        assert_fails(&daemon, "stranger", "502", "upstream_tls");
    }
}

#[test]
fn sessions_are_resumed_in_both_versions() {
    for version in BOTH {
        let origin = TlsOrigin::start(&certs().main, &[version], Demand::Nothing).address();
        let tls = format!("{TRUSTED}, server_name = \"example.test\"");
        let daemon = Daemon::run(&settings(&[("one", origin, &tls)]));
        let name = format!("TLSv{}", version.replace('.', "_"));
        let first = format!("{name} full example.test http/1.1 0");
        assert_eq!(facts(&daemon, "one"), first);
        let second = format!("{name} resumed example.test http/1.1 0");
        assert_eq!(facts(&daemon, "one"), second);
        assert_eq!(facts(&daemon, "one"), second);
        assert_eq!(
            handshakes(&daemon, "one", "full").to_bits(),
            1.0_f64.to_bits()
        );
        assert_eq!(
            handshakes(&daemon, "one", "resumed").to_bits(),
            2.0_f64.to_bits()
        );
    }
}

#[test]
fn a_body_that_ends_without_close_notify_aborts_the_response() {
    for version in BOTH {
        let origin = TlsOrigin::start(&certs().main, &[version], Demand::Nothing).address();
        let daemon = Daemon::run(&settings(&[("one", origin, TRUSTED)]));
        let whole = ask(&daemon, "one", "/whole").success();
        assert_eq!(whole.stdout, "hello/200", "{version}");
        let cut = ask(&daemon, "one", "/truncated");
        assert_ne!(cut.code, 0, "{version}: {cut}");
        let labels = [("upstream", "one"), ("reason", "upstream_truncated")];
        daemon.wait_metric("upstream_failures_total", &labels, 1.0);
    }
}

#[test]
fn a_handshake_that_stalls_is_504() {
    // The kernel accepts; nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = settings(&[("silent", silent.local_addr().unwrap(), TRUSTED)]);
    settings.more = settings
        .more
        .replace("connect = \"10s\"", "connect = \"200ms\"");
    let daemon = Daemon::run(&settings);
    assert_fails(&daemon, "silent", "504", "upstream_connect_timeout");
}

#[test]
fn a_reload_reads_the_files_again() {
    let origin = TlsOrigin::start(&certs().main, BOTH, Demand::Nothing).address();
    let dir = TempDir::new().unwrap();
    let ca = dir.path().join("upstream-ca.pem");
    std::fs::write(&ca, &certs().ca.pem).unwrap();
    let tls = format!("ca = \"{}\"", ca.display());
    let daemon = Daemon::run(&settings(&[("one", origin, &tls)]));
    let mut results = 0.0;
    let mut reload = |result: &str| {
        daemon.signal("HUP");
        results += 1.0;
        wait_until(SOON, "the reload is counted", || {
            let counted = daemon.metric("config_reloads_total", &[]);
            counted.to_bits() == f64::to_bits(results)
        });
        let log = daemon.log().text();
        assert!(
            daemon.metric("config_reloads_total", &[("result", result)]) >= 1.0,
            "{log}"
        );
    };
    let kept = || ask(&daemon, "one", "/kept").success().stdout;
    assert_eq!(kept(), "0/200");

    // Nothing has changed, so the connection stays.
    reload("ok");
    assert_eq!(kept(), "0/200");
    // A bad file changes nothing.
    std::fs::write(&ca, "nothing").unwrap();
    reload("failed");
    assert!(daemon.log().text().contains("has no certificate"));
    assert_eq!(kept(), "0/200");
    // Another CA, and the kept connection and its session count no more.
    std::fs::write(&ca, &certs().expired.pem).unwrap();
    reload("ok");
    assert_fails(&daemon, "one", "502", "upstream_tls_verify");
    std::fs::write(&ca, &certs().ca.pem).unwrap();
    reload("ok");
    assert!(facts(&daemon, "one").starts_with("TLSv1_3 full "));
}

#[test]
fn openssl_is_spoken_to_and_resumes() {
    let dir = TempDir::new().unwrap();
    certs().write(dir.path());
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let file = |name: &str| dir.path().join(name).display().to_string();
        let serve = |mode: &str| {
            let server = Tool::new("openssl")
                .words("s_server -accept 127.0.0.1:0")
                .words(mode)
                .words(version)
                .args(["-cert", &file("main.pem"), "-key", &file("main.key")])
                .start();
            let address = wait_for(SOON, "openssl listens", || {
                let printed = server.stdout();
                let line = printed
                    .lines()
                    .find_map(|line| line.strip_prefix("ACCEPT "))?;
                line.trim().parse::<SocketAddr>().ok()
            });
            (server, address)
        };
        let (_status, status_address) = serve("-www");
        let (_files, files_address) = serve("-WWW");
        let tls = format!("{TRUSTED}, server_name = \"example.test\"");
        let daemon = Daemon::run(&settings(&[
            ("status", status_address, &tls),
            ("files", files_address, &tls),
        ]));
        let first = ask(&daemon, "status", "/").success().stdout;
        assert!(
            first.contains(&format!("New, {name}, Cipher is")),
            "{first}"
        );
        assert!(first.ends_with("/200"), "{first}");
        let second = ask(&daemon, "status", "/").success().stdout;
        assert!(
            second.contains(&format!("Reused, {name}, Cipher is")),
            "{second}"
        );
        let manifest = ask(&daemon, "files", "/Cargo.toml").success().stdout;
        let expected = std::fs::read_to_string("Cargo.toml").unwrap();
        assert_eq!(manifest, format!("{expected}/200"));
    }
}

#[test]
fn files_that_cannot_be_used_are_located() {
    let dir = TempDir::new().unwrap();
    certs().write(dir.path());
    let file = dir.path().join("handfast.toml");
    let address = "127.0.0.1:1".parse().unwrap();
    let mixed = r#"ca = "ca.pem", certificate = { chain = "main.pem", key = "rsa.key" }"#;
    let upstreams = [
        ("a", address, r#"ca = "missing.pem""#),
        ("b", address, mixed),
    ];
    let text = settings(&upstreams).render(dir.path());
    std::fs::write(&file, &text).unwrap();
    let output = Tool::new(env!("CARGO_BIN_EXE_handfast"))
        .args(["check", "--config", &file.display().to_string()])
        .run();
    assert_eq!(output.code, 78, "{output}");
    let printed = format!("{}{}", output.stdout, output.stderr);
    for (value, message) in [
        (r#""missing.pem""#, "cannot read"),
        (r#""rsa.key""#, "does not belong to the first certificate"),
    ] {
        let line = text.lines().position(|line| line.contains(value)).unwrap();
        let column = text.lines().nth(line).unwrap().find(value).unwrap();
        let place = format!("handfast.toml:{}:{}:", line + 1, column + 1);
        let told = printed.lines().find(|line| line.contains(&place));
        assert!(
            told.is_some_and(|line| line.contains(message)),
            "{place}\n{printed}"
        );
    }
}
