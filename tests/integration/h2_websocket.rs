//! WebSocket over HTTP/2 on both sides: an extended CONNECT here and there (RFC 8441).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::ext::Protocol;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::support::{Client, Daemon, Settings, tls_acceptor, wait_for, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

type Stream = TokioIo<Upgraded>;
type Sender = SendRequest<Empty<Bytes>>;

/// An upstream of HTTP/2.
#[derive(Clone)]
struct Upstream {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Tunnels that the other side has ended.
    ended: Arc<AtomicUsize>,
}

/// Whether its SETTINGS allow an extended CONNECT.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allows {
    Connect,
    Nothing,
}

impl Upstream {
    async fn start(tls: bool, allows: Allows) -> Self {
        let tls = tls.then(|| tls_acceptor(&["h2"]));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            ended: Arc::default(),
        };
        let shared = upstream.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (own, tls) = (shared.clone(), tls.clone());
                let service = service_fn(move |request| {
                    let own = own.clone();
                    async move { Ok::<_, Infallible>(own.answer(request)) }
                });
                tokio::spawn(async move {
                    let mut builder = http2::Builder::new(TokioExecutor::new());
                    if allows == Allows::Connect {
                        builder.enable_connect_protocol();
                    }
                    // However it ends.
                    let _ = match tls {
                        None => builder.serve_connection(TokioIo::new(tcp), service).await,
                        Some(tls) => {
                            let stream = TokioIo::new(tls.accept(tcp).await.unwrap());
                            builder.serve_connection(stream, service).await
                        }
                    };
                });
            }
        });
        upstream
    }

    fn answer(&self, mut request: Request<Incoming>) -> Response<Empty<Bytes>> {
        let answer = |status: u16| {
            let response = Response::builder().status(status);
            response.body(Empty::new()).unwrap()
        };
        if request.method() != Method::CONNECT {
            return answer(200);
        }
        let uri = request.uri().clone();
        match uri.path() {
            "/forbidden" => return answer(403),
            "/nothing" => return answer(204),
            _ => {}
        }
        let protocol = request.extensions().get::<Protocol>().unwrap();
        let field = |name: &str| {
            let value = request.headers().get(name);
            value.map_or("-", |value| value.to_str().unwrap())
        };
        let seen = format!(
            "{} {uri} {} {} {}",
            protocol.as_str(),
            field("sec-websocket-version"),
            field("sec-websocket-key"),
            field("sec-websocket-protocol")
        );
        let (ended, tunnel) = (self.ended.clone(), hyper::upgrade::on(&mut request));
        tokio::spawn(async move {
            let stream = TokioIo::new(tunnel.await.unwrap());
            match uri.path() {
                "/chat" => echo(stream).await,
                "/cut" => drop(stream),
                _ => last_word(stream).await,
            }
            ended.fetch_add(1, Ordering::SeqCst);
        });
        let mut response = answer(200);
        let headers = response.headers_mut();
        headers.insert("x-seen", seen.parse().unwrap());
        headers.insert("sec-websocket-protocol", "chat".parse().unwrap());
        response
    }
}

/// Sends back what comes, as a server of WebSocket.
async fn echo(stream: Stream) {
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        let is_data = message.is_text() || message.is_binary();
        if is_data && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Reads to the end of the other side, and says how much it was.
async fn last_word(mut stream: Stream) {
    let mut came = Vec::new();
    if stream.read_to_end(&mut came).await.is_ok() {
        let last = format!("{} bytes", came.len());
        // The client may be gone.
        let _ = stream.write_all(last.as_bytes()).await;
    }
}

fn run(upstream: &Upstream, more: &str) -> Daemon {
    let text = format!("protocol = \"http2\"\n{more}");
    Daemon::run_alone(&Settings::new(upstream.address).upstream(&text))
}

/// A client that knows the settings.
async fn client(daemon: &Daemon) -> Sender {
    let mut sender = Client::new().http2(daemon.https()).await;
    let first = Request::get("https://example.test/").body(Empty::new());
    sender.send_request(first.unwrap()).await.unwrap();
    sender
}

fn ask(path: &str) -> Request<Empty<Bytes>> {
    Request::connect(format!("https://example.test{path}"))
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat, superchat")
        .body(Empty::new())
        .unwrap()
}

async fn tunnel(sender: &mut Sender, path: &str) -> Stream {
    let response = sender.send_request(ask(path)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    let seen = format!("example.test{path} 13 - chat, superchat");
    let told = response.headers()["x-seen"].to_str().unwrap();
    let (protocol, told) = told.split_once(' ').unwrap();
    assert_eq!(protocol, "websocket");
    assert_eq!(told.split_once("://").unwrap().1, seen);
    TokioIo::new(hyper::upgrade::on(response).await.unwrap())
}

fn tunnels(daemon: &Daemon, count: f64) {
    daemon.wait_metric("tunnels_open", &[("listener", "https")], count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels_share_a_connection_upstream() {
    for (tls, more) in [(false, ""), (true, "tls = { ca = \"ca.pem\" }")] {
        let upstream = Upstream::start(tls, Allows::Connect).await;
        let daemon = run(&upstream, more);
        let mut sender = client(&daemon).await;
        let mut sockets = Vec::new();
        for _ in 0..3 {
            let stream = tunnel(&mut sender, "/chat").await;
            sockets.push(WebSocketStream::from_raw_socket(stream, Role::Client, None).await);
        }
        tunnels(&daemon, 3.0);
        for socket in &mut sockets {
            for length in [0, 1, 126, 65_536, 1_000_000] {
                let message = Message::binary(vec![0xa5; length]);
                socket.send(message.clone()).await.unwrap();
                let answer = tokio::time::timeout(LIMIT, socket.next()).await.unwrap();
                assert!(answer.unwrap().unwrap() == message, "{length}");
            }
        }
        // Others are served on the same connection meanwhile.
        let get = Request::get("https://example.test/").body(Empty::new());
        let response = sender.send_request(get.unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
        for mut socket in sockets {
            socket.close(None).await.unwrap();
            while let Some(Ok(_)) = socket.next().await {}
        }
        tunnels(&daemon, 0.0);
        wait_until(LIMIT, "the ends", || {
            upstream.ended.load(Ordering::SeqCst) == 3
        });
        let line = wait_for(LIMIT, "the tunnel's line", || {
            let mut records = daemon.log().records().into_iter();
            records.find(|record| record["path"] == "/chat")
        });
        assert_eq!(
            (&line["method"], &line["status"]),
            (&"CONNECT".into(), &200.into())
        );
        assert!(line["error"].is_null(), "{line}");
        let open = [("upstream", "origin")];
        assert!((daemon.metric("upstream_connections_open", &open) - 1.0).abs() < 0.1);
        // The streams are given back: the connection is idle, and closed.
        daemon.wait_metric("upstream_connections_open", &open, 0.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_each_side_is_passed_on() {
    let upstream = Upstream::start(false, Allows::Connect).await;
    let daemon = run(&upstream, "");
    let mut sender = client(&daemon).await;
    let stream = tunnel(&mut sender, "/last").await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    writer.write_all(&vec![1; 300_000]).await.unwrap();
    let mut last = String::new();
    // hyper's end of the stream is sent when its other half is polled.
    let (_, read) = tokio::join!(
        tokio::time::timeout(Duration::from_millis(1), writer.shutdown()),
        reader.read_to_string(&mut last)
    );
    read.unwrap();
    assert_eq!(last, "300000 bytes");
    tunnels(&daemon, 0.0);

    let mut cut = tunnel(&mut sender, "/cut").await;
    let mut rest = Vec::new();
    cut.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    drop(cut);
    tunnels(&daemon, 0.0);

    // A client that leaves without a word.
    let before = upstream.ended.load(Ordering::SeqCst);
    let left = tunnel(&mut sender, "/chat").await;
    tunnels(&daemon, 1.0);
    drop((left, sender));
    tunnels(&daemon, 0.0);
    wait_until(LIMIT, "the end upstream", || {
        upstream.ended.load(Ordering::SeqCst) == before + 1
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_servers_word_there_is_none() {
    let upstream = Upstream::start(false, Allows::Nothing).await;
    let daemon = run(&upstream, "");
    let mut sender = client(&daemon).await;
    let response = sender.send_request(ask("/chat")).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
    let labels = [("upstream", "origin")];
    assert!(daemon.metric("upstream_failures_total", &labels) < 0.1);

    let upstream = Upstream::start(false, Allows::Connect).await;
    let daemon =
        daemon.run_beside(&Settings::new(upstream.address).upstream("protocol = \"http2\""));
    let mut sender = client(&daemon).await;
    for (path, status) in [("/forbidden", 403), ("/nothing", 502)] {
        let response = sender.send_request(ask(path)).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
    }
    tunnels(&daemon, 0.0);
    // The connection is fine.
    let stream = tunnel(&mut sender, "/chat").await;
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
    drop(stream);
}
