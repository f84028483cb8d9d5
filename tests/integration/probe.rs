//! `handfast probe` against our own daemon, `openssl s_server`, and things that are no TLS server;
//! and the same walk for handshakes that came in.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Daemon, Origin, Output, Settings, Tool, refusing_address, wait_for};

const MORE: &str = r#"
[tls.retry]
groups = ["secp384r1"]
[tls.demanding]
client_auth = { mode = "required", ca = "clients-ca.pem" }
[tls.lenient]
unknown_sni = "default-certificate"

[[listeners]]
name = "retry"
address = "127.0.0.1:0"
tls = "retry"
certificates = ["main"]
[[listeners]]
name = "demanding"
address = "127.0.0.1:0"
tls = "demanding"
certificates = ["main"]
[[listeners]]
name = "lenient"
address = "127.0.0.1:0"
tls = "lenient"
certificates = ["main"]
"#;

fn daemon() -> Daemon {
    let settings = Settings::new(Origin::start().address()).more(MORE);
    let mut daemon = Daemon::run(&settings);
    for listener in ["retry", "demanding", "lenient"] {
        daemon.wait_listening(listener);
    }
    daemon
}

fn probe(address: SocketAddr, args: &str) -> Output {
    Tool::new(env!("CARGO_BIN_EXE_handfast"))
        .args(["probe", &address.to_string()])
        .words(args)
        .run()
}

/// What `--json` says, and the exit code.
#[track_caller]
fn json(address: SocketAddr, args: &str) -> (i32, Value) {
    let output = probe(address, &format!("{args} --json"));
    let report: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"));
    assert_eq!(report["ok"] == true, output.code == 0, "{output}");
    (output.code, report)
}

fn names(connection: &Value) -> Vec<String> {
    let messages = connection["messages"].as_array().unwrap();
    let names = messages.iter().map(|message| {
        let arrow = if message["from"] == "client" {
            '>'
        } else {
            '<'
        };
        format!("{arrow}{}", message["name"].as_str().unwrap())
    });
    // Dummies for middleboxes come where the libraries like.
    names
        .filter(|name| !name.contains("ChangeCipherSpec"))
        .collect()
}

#[track_caller]
fn failure(address: SocketAddr, args: &str, class: &str, side: &str) -> Value {
    let (code, report) = json(address, args);
    let failure = report["connections"][0]["failure"].clone();
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(failure["class"], class, "{report:#}");
    assert_eq!(failure["side"], side, "{report:#}");
    assert!(!failure["what"].as_str().unwrap().is_empty());
    report["connections"][0].clone()
}

/// Trusting the daemon's certificates, as `example.test`.
fn trusting(daemon: &Daemon, args: &str) -> String {
    format!("--ca {} --server-name example.test {args}", daemon.ca())
}

#[test]
fn each_version_is_walked_and_resumed() {
    let daemon = daemon();
    for (args, version, full, resumed, trips) in [
        (
            "--tls1.3",
            "1.3",
            vec![
                ">ClientHello",
                "<ServerHello",
                "<EncryptedExtensions",
                "<CompressedCertificate",
                "<CertificateVerify",
                "<Finished",
                ">Finished",
                "<NewSessionTicket",
                "<NewSessionTicket",
            ],
            vec![
                ">ClientHello",
                "<ServerHello",
                "<EncryptedExtensions",
                "<Finished",
                ">Finished",
            ],
            1,
        ),
        (
            "--tls1.2",
            "1.2",
            vec![
                ">ClientHello",
                "<ServerHello",
                "<Certificate",
                "<ServerKeyExchange",
                "<ServerHelloDone",
                ">ClientKeyExchange",
                ">Finished",
                "<NewSessionTicket",
                "<Finished",
            ],
            vec![
                ">ClientHello",
                "<ServerHello",
                "<NewSessionTicket",
                "<Finished",
                ">Finished",
            ],
            2,
        ),
    ] {
        for alpn in ["h2,http/1.1", "http/1.1"] {
            let args = trusting(&daemon, &format!("{args} --resume --alpn {alpn}"));
            let (code, report) = json(daemon.https(), &args);
            assert_eq!(code, 0, "{report:#}");
            let [first, second] = report["connections"].as_array().unwrap().as_slice() else {
                panic!("not two connections: {report:#}");
            };
            assert_eq!(names(first), full, "{report:#}");
            assert_eq!(names(second)[..resumed.len()], resumed, "{report:#}");
            assert_eq!(first["verification"]["result"], "trusted");
            assert_eq!(second["verification"], Value::Null);
            assert_eq!(first["round_trips_us"].as_array().unwrap().len(), trips);
            assert_eq!(second["round_trips_us"].as_array().unwrap().len(), 1);
            for (connection, kind) in [(first, "full"), (second, "resumed")] {
                let chosen = &connection["negotiated"];
                assert_eq!(chosen["version"], version, "{report:#}");
                assert_eq!(chosen["kind"], kind, "{report:#}");
                assert_eq!(chosen["alpn"], alpn.split(',').next().unwrap());
                assert_eq!(chosen["extended_master_secret"] == true, version == "1.2");
                assert!(connection["handshake_us"].as_f64().unwrap() > 0.0);
            }
            let leaf = &first["verification"]["certificates"][0];
            assert_eq!(leaf["names"][1], "example.test", "{report:#}");
            assert_eq!(leaf["key"], "EC P-256");
            assert_eq!(first["negotiated"]["signature"], "ecdsa_secp256r1_sha256");
        }
    }
}

#[test]
fn the_text_is_for_a_narrow_terminal_and_has_no_colour_in_a_pipe() {
    let daemon = daemon();
    let output = probe(daemon.https(), &trusting(&daemon, "--resume")).success();
    for line in output.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    for text in [
        "  1 → ClientHello ",
        "  2 ← ServerHello ",
        "certificate       trusted",
        "                  full                           resumed",
        "cipher suite      TLS_AES_128_GCM_SHA256",
    ] {
        assert!(
            output.stdout.contains(text),
            "{text:?} is missing in:\n{}",
            output.stdout
        );
    }
}

#[test]
fn a_retry_is_shown() {
    let daemon = daemon();
    let (code, report) = json(daemon.address("retry"), &trusting(&daemon, ""));
    assert_eq!(code, 0, "{report:#}");
    let connection = &report["connections"][0];
    let names = names(connection);
    assert_eq!(
        names[..4],
        [
            ">ClientHello",
            "<HelloRetryRequest",
            ">ClientHello",
            "<ServerHello"
        ]
    );
    assert_eq!(connection["negotiated"]["hello_retry"], true);
    assert_eq!(connection["negotiated"]["group"], "secp384r1");
    assert_eq!(connection["round_trips_us"].as_array().unwrap().len(), 2);
}

#[test]
fn what_our_own_daemon_refuses_is_explained() {
    let daemon = daemon();
    for version in ["--tls1.2", "--tls1.3"] {
        let address = daemon.address("demanding");
        let args = trusting(&daemon, version);
        let connection = failure(address, &args, "client_cert_missing", "server");
        assert_eq!(
            connection["negotiated"]["client_certificate_requested"],
            true
        );
        assert_eq!(connection["failure"]["alert"], 116, "{connection:#}");
        assert!(connection["handshake_us"].is_null(), "{connection:#}");
    }
    let unknown = format!("--ca {} --server-name other.test", daemon.ca());
    let connection = failure(daemon.https(), &unknown, "unknown_sni", "server");
    assert_eq!(connection["failure"]["alert_name"], "unrecognized_name");
    failure(
        daemon.https(),
        &trusting(&daemon, "--alpn nothing"),
        "no_shared_alpn",
        "server",
    );
}

#[test]
fn certificates_that_are_not_trusted_are_shown_all_the_same() {
    let daemon = daemon();
    for version in ["--tls1.2", "--tls1.3"] {
        let wrong = format!("--ca {} --server-name other.test {version}", daemon.ca());
        let connection = failure(
            daemon.address("lenient"),
            &wrong,
            "client_rejected_cert",
            "client",
        );
        let seen = &connection["verification"];
        let reason = seen["reason"].as_str().unwrap();
        assert!(reason.ends_with("not for other.test"), "{reason}");
        assert!(reason.contains("example.test"), "{reason}");

        // A root that signed nothing here.
        let ca = daemon.dir().join("clients-ca.pem");
        let stranger = format!("--ca {} --server-name example.test {version}", ca.display());
        let connection = failure(daemon.https(), &stranger, "client_rejected_cert", "client");
        let seen = &connection["verification"];
        let missing = seen["missing"].as_str().unwrap();
        assert!(
            missing.starts_with("the certificate of CN=handfast test CA"),
            "{missing}"
        );
        assert_eq!(seen["certificates"][0]["issuer"], "CN=handfast test CA");
        assert_eq!(connection["failure"]["alert"], 48, "{connection:#}");

        let (code, report) = json(daemon.https(), &format!("{stranger} --insecure"));
        assert_eq!(code, 0, "{report:#}");
        let seen = &report["connections"][0]["verification"];
        assert_eq!(seen["result"], "not_trusted");
    }
}

#[test]
fn openssl_is_walked_with_either_kind_of_key() {
    let daemon = daemon();
    let dir = daemon.dir();
    for (name, key, version, signature) in [
        ("main", "EC P-256", "-tls1_2", "ecdsa_"),
        ("main", "EC P-256", "-tls1_3", "ecdsa_secp256r1_sha256"),
        ("rsa", "RSA 2048", "-tls1_2", "rsa_pss_rsae_"),
        ("rsa", "RSA 2048", "-tls1_3", "rsa_pss_rsae_"),
    ] {
        let server = Tool::new("openssl")
            .words("s_server -accept 127.0.0.1:0 -www -naccept 2")
            .args([version])
            .args([
                "-cert".as_ref(),
                dir.join(format!("{name}.pem")).as_os_str(),
            ])
            .args(["-key".as_ref(), dir.join(format!("{name}.key")).as_os_str()])
            .start();
        let address: SocketAddr = wait_for(Duration::from_secs(10), "it listens", || {
            let said = server.stdout();
            let line = said.lines().find_map(|line| line.strip_prefix("ACCEPT "))?;
            line.parse().ok()
        });
        let (code, report) = json(address, &trusting(&daemon, "--resume"));
        assert_eq!(code, 0, "{report:#}");
        let first = &report["connections"][0];
        let number = version.trim_start_matches("-tls").replace('_', ".");
        assert_eq!(first["negotiated"]["version"], number, "{report:#}");
        let scheme = first["negotiated"]["signature"].as_str().unwrap();
        assert!(scheme.starts_with(signature), "{report:#}");
        assert_eq!(first["verification"]["certificates"][0]["key"], key);
        assert_eq!(report["connections"][1]["negotiated"]["kind"], "resumed");
        let unread = |name: &String| name.contains("unread") || name.contains("unknown");
        assert!(!names(first).iter().any(unread), "{report:#}");
    }
}

/// A server that answers each connection with `answer` to what it reads, and keeps it open.
fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(4) {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer);
                let _ = stream.write_all(answer);
                while matches!(stream.read(&mut buffer), Ok(1..)) {}
            });
        }
    });
    address
}

#[test]
fn what_is_no_tls_server_is_told_apart() {
    let (_socket, closed) = refusing_address();
    failure(closed, "", "connect_refused", "server");

    let http = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    failure(http, "--insecure", "plain_http", "client");

    let mail = answering(b"220 mail.test ESMTP\r\n");
    let connection = failure(mail, "--insecure", "not_tls", "client");
    let what = connection["failure"]["what"].as_str().unwrap();
    assert!(what.contains("220 mail.test ESMTP"), "{what}");

    let silent = answering(b"");
    let began = Instant::now();
    let connection = failure(silent, "--insecure --timeout 300ms", "timeout", "client");
    assert!(began.elapsed() >= Duration::from_millis(300));
    let what = connection["failure"]["what"].as_str().unwrap();
    assert!(
        what.contains("300ms") && what.contains("ServerHello"),
        "{what}"
    );

    let rude = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = rude.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = rude.accept().unwrap();
        // Read to the last byte: closing over unread ones would be a reset.
        let _ = stream.read(&mut [0; 4096]);
    });
    failure(address, "--insecure", "server_closed", "server");
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused() {
    let origin = Origin::start().address();
    for args in [
        "--tls1.2 --tls1.3",
        "--timeout soon",
        "--timeout 2h",
        "--server-name a..b",
    ] {
        let output = probe(origin, &format!("--insecure {args}"));
        assert_eq!(output.code, 2, "{args}: {output}");
    }
    let output = probe(origin, "--ca /nonexistent.pem");
    assert_eq!(output.code, 1, "{output}");
    assert!(output.stderr.contains("/nonexistent.pem"), "{output}");
}

#[test]
fn a_handshake_that_came_in_is_walked_by_its_id() {
    let daemon = daemon();
    let probe = || probe(daemon.https(), &trusting(&daemon, "--tls1.2"));
    let (_, handshake) = daemon.new_handshake(|| probe().success());
    let id = handshake.text("id").unwrap();
    let response = daemon.admin(&format!("/api/handshakes/{id}"));
    assert_eq!(response.head.status(), 200);
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body["handshake"], handshake.0);
    let walk = body["walk"].as_array().unwrap();
    let messages = handshake.0["messages"].as_array().unwrap();
    assert_eq!(walk.len(), messages.len());
    for (index, (step, message)) in walk.iter().zip(messages).enumerate() {
        assert_eq!(step["step"], index + 1);
        for field in ["direction", "name", "bytes", "at_us"] {
            assert_eq!(step[field], message[field], "{body:#}");
        }
        let what = step["what"].as_str().unwrap();
        assert!(what.ends_with('.') && !what.contains("not known"), "{what}");
    }
    let text = walk[0]["what"].as_str().unwrap();
    assert!(text.contains("example.test"), "{text}");
    let phases = body["phases"].as_array().unwrap();
    let sum: f64 = phases
        .iter()
        .map(|phase| phase["us"].as_f64().unwrap())
        .sum();
    assert!((sum - handshake.0["total_us"].as_f64().unwrap()).abs() < 0.01);

    for id in ["ffffffffffffffff", "0", "", "zzzzzzzzzzzzzzzz"] {
        let response = daemon.admin(&format!("/api/handshakes/{id}"));
        assert_eq!(response.head.status(), 404, "{id}");
    }
}
