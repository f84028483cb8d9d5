//! A certificate whose files cannot be used at a reload: it serves on as it was, the others change.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Client, Daemon, Origin, Output, Settings, certs, pause};

/// A daemon whose certificate `main` has files that cannot be used, and whose `rsa` is another one
/// on disk than the one that serves; then a reload by command.
fn reloaded_in_part(chain: &str, key: &str) -> (Daemon, Output) {
    let daemon = Daemon::run(&Settings::new(Origin::start().address()));
    std::fs::write(daemon.dir().join("main.pem"), chain).unwrap();
    std::fs::write(daemon.dir().join("main.key"), key).unwrap();
    std::fs::write(daemon.dir().join("rsa.pem"), &certs().p384.pem).unwrap();
    std::fs::write(daemon.dir().join("rsa.key"), &certs().p384.key).unwrap();
    let output = daemon.command("reload").run();
    (daemon, output)
}

fn summary(daemon: &Daemon) -> Value {
    let output = daemon.command("status --json").run().success();
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn a_broken_certificate_is_kept_while_the_others_change() {
    let (daemon, output) = reloaded_in_part("no PEM\n", &certs().main.key);
    assert_eq!(output.code, 1, "{output}");
    for words in [
        "the certificate `main` is kept as it was",
        "main.pem cannot be used",
        "handfast.toml:",
        "generation 2 serves, with one certificate as before",
    ] {
        assert!(output.stderr.contains(words), "{words}: {output}");
    }
    // Both serve: the one from before, and the new one.
    let client = Client::new();
    let shown = client.certificate(daemon.https()).unwrap();
    assert_eq!(shown, certs().main.der);
    let shown = client.certificate(daemon.address("rsa")).unwrap();
    assert_eq!(shown, certs().p384.der);
    assert_eq!(
        daemon.metric("config_reloads_total", &[("result", "partial")]),
        1.0
    );
    assert_eq!(daemon.metric("tls_certificates_kept", &[]), 1.0);
    let expiry = "tls_certificate_not_after_timestamp_seconds";
    assert!(daemon.metric(expiry, &[("certificate", "main")]) > 0.0);
    let logged = daemon.log().records();
    let told = logged.iter().find(|record| {
        record["level"] == "ERROR" && record["certificate"] == "main" && !record["error"].is_null()
    });
    let told = told.unwrap_or_else(|| panic!("{}", daemon.log().text()));
    assert!(
        told["file"].as_str().unwrap().ends_with("main.pem"),
        "{told}"
    );

    let kept = &summary(&daemon)["kept_certificates"];
    assert_eq!(kept[0]["certificate"], "main", "{kept:#}");
    assert!(kept[0]["diagnostics"][0]["line"].as_u64().unwrap() > 1);
    let since = kept[0]["since"].clone();
    let status = daemon.command("status").run().success().stdout;
    assert!(
        status.contains("KEPT         the certificate `main`"),
        "{status}"
    );
    assert!(status.contains("(command) in part"), "{status}");
    let page = daemon.admin("/").text();
    assert!(
        page.contains("the certificate main is still the one before"),
        "{page}"
    );

    // It stays so over another reload, and since then: times are told in seconds.
    pause(Duration::from_millis(1100));
    assert_eq!(daemon.command("reload").run().code, 1);
    assert_eq!(summary(&daemon)["kept_certificates"][0]["since"], since);
    assert_eq!(summary(&daemon)["generation"], 3);

    // Mended.
    std::fs::write(daemon.dir().join("main.pem"), &certs().ed25519.pem).unwrap();
    std::fs::write(daemon.dir().join("main.key"), &certs().ed25519.key).unwrap();
    daemon.command("reload").run().success();
    let shown = client.certificate(daemon.https()).unwrap();
    assert_eq!(shown, certs().ed25519.der);
    assert_eq!(daemon.metric("tls_certificates_kept", &[]), 0.0);
    assert_eq!(summary(&daemon)["kept_certificates"], serde_json::json!([]));
    assert!(!daemon.command("status").run().stdout.contains("KEPT"));
}

#[test]
fn a_key_that_is_not_the_certificates_keeps_both() {
    let (daemon, output) = reloaded_in_part(&certs().ed25519.pem, &certs().main.key);
    assert_eq!(output.code, 1, "{output}");
    let words = "main.key does not belong to the first certificate";
    assert!(output.stderr.contains(words), "{output}");
    let shown = Client::new().certificate(daemon.https()).unwrap();
    assert_eq!(shown, certs().main.der);
}

#[test]
fn what_did_not_serve_before_is_not_kept() {
    let settings = Settings::new(Origin::start().address());
    let daemon = Daemon::run(&settings);
    let good = settings.render(daemon.dir());
    let refused = |text: &str, words: &str| {
        daemon.rewrite(text);
        let output = daemon.command("reload").run();
        assert_eq!(output.code, 78, "{output}");
        assert!(output.stderr.contains(words), "{output}");
        let shown = Client::new().certificate(daemon.https()).unwrap();
        assert_eq!(shown, certs().main.der);
    };
    // Another file under the same name.
    std::fs::write(daemon.dir().join("bad.pem"), "no PEM\n").unwrap();
    refused(&good.replace("/main.pem", "/bad.pem"), "bad.pem");
    // A name that the certificate from before is not for either.
    std::fs::write(daemon.dir().join("main.pem"), "no PEM\n").unwrap();
    refused(
        &good.replace(
            "[certificates.main]",
            "[certificates.main]\nnames = [\"other.test\"]",
        ),
        "main.pem",
    );
    let failed = [("result", "failed")];
    assert_eq!(daemon.metric("config_reloads_total", &failed), 2.0);
    let partial = [("result", "partial")];
    assert_eq!(daemon.metric("config_reloads_total", &partial), 0.0);
}

/// At start there is nothing to keep.
#[test]
fn a_start_with_a_broken_certificate_is_refused() {
    let settings = Settings::new(Origin::start().address());
    let daemon = Daemon::run(&settings);
    std::fs::write(daemon.dir().join("main.pem"), "no PEM\n").unwrap();
    assert_eq!(daemon.command("reload").run().code, 1);
    let output = daemon.command("run").run();
    assert_eq!(output.code, 78, "{output}");
    assert!(output.stderr.contains("main.pem"), "{output}");
}
