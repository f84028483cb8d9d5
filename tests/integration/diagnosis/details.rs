//! What a report shows beside the class: both sides, waits, chains; and alerts that arrive.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use super::clients::{connect, curl, raw};
use super::policies::{daemon, settings};
use crate::support::{RawHello, message, record};

#[test]
fn both_sides_are_told_by_name() {
    let daemon = daemon(&settings());
    let hello = RawHello::new()
        .suites(&[0x7777, 0x002f, 0x0a0a, 0xc013])
        .extension(10, vec![0, 4, 0x6a, 0x6a, 0, 30])
        .extension(16, b"\0\x04\x03foo".to_vec());
    let run = raw(hello.bytes());
    let (_, handshake) = daemon.new_handshake(|| run(&daemon, daemon.https()));
    let details = handshake.failure("details");
    let offered = |field: &str| details[field]["offered"].clone();
    assert_eq!(
        offered("cipher_suites"),
        serde_json::json!([
            "TLS_RSA_WITH_AES_128_CBC_SHA",
            "0x7777",
            "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"
        ])
    );
    assert_eq!(offered("groups"), serde_json::json!(["x448"]));
    assert_eq!(offered("alpn"), serde_json::json!(["foo"]));
    assert_eq!(
        details["alpn"]["allowed"],
        serde_json::json!(["h2", "http/1.1"])
    );
    assert_eq!(
        details["versions"]["shared"],
        serde_json::json!(["TLS 1.2"])
    );
    assert_eq!(details["certificate_types"], serde_json::json!(["ecdsa"]));
    assert_eq!(details["undetermined"], false);
    let ja4 = handshake.text("ja4").unwrap();
    assert!(ja4.starts_with("t12d0305fo_"), "{ja4}");
}

#[test]
fn what_was_waited_for_is_told_and_what_is_not_known() {
    let daemon = daemon(&settings());
    let hello = RawHello::new().bytes();
    for (bytes, awaited) in [
        (&hello[..40], "the rest of the ClientHello"),
        (&hello[..], "the client's answer to our flight"),
    ] {
        let close = |mut socket: TcpStream| {
            socket.write_all(bytes).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
            let _ = socket.read_to_end(&mut Vec::new());
        };
        let (_, handshake) = daemon.new_handshake(|| close(connect(daemon.https())));
        assert_eq!(handshake.class(), "client_closed", "{handshake}");
        let details = handshake.failure("details");
        assert_eq!(details["undetermined"], true, "{handshake}");
        assert_eq!(details["waited_for"], awaited, "{handshake}");
        let run = raw(bytes);
        let quick = daemon.address("quick");
        let (_, handshake) = daemon.new_handshake(|| run(&daemon, quick));
        assert_eq!(handshake.class(), "timeout", "{handshake}");
        let details = handshake.failure("details");
        assert_eq!(details["undetermined"], false, "{handshake}");
        assert_eq!(details["waited_for"], awaited, "{handshake}");
    }
    daemon.wait_metric("tls_handshake_undetermined_total", &[], 2.0);
}

#[test]
fn a_refused_chain_is_shown() {
    let daemon = daemon(&settings());
    let run = curl("", false);
    let (_, handshake) = daemon.new_handshake(|| run(&daemon, daemon.https()));
    let leaf = &handshake.failure("details")["chain"][0];
    assert!(
        leaf["subject"].as_str().unwrap().contains("CN=localhost"),
        "{handshake}"
    );
    assert!(
        leaf["issuer"]
            .as_str()
            .unwrap()
            .contains("handfast test CA"),
        "{handshake}"
    );
    assert!(
        leaf["not_after"].as_str().unwrap().ends_with('Z'),
        "{handshake}"
    );
    let diagnosis = handshake.failure("diagnosis").as_str().unwrap();
    assert!(
        diagnosis.contains("does not know the issuer"),
        "{diagnosis}"
    );
    assert!(diagnosis.contains("handfast test CA"), "{diagnosis}");
}

#[test]
fn alerts_arrive_though_there_is_more_to_read() {
    let daemon = daemon(&settings());
    let hello = RawHello::new();
    for (listener, bytes, alert) in [
        ("https", hello.clone().version([3, 1]).bytes(), 70),
        ("https", hello.clone().suites(&[0x002f]).bytes(), 40),
        ("https", hello.clone().suites(&[0xc02f]).bytes(), 40),
        (
            "https",
            hello.clone().extension(10, vec![0, 2, 0, 25]).bytes(),
            40,
        ),
        (
            "https",
            hello.clone().extension(13, vec![0, 2, 8, 4]).bytes(),
            40,
        ),
        (
            "https",
            hello
                .clone()
                .extension(16, b"\0\x04\x03foo".to_vec())
                .bytes(),
            120,
        ),
        ("https", hello.clone().name("unknown.example").bytes(), 112),
        ("only13", hello.bytes(), 70),
        ("https", record(23, b"x"), 10),
        ("https", record(22, b""), 50),
        ("https", record(22, &message(1, b"12345")), 50),
    ] {
        let mut socket = connect(daemon.address(listener));
        // What nobody reads would make a close an RST.
        socket
            .write_all(&[bytes, vec![0x16; 20_000]].concat())
            .unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, alert], "{listener} {alert}");
    }
}
