//! Upstreams that break the rules of HTTP/2 (RFC 9113), or break off.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::support::h2_frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, settings,
};
use crate::support::{Client, Daemon, Settings, wait_until};

const LIMIT: Duration = Duration::from_secs(5);
const ACK: u8 = 1;

/// What is sent for a request on a stream.
type Script = fn(u32) -> Vec<u8>;
/// How a connection begins.
type Begin = fn(&mut TcpStream) -> io::Result<()>;

/// What the client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// 502 with this reason.
    Refused(&'static str),
    /// 200, and a body that does not end well.
    Aborted,
    /// A whole response with this body.
    Whole(&'static str),
    /// Nothing for too long.
    Nothing,
}

const BAD: Seen = Seen::Refused("upstream_bad_response");
const LATE: Seen = Seen::Refused("504 Gateway Timeout\nupstream_connect_timeout");
const CLOSED: Seen = Seen::Refused("upstream_closed");

/// An upstream that answers `ok`, or once with a script.
#[derive(Clone)]
struct Raw {
    address: SocketAddr,
    script: Arc<Mutex<Option<Script>>>,
    connections: Arc<AtomicUsize>,
}

impl Raw {
    fn start(begin: Begin) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let raw = Self {
            address: listener.local_addr().unwrap(),
            script: Arc::default(),
            connections: Arc::default(),
        };
        let shared = raw.clone();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let raw = shared.clone();
                // Its peer breaking off is part of the script.
                std::thread::spawn(move || begin(&mut stream).and_then(|()| raw.serve(stream)));
            }
        });
        raw
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let (kind, number) = read_frame(&mut stream)?;
            if kind != HEADERS {
                continue;
            }
            let script = self.script.lock().unwrap().take();
            match script {
                None => stream.write_all(&answer(number))?,
                Some(script) => {
                    let bytes = script(number);
                    stream.write_all(&bytes)?;
                    if bytes.is_empty() {
                        return stream.shutdown(Shutdown::Both);
                    }
                }
            }
        }
    }
}

/// Reads the preface and answers it.
fn agree(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.read_exact(&mut vec![0; PREFACE.len()])?;
    stream.write_all(&settings(&[]))
}

/// Type and stream of the next frame.
fn read_frame(stream: &mut TcpStream) -> io::Result<(u8, u32)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    io::copy(&mut stream.take(length.into()), &mut io::sink())?;
    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Ok((head[3], number))
}

fn head(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(fields))
}

fn ok(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    head(stream, 0, &[&[(":status", "200")], more].concat())
}

/// A whole response.
fn only(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    head(stream, END_STREAM, &[&[(":status", "200")], more].concat())
}

fn data(stream: u32, flags: u8, text: &str) -> Vec<u8> {
    frame(DATA, flags, stream, text.as_bytes())
}

fn answer(stream: u32) -> Vec<u8> {
    [ok(stream, &[]), data(stream, END_STREAM, "ok")].concat()
}

fn rst(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

fn goaway(last: u32, code: u32) -> Vec<u8> {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

/// A head in frames of 16 KiB, with `count` fields of 132 octets as HTTP/2 counts them.
fn large(stream: u32, count: usize, last: u8) -> Vec<u8> {
    let value = "v".repeat(95);
    let mut fields = block(&[(":status", "200")]);
    fields.extend(block(&[("x-big", &value)]).repeat(count));
    let mut pieces = fields.chunks(16 * 1024).peekable();
    let mut bytes = frame(HEADERS, 0, stream, pieces.next().unwrap());
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { last } else { 0 };
        bytes.extend(frame(CONTINUATION, flags, stream, piece));
    }
    bytes
}

#[rustfmt::skip]
const ANSWERS: &[(&str, Script, Seen)] = &[
    // RFC 9113 section 8.1 and 8.3: the head.
    ("no status", |s| head(s, END_STREAM, &[("x", "1")]), BAD),
    ("a status that is none", |s| head(s, END_STREAM, &[(":status", "2xx")]), BAD),
    ("two statuses", |s| head(s, END_STREAM, &[(":status", "200"), (":status", "200")]), BAD),
    ("a pseudo-field after others", |s| head(s, END_STREAM, &[("x", "1"), (":status", "200")]), BAD),
    ("an unknown pseudo-field", |s| only(s, &[(":other", "1")]), BAD),
    ("a name in upper case", |s| only(s, &[("X-Upper", "1")]), BAD),
    ("a name with a space", |s| only(s, &[("x y", "1")]), BAD),
    ("an empty name", |s| only(s, &[("", "1")]), BAD),
    ("a value with a line", |s| only(s, &[("x", "1\r\nset-cookie: a=b")]), BAD),
    ("a value with NUL", |s| only(s, &[("x", "1\0")]), BAD),
    ("connection", |s| only(s, &[("connection", "close")]), BAD),
    ("transfer-encoding", |s| only(s, &[("transfer-encoding", "chunked")]), BAD),
    ("switching protocols", |s| head(s, END_STREAM, &[(":status", "101"), ("upgrade", "a")]), BAD),
    ("an interim response that ends", |s| head(s, END_STREAM, &[(":status", "103")]), BAD),
    ("a length that is none", |s| only(s, &[("content-length", "1x")]), BAD),
    ("two lengths", |s| only(s, &[("content-length", "2"), ("content-length", "3")]), BAD),
    ("a length and no body", |s| head(s, END_STREAM, &[(":status", "200"), ("content-length", "2")]), BAD),
    ("data before the head", |s| data(s, END_STREAM, "ok"), BAD),
    ("interim responses are dropped", |s| [head(s, 0, &[(":status", "103")]), answer(s)].concat(), Seen::Whole("ok")),
    // Section 8.1.1: the body.
    ("less than its length", |s| [ok(s, &[("content-length", "3")]), data(s, END_STREAM, "ok")].concat(), Seen::Aborted),
    ("more than its length", |s| [ok(s, &[("content-length", "1")]), data(s, END_STREAM, "ok")].concat(), Seen::Aborted),
    ("trailers that do not end it", |s| [ok(s, &[]), head(s, 0, &[("x", "1")])].concat(), Seen::Aborted),
    ("trailers with connection", |s| [ok(s, &[]), data(s, 0, "ok"), head(s, END_STREAM, &[("connection", "x")])].concat(), Seen::Aborted),
    // Sections 5.4 and 6.4: streams and connections that end early.
    ("a reset before the head", |s| rst(s, 2), CLOSED),
    ("a cancel before the head", |s| rst(s, 8), CLOSED),
    ("a reset in the body", |s| [ok(s, &[]), data(s, 0, "part"), rst(s, 2)].concat(), Seen::Aborted),
    ("a cancel in the body", |s| [ok(s, &[]), data(s, 0, "part"), rst(s, 8)].concat(), Seen::Aborted),
    ("a friendly reset in the body", |s| [ok(s, &[]), data(s, 0, "part"), rst(s, 0)].concat(), Seen::Aborted),
    ("a refusal is sent again", |s| rst(s, 7), Seen::Whole("ok")),
    ("what is past the last stream is sent again", |_| goaway(0, 0), Seen::Whole("ok")),
    ("what is past the last stream of an error, too", |_| goaway(0, 11), Seen::Whole("ok")),
    ("what is open when the server goes away", |s| [goaway(s, 0), answer(s)].concat(), Seen::Whole("ok")),
    ("an end of the connection, sent again as a GET", |_| Vec::new(), Seen::Whole("ok")),
    // Sections 4, 5.1 and 6: frames.
    ("unknown frames are dropped", |s| [frame(0x42, 0xff, s, b"what"), answer(s)].concat(), Seen::Whole("ok")),
    ("a frame that is too large", |s| frame(DATA, 0, s, &[0; 16 * 1024 + 1]), BAD),
    ("padding longer than its frame", |s| [ok(s, &[]), frame(DATA, PADDED, s, b"\x09ok")].concat(), Seen::Aborted),
    ("a push", |s| frame(PUSH_PROMISE, END_HEADERS, s, &[0, 0, 0, 2, 0x82]), BAD),
    ("a stream that nobody opened", |s| ok(s + 2, &[]), BAD),
    ("a stream of the server's", |_| ok(2, &[]), BAD),
    ("a continuation of nothing", |s| frame(CONTINUATION, END_HEADERS, s, b""), BAD),
    ("a head that is interrupted", |s| [frame(HEADERS, 0, s, &block(&[(":status", "200")])), frame(PING, 0, 0, &[0; 8])].concat(), BAD),
    ("a ping of a wrong length", |_| frame(PING, 0, 0, &[0; 7]), BAD),
    ("settings of a wrong length", |_| frame(SETTINGS, 0, 0, &[0; 5]), BAD),
    ("an acknowledgement with settings", |_| frame(SETTINGS, ACK, 0, &[0; 6]), BAD),
    ("a frame size below the least", |_| settings(&[(5, 1)]), BAD),
    ("a reset of a wrong length", |s| frame(RST_STREAM, 0, s, &[0; 3]), BAD),
    ("a window update of nothing", |s| frame(WINDOW_UPDATE, 0, s, &[0; 4]), BAD),
    ("a connection's window that overflows", |_| frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), BAD),
    // RFC 7541.
    ("an index that is not there", |s| frame(HEADERS, END_HEADERS, s, &[0xff, 0x80, 0x01]), BAD),
    ("a block that is cut", |s| frame(HEADERS, END_HEADERS, s, &[0x00, 0x05, b'x']), BAD),
    // What the library lets pass: nothing of it reaches clients.
    ("a pseudo-field of requests", |s| [ok(s, &[(":path", "/")]), data(s, END_STREAM, "ok")].concat(), Seen::Whole("ok")),
    ("trailers with a pseudo-field", |s| [ok(s, &[]), data(s, 0, "ok"), head(s, END_STREAM, &[(":status", "500")])].concat(), Seen::Whole("ok")),
    ("push in settings", |s| [settings(&[(2, 1)]), answer(s)].concat(), Seen::Whole("ok")),
    ("a window that overflows after the request", |s| [frame(WINDOW_UPDATE, 0, s, &[0x7f, 0xff, 0xff, 0xff]), answer(s)].concat(), Seen::Whole("ok")),
    // Limits.
    ("a head below the limit", |s| [large(s, 400, END_HEADERS), data(s, END_STREAM, "ok")].concat(), Seen::Whole("ok")),
    ("a head above the limit", |s| large(s, 1000, END_HEADERS), BAD),
    ("a head without an end", |s| large(s, 20_000, 0), BAD),
    ("more than the window", |s| [ok(s, &[]), frame(DATA, 0, s, &[0; 16 * 1024]).repeat(64)].concat(), Seen::Aborted),
];

async fn client(daemon: &Daemon) -> SendRequest<Empty<Bytes>> {
    let (connector, name) = Client::new().alpn(&["h2"]).connector();
    let tcp = tokio::net::TcpStream::connect(daemon.https())
        .await
        .unwrap();
    let stream = connector.connect(name, tcp).await.unwrap();
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(64 * 1024)
        .max_header_list_size(128 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

async fn ask(client: &mut SendRequest<Empty<Bytes>>) -> Seen {
    let request = Request::get("https://example.test/").body(Empty::new());
    let response = client.send_request(request.unwrap());
    // What fails at once may fail before its head is written.
    let response = match tokio::time::timeout(LIMIT, response).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => return Seen::Aborted,
        Err(_) => return Seen::Nothing,
    };
    let status = response.status();
    let body = tokio::time::timeout(LIMIT, response.into_body().collect());
    let body = match body.await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            assert_eq!(status, 200);
            return Seen::Aborted;
        }
        Err(_) => return Seen::Nothing,
    };
    let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    if status == 200 {
        return Seen::Whole(text.leak());
    }
    let reason = text.strip_prefix("502 Bad Gateway\n").unwrap_or(&text);
    Seen::Refused(reason.trim_end().to_owned().leak())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_break_the_rules_are_502_or_aborted() {
    let origin = Raw::start(agree);
    let settings = Settings::new(origin.address).upstream("protocol = \"http2\"");
    let daemon = Daemon::run_alone(&settings);
    let mut client = client(&daemon).await;
    let mut wrong = Vec::new();
    for (name, script, expected) in ANSWERS {
        // A kept connection, or a new one after a fault of the last.
        assert_eq!(ask(&mut client).await, Seen::Whole("ok"), "before {name}");
        *origin.script.lock().unwrap() = Some(*script);
        let seen = ask(&mut client).await;
        if seen != *expected {
            wrong.push((name, seen, expected));
            client = self::client(&daemon).await;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Nothing is left behind.
    daemon.wait_metric("upstream_connections_open", &[("upstream", "origin")], 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_do_not_begin_are_refused() {
    let beginnings: [(Begin, Seen); 4] = [
        (|stream| stream.shutdown(Shutdown::Both), CLOSED),
        (
            |stream| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            BAD,
        ),
        // RFC 9113 section 3.4: settings come first.
        (|stream| stream.write_all(&frame(PING, 0, 0, &[0; 8])), LATE),
        (|_| Ok(()), LATE),
    ];
    for (begin, expected) in beginnings {
        let origin = Raw::start(begin);
        let mut settings = Settings::new(origin.address).upstream("protocol = \"http2\"");
        settings.upstream_timeouts = "connect = \"1s\"".to_owned();
        let daemon = Daemon::run_alone(&settings);
        assert_eq!(ask(&mut client(&daemon).await).await, expected);
        assert_eq!(origin.connections.load(Ordering::SeqCst), 1);
        daemon.wait_metric("upstream_connections_open", &[("upstream", "origin")], 0.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_answers_nothing_is_not_used_again() {
    let origin = Raw::start(agree);
    let mut settings = Settings::new(origin.address).upstream("protocol = \"http2\"");
    settings.upstream_timeouts = "first_byte = \"1s\"".to_owned();
    let daemon = Daemon::run_alone(&settings);
    let mut client = client(&daemon).await;
    assert_eq!(ask(&mut client).await, Seen::Whole("ok"));
    *origin.script.lock().unwrap() = Some(|_| frame(PING, ACK, 0, &[0; 8]));
    let late = Seen::Refused("504 Gateway Timeout\nupstream_first_byte_timeout");
    assert_eq!(ask(&mut client).await, late);
    assert_eq!(ask(&mut client).await, Seen::Whole("ok"));
    wait_until(LIMIT, "a second connection", || {
        origin.connections.load(Ordering::SeqCst) == 2
    });
}
