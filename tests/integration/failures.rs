//! Handshakes that fail: what the client is told and what the event says.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::support::{Client, Daemon, Handshake, Origin, Settings, Tool};

fn daemon() -> Daemon {
    Daemon::run(&Settings::new(Origin::start().address()))
}

#[track_caller]
fn assert_failed(handshake: &Handshake, class: &str, side: &str, alert: Option<u8>) {
    assert_eq!(handshake.class(), class, "{handshake}");
    assert_eq!(handshake.failure("side"), side, "{handshake}");
    assert_eq!(
        *handshake.failure("alert"),
        serde_json::json!(alert),
        "{handshake}"
    );
    let diagnosis = handshake.failure("diagnosis").as_str().unwrap_or_default();
    assert!(!diagnosis.is_empty(), "{handshake}");
    handshake.assert_sum();
}

/// Sends `bytes` and reads all that comes back.
fn exchange(daemon: &Daemon, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(daemon.https()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    answer
}

/// A ClientHello of TLS 1.1 without extensions (RFC 4346 section 7.4.1.2).
fn tls_1_1_hello() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0]);
    let mut message = vec![1, 0, 0, u8::try_from(body.len()).unwrap()];
    message.extend(body);
    let mut record = vec![22, 3, 1, 0, u8::try_from(message.len()).unwrap()];
    record.extend(message);
    record
}

#[test]
fn tls_1_1_gets_protocol_version() {
    let daemon = daemon();
    let (answer, handshake) = daemon.new_handshake(|| exchange(&daemon, &tls_1_1_hello()));
    assert_eq!(answer.len(), 7, "one alert record: {answer:?}");
    assert_eq!((answer[0], &answer[3..]), (21, &[0, 2, 2, 70][..]));
    assert_failed(&handshake, "no_shared_version", "server", Some(70));
}

#[test]
fn a_client_without_a_suite_of_ours_gets_handshake_failure() {
    let daemon = daemon();
    let (output, handshake) = daemon.new_handshake(|| {
        Tool::new("openssl")
            .words("s_client -tls1_2 -cipher ECDHE-ECDSA-AES128-SHA -servername example.test")
            .args(["-connect", &daemon.https().to_string()])
            .run()
    });
    assert_ne!(output.code, 0, "{output}");
    assert!(
        output.stderr.contains("alert handshake failure"),
        "{output}"
    );
    assert_failed(&handshake, "no_shared_cipher", "server", Some(40));
}

#[test]
fn a_needless_fallback_gets_inappropriate_fallback() {
    let tables = "[tls.old]\nversions = [\"1.2\"]\n[[listeners]]\nname = \"old\"\n\
                  address = \"127.0.0.1:0\"\ntls = \"old\"\ncertificates = [\"main\"]";
    let mut daemon = Daemon::run(&Settings::new(Origin::start().address()).more(tables));
    daemon.wait_listening("old");
    let fall_back = |listener: &str| {
        Tool::new("openssl")
            .words("s_client -tls1_2 -fallback_scsv -servername example.test")
            .args(["-connect", &daemon.address(listener).to_string()])
            .run()
    };
    let (output, handshake) = daemon.new_handshake(|| fall_back("https"));
    assert!(output.stderr.contains("SSL alert number 86"), "{output}");
    assert_failed(&handshake, "no_shared_version", "server", Some(86));
    // Where TLS 1.2 is the best there is, nothing was lost.
    fall_back("old").success();
}

#[test]
fn a_client_that_does_not_trust_us_is_client_rejected_cert() {
    let daemon = daemon();
    for version in ["--tlsv1.2 --tls-max 1.2", "--tlsv1.3"] {
        let (output, handshake) = daemon.new_handshake(|| {
            let port = daemon.https().port();
            Tool::new("curl")
                .words("-sS")
                .words(version)
                .args([format!("https://localhost:{port}/")])
                .run()
        });
        assert_eq!(output.code, 60, "{output}");
        assert_failed(&handshake, "client_rejected_cert", "client", Some(48));
    }
}

#[test]
fn plain_http_gets_an_answer_in_plain_http() {
    let daemon = daemon();
    let request = b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n";
    let (answer, handshake) = daemon.new_handshake(|| exchange(&daemon, request));
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("\r\n\r\n"), "{answer}");
    assert_failed(&handshake, "plain_http", "server", None);

    let url = format!("http://{}/", daemon.https());
    let output = Tool::new("curl")
        .words("-sS -o /dev/null -w %{http_code}")
        .args([url])
        .run()
        .success();
    assert_eq!(output.stdout, "400");
}

#[test]
fn what_is_no_tls_is_said_to_be_none() {
    let daemon = daemon();
    let (_, handshake) =
        daemon.new_handshake(|| exchange(&daemon, b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"));
    assert_eq!(handshake.class(), "not_tls", "{handshake}");
    handshake.assert_sum();
}

#[test]
fn a_client_that_leaves_in_the_middle_is_said_to_have_left() {
    let daemon = daemon();
    let hello = Client::of_version("1.3").hello();
    for (bytes, phase) in [
        (&hello[..20], "client_hello_read"),
        (&hello[..], "client_flight_wait"),
    ] {
        let (_, handshake) = daemon.new_handshake(|| {
            let mut socket = TcpStream::connect(daemon.https()).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            socket.write_all(bytes).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).unwrap();
        });
        assert_eq!(handshake.class(), "client_closed", "{handshake}");
        assert_eq!(handshake.failure("phase"), phase, "{handshake}");
        assert_eq!(handshake.failure("side"), "client", "{handshake}");
        handshake.assert_sum();
    }
}

#[test]
fn a_connection_that_is_reset_is_the_networks() {
    let daemon = daemon();
    let hello = Client::of_version("1.3").hello();
    let (_, handshake) = daemon.new_handshake(|| {
        let mut socket = TcpStream::connect(daemon.https()).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        socket.write_all(&hello).unwrap();
        // The server's flight has begun to come, so the server waits for ours.
        socket.read_exact(&mut [0]).unwrap();
        socket2::SockRef::from(&socket)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    });
    assert_eq!(handshake.class(), "reset", "{handshake}");
    assert_eq!(handshake.failure("side"), "network", "{handshake}");
    assert_eq!(
        handshake.failure("phase"),
        "client_flight_wait",
        "{handshake}"
    );
    handshake.assert_sum();
}
