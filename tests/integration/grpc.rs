//! gRPC between a client and a server of another implementation (tonic), through handfast over TLS.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::support::{Client, Daemon, GrpcServer, Raw, Settings, refusing_address, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

struct Peers {
    server: GrpcServer,
    daemon: Daemon,
    client: Grpc<Channel>,
}

/// A client, the daemon and a server: in the clear, and over TLS.
async fn both() -> [Peers; 2] {
    [
        peers(GrpcServer::plain().await, "").await,
        peers(GrpcServer::tls().await, "tls = { ca = \"ca.pem\" }").await,
    ]
}

async fn peers(server: GrpcServer, tls: &str) -> Peers {
    let upstream = format!("protocol = \"http2\"\n{tls}");
    let daemon = Daemon::run(&Settings::new(server.address()).upstream(&upstream));
    let client = client(&daemon).await;
    Peers {
        server,
        daemon,
        client,
    }
}

/// tonic's client on a connection of our own: it would have brought its own TLS.
async fn client(daemon: &Daemon) -> Grpc<Channel> {
    let address = daemon.https();
    let connect = tower::service_fn(move |_| async move {
        let (connector, name) = Client::new().alpn(&["h2"]).connector();
        let tcp = TcpStream::connect(address).await?;
        connector.connect(name, tcp).await.map(TokioIo::new)
    });
    let endpoint = Endpoint::from_static("https://example.test");
    let channel = endpoint.connect_with_connector(connect).await.unwrap();
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    client
}

fn method(name: &str) -> PathAndQuery {
    format!("/test.Words/{name}").parse().unwrap()
}

async fn unary(
    client: &mut Grpc<Channel>,
    name: &str,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, Status> {
    client.ready().await.unwrap();
    client.unary(request, method(name), Raw).await
}

async fn streamed(
    client: &mut Grpc<Channel>,
    name: &str,
    message: &'static str,
) -> Streaming<Bytes> {
    client.ready().await.unwrap();
    let request = Request::new(Bytes::from(message));
    let answer = client.server_streaming(request, method(name), Raw).await;
    answer.unwrap().into_inner()
}

/// The next message; `None` at an end without fault.
async fn next(messages: &mut Streaming<Bytes>) -> Result<Option<Bytes>, Status> {
    let message = tokio::time::timeout(LIMIT, messages.message());
    message.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unary_call_passes_with_its_metadata() {
    for mut peers in both().await {
        let mut request = Request::new(Bytes::from("hello"));
        request.set_timeout(LIMIT);
        let metadata = request.metadata_mut();
        metadata.insert("x-word", "a word".parse().unwrap());
        metadata.insert_bin("x-word-bin", MetadataValue::from_bytes(b"\0\xff"));
        let response = unary(&mut peers.client, "Upper", request).await.unwrap();
        assert_eq!(response.get_ref(), "HELLO");
        let seen = |name: &str| {
            let value = response.metadata().get(name);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(seen("x-seen-x-word").as_deref(), Some("a word"));
        assert_eq!(seen("x-seen-te").as_deref(), Some("trailers"));
        // The deadline is the server's to keep, in the unit that the client chose.
        assert_eq!(seen("x-seen-grpc-timeout").as_deref(), Some("20000000u"));
        assert!(seen("x-seen-user-agent").is_some_and(|agent| agent.contains("tonic")));
        let binary = response.metadata().get_bin("x-seen-x-word-bin").unwrap();
        assert_eq!(&*binary.to_bytes().unwrap(), b"\0\xff");
        // Larger than any window.
        let large = Bytes::from(vec![b'a'; 3_000_000]);
        let response = unary(&mut peers.client, "Upper", Request::new(large)).await;
        let message = response.unwrap().into_inner();
        assert!(message.len() == 3_000_000 && message.iter().all(|byte| *byte == b'A'));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_stream_from_the_server_from_the_client_and_both_ways() {
    for mut peers in both().await {
        let client = &mut peers.client;
        let messages = streamed(client, "Count", "1000").await;
        let messages: Vec<_> = messages.map(Result::unwrap).collect().await;
        let expected: Vec<_> = (1..=1000).map(|it: u32| it.to_string()).collect();
        assert_eq!(messages, expected);

        client.ready().await.unwrap();
        let words = stream::iter(["some", "more", "words"].map(Bytes::from));
        let answer = client
            .client_streaming(Request::new(words), method("Join"), Raw)
            .await;
        assert_eq!(answer.unwrap().into_inner(), "somemorewords");

        // Each comes back before the next is sent.
        client.ready().await.unwrap();
        let (sender, receiver) = mpsc::channel::<Bytes>(1);
        let words = stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|word| (word, receiver))
        });
        let answer = client.streaming(Request::new(words), method("Echo"), Raw);
        let mut answers = answer.await.unwrap().into_inner();
        for word in ["one", "two", "three"] {
            sender.send(Bytes::from(word)).await.unwrap();
            assert_eq!(next(&mut answers).await.unwrap().unwrap(), word);
        }
        drop(sender);
        assert_eq!(next(&mut answers).await.unwrap(), None);
        let trailers = answers.trailers().await.unwrap();
        assert!(trailers.is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_come_as_the_server_gave_them() {
    for mut peers in both().await {
        // Trailers alone.
        let request = Request::new(Bytes::new());
        let status = unary(&mut peers.client, "Missing", request).await;
        let status = status.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), "no such wörd: 100%");
        assert_eq!(status.details(), b"\0details");
        assert_eq!(status.metadata().get("x-hint").unwrap(), "elsewhere");

        // After messages.
        let mut messages = streamed(&mut peers.client, "Broken", "").await;
        assert_eq!(next(&mut messages).await.unwrap().unwrap(), "one");
        assert_eq!(next(&mut messages).await.unwrap().unwrap(), "two");
        let status = next(&mut messages).await.unwrap_err();
        assert_eq!(status.code(), Code::DataLoss);
        assert_eq!(status.message(), "the rest is lost");

        let request = Request::new(Bytes::new());
        let status = unary(&mut peers.client, "Nothing", request).await;
        assert_eq!(status.unwrap_err().code(), Code::Unimplemented);
        // None of that is a fault of the upstream.
        let labels = [("upstream", "origin")];
        let failures = peers.daemon.metric("upstream_failures_total", &labels);
        assert!(failures < 0.1, "{failures}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_passes_and_a_client_that_leaves_cancel_the_call_upstream() {
    for mut peers in both().await {
        let mut request = Request::new(Bytes::new());
        request.set_timeout(Duration::from_millis(200));
        let status = unary(&mut peers.client, "Slow", request).await;
        let status = status.unwrap_err();
        assert_eq!(status.code(), Code::Cancelled, "{status:?}");
        assert_eq!(status.message(), "Timeout expired");
        wait_until(LIMIT, "the cancel", || peers.server.cancelled() == 1);

        let mut messages = streamed(&mut peers.client, "Endless", "").await;
        for _ in 0..3 {
            assert_eq!(next(&mut messages).await.unwrap().unwrap(), "again");
        }
        drop(messages);
        wait_until(LIMIT, "the cancel", || peers.server.cancelled() == 2);

        // The connection is fine.
        let request = Request::new(Bytes::from("on"));
        let response = unary(&mut peers.client, "Upper", request).await;
        assert_eq!(response.unwrap().into_inner(), "ON");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_we_answer_ourselves_is_a_status() {
    let (_socket, address) = refusing_address();
    let upstream = "protocol = \"http2\"";
    let daemon = Daemon::run(&Settings::new(address).upstream(upstream));
    let mut client = client(&daemon).await;
    let status = unary(&mut client, "Upper", Request::new(Bytes::new())).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "upstream_connect");
}
