//! Real clients: what they negotiate and what the event says of it.

use crate::support::{Daemon, Facts, Handshake, Origin, Output, Settings, Tool};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n";

fn daemon() -> Daemon {
    Daemon::run(&Settings::new(Origin::start().address()))
}

/// `openssl s_client` with one request.
fn s_client(daemon: &Daemon, listener: &str, args: &str) -> Output {
    Tool::new("openssl")
        .words("s_client -servername example.test -verify_return_error -ign_eof")
        .args(["-CAfile", &daemon.ca()])
        .args(["-connect", &daemon.address(listener).to_string()])
        .words(args)
        .stdin(REQUEST)
        .run()
        .success()
}

#[track_caller]
fn one(daemon: &Daemon, listener: &str, args: &str) -> (Output, Handshake) {
    let (output, handshake) = daemon.new_handshake(|| s_client(daemon, listener, args));
    assert!(output.stdout.contains("HTTP/1.1 200"), "{output}");
    assert_eq!(handshake.text("listener"), Some(listener), "{handshake}");
    assert_eq!(
        handshake.text("server_name"),
        Some("example.test"),
        "{handshake}"
    );
    (output, handshake)
}

fn full<'a>(version: &'a str, cipher: &'a str) -> Facts<'a> {
    Facts {
        version,
        kind: "full",
        hello_retry: false,
        cipher,
        group: Some("X25519"),
    }
}

const ECDSA_12: &str = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
const RSA_12: &str = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
const SUITE_13: &str = "TLS_AES_128_GCM_SHA256";

#[test]
fn curl_gets_each_version_with_each_protocol() {
    let daemon = daemon();
    for (version_args, version, cipher) in [
        ("--tlsv1.2 --tls-max 1.2", "1.2", ECDSA_12),
        ("--tlsv1.3", "1.3", SUITE_13),
    ] {
        for (http_args, http, alpn) in [("--http1.1", "1.1", "http/1.1"), ("--http2", "2", "h2")] {
            let args = format!("{version_args} {http_args} -w %{{http_code}}/%{{http_version}}");
            let (output, handshake) =
                daemon.new_handshake(|| daemon.curl(&args, "/").run().success());
            assert_eq!(output.stdout, format!("origin\n200/{http}"));
            handshake.assert_ok(full(version, cipher));
            assert_eq!(handshake.text("alpn"), Some(alpn), "{handshake}");
            assert_eq!(
                handshake.text("resumption"),
                Some("not_offered"),
                "{handshake}"
            );
        }
    }
}

#[test]
fn openssl_negotiates_by_the_type_of_the_certificate() {
    let daemon = daemon();
    for (listener, args, version, cipher, signature) in [
        ("https", "-tls1_2", "1.2", ECDSA_12, "ECDSA"),
        ("rsa", "-tls1_2", "1.2", RSA_12, "RSA-PSS"),
        ("https", "-tls1_3", "1.3", SUITE_13, "ECDSA"),
        ("rsa", "-tls1_3", "1.3", SUITE_13, "RSA-PSS"),
    ] {
        let (output, handshake) = one(&daemon, listener, args);
        handshake.assert_ok(full(version, cipher));
        assert!(
            output.stdout.contains("Server Temp Key: X25519"),
            "{output}"
        );
        let signed = format!("Peer signature type: {signature}");
        assert!(output.stdout.contains(&signed), "{output}");
        let messages = handshake.messages();
        assert_eq!(messages[..2], ["clienthello", "serverhello"], "{handshake}");
        let round_trips = if version == "1.2" { 2 } else { 1 };
        assert_eq!(handshake.0["round_trips"], round_trips, "{handshake}");
    }
}

#[test]
fn openssl_resumes_tls_1_2() {
    let daemon = daemon();
    let session = daemon.dir().join("session.pem").display().to_string();
    for (listener, cipher) in [("https", ECDSA_12), ("rsa", RSA_12)] {
        let (_, first) = one(&daemon, listener, &format!("-tls1_2 -sess_out {session}"));
        first.assert_ok(full("1.2", cipher));
        assert!(first.phase("client_key_exchange") > 0, "{first}");
        let (output, second) = one(&daemon, listener, &format!("-tls1_2 -sess_in {session}"));
        assert!(output.stdout.contains("Reused, TLSv1.2"), "{output}");
        second.assert_ok(Facts {
            kind: "resumed",
            group: None,
            ..full("1.2", cipher)
        });
        assert_eq!(second.text("resumption"), Some("hit"), "{second}");
        assert_eq!(second.phase("client_key_exchange"), 0, "{second}");
        assert_eq!(second.0["round_trips"], 1, "{second}");
        assert_eq!(
            second.text("false_start"),
            Some("not_applicable"),
            "{second}"
        );
    }
}

#[test]
fn openssl_resumes_tls_1_3() {
    let daemon = daemon();
    let session = daemon.dir().join("session.pem").display().to_string();
    let (_, first) = one(&daemon, "https", &format!("-tls1_3 -sess_out {session}"));
    first.assert_ok(full("1.3", SUITE_13));
    let (output, second) = one(&daemon, "https", &format!("-tls1_3 -sess_in {session}"));
    assert!(output.stdout.contains("Reused, TLSv1.3"), "{output}");
    second.assert_ok(Facts {
        kind: "resumed",
        ..full("1.3", SUITE_13)
    });
    assert_eq!(second.text("resumption"), Some("hit"), "{second}");
}

#[test]
fn openssl_is_asked_to_retry_with_a_group_of_ours() {
    let daemon = daemon();
    for listener in ["https", "rsa"] {
        let (output, handshake) = one(&daemon, listener, "-tls1_3 -groups P-521:X25519");
        assert!(
            output.stdout.contains("Server Temp Key: X25519"),
            "{output}"
        );
        handshake.assert_ok(Facts {
            hello_retry: true,
            ..full("1.3", SUITE_13)
        });
        assert!(handshake.phase("retry_wait") > 0, "{handshake}");
        assert_eq!(handshake.0["round_trips"], 2, "{handshake}");
        let mut messages = handshake.messages();
        messages.retain(|name| name != "changecipherspec");
        assert_eq!(
            messages[..4],
            [
                "clienthello",
                "helloretryrequest",
                "clienthello",
                "serverhello"
            ],
            "{handshake}"
        );
    }
    daemon.wait_metric("tls_hello_retry_total", &[("listener", "https")], 1.0);
}

/// gnutls-cli prints what it negotiated, e.g. `(TLS1.3-X.509)-(ECDHE-SECP256R1)-…`.
#[track_caller]
fn assert_described(output: &Output, handshake: &Handshake) {
    let descriptions: Vec<&str> = output
        .stdout
        .lines()
        .filter(|line| line.contains("Description: "))
        .collect();
    let group = handshake.text("group").unwrap().to_uppercase();
    assert!(
        descriptions
            .iter()
            .any(|line| line.contains(&format!("ECDHE-{group}"))),
        "{group} is not in {descriptions:?}"
    );
}

fn gnutls(daemon: &Daemon, version: &str, args: &str) -> Output {
    Tool::new("gnutls-cli")
        .words("--sni-hostname=example.test --verify-hostname=example.test --alpn=http/1.1")
        .args([format!("--x509cafile={}", daemon.ca())])
        .args([format!("--priority=NORMAL:-VERS-ALL:+VERS-TLS{version}")])
        .words(args)
        .args(["--port", &daemon.https().port().to_string(), "127.0.0.1"])
        .stdin(REQUEST)
        .run()
        .success()
}

#[test]
fn gnutls_negotiates_both_versions() {
    let daemon = daemon();
    for (version, cipher) in [("1.2", ECDSA_12), ("1.3", SUITE_13)] {
        let (output, handshake) = daemon.new_handshake(|| gnutls(&daemon, version, ""));
        assert_described(&output, &handshake);
        handshake.assert_ok(Facts {
            group: handshake.text("group"),
            ..full(version, cipher)
        });
        assert_eq!(handshake.text("alpn"), Some("http/1.1"), "{handshake}");
    }
}

#[test]
fn gnutls_resumes_both_versions() {
    let daemon = daemon();
    for (version, cipher) in [("1.2", ECDSA_12), ("1.3", SUITE_13)] {
        let args = "--resume --waitresumption";
        let (output, handshakes) = daemon.new_handshakes(2, || gnutls(&daemon, version, args));
        assert!(
            output.stdout.contains("This is a resumed session"),
            "{output}"
        );
        let [first, second] = &handshakes[..] else {
            panic!("two handshakes")
        };
        first.assert_ok(Facts {
            group: first.text("group"),
            ..full(version, cipher)
        });
        second.assert_ok(Facts {
            kind: "resumed",
            group: second.text("group"),
            ..full(version, cipher)
        });
    }
}
