//! HTTP/2 clients that cost more than they ask for.

use std::time::{Duration, Instant};

use crate::support::h2_frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, H2Client, H2End, HEADERS, PADDED,
    PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get, post,
    request_block, reset, settings, window_update,
};
use crate::support::{Daemon, Origin, Settings, wait_until};

const ENHANCE_YOUR_CALM: u32 = 0xb;
const INITIAL_WINDOW: u16 = 0x4;
const SOON: Duration = Duration::from_secs(15);

const SHORT: &str = r#"
[timeouts]
request_header = "700ms"
response_idle = "700ms"
"#;

const FEW: &str = r#"
[limits]
h2_resets = { count = 20, per = "60s" }
h2_control_frames = { count = 50, per = "60s" }
"#;

fn abuse(daemon: &Daemon, limit: &str, count: f64) {
    let labels = [("listener", "https"), ("limit", limit)];
    daemon.wait_metric("http2_abuse_total", &labels, count);
}

/// Sends `piece(0)`, `piece(1)`, … until the connection ends, one at a time; the last stream that
/// GOAWAY names and its code.
fn flood(client: &mut H2Client, piece: impl Fn(u32) -> Vec<u8>) -> (u32, u32) {
    for count in 0..2000 {
        if !client.send(&piece(count)) {
            break;
        }
    }
    let goaway = client.find(|frame| frame.kind == GOAWAY);
    let goaway = goaway.expect("the connection ends with GOAWAY");
    assert_eq!(client.next(), None);
    (goaway.code(0), goaway.code(4))
}

#[test]
fn every_class_starts_at_zero() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()));
    for limit in [
        "client_resets",
        "server_resets",
        "control_frames",
        "header_block",
        "request_header",
        "response_idle",
    ] {
        let found = daemon.metrics().into_iter().any(|sample| {
            sample.name == "handfast_http2_abuse_total"
                && sample.labels.get("limit").is_some_and(|one| one == limit)
        });
        assert!(found, "{limit}");
    }
}

#[test]
fn resets_are_counted_on_both_sides() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()).more(FEW));

    let mut client = H2Client::connect(daemon.https(), &[]);
    let burst: Vec<u8> = (0..100)
        .flat_map(|count| [get(2 * count + 1, "/never"), reset(2 * count + 1)].concat())
        .collect();
    client.send(&burst);
    assert_eq!(client.end(), H2End::Connection(ENHANCE_YOUR_CALM));
    abuse(&daemon, "client_resets", 1.0);

    // MadeYouReset: each of these makes us reset the stream.
    let errors: [&dyn Fn(u32) -> Vec<u8>; 5] = [
        // The window overflows.
        &|id| window_update(id, 0x7fff_ffff),
        // Half closed.
        &|id| frame(DATA, 0, id, b"x"),
        &|id| frame(HEADERS, END_STREAM | END_HEADERS, id, &block(&[("a", "b")])),
        // Depends on itself.
        &|id| frame(PRIORITY, 0, id, &[&id.to_be_bytes()[..], &[0]].concat()),
        // Malformed.
        &|id| {
            let block = request_block("GET", "/", &[("connection", "close")]);
            frame(HEADERS, END_STREAM | END_HEADERS, id + 2, &block)
        },
    ];
    for (number, error) in errors.iter().enumerate() {
        let mut client = H2Client::connect(daemon.https(), &[]);
        let burst: Vec<u8> = (0..100)
            .flat_map(|count| {
                let id = 4 * count + 1;
                [get(id, "/never"), error(id)].concat()
            })
            .collect();
        client.send(&burst);
        let goaway = client.find(|frame| frame.kind == GOAWAY).unwrap();
        // h2 itself ends the connection for frames on a stream that is half closed.
        assert!(
            matches!(goaway.code(4), 1 | 5 | ENHANCE_YOUR_CALM),
            "{number}: {goaway:?}"
        );
    }
    abuse(&daemon, "server_resets", 2.0);
    // A PRIORITY frame is one without a message, too.
    abuse(&daemon, "control_frames", 1.0);
    daemon.curl("--http2", "/").run().success();
}

#[test]
fn resets_within_the_budget_are_fine() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()).more(FEW));
    let mut client = H2Client::connect(daemon.https(), &[]);
    for count in 0..20 {
        client.send(&get(2 * count + 1, "/never"));
        client.send(&reset(2 * count + 1));
    }
    client.send(&get(99, "/"));
    assert_eq!(client.end(), H2End::Answer(200));
    abuse(&daemon, "client_resets", 0.0);
}

#[test]
fn frames_without_a_message_are_counted() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()).more(FEW));
    let floods: [&dyn Fn(u32) -> Vec<u8>; 7] = [
        &|_| settings(&[]),
        &|_| frame(PING, 0, 0, b"12345678"),
        &|count| frame(PRIORITY, 0, 2 * count + 1, &[0, 0, 0, 0, 1]),
        &|_| frame(0xfa, 0, 0, b"unknown"),
        &|_| window_update(0, 1),
        &|count| match count {
            0 => post(1, "/sink"),
            _ => frame(DATA, 0, 1, b""),
        },
        &|count| match count {
            0 => post(1, "/sink"),
            _ => frame(DATA, PADDED, 1, b"\x03\0\0\0"),
        },
    ];
    for (number, piece) in floods.iter().enumerate() {
        let mut client = H2Client::connect(daemon.https(), &[]);
        // What has come whole before counts as processed.
        client.send(&[piece(0), frame(PING, 0, 0, b"is there")].concat());
        assert!(client.find(|frame| frame.kind == PING).is_some());
        let (last, code) = flood(&mut client, |count| piece(count + 1));
        assert_eq!(code, ENHANCE_YOUR_CALM, "{number}");
        assert_eq!(last, u32::from(number > 4), "{number}");
        abuse(
            &daemon,
            "control_frames",
            f64::from(u32::try_from(number).unwrap() + 1),
        );
    }
}

#[test]
fn a_header_block_without_end_is_bounded() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()).more(SHORT));
    let mut client = H2Client::connect(daemon.https(), &[]);
    client.send(&get(1, "/"));
    assert_eq!(client.end(), H2End::Answer(200));
    client.send(&frame(
        HEADERS,
        END_STREAM,
        3,
        &request_block("GET", "/", &[]),
    ));
    let piece = frame(CONTINUATION, 0, 3, &block(&[("a", "b")]));
    let (last, code) = flood(&mut client, |_| piece.clone());
    assert_eq!((last, code), (1, ENHANCE_YOUR_CALM));
    abuse(&daemon, "header_block", 1.0);

    // Nor in time, whatever else has come before.
    let mut client = H2Client::connect(daemon.https(), &[]);
    let start = Instant::now();
    client.send(&frame(
        HEADERS,
        END_STREAM,
        1,
        &request_block("GET", "/", &[]),
    ));
    let goaway = client.find(|frame| frame.kind == GOAWAY).unwrap();
    assert_eq!(goaway.code(4), ENHANCE_YOUR_CALM);
    assert!(start.elapsed() >= Duration::from_millis(690));
    abuse(&daemon, "request_header", 1.0);
}

#[test]
fn the_preface_has_a_deadline() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()).more(SHORT));
    for begin in [
        &b""[..],
        &PREFACE[..10],
        PREFACE,
        &[PREFACE, &[0; 5]].concat(),
    ] {
        let mut client = H2Client::silent(daemon.https());
        let start = Instant::now();
        client.send(begin);
        while client.next().is_some() {}
        assert!(start.elapsed() >= Duration::from_millis(690));
    }
    abuse(&daemon, "request_header", 4.0);
}

#[test]
fn frames_without_a_request_do_not_keep_a_connection() {
    let origin = Origin::start();
    let settings = Settings::new(origin.address()).more("[timeouts]\nkeep_alive = \"1s\"");
    let daemon = Daemon::run(&settings);
    let mut client = H2Client::connect(daemon.https(), &[]);
    let start = Instant::now();
    loop {
        client.send(&frame(PING, 0, 0, b"12345678"));
        let found = client.find(|frame| frame.kind == PING || frame.kind == GOAWAY);
        if found.is_none_or(|frame| frame.kind == GOAWAY) {
            break;
        }
        assert!(start.elapsed() < SOON, "kept");
        crate::support::pause(Duration::from_millis(100));
    }
    assert!(start.elapsed() >= Duration::from_millis(990));
}

#[test]
fn a_window_that_stays_shut_ends_the_connection() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()).more(SHORT));
    // A stream's, from the beginning.
    let mut client = H2Client::connect(daemon.https(), &[(INITIAL_WINDOW, 0)]);
    client.send(&get(1, "/source/100000"));
    assert!(client.find(|frame| frame.kind == GOAWAY).is_some());
    abuse(&daemon, "response_idle", 1.0);

    // The connection's, after its first 65535 octets.
    let mut client = H2Client::connect(daemon.https(), &[(INITIAL_WINDOW, 1 << 20)]);
    client.send(&get(1, "/source/1000000"));
    assert!(client.find(|frame| frame.kind == GOAWAY).is_some());
    abuse(&daemon, "response_idle", 2.0);

    // One stream, while another goes on, and although it is opened by an octet each time.
    let mut client = H2Client::connect(daemon.https(), &[(INITIAL_WINDOW, 10)]);
    client.send(&get(1, "/source/100000"));
    let mut id = 1;
    let ended = (0..400).find(|_| {
        id += 2;
        client.send(&window_update(1, 1));
        client.send(&get(id, "/"));
        crate::support::pause(Duration::from_millis(20));
        let found = client.find(|frame| {
            frame.kind == GOAWAY || frame.stream == id && frame.flags & END_STREAM != 0
        });
        found.is_none_or(|frame| frame.kind == GOAWAY)
    });
    assert!(ended.is_some(), "a dribble is taken for progress");
    abuse(&daemon, "response_idle", 3.0);
}

#[test]
fn a_client_that_takes_its_time_is_served() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()).more(SHORT));
    let mut client = H2Client::connect(daemon.https(), &[(INITIAL_WINDOW, 2000)]);
    client.send(&get(1, "/source/16000"));
    let mut got = 0;
    while got < 16000 {
        let frame = client
            .find(|frame| frame.kind == DATA || frame.kind == GOAWAY)
            .expect("the response goes on");
        assert_eq!(frame.kind, DATA, "{got} of 16000");
        got += frame.payload.len();
        crate::support::pause(Duration::from_millis(300));
        client.send(&window_update(
            1,
            u32::try_from(frame.payload.len()).unwrap(),
        ));
    }
    // An upstream that is slow is not the client's fault.
    let mut client = H2Client::connect(daemon.https(), &[]);
    client.send(&get(1, "/hold"));
    crate::support::pause(Duration::from_millis(1500));
    origin.open_gate();
    assert_eq!(client.end(), H2End::Answer(200));
}

#[test]
fn uploads_that_stand_still_leave_the_window_to_others() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()));
    let mut client = H2Client::connect(daemon.https(), &[]);
    let mut limits = client.find(|frame| frame.kind == SETTINGS).unwrap().payload;
    let window = limits
        .chunks_mut(6)
        .find(|parameter| parameter[..2] == [0, 4])
        .map(|parameter| u32::from_be_bytes(parameter[2..].try_into().unwrap()));
    let window = usize::try_from(window.unwrap()).unwrap();
    // From the acknowledgement on the server's settings hold.
    client.send(&frame(SETTINGS, ACK, 0, b""));
    assert!(client.find(|frame| frame.kind == WINDOW_UPDATE).is_some());
    // The origin reads none of these; twenty full streams are more than a usual connection window.
    for count in 0..20 {
        let id = 2 * count + 1;
        client.send(&post(id, "/stall"));
        for _ in 0..window / 16384 {
            client.send(&frame(DATA, 0, id, &[0; 16384]));
        }
    }
    client.send(&post(101, "/sink"));
    for _ in 0..window / 16384 {
        client.send(&frame(DATA, 0, 101, &[0; 16384]));
    }
    client.send(&frame(DATA, END_STREAM, 101, b""));
    let end = client.find(|frame| {
        frame.kind == GOAWAY
            || frame.stream == 101 && (frame.kind == RST_STREAM || frame.flags & END_STREAM != 0)
    });
    let end = end.expect("the upload is answered");
    assert_eq!((end.kind, end.stream), (DATA, 101));
}

#[test]
fn the_requests_of_an_abuser_are_cancelled_at_once() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()).more(FEW));
    let mut client = H2Client::connect(daemon.https(), &[]);
    for count in 0..10 {
        client.send(&get(2 * count + 1, "/never"));
    }
    wait_until(SOON, "the requests are upstream", || {
        origin.requests() == 10
    });
    flood(&mut client, |_| frame(PING, 0, 0, b"12345678"));
    daemon.wait_metric("upstream_connections_open", &[], 0.0);
}

#[test]
fn pseudo_fields_in_trailers_end_the_connection() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()));
    for trailers in [
        block(&[(":path", "/x")]),
        vec![0x84],
        [&[0x04][..], b"\x02/x"].concat(),
    ] {
        let mut client = H2Client::connect(daemon.https(), &[]);
        client.send(&post(1, "/sink"));
        client.send(&frame(DATA, 0, 1, b"x"));
        client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &trailers));
        assert_eq!(client.end(), H2End::Connection(1));
    }
    let mut client = H2Client::connect(daemon.https(), &[]);
    client.send(&post(1, "/sink"));
    let trailers = block(&[("x-sum", "1")]);
    client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &trailers));
    assert_eq!(client.end(), H2End::Answer(200));
}
