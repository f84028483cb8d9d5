//! HTTP/2 to upstreams, and gRPC over it.

use std::io::{BufReader, Read, Write};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::{HeaderMap, Request, Response};
use tokio::net::TcpListener;

use crate::support::{Client, Daemon, H2Origin, Settings, read_head, refusing_address, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

type Body = BoxBody<Bytes, std::convert::Infallible>;

fn daemon(origin: std::net::SocketAddr, upstream: &str) -> Daemon {
    Daemon::run_alone(&Settings::new(origin).upstream(upstream))
}

async fn client(daemon: &Daemon) -> SendRequest<Body> {
    Client::new().http2(daemon.https()).await
}

fn get(path: &str) -> Request<Body> {
    Request::get(format!("https://example.test{path}"))
        .body(Empty::new().boxed())
        .unwrap()
}

/// A call of gRPC, whose messages are sent later.
fn call(path: &str) -> (Sender<Bytes>, Request<Body>) {
    let (sender, body) = Channel::new(4);
    let request = Request::post(format!("https://example.test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "10S")
        .body(body.map_err(|never| match never {}).boxed())
        .unwrap();
    (sender, request)
}

async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// The next piece of a body.
async fn piece(response: &mut Response<Incoming>) -> Bytes {
    let frame = tokio::time::timeout(LIMIT, response.body_mut().frame());
    frame.await.unwrap().unwrap().unwrap().into_data().unwrap()
}

async fn trailers(response: &mut Response<Incoming>) -> HeaderMap {
    let frame = tokio::time::timeout(LIMIT, response.body_mut().frame());
    let frame = frame.await.unwrap().unwrap().unwrap();
    frame.into_trailers().unwrap()
}

fn held(origin: &H2Origin, count: usize) {
    wait_until(LIMIT, "requests at the upstream", || origin.held() == count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_share_connections_up_to_the_servers_limit() {
    let origin = H2Origin::plain(10).await;
    let daemon = daemon(
        origin.address(),
        "protocol = \"http2\"\npool = { max_connections = 2, wait = \"300ms\" }",
    );
    let mut sender = client(&daemon).await;
    let seen = text(sender.send_request(get("/head?a")).await.unwrap()).await;
    assert_eq!(seen, "HTTP/2.0 http://example.test/head?a - - https");
    // A client of HTTP/1.1 meets the same upstream.
    let port = daemon.https().port();
    let output = daemon.curl("--http1.1 -H TE:trailers", "/head").run();
    assert_eq!(
        output.success().stdout,
        format!("HTTP/2.0 http://example.test:{port}/head - trailers https")
    );
    assert_eq!(origin.connections(), 1);
    let answers: Vec<_> = (0..20)
        .map(|_| tokio::spawn(sender.send_request(get("/hold"))))
        .collect();
    held(&origin, 20);
    assert_eq!(origin.connections(), 2);
    // All places are taken.
    let response = sender.send_request(get("/head")).await.unwrap();
    assert_eq!(response.status(), 503);
    let open = [("upstream", "origin")];
    assert!((daemon.metric("upstream_connections_open", &open) - 2.0).abs() < 0.1);
    origin.open_gate();
    for answer in answers {
        assert_eq!(text(answer.await.unwrap().unwrap()).await, "held");
    }
    // Then the default of pool.idle_timeout.
    daemon.wait_metric("upstream_connections_open", &open, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_at_first_is_no_more_than_the_server_lets_in() {
    let origin = H2Origin::plain(10).await;
    let daemon = daemon(origin.address(), "protocol = \"http2\"");
    let mut sender = client(&daemon).await;
    let answers: Vec<_> = (0..65)
        .map(|_| tokio::spawn(sender.send_request(get("/hold"))))
        .collect();
    held(&origin, 65);
    assert_eq!(origin.connections(), 7);
    origin.open_gate();
    for answer in answers {
        assert_eq!(text(answer.await.unwrap().unwrap()).await, "held");
    }
    let retries = daemon.metric("upstream_retries_total", &[("upstream", "origin")]);
    assert!(retries < 0.1, "{retries}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_goes_away_is_replaced() {
    let origin = H2Origin::plain(100).await;
    let daemon = daemon(origin.address(), "protocol = \"http2\"");
    let mut sender = client(&daemon).await;
    let hold = tokio::spawn(sender.send_request(get("/hold")));
    held(&origin, 1);
    let going = sender.send_request(get("/goaway")).await.unwrap();
    assert_eq!(text(going).await, "going");
    for _ in 0..5 {
        let response = sender.send_request(get("/head")).await.unwrap();
        assert_eq!(response.status(), 200);
    }
    assert_eq!(origin.connections(), 2);
    // What was open goes on.
    origin.open_gate();
    assert_eq!(text(hold.await.unwrap().unwrap()).await, "held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_streams_both_ways_with_trailers() {
    for (origin, tls) in [
        (H2Origin::plain(100).await, ""),
        (H2Origin::tls(&["h2"]).await, "tls = { ca = \"ca.pem\" }"),
    ] {
        let daemon = daemon(origin.address(), &format!("protocol = \"http2\"\n{tls}"));
        let mut client = client(&daemon).await;
        let (mut sender, request) = call("/echo");
        let mut response = client.send_request(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/grpc");
        for message in ["one", "two", "three"] {
            sender.send_data(Bytes::from(message)).await.unwrap();
            // Nothing of it waits for more.
            assert_eq!(piece(&mut response).await, message);
        }
        let mut last = HeaderMap::new();
        last.insert("x-sum", "6".parse().unwrap());
        sender.send_trailers(last).await.unwrap();
        let trailers = trailers(&mut response).await;
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(trailers["x-sum"], "6");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_statuses_of_grpc_are_kept() {
    let origin = H2Origin::plain(100).await;
    let daemon = daemon(origin.address(), "protocol = \"http2\"");
    let mut client = client(&daemon).await;
    let (_sender, request) = call("/refuse");
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "5");
    assert_eq!(response.headers()["grpc-message"], "not here");

    let (_sender, request) = call("/fail");
    let mut response = client.send_request(request).await.unwrap();
    assert_eq!(piece(&mut response).await, "one");
    let trailers = trailers(&mut response).await;
    assert_eq!(trailers["grpc-status"], "13");
    assert_eq!(trailers["grpc-message"], "broken");

    // The deadline is the server's to keep.
    let (_sender, mut request) = call("/late");
    let timeout = "20m".parse().unwrap();
    request.headers_mut().insert("grpc-timeout", timeout);
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_cancels_is_cancelled_upstream_at_once() {
    let origin = H2Origin::plain(100).await;
    let daemon = daemon(origin.address(), "protocol = \"http2\"");
    let mut client = client(&daemon).await;
    let (_sender, request) = call("/hold");
    for request in [get("/hold"), request] {
        let before = origin.cancelled();
        let answer = tokio::spawn(client.send_request(request));
        held(&origin, 1);
        answer.abort();
        wait_until(LIMIT, "the cancel", || origin.cancelled() == before + 1);
    }
    // In the middle of messages both ways.
    let before = origin.cancelled();
    let (connector, name) = Client::new().alpn(&["h2"]).connector();
    let tcp = tokio::net::TcpStream::connect(daemon.https())
        .await
        .unwrap();
    let stream = connector.connect(name, tcp).await.unwrap();
    let (mut frames, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("https://example.test/echo").body(()).unwrap();
    let (response, mut body) = frames.send_request(request, false).unwrap();
    body.send_data(Bytes::from("one"), false).unwrap();
    let mut response = response.await.unwrap();
    let message = response.body_mut().data().await.unwrap();
    assert_eq!(message.unwrap(), "one");
    body.send_reset(h2::Reason::CANCEL);
    wait_until(LIMIT, "the cancel", || origin.cancelled() == before + 1);
    // The connection is fine.
    let response = client.send_request(get("/head")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_read_nothing_hold_up_no_one_else() {
    let origin = H2Origin::plain(100).await;
    let daemon = daemon(origin.address(), "protocol = \"http2\"");
    let mut slow = client(&daemon).await;
    let mut unread = Vec::new();
    for _ in 0..50 {
        unread.push(slow.send_request(get("/large")).await.unwrap());
    }
    let mut other = client(&daemon).await;
    let response = other.send_request(get("/large")).await.unwrap();
    assert_eq!(text(response).await.len(), 4 * 1024 * 1024);
    assert_eq!(origin.connections(), 1);
    // And they get all of it when they read.
    let last = unread.pop().unwrap();
    drop(unread);
    assert_eq!(text(last).await.len(), 4 * 1024 * 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_and_their_trailers_become_frames_and_back() {
    let origin = H2Origin::plain(100).await;
    let daemon = daemon(origin.address(), "protocol = \"http2\"");
    let curl = daemon.curl(
        "--http1.1 -H Expect: -H Transfer-Encoding:chunked -d hello",
        "/echo",
    );
    assert_eq!(curl.run().success().stdout, "hello");
    let mut http1 = Client::new().connect(daemon.https()).unwrap();
    write!(
        http1,
        "POST /echo HTTP/1.1\r\nHost: example.test\r\nConnection: close, te\r\nTE: trailers\r\n\
         Trailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    http1.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    // Over HTTP/1.1 what was not announced does not pass.
    assert_eq!(body, "5\r\nhello\r\n0\r\ngrpc-status: 0\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_errors_are_statuses_of_grpc() {
    let (_socket, address) = refusing_address();
    let daemon = daemon(address, "protocol = \"http2\"");
    let mut client = client(&daemon).await;
    let (_sender, request) = call("/echo");
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert_eq!(response.headers()["grpc-status"], "14");
    assert_eq!(response.headers()["grpc-message"], "upstream_connect");
    assert!(
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .is_empty()
    );
    // Others get what they always get.
    let response = client.send_request(get("/")).await.unwrap();
    assert_eq!(response.status(), 502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_refuses_is_sent_once_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Refuses every other stream.
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(tcp).await.unwrap();
                let mut number = 0;
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    number += 1;
                    if number % 2 == 1 {
                        respond.send_reset(h2::Reason::REFUSED_STREAM);
                    } else {
                        let response = Response::builder().status(204).body(()).unwrap();
                        respond.send_response(response, true).unwrap();
                    }
                }
            });
        }
    });
    let daemon = daemon(address, "protocol = \"http2\"");
    let mut client = client(&daemon).await;
    let delete = Request::delete("https://example.test/").body(Empty::new().boxed());
    for request in [get("/"), delete.unwrap()] {
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 204);
    }
    // A body is gone by then.
    let post = Request::post("https://example.test/").body(Full::from("x").boxed());
    let response = client.send_request(post.unwrap()).await.unwrap();
    assert_eq!(response.status(), 502);
    assert!((daemon.metric("upstream_retries_total", &[("upstream", "origin")]) - 2.0).abs() < 0.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alpn_decides_over_tls() {
    for (alpn, protocol, seen) in [
        (
            &["h2", "http/1.1"][..],
            "auto",
            "HTTP/2.0 https://example.test/head - - https",
        ),
        (&["http/1.1"], "auto", "HTTP/1.1 /head example.test - https"),
        (&[], "auto", "HTTP/1.1 /head example.test - https"),
        (
            &["h2", "http/1.1"],
            "http2",
            "HTTP/2.0 https://example.test/head - - https",
        ),
        (
            &["h2", "http/1.1"],
            "http1",
            "HTTP/1.1 /head example.test - https",
        ),
    ] {
        let origin = H2Origin::tls(alpn).await;
        let daemon = daemon(
            origin.address(),
            &format!("protocol = \"{protocol}\"\ntls = {{ ca = \"ca.pem\" }}"),
        );
        let mut client = client(&daemon).await;
        for _ in 0..3 {
            let response = client.send_request(get("/head")).await.unwrap();
            assert_eq!(text(response).await, seen, "{protocol} {alpn:?}");
        }
        assert_eq!(origin.connections(), 1, "{protocol} {alpn:?}");
    }
    let origin = H2Origin::tls(&[]).await;
    let daemon = daemon(
        origin.address(),
        "protocol = \"http2\"\ntls = { ca = \"ca.pem\" }",
    );
    let response = client(&daemon).await.send_request(get("/head")).await;
    assert_eq!(
        text(response.unwrap()).await,
        "502 Bad Gateway\nupstream_tls\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_one_by_one() {
    let origin = H2Origin::plain(100).await;
    let daemon = daemon(origin.address(), "protocol = \"http2\"");
    let mut client = client(&daemon).await;
    let mut response = client.send_request(get("/events")).await.unwrap();
    assert_eq!(piece(&mut response).await, "data: 1\n\n");
    let mut http1 = Client::new().connect(daemon.https()).unwrap();
    write!(http1, "GET /events HTTP/1.1\r\nHost: example.test\r\n\r\n").unwrap();
    let mut http1 = BufReader::new(http1);
    let head = read_head(&mut http1).unwrap().unwrap();
    assert_eq!(head.one("content-type"), Some("text/event-stream"));
    let mut first = [0; 14];
    http1.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"9\r\ndata: 1\n\n\r\n");
    origin.open_gate();
    assert_eq!(piece(&mut response).await, "data: 2\n\n");
    http1.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"9\r\ndata: 2\n\n\r\n");
}
