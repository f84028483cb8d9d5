//! Every other way in which a handshake ends.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::case::{Case, assert_all, other};
use super::clients::{after_flight, connect, curl, raw, sending};
use crate::support::{RawHello, message, record};

fn endings() -> Vec<Case> {
    let hello = || RawHello::new().bytes();
    let wait = "client_flight_wait";
    let read = "client_hello_read";
    let reset = |socket: TcpStream| {
        socket2::SockRef::from(&socket)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    };
    let twice = {
        let mut hello = RawHello::new();
        hello.extensions.push((11, vec![1, 0]));
        hello.bytes()
    };
    let half = hello()[..40].to_vec();
    vec![
        other(
            "curl, TLS 1.2, no trust",
            "https",
            curl("--tls-max 1.2", false),
            ("client_rejected_cert", wait, "client", Some(48)),
        ),
        other(
            "curl, TLS 1.3, no trust",
            "https",
            curl("--tlsv1.3", false),
            ("client_rejected_cert", wait, "client", Some(48)),
        ),
        other(
            "curl, an expired certificate",
            "old",
            curl("", true),
            ("client_rejected_cert", wait, "client", Some(45)),
        ),
        other(
            "HTTP",
            "https",
            raw(*b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n"),
            ("plain_http", read, "server", None),
        ),
        other(
            "SSH",
            "https",
            raw(*b"SSH-2.0-OpenSSH_9.2p1\r\n"),
            ("not_tls", read, "server", None),
        ),
        other(
            "SSL 2.0",
            "https",
            raw(*b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10"),
            ("not_tls", read, "server", None),
        ),
        other(
            "application data first",
            "https",
            raw(record(23, b"x")),
            ("protocol_violation", read, "server", Some(10)),
        ),
        other(
            "another message first",
            "https",
            raw(record(22, &message(0, b""))),
            ("protocol_violation", read, "server", Some(10)),
        ),
        other(
            "an extension twice",
            "https",
            raw(twice),
            ("protocol_violation", read, "server", Some(47)),
        ),
        other(
            "a ClientHello of five bytes",
            "https",
            raw(record(22, &message(1, b"12345"))),
            ("malformed", read, "server", Some(50)),
        ),
        other(
            "an empty record",
            "https",
            raw(record(22, b"")),
            ("malformed", read, "server", Some(50)),
        ),
        other(
            "half a ClientHello, then closed",
            "https",
            Box::new(move |_, address| {
                let mut socket = connect(address);
                socket.write_all(&half).unwrap();
                socket.shutdown(Shutdown::Write).unwrap();
                let _ = socket.read_to_end(&mut Vec::new());
            }),
            ("client_closed", read, "client", None),
        ),
        other(
            "closed after our flight",
            "https",
            after_flight(hello(), |mut socket| {
                socket.shutdown(Shutdown::Write).unwrap();
                let _ = socket.read_to_end(&mut Vec::new());
            }),
            ("client_closed", wait, "client", None),
        ),
        other(
            "reset after our flight",
            "https",
            after_flight(hello(), reset),
            ("reset", wait, "network", None),
        ),
        other(
            "half a ClientHello, then silence",
            "quick",
            raw(hello()[..40].to_vec()),
            ("timeout", read, "server", None),
        ),
        other(
            "a ClientHello, then silence",
            "quick",
            raw(hello()),
            ("timeout", wait, "server", None),
        ),
        other(
            "cancelled",
            "https",
            after_flight(hello(), sending(b"\x15\x03\x03\0\x02\x02\x5a")),
            ("client_cancelled", wait, "client", Some(90)),
        ),
        other(
            "an alert of another kind",
            "https",
            after_flight(hello(), sending(b"\x15\x03\x03\0\x02\x02\x28")),
            ("client_alert", wait, "client", Some(40)),
        ),
        other(
            "an alert that something does not verify",
            "https",
            after_flight(hello(), sending(b"\x15\x03\x03\0\x02\x02\x33")),
            ("decrypt_error", wait, "client", Some(51)),
        ),
        other(
            "a message out of turn",
            "https",
            after_flight(hello(), sending(b"\x16\x03\x03\0\x04\x14\0\0\0")),
            ("protocol_violation", "client_finished", "server", Some(10)),
        ),
    ]
}

#[test]
fn every_other_ending_has_its_class() {
    assert_all(&endings());
}
