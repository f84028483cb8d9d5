//! WebSocket between a client and a server that know nothing of each other's HTTP version.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::Request;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::support::{Client, Daemon, Settings, wait_for};

const LIMIT: Duration = Duration::from_secs(20);

/// Sends back what comes, as a server of WebSocket.
pub(crate) async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut socket) = accept_async(tcp).await else {
                    return;
                };
                while let Some(Ok(message)) = socket.next().await {
                    if (message.is_text() || message.is_binary())
                        && socket.send(message).await.is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    address
}

async fn next<S>(socket: &mut WebSocketStream<S>) -> Option<Message>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let message = tokio::time::timeout(LIMIT, socket.next()).await.unwrap();
    message.map(Result::unwrap)
}

/// Messages of all kinds and sizes, then the closing handshake.
async fn converse<S>(mut socket: WebSocketStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for length in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
        let binary = Message::binary(vec![0xa5; length]);
        for message in [Message::text("x".repeat(length)), binary] {
            socket.send(message.clone()).await.unwrap();
            assert!(next(&mut socket).await == Some(message), "{length}");
        }
    }
    socket.send(Message::Ping(Bytes::from("p"))).await.unwrap();
    assert_eq!(
        next(&mut socket).await,
        Some(Message::Pong(Bytes::from("p")))
    );
    let close = CloseFrame {
        code: CloseCode::Normal,
        reason: "done".into(),
    };
    socket.close(Some(close.clone())).await.unwrap();
    assert_eq!(next(&mut socket).await, Some(Message::Close(Some(close))));
    assert_eq!(next(&mut socket).await, None);
}

/// Both sides have ended, and so have we, with one line.
fn ended(daemon: &Daemon, status: u16) {
    daemon.wait_metric("tunnels_open", &[("listener", "https")], 0.0);
    daemon.wait_metric("upstream_connections_open", &[("upstream", "origin")], 0.0);
    let line = wait_for(LIMIT, "the tunnel's line", || {
        let records = daemon.log().records();
        records
            .into_iter()
            .find(|record| record["event"] == "http.request" && record["path"] == "/chat")
    });
    assert_eq!(line["status"], status);
    assert_eq!(line["error"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http1() {
    let daemon = Daemon::run_alone(&Settings::new(echo().await));
    let (connector, name) = Client::new().connector();
    let tcp = TcpStream::connect(daemon.https()).await.unwrap();
    let stream = connector.connect(name, tcp).await.unwrap();
    let (socket, response) = client_async("wss://example.test/chat", stream)
        .await
        .unwrap();
    assert_eq!(response.status(), 101);
    converse(socket).await;
    ended(&daemon, 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http2_two_on_one_connection() {
    let daemon = Daemon::run_alone(&Settings::new(echo().await));
    let mut sender = Client::new().http2(daemon.https()).await;
    // The settings that allow an extended CONNECT are there with the first answer.
    let first = Request::get("https://example.test/").body(Empty::<Bytes>::new());
    sender.send_request(first.unwrap()).await.unwrap();
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let ask = Request::connect("https://example.test/chat")
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .body(Empty::<Bytes>::new());
        let response = sender.send_request(ask.unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        let stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        sockets.push(WebSocketStream::from_raw_socket(stream, Role::Client, None).await);
    }
    daemon.wait_metric("tunnels_open", &[("listener", "https")], 2.0);
    let second = converse(sockets.remove(1));
    tokio::join!(converse(sockets.remove(0)), second);
    ended(&daemon, 200);
}
