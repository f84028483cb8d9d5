//! What passes on a connection that keeps to the rules: preface, acknowledgements, windows.

use std::io::Read;
use std::net::TcpListener;

use super::case::{FLOW_CONTROL_ERROR, INITIAL_WINDOW, PROTOCOL_ERROR};
use crate::support::h2_frames::{
    ACK, DATA, GOAWAY, H2Client, H2End, PING, PREFACE, RST_STREAM, SETTINGS, frame, get, post,
    settings, window_update,
};
use crate::support::{Daemon, Origin, Settings};

#[test]
fn a_connection_begins_with_the_preface() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()));
    for (begin, end) in [
        (&b"INVALID CONNECTION PREFACE\r\n\r\n"[..], None),
        (b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", None),
        (&[PREFACE, &get(1, "/")].concat(), Some(PROTOCOL_ERROR)),
    ] {
        let mut client = H2Client::silent(daemon.https());
        client.send(begin);
        let goaway = client.find(|frame| frame.kind == GOAWAY);
        // Section 3.4: GOAWAY may be left out where the peer does not speak HTTP/2.
        if let Some(code) = end {
            assert_eq!(goaway.map(|frame| frame.code(4)), Some(code));
        }
        assert_eq!(client.next(), None);
    }
}

#[test]
fn settings_and_pings_are_acknowledged() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()));
    let mut client = H2Client::connect(daemon.https(), &[]);
    // Section 3.4: our preface is SETTINGS.
    let first = client.next().unwrap();
    assert_eq!((first.kind, first.flags), (SETTINGS, 0));
    let acknowledged = client.find(|frame| frame.kind == SETTINGS).unwrap();
    assert_eq!(acknowledged.flags, ACK);
    // Section 6.7: an acknowledgement is not answered.
    client.send(&frame(PING, ACK, 0, b"not this"));
    client.send(&frame(PING, 0, 0, b"but this"));
    let pong = client.find(|frame| frame.kind == PING).unwrap();
    assert_eq!((pong.flags, &pong.payload[..]), (ACK, &b"but this"[..]));
}

#[test]
fn the_clients_windows_are_kept() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()));
    let length = |client: &mut H2Client| {
        let frame = client.find(|frame| matches!(frame.kind, DATA | GOAWAY));
        let frame = frame.unwrap();
        assert_eq!(frame.kind, DATA);
        frame.payload.len()
    };
    // Section 6.9.2: the last of several values holds, and a change moves open streams.
    let mut client = H2Client::connect(
        daemon.https(),
        &[(INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1)],
    );
    client.send(&get(1, "/source/100"));
    assert_eq!(length(&mut client), 1);
    client.send(&settings(&[(INITIAL_WINDOW, 3)]));
    assert_eq!(length(&mut client), 2);
    // Below 0: nothing is sent until it is open again.
    client.send(&settings(&[(INITIAL_WINDOW, 0)]));
    client.send(&window_update(1, 3));
    client.send(&frame(PING, 0, 0, b"12345678"));
    let next = client.find(|frame| matches!(frame.kind, DATA | PING));
    assert_eq!(next.unwrap().kind, PING);
    client.send(&window_update(1, 4));
    assert_eq!(length(&mut client), 4);
    client.send(&window_update(1, 1000));
    assert_eq!(length(&mut client), 100 - 7);
    // Section 6.9.2: a change that makes a window too large.
    let mut client = H2Client::connect(daemon.https(), &[]);
    client.send(&get(1, "/never"));
    client.send(&window_update(1, 0x7fff_ffff - 65_535));
    client.send(&settings(&[(INITIAL_WINDOW, 65_536)]));
    assert_eq!(client.end(), H2End::Connection(FLOW_CONTROL_ERROR));
}

#[test]
fn a_body_that_is_reset_without_error_is_not_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = Daemon::run_alone(&Settings::new(listener.local_addr().unwrap()));
    let mut client = H2Client::connect(daemon.https(), &[]);
    client.send(&[post(1, "/"), frame(DATA, 0, 1, b"part")].concat());
    let (mut upstream, _) = listener.accept().unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"part\r\n") {
        let mut byte = [0];
        upstream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    client.send(&frame(RST_STREAM, 0, 1, &[0; 4]));
    let mut rest = Vec::new();
    // Closed or reset, without a last chunk.
    let _ = upstream.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}
