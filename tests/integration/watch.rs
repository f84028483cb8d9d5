//! `reload.watch`: files that change are read again, without anybody asking.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Client, Daemon, Origin, Settings, Tool, certs, pause, wait_until};

const SOON: Duration = Duration::from_secs(10);
/// As long as a new certificate may take to be shown.
const LIMIT: Duration = Duration::from_secs(2);

fn settings() -> Settings {
    Settings::new(Origin::named("first").address()).reload("watch = true")
}

/// How openssl sees the certificate of `https`: its serial number.
fn serial(daemon: &Daemon) -> String {
    let output = Tool::new("openssl")
        .words("s_client -servername example.test -connect")
        .args([daemon.https().to_string()])
        .run()
        .success();
    let text = Tool::new("openssl")
        .words("x509 -noout -serial")
        .stdin(output.stdout)
        .run()
        .success();
    text.stdout
}

/// Does `change`, after which new handshakes show another certificate than before, in time.
#[track_caller]
fn shows_another(daemon: &Daemon, what: &str, change: impl FnOnce()) {
    let client = Client::new().full();
    let before = client.certificate(daemon.https()).unwrap();
    let old = serial(daemon);
    let start = Instant::now();
    change();
    wait_until(SOON, what, || {
        client.certificate(daemon.https()).unwrap() != before
    });
    let took = start.elapsed();
    assert!(took < LIMIT, "{what}: {took:?}");
    assert_ne!(serial(daemon), old, "{what}");
}

fn write_pair(directory: &Path, chain: &str, key: &str) {
    std::fs::write(directory.join("tls.crt"), chain).unwrap();
    std::fs::write(directory.join("tls.key"), key).unwrap();
}

/// Puts a link in the place of another at once, as tools do it.
fn relink(target: &str, link: &Path) {
    let mut new = link.as_os_str().to_owned();
    new.push(".new");
    symlink(target, &new).unwrap();
    std::fs::rename(&new, link).unwrap();
}

#[test]
fn a_new_certificate_is_shown_in_time_however_it_comes() {
    // Alone: it is about time.
    let daemon = Daemon::run_alone(&settings());
    let at = |name: &str| daemon.dir().join(name);
    shows_another(&daemon, "written in place", || {
        std::fs::write(at("main.pem"), &certs().p384.pem).unwrap();
        std::fs::write(at("main.key"), &certs().p384.key).unwrap();
    });
    shows_another(&daemon, "renamed into place, as editors do", || {
        for (name, text) in [
            ("main.pem", &certs().ed25519.pem),
            ("main.key", &certs().ed25519.key),
        ] {
            std::fs::write(at("new"), text).unwrap();
            std::fs::rename(at("new"), at(name)).unwrap();
        }
    });

    // As certbot does it: links to the newest of an archive.
    std::fs::create_dir_all(at("archive")).unwrap();
    std::fs::create_dir_all(at("live")).unwrap();
    for (number, leaf) in [("1", &certs().main), ("2", &certs().p384)] {
        std::fs::write(at(&format!("archive/chain{number}.pem")), &leaf.pem).unwrap();
        std::fs::write(at(&format!("archive/key{number}.pem")), &leaf.key).unwrap();
    }
    symlink("../archive/chain1.pem", at("live/chain.pem")).unwrap();
    symlink("../archive/key1.pem", at("live/key.pem")).unwrap();
    let text = settings().render(daemon.dir());
    let linked = text
        .replace("/main.pem", "/live/chain.pem")
        .replace("/main.key", "/live/key.pem");
    shows_another(&daemon, "named by another configuration", || {
        daemon.rewrite(&linked)
    });
    shows_another(&daemon, "certbot's links", || {
        relink("../archive/chain2.pem", &at("live/chain.pem"));
        relink("../archive/key2.pem", &at("live/key.pem"));
    });

    // As Kubernetes does it: a link to the directory of all files is replaced.
    let secret = at("secret");
    std::fs::create_dir_all(secret.join("..1")).unwrap();
    std::fs::create_dir_all(secret.join("..2")).unwrap();
    write_pair(&secret.join("..1"), &certs().main.pem, &certs().main.key);
    write_pair(
        &secret.join("..2"),
        &certs().ed25519.pem,
        &certs().ed25519.key,
    );
    symlink("..1", secret.join("..data")).unwrap();
    symlink("..data/tls.crt", secret.join("tls.crt")).unwrap();
    symlink("..data/tls.key", secret.join("tls.key")).unwrap();
    let mounted = text
        .replace("/main.pem", "/secret/tls.crt")
        .replace("/main.key", "/secret/tls.key");
    shows_another(&daemon, "named in the mounted directory", || {
        daemon.rewrite(&mounted)
    });
    shows_another(&daemon, "the swap of ..data", || {
        relink("..2", &secret.join("..data"));
        std::fs::remove_dir_all(secret.join("..1")).unwrap();
    });

    // The whole directory goes, which changes nothing, and comes back.
    std::fs::rename(&secret, at("gone")).unwrap();
    let partial = [("result", "partial")];
    daemon.wait_metric("config_reloads_total", &partial, 1.0);
    shows_another(&daemon, "the directory is back", || {
        std::fs::create_dir(&secret).unwrap();
        write_pair(&secret, &certs().main.pem, &certs().main.key);
    });
    assert_eq!(
        daemon.metric("config_reloads_total", &[("result", "failed")]),
        0.0
    );
    // One for each change: what was read is not read again.
    assert_eq!(
        daemon.metric("config_reloads_total", &[("result", "ok")]),
        7.0
    );
}

#[test]
fn other_changes_in_the_directories_do_not_reload() {
    let daemon = Daemon::run(&settings());
    let at = |name: &str| daemon.dir().join(name);
    // For longer than a look is put off.
    for round in 0..30 {
        std::fs::write(at("notes"), round.to_string()).unwrap();
        std::fs::write(at(&format!("more-{round}")), "x").unwrap();
        std::fs::rename(at(&format!("more-{round}")), at("moved")).unwrap();
        // The files themselves are opened and read.
        std::fs::read(at("main.pem")).unwrap();
        pause(Duration::from_millis(100));
    }
    let total = || daemon.metric("config_reloads_total", &[]);
    assert_eq!(total(), 0.0, "{}", daemon.log().text());
    // It is awake all the same.
    std::fs::write(at("main.pem"), &certs().main.pem).unwrap();
    daemon.wait_metric("config_reloads_total", &[("result", "ok")], 1.0);
    assert_eq!(total(), 1.0);
}

#[test]
fn the_configuration_and_what_it_includes_are_watched() {
    let daemon = Daemon::run(&settings());
    let good = settings().render(daemon.dir());
    daemon.rewrite(&format!("include = [\"conf.d/*.toml\"]\n{good}"));
    let ok = [("result", "ok")];
    daemon.wait_metric("config_reloads_total", &ok, 1.0);
    let tea = || daemon.curl("", "/tea").run().success().stdout;
    let parts = daemon.dir().join("conf.d");
    std::fs::create_dir(&parts).unwrap();
    let route = "[[routes]]\npath = \"/tea\"\nrespond = { status = 418, body = \"short\" }\n";
    std::fs::write(parts.join("tea.toml"), route).unwrap();
    wait_until(SOON, "the new file is read", || tea() == "short");

    // A bad one changes nothing, is told with its place, and is mended by the next.
    std::fs::write(parts.join("tea.toml"), route.replace("418", "\"418\"")).unwrap();
    daemon.wait_metric("config_reloads_total", &[("result", "failed")], 1.0);
    assert_eq!(tea(), "short");
    let place = format!("{}:3:", parts.join("tea.toml").display());
    let told = daemon.log().records();
    let told = told.iter().filter(|record| record["level"] == "ERROR");
    assert!(
        told.clone().any(|record| record["at"]
            .as_str()
            .is_some_and(|at| at.starts_with(&place))),
        "{}",
        daemon.log().text()
    );
    let json = daemon.command("status --json").run().success().stdout;
    let summary: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(summary["last_reload"]["cause"], "watch", "{summary:#}");
    assert_eq!(summary["last_reload"]["result"], "failed");
    let status = daemon.command("status").run().success().stdout;
    assert!(status.contains("(watch) failed"), "{status}");
    assert!(status.contains(&place), "{status}");
    std::fs::write(parts.join("tea.toml"), route.replace("short", "stout")).unwrap();
    wait_until(SOON, "the mended file is read", || tea() == "stout");
    std::fs::remove_file(parts.join("tea.toml")).unwrap();
    wait_until(SOON, "the file is gone", || !tea().contains("stout"));
}

#[test]
fn a_half_written_pair_is_kept_until_it_is_whole() {
    let daemon = Daemon::run(&settings());
    let client = Client::new();
    std::fs::write(daemon.dir().join("main.pem"), &certs().ed25519.pem).unwrap();
    daemon.wait_metric("config_reloads_total", &[("result", "partial")], 1.0);
    assert_eq!(
        client.certificate(daemon.https()).unwrap(),
        certs().main.der
    );
    std::fs::write(daemon.dir().join("main.key"), &certs().ed25519.key).unwrap();
    daemon.wait_metric("config_reloads_total", &[("result", "ok")], 1.0);
    let shown = client.certificate(daemon.https()).unwrap();
    assert_eq!(shown, certs().ed25519.der);
}

#[test]
fn a_reload_by_hand_is_not_made_again() {
    let daemon = Daemon::run(&settings());
    std::fs::write(daemon.dir().join("main.pem"), &certs().main.pem).unwrap();
    daemon.command("reload").run().success();
    // Longer than a look is put off.
    for _ in 0..25 {
        pause(Duration::from_millis(100));
        let total = daemon.metric("config_reloads_total", &[]);
        assert!(total < 2.0, "{}", daemon.log().text());
    }
}

#[test]
fn a_refused_reload_is_not_made_again_until_something_changes() {
    // The directory of the keys is watched only while it may be why a reload is refused.
    let keys = tempfile::tempdir().unwrap();
    let directory = keys.path().display().to_string();
    Tool::new(env!("CARGO_BIN_EXE_handfast"))
        .words("ticket-key new")
        .args([&directory])
        .run()
        .success();
    let policy = format!("resumption = {{ key_dir = \"{directory}\" }}");
    let settings = settings().policy(&policy);
    let daemon = Daemon::run(&settings);
    let good = settings.render(daemon.dir());
    let bad = good.replace("/main.pem", "/missing.pem");
    assert_ne!(bad, good);
    daemon.rewrite(&bad);
    let failed = || daemon.metric("config_reloads_total", &[("result", "failed")]);
    wait_until(SOON, "it is refused", || failed() > 0.0);
    // Longer than a look is put off, with hints that lead to looks.
    for round in 0..25 {
        std::fs::write(daemon.dir().join("notes"), round.to_string()).unwrap();
        pause(Duration::from_millis(100));
        assert!(failed() < 2.0, "{}", daemon.log().text());
    }
}

#[test]
fn watching_ends_and_begins_with_a_reload() {
    let daemon = Daemon::run(&settings());
    let off = settings().reload("watch = false").render(daemon.dir());
    daemon.rewrite(&off);
    let ok = [("result", "ok")];
    daemon.wait_metric("config_reloads_total", &ok, 1.0);
    std::fs::write(daemon.dir().join("main.pem"), &certs().main.pem).unwrap();
    for _ in 0..25 {
        pause(Duration::from_millis(100));
        assert!(daemon.metric("config_reloads_total", &ok) < 2.0);
    }
    daemon.rewrite(&settings().render(daemon.dir()));
    daemon.command("reload").run().success();
    std::fs::write(daemon.dir().join("main.pem"), &certs().main.pem).unwrap();
    daemon.wait_metric("config_reloads_total", &ok, 3.0);
}
