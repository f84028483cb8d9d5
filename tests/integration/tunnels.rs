//! Requests that become tunnels: upgrades over HTTP/1.1, WebSocket over HTTP/2.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    Client, Daemon, Head, Settings, TlsStream, pause, read_head, read_response, refusing_address,
    wait_for,
};

const LIMIT: Duration = Duration::from_secs(20);
/// The last word of an upstream: all of it is on this side when the client writes.
const LAST: usize = 48 * 1024;
const ASK: &str = "GET /chat HTTP/1.1\r\nHost: example.test\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket, h2c\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// An upstream that answers each connection's first head as `script` does.
fn upstream(script: fn(BufReader<TcpStream>, &Head)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                if let Ok(Some(head)) = read_head(&mut reader) {
                    script(reader, &head);
                }
            });
        }
    });
    address
}

/// Switches, says `first`, and sends back what comes until its end; then `last`.
fn echo(mut stream: BufReader<TcpStream>, head: &Head) {
    if head.start.starts_with("GET /plain ") {
        let asked = head.all("upgrade").len() + head.all("connection").len();
        let text =
            format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n{asked}");
        stream.get_mut().write_all(text.as_bytes()).unwrap();
        return;
    }
    assert_eq!(head.one("connection"), Some("upgrade"));
    assert_eq!(head.one("upgrade"), Some("websocket"));
    assert_eq!(head.one("sec-websocket-version"), Some("13"));
    let key = head.one("sec-websocket-key").unwrap();
    let accept = accept(key);
    let switch = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\nX-Kept: 1\r\n\r\nfirst"
    );
    stream.get_mut().write_all(switch.as_bytes()).unwrap();
    if head.start.starts_with("GET /last ") {
        // Says its last, and closes while the client goes on.
        stream.get_mut().write_all(&vec![b'y'; LAST]).unwrap();
        stream.get_mut().shutdown(Shutdown::Write).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        return;
    }
    if head.start.starts_with("GET /deaf ") {
        // Silent and open for longer than the test.
        pause(Duration::from_secs(60));
        return;
    }
    let mut buffer = [0; 16 * 1024];
    while let Ok(count) = stream.read(&mut buffer) {
        if count == 0 {
            break;
        }
        if buffer[..count].starts_with(b"reset") {
            let linger = socket2::SockRef::from(stream.get_ref());
            linger.set_linger(Some(Duration::ZERO)).unwrap();
            return;
        }
        if stream.get_mut().write_all(&buffer[..count]).is_err() {
            return;
        }
    }
    // The client may be gone.
    let _ = stream.get_mut().write_all(b"last");
}

/// RFC 6455 section 4.2.2, with the system's tools.
fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let script = format!("printf %s '{text}' | openssl dgst -sha1 -binary | openssl base64");
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A tunnel over HTTP/1.1, after its head and `first`.
fn tunnel(daemon: &Daemon, early: &str) -> BufReader<TlsStream> {
    let mut stream = Client::new().connect(daemon.https()).unwrap();
    write!(stream, "{ASK}{early}").unwrap();
    let mut reader = BufReader::new(stream);
    let head = read_head(&mut reader).unwrap().unwrap();
    assert_eq!(head.status(), 101);
    assert_eq!(head.one("connection"), Some("upgrade"));
    assert_eq!(head.one("upgrade"), Some("WebSocket"));
    assert_eq!(head.one("x-kept"), Some("1"));
    assert_eq!(head.one("content-length"), None);
    expect(&mut reader, b"first");
    reader
}

#[track_caller]
fn expect(stream: &mut impl Read, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, bytes);
}

/// The access log's line of the tunnel, whose answer was `status`.
fn logged(daemon: &Daemon, status: u16) -> Value {
    wait_for(LIMIT, "the tunnel's line", || {
        daemon.log().records().into_iter().find(|record| {
            record["event"] == "http.request"
                && record["path"] == "/chat"
                && record["status"] == status
        })
    })
}

#[test]
fn an_upgrade_passes_bytes_both_ways_and_the_end_of_each_side() {
    let daemon = Daemon::run_alone(&Settings::new(upstream(echo)));
    let mut stream = tunnel(&daemon, "GET /early HTTP/1.1\r\n\n\0");
    expect(&mut stream, b"GET /early HTTP/1.1\r\n\n\0");
    daemon.wait_metric("tunnels_open", &[("listener", "https")], 1.0);
    let data: Vec<u8> = (0..300_000_u32).flat_map(u32::to_be_bytes).collect();
    for piece in data.chunks(64 * 1024) {
        stream.get_mut().write_all(piece).unwrap();
        expect(&mut stream, piece);
    }
    stream.get_mut().conn.send_close_notify();
    stream.get_mut().flush().unwrap();
    expect(&mut stream, b"last");
    // Nothing but an orderly end follows.
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    drop(stream);
    daemon.wait_metric("tunnels_open", &[("listener", "https")], 0.0);
    let line = logged(&daemon, 101);
    assert_eq!(line["status"], 101);
    assert_eq!(line["error"], Value::Null);
    assert_eq!(line["bytes_in"], 23 + data.len());
    assert_eq!(
        line["bytes_out"],
        23 + data.len() + "first".len() + "last".len()
    );
    daemon.wait_metric("upstream_connections_open", &[("upstream", "origin")], 0.0);
}

#[test]
fn a_side_that_reads_nothing_holds_back_the_other() {
    let daemon = Daemon::run_alone(&Settings::new(upstream(echo)));
    let mut stream = tunnel(&daemon, "").into_inner();
    let limit = Some(Duration::from_millis(100));
    stream.sock.set_write_timeout(limit).unwrap();
    // Sent back, and not read: it ends up in the buffers on the way.
    let data = vec![b'x'; 64 * 1024];
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < Duration::from_secs(2) {
        sent += stream.write(&data).unwrap_or_default();
        assert!(sent < 64 * 1024 * 1024, "nothing holds it back");
    }
    // The rest would take a kernel's time that probes closed windows.
    let mut came = vec![0; 64 * 1024];
    stream.read_exact(&mut came).unwrap();
    assert!(sent > came.len() && came.iter().all(|&byte| byte == b'x'));
}

#[test]
fn a_drain_ends_tunnels_in_its_time() {
    let mut settings = Settings::new(upstream(echo));
    settings.drain_timeout = "500ms".to_owned();
    let mut daemon = Daemon::run_alone(&settings);
    let mut stream = tunnel(&daemon, "");
    daemon.signal("TERM");
    let mut rest = Vec::new();
    // Not like an end that the upstream made.
    assert!(stream.read_to_end(&mut rest).is_err());
    daemon.wait_exit(LIMIT);
    assert_eq!(logged(&daemon, 101)["protocol"], "http/1.1");
}

#[test]
fn an_upstream_that_closes_is_read_to_its_last_word() {
    let daemon = Daemon::run_alone(&Settings::new(upstream(echo)));
    let mut stream = Client::new().connect(daemon.https()).unwrap();
    write!(stream, "{}", ASK.replace("/chat", "/last")).unwrap();
    let mut reader = BufReader::new(stream);
    let head = read_head(&mut reader).unwrap().unwrap();
    assert_eq!(head.status(), 101);
    expect(&mut reader, b"first");
    // Refused by the upstream, which has closed.
    for _ in 0..20 {
        pause(Duration::from_millis(10));
        reader.get_mut().write_all(&[b'x'; 1024]).unwrap();
    }
    expect(&mut reader, &vec![b'y'; LAST]);
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn a_silent_tunnel_ends_and_says_why() {
    let settings = Settings::new(upstream(echo)).more("[timeouts]\ntunnel_idle = \"1s\"");
    let daemon = Daemon::run_alone(&settings);
    let mut stream = tunnel(&daemon, "");
    let started = Instant::now();
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    assert!(started.elapsed() > Duration::from_millis(800));
    assert_eq!(logged(&daemon, 101)["error"], "tunnel_idle");
}

#[test]
fn a_reset_upstream_never_looks_like_an_end() {
    let daemon = Daemon::run_alone(&Settings::new(upstream(echo)));
    let mut stream = tunnel(&daemon, "");
    stream.get_mut().write_all(b"reset").unwrap();
    let mut rest = Vec::new();
    assert!(stream.read_to_end(&mut rest).is_err());
    assert_eq!(logged(&daemon, 101)["error"], "upstream_closed");
}

#[test]
fn a_body_or_an_old_version_leaves_the_upgrade_out() {
    let daemon = Daemon::run_alone(&Settings::new(upstream(echo)));
    for (version, body) in [("1.1", "Content-Length: 5\r\n\r\nhello"), ("1.0", "\r\n")] {
        let mut stream = Client::new().connect(daemon.https()).unwrap();
        write!(
            stream,
            "GET /plain HTTP/{version}\r\nHost: example.test\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\n{body}"
        )
        .unwrap();
        let response = read_response(&mut BufReader::new(stream)).unwrap();
        assert_eq!(response.head.status(), 200);
        assert_eq!(response.text(), "0", "{version}");
    }
}

#[test]
fn tunnels_take_no_place_and_outlive_the_start_of_a_drain() {
    let settings =
        Settings::new(upstream(echo)).more("[upstreams.origin.pool]\nmax_connections = 1");
    let mut daemon = Daemon::run_alone(&settings);
    let mut stream = tunnel(&daemon, "");
    let mut other = tunnel(&daemon, "");
    other.get_mut().conn.send_close_notify();
    other.get_mut().flush().unwrap();
    expect(&mut other, b"last");
    daemon.signal("TERM");
    // The listener is closed once the drain has begun.
    wait_for(LIMIT, "the end of accepting", || {
        TcpStream::connect(daemon.https()).is_err().then_some(())
    });
    stream.get_mut().write_all(b"still").unwrap();
    expect(&mut stream, b"still");
    stream.get_mut().conn.send_close_notify();
    stream.get_mut().flush().unwrap();
    expect(&mut stream, b"last");
    drop(stream);
    assert!(daemon.wait_exit(LIMIT).success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_over_http2_is_an_upgrade_upstream() {
    let daemon = Daemon::run_alone(&Settings::new(upstream(echo)));
    let mut sender = Client::new().http2(daemon.https()).await;
    // The settings that allow an extended CONNECT are there with the first answer.
    let plain = Request::get("https://example.test/plain").body(Empty::<Bytes>::new());
    sender.send_request(plain.unwrap()).await.unwrap();
    let ask = |path: &str, protocol: &'static str| {
        Request::connect(format!("https://example.test{path}"))
            .extension(Protocol::from_static(protocol))
            .header("sec-websocket-version", "13")
            .body(Empty::<Bytes>::new())
            .unwrap()
    };
    // An answer that is none to the handshake is never a tunnel.
    let response = sender
        .send_request(ask("/plain", "websocket"))
        .await
        .unwrap();
    assert_eq!(response.status(), 502);
    let response = sender.send_request(ask("/chat", "other")).await.unwrap();
    assert_eq!(response.status(), 501);

    let response = sender
        .send_request(ask("/chat", "websocket"))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-kept"], "1");
    for hop in ["connection", "upgrade", "sec-websocket-accept"] {
        assert!(!response.headers().contains_key(hop), "{hop}");
    }
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut first = [0; 5];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"first");
    daemon.wait_metric("tunnels_open", &[("listener", "https")], 1.0);
    let data: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut came = vec![0; data.len()];
    let (wrote, read) = tokio::join!(writer.write_all(&data), reader.read_exact(&mut came));
    wrote.unwrap();
    read.unwrap();
    assert!(came == data);
    // The end of our side is passed on; what the upstream says after it comes.
    let (_, last) = tokio::join!(
        tokio::time::timeout(Duration::from_millis(1), writer.shutdown()),
        async {
            let mut last = Vec::new();
            reader.read_to_end(&mut last).await.map(|_| last)
        }
    );
    assert_eq!(last.unwrap(), b"last");
    daemon.wait_metric("tunnels_open", &[("listener", "https")], 0.0);
    assert_eq!(logged(&daemon, 501)["method"], "CONNECT");
    let line = logged(&daemon, 200);
    assert_eq!(line["method"], "CONNECT");
    assert_eq!(line["error"], Value::Null);
    assert_eq!(line["bytes_in"], data.len());
    assert_eq!(line["bytes_out"], data.len() + b"firstlast".len());
}

/// Over HTTP/2 any 2xx opens a tunnel, so nothing but a tunnel is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_our_own_are_no_tunnels() {
    let route = "[[routes]]\npath = \"/fixed\"\nrespond = { status = 200 }\n";
    let (_socket, refusing) = refusing_address();
    let daemon = Daemon::run_alone(&Settings::new(refusing).more(route));
    let mut sender = Client::new().http2(daemon.https()).await;
    let plain = Request::get("https://example.test/fixed").body(Empty::<Bytes>::new());
    let response = sender.send_request(plain.unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    for (path, content, status) in [
        ("/fixed", "text/plain", 501),
        ("/chat", "application/grpc", 502),
    ] {
        let ask = Request::connect(format!("https://example.test{path}"))
            .extension(Protocol::from_static("websocket"))
            .header("content-type", content)
            .body(Empty::<Bytes>::new());
        let response = sender.send_request(ask.unwrap()).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_stream_closes_the_tunnel_upstream() {
    let daemon = Daemon::run_alone(&Settings::new(upstream(echo)));
    let mut sender = Client::new().http2(daemon.https()).await;
    let plain = Request::get("https://example.test/plain").body(Empty::<Bytes>::new());
    sender.send_request(plain.unwrap()).await.unwrap();
    let ask = Request::connect("https://example.test/deaf")
        .extension(Protocol::from_static("websocket"))
        .body(Empty::<Bytes>::new());
    let response = sender.send_request(ask.unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    daemon.wait_metric("tunnels_open", &[("listener", "https")], 1.0);
    // The upstream does not close when the client has.
    drop(response);
    daemon.wait_metric("tunnels_open", &[("listener", "https")], 0.0);
    daemon.wait_metric("upstream_connections_open", &[("upstream", "origin")], 0.0);
}
