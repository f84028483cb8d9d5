//! The server name decides over the certificate.

use tokio_rustls::rustls::AlertDescription;

use crate::support::{Client, Daemon, Origin, Settings, Tool, alert_of, certs};

fn daemon(policy: &str) -> Daemon {
    Daemon::run(&Settings::new(Origin::start().address()).policy(policy))
}

#[test]
fn exact_and_wildcard_names_get_their_certificates() {
    let daemon = daemon("");
    for (name, certificate, label) in [
        ("example.test", &certs().main.der, "example.test"),
        ("localhost", &certs().main.der, "localhost"),
        ("EXAMPLE.test", &certs().main.der, "example.test"),
        ("a.wild.test", &certs().wild.der, "*.wild.test"),
    ] {
        let client = Client::new().name(name);
        let (shown, handshake) = daemon.new_handshake(|| client.certificate(daemon.https()));
        assert_eq!(shown.unwrap(), *certificate, "{name}");
        let lower = name.to_lowercase();
        assert_eq!(
            handshake.text("server_name"),
            Some(lower.as_str()),
            "{handshake}"
        );
        assert!(daemon.metric("tls_handshakes_total", &[("server_name", label)]) >= 1.0);
    }
}

#[test]
fn an_unknown_name_is_refused_with_unrecognized_name() {
    let daemon = daemon("");
    for name in ["other.test", "a.b.wild.test", "wild.test"] {
        let client = Client::new().name(name);
        let (result, handshake) = daemon.new_handshake(|| client.connect(daemon.https()));
        let error = result.err().unwrap();
        assert_eq!(
            alert_of(&error),
            Some(AlertDescription::UnrecognisedName),
            "{error}"
        );
        assert_eq!(handshake.class(), "unknown_sni", "{handshake}");
        assert_eq!(handshake.failure("alert"), 112, "{handshake}");
        assert_eq!(handshake.failure("side"), "server", "{handshake}");
        handshake.assert_sum();
    }
    let labels = [("server_name", "other"), ("class", "unknown_sni")];
    daemon.wait_metric("tls_handshake_failures_total", &labels, 3.0);
    let metrics = daemon.admin("/metrics").text();
    assert!(
        !metrics.contains("other.test"),
        "a label came from the wire"
    );
}

#[test]
fn an_unknown_name_may_get_the_first_certificate() {
    let daemon = daemon(r#"unknown_sni = "default-certificate""#);
    let (output, handshake) = daemon.new_handshake(|| {
        Tool::new("openssl")
            .words("s_client -servername other.test -connect")
            .args([daemon.https().to_string()])
            .run()
            .success()
    });
    assert!(output.stdout.contains("CN = localhost"), "{output}");
    assert_eq!(handshake.text("outcome"), Some("ok"), "{handshake}");
    daemon.wait_metric("tls_handshakes_total", &[("server_name", "other")], 1.0);
}

#[test]
fn without_a_name_the_first_certificate_is_shown() {
    let daemon = daemon("");
    let client = Client::new().without_sni();
    let (shown, handshake) = daemon.new_handshake(|| client.certificate(daemon.https()));
    assert_eq!(shown.unwrap(), certs().main.der);
    assert_eq!(handshake.text("server_name"), None, "{handshake}");
    daemon.wait_metric("tls_handshakes_total", &[("server_name", "none")], 1.0);
}

#[test]
fn a_policy_may_refuse_clients_without_a_name() {
    let daemon = daemon(r#"missing_sni = "reject""#);
    let client = Client::new().without_sni();
    let (result, handshake) = daemon.new_handshake(|| client.connect(daemon.https()));
    let error = result.err().unwrap();
    assert_eq!(
        alert_of(&error),
        Some(AlertDescription::UnrecognisedName),
        "{error}"
    );
    assert_eq!(handshake.class(), "missing_sni", "{handshake}");
    assert_eq!(handshake.failure("alert"), 112, "{handshake}");
    Client::new().connect(daemon.https()).unwrap();
}
