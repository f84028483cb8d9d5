//! Every deadline towards clients: kept, to the second, and not renewed by a trickle.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use crate::support::{Client, Daemon, Origin, Settings, TlsStream, pause, wait_until};

const DEADLINE: Duration = Duration::from_millis(1200);
const GRACE: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(15);

/// A daemon whose deadline `key` is [`DEADLINE`], the others at their defaults.
fn daemon(key: &str) -> Daemon {
    let table = format!("[timeouts]\n{key} = \"{}ms\"", DEADLINE.as_millis());
    Daemon::run(&Settings::new(Origin::start().address()).more(&table))
}

fn connect(daemon: &Daemon, alpn: &str) -> TlsStream {
    let client = Client::new().alpn(&[alpn]);
    let mut stream = client.connect(daemon.https()).unwrap();
    if alpn == "h2" {
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        frame(&mut stream, 4, 0, 0, b"").unwrap();
    }
    stream
}

/// Writes an HTTP/2 frame.
fn frame(
    out: &mut impl Write,
    kind: u8,
    flags: u8,
    stream: u8,
    body: &[u8],
) -> std::io::Result<()> {
    let length = u8::try_from(body.len()).unwrap();
    let head = [0, 0, length, kind, flags, 0, 0, 0, stream];
    out.write_all(&[&head, body].concat())?;
    out.flush()
}

/// The fields of `METHOD https://example.test/sink`, as HPACK literals.
fn fields(method: &str) -> Vec<u8> {
    let mut block = vec![0x87];
    for (index, value) in [(0x02, method), (0x04, "/sink"), (0x01, "example.test")] {
        block.extend([index, u8::try_from(value.len()).unwrap()]);
        block.extend(value.as_bytes());
    }
    block
}

/// Reads until the server closes, doing `now_and_then` every 100 ms: what came and how long it
/// took.
fn until_closed(
    stream: &mut TlsStream,
    mut now_and_then: impl FnMut(&mut TlsStream) -> std::io::Result<()>,
) -> (Vec<u8>, Duration) {
    let start = Instant::now();
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    let pace = Duration::from_millis(100);
    stream.sock.set_read_timeout(Some(pace)).unwrap();
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => all.extend(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // When the server has closed by now, the next read says so.
                let _ = now_and_then(stream);
            }
            Err(_) => break,
        }
        assert!(start.elapsed() < SOON, "never closed");
    }
    (all, start.elapsed())
}

/// A client of HTTP/2 has a second to acknowledge GOAWAY, and these do not.
const fn grace(alpn: &str) -> Duration {
    match alpn.as_bytes() {
        b"h2" => Duration::from_secs(2),
        _ => GRACE,
    }
}

#[track_caller]
fn assert_in_time(took: Duration, what: &str) {
    assert!(
        took >= DEADLINE - Duration::from_millis(100),
        "{what}: {took:?}"
    );
    assert!(took < DEADLINE + GRACE, "{what}: {took:?}");
}

fn nothing(_: &mut TlsStream) -> std::io::Result<()> {
    Ok(())
}

#[test]
fn request_header_is_one_deadline_for_a_head() {
    let daemon = daemon("request_header");
    for slow in [false, true] {
        let mut stream = connect(&daemon, "http/1.1");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: exam").unwrap();
        let (answer, took) = until_closed(&mut stream, |stream| {
            let more: &[u8] = if slow { b"x" } else { b"" };
            stream.write_all(more)
        });
        assert_in_time(took, "a head");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}

#[test]
fn request_body_idle_cuts_bodies_that_stop_or_trickle() {
    let daemon = daemon("request_body_idle");
    for slow in [false, true] {
        let more: &[u8] = if slow { b"x" } else { b"" };
        let mut stream = connect(&daemon, "http/1.1");
        write!(
            stream,
            "POST /sink HTTP/1.1\r\nHost: example.test\r\nContent-Length: 5000\r\n\r\n"
        )
        .unwrap();
        let (answer, took) = until_closed(&mut stream, |stream| stream.write_all(more));
        assert_in_time(took, "an h1 body");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");

        let mut stream = connect(&daemon, "h2");
        frame(&mut stream, 1, 4, 1, &fields("POST")).unwrap();
        let start = Instant::now();
        stream
            .sock
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        while !has_headers(&all) {
            match stream.read(&mut buffer) {
                Ok(count) => all.extend(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    frame(&mut stream, 0, 0, 1, more).unwrap();
                }
                Err(error) => panic!("{error}"),
            }
            assert!(start.elapsed() < SOON, "never answered");
        }
        assert_in_time(start.elapsed(), "an h2 body");
        let labels = [("code", "4xx"), ("protocol", "h2")];
        daemon.wait_metric("http_requests_total", &labels, if slow { 2.0 } else { 1.0 });
    }
}

/// Whether a HEADERS frame is there.
fn has_headers(mut bytes: &[u8]) -> bool {
    while let [_, high, low, kind, rest @ ..] = bytes {
        if *kind == 1 {
            return true;
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        bytes = rest.get(5 + length..).unwrap_or_default();
    }
    false
}

#[test]
fn response_idle_cuts_clients_that_take_nothing() {
    let daemon = daemon("response_idle");
    let mut stream = connect(&daemon, "http/1.1");
    write!(
        stream,
        "GET /source/50000000 HTTP/1.1\r\nHost: example.test\r\n\r\n"
    )
    .unwrap();
    stream.flush().unwrap();
    let opened = || daemon.metric("connections_open", &[("listener", "https")]);
    wait_until(SOON, "it is open", || opened() == 1.0);
    let start = Instant::now();
    wait_until(SOON, "it is cut", || opened() == 0.0);
    assert_in_time(start.elapsed(), "a response");
}

#[test]
fn keep_alive_ends_idle_connections() {
    let daemon = daemon("keep_alive");
    for alpn in ["http/1.1", "h2"] {
        for asks in [false, true] {
            let mut stream = connect(&daemon, alpn);
            if asks && alpn == "h2" {
                frame(&mut stream, 1, 5, 1, &fields("GET")).unwrap();
            } else if asks {
                write!(stream, "GET / HTTP/1.1\r\nHost: example.test\r\n\r\n").unwrap();
            }
            let (_, took) = until_closed(&mut stream, nothing);
            assert!(
                took >= DEADLINE - Duration::from_millis(100),
                "{alpn}: {took:?}"
            );
            assert!(took < DEADLINE + grace(alpn), "{alpn}: {took:?}");
        }
    }
    // Frames that ask nothing do not count, nor do records without application data.
    let mut stream = connect(&daemon, "h2");
    let ping = |stream: &mut TlsStream| frame(stream, 6, 0, 0, b"handfast");
    let (_, took) = until_closed(&mut stream, ping);
    assert!(took < DEADLINE + grace("h2"), "pings: {took:?}");
    let mut stream = connect(&daemon, "http/1.1");
    let refresh = |stream: &mut TlsStream| {
        stream.conn.refresh_traffic_keys().unwrap();
        stream.flush()
    };
    let (_, took) = until_closed(&mut stream, refresh);
    assert_in_time(took, "key updates");
}

#[test]
fn connection_max_age_ends_busy_connections() {
    let daemon = daemon("connection_max_age");
    let mut stream = connect(&daemon, "http/1.1");
    let ask = |stream: &mut TlsStream| {
        write!(stream, "GET / HTTP/1.1\r\nHost: example.test\r\n\r\n")?;
        stream.flush()
    };
    let (answers, took) = until_closed(&mut stream, ask);
    // Up to a tenth earlier, so that connections made together do not end together.
    assert!(took >= DEADLINE * 8 / 10, "{took:?}");
    assert!(took < DEADLINE + GRACE, "{took:?}");
    let answers = String::from_utf8_lossy(&answers);
    assert!(answers.matches("HTTP/1.1 200 ").count() > 1, "{answers}");

    let mut stream = connect(&daemon, "h2");
    let mut next = 1;
    let (_, took) = until_closed(&mut stream, |stream| {
        next += 2;
        frame(stream, 1, 5, next, &fields("GET"))
    });
    assert!(took >= DEADLINE * 8 / 10, "{took:?}");
    assert!(took < DEADLINE + grace("h2"), "{took:?}");
}

#[test]
fn a_flood_of_key_updates_takes_no_memory() {
    let daemon = Daemon::run_alone(&Settings::new(Origin::start().address()));
    Client::new().get_raw(daemon.https(), "/").unwrap();
    let (before, _) = daemon.resident();
    let mut stream = Client::of_version("1.3").connect(daemon.https()).unwrap();
    for _ in 0..20_000 {
        if stream.conn.refresh_traffic_keys().is_err() || stream.flush().is_err() {
            break;
        }
        // The answers, where there are any: they are not read, the server must not mind.
    }
    pause(Duration::from_millis(100));
    let (_, peak) = daemon.resident();
    let grown = peak.saturating_sub(before);
    assert!(grown < 4 << 20, "grew by {grown} bytes");
    Client::new().get_raw(daemon.https(), "/").unwrap();
}
