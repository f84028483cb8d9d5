//! Bodies: streamed both ways with backpressure, bounded, timed.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::support::{Proxy, SHORT, config};
use crate::upstream::origin::{Origin, Served};

/// What sockets and buffers on the way may hold; far less than [`BIG`].
const BUFFERS: usize = 16 << 20;
const BIG: usize = 48 << 20;
/// What is sent at once.
const PIECE: usize = 1 << 20;

/// A body that does not say how long it is.
struct Unsized(Option<Bytes>);

impl Body for Unsized {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(Frame::data).map(Ok))
    }
}

pub(super) fn unsized_body(text: &'static str) -> BoxBody<Bytes, std::io::Error> {
    Unsized(Some(Bytes::from(text)))
        .map_err(std::io::Error::other)
        .boxed()
}

/// A position-dependent pattern, so that lost or swapped pieces show: at most [`PIECE`] bytes.
fn pattern(from: usize, length: usize) -> &'static [u8] {
    static CYCLE: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..=250).cycle().take(PIECE + 251).collect());
    &CYCLE[from % 251..][..length]
}

#[tokio::test]
async fn a_big_upload_arrives_whole() {
    let origin = Origin::start(|mut served: Served| async move {
        let head = served.head().await.unwrap();
        assert!(
            head.contains(&format!("content-length: {BIG}\r\n")),
            "{head}"
        );
        let mut at = 0;
        while at < BIG {
            let bytes = served.some().await?;
            assert!(!bytes.is_empty());
            assert!(bytes == pattern(at, bytes.len()), "at {at}");
            at += bytes.len();
        }
        served.respond("whole").await
    })
    .await;
    let mut client = Proxy::to(origin.address()).http1();
    client
        .send(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BIG}\r\n\r\n"
        ))
        .await;
    let mut at = 0;
    while at < BIG {
        client.pipe.write_all(pattern(at, PIECE)).await.unwrap();
        at += PIECE;
    }
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(client.read(5).await, "whole");
}

#[tokio::test]
async fn a_big_download_arrives_whole_and_the_connection_is_kept() {
    let origin = Origin::start(|mut served: Served| async move {
        while served.head().await.is_some() {
            served
                .send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {BIG}\r\n\r\n"))
                .await?;
            let mut at = 0;
            while at < BIG {
                served.send_bytes(pattern(at, PIECE)).await?;
                at += PIECE;
            }
        }
        Ok(())
    })
    .await;
    let mut client = Proxy::to(origin.address()).http1();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.head().await;
        let mut buffer = vec![0; PIECE];
        let mut at = 0;
        while at < BIG {
            client.pipe.read_exact(&mut buffer).await.unwrap();
            assert!(buffer == pattern(at, PIECE), "at {at}");
            at += PIECE;
        }
    }
    assert_eq!(origin.accepted(), 1);
}

/// Waits until `count` has stopped growing.
async fn settled(count: &AtomicUsize) -> usize {
    loop {
        let before = count.load(Ordering::SeqCst);
        // Not to let something finish: to see that nothing moves any more.
        tokio::time::sleep(Duration::from_millis(100)).await;
        if count.load(Ordering::SeqCst) == before {
            return before;
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_upstream_back() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let origin = Origin::start(move |mut served: Served| {
        let count = count.clone();
        async move {
            served.head().await;
            served
                .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await?;
            let mut chunk = b"10000\r\n".to_vec();
            chunk.resize(7 + 65536, b'x');
            chunk.extend_from_slice(b"\r\n");
            loop {
                served.send_bytes(&chunk).await?;
                count.fetch_add(65536, Ordering::SeqCst);
            }
        }
    })
    .await;
    let mut client = Proxy::to(origin.address()).http1();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await;
    let held = settled(&sent).await;
    assert!(
        held < BUFFERS,
        "{held} bytes taken for a client that does not read"
    );
    // And it goes on where the client does.
    let mut buffer = vec![0; BUFFERS];
    client.pipe.read_exact(&mut buffer).await.unwrap();
    assert!(sent.load(Ordering::SeqCst) > held);
}

#[tokio::test]
async fn an_upstream_that_does_not_read_holds_the_client_back() {
    let go = Arc::new(Notify::new());
    let wait = go.clone();
    let origin = Origin::start(move |mut served: Served| {
        let wait = wait.clone();
        async move {
            served.head().await;
            wait.notified().await;
            served.read(BIG).await?;
            served.respond("whole").await
        }
    })
    .await;
    let mut client = Proxy::to(origin.address()).http1();
    client
        .send(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BIG}\r\n\r\n"
        ))
        .await;
    let (mut reader, mut writer) = tokio::io::split(client.pipe);
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let sending = tokio::spawn(async move {
        let piece = vec![b'x'; 65536];
        while count.load(Ordering::SeqCst) < BIG {
            writer.write_all(&piece).await.unwrap();
            count.fetch_add(piece.len(), Ordering::SeqCst);
        }
        writer
    });
    let held = settled(&sent).await;
    assert!(
        held < BUFFERS,
        "{held} bytes taken for an upstream that does not read"
    );
    go.notify_one();
    let _writer = sending.await.unwrap();
    let mut status = [0; 13];
    reader.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200 ");
}

#[tokio::test]
async fn a_body_above_the_limit_is_413() {
    let origin = Origin::start(|mut served: Served| async move {
        served.closed().await;
        Ok(())
    })
    .await;
    let mut config = config(origin.address());
    config.limits.request_body = Some(10);
    let proxy = Proxy::new(config);
    let announced = proxy
        .http1()
        .only("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert!(announced.starts_with("HTTP/1.1 413 "), "{announced}");
    assert!(
        announced.ends_with("\nrequest_body_too_large\n"),
        "{announced}"
    );
    assert_eq!(origin.accepted(), 0);
    let found = proxy
        .http1()
        .only("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n2\r\n12\r\n")
        .await;
    assert!(found.starts_with("HTTP/1.1 413 "), "{found}");

    let mut client = proxy.http2().await;
    let request = Request::post("https://a/")
        .body(unsized_body("more than ten"))
        .unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 413);
}

#[tokio::test]
async fn a_client_that_stalls_in_its_body_is_408() {
    let (event, mut events) = mpsc::channel(1);
    let origin = Origin::start(move |mut served: Served| {
        let event = event.clone();
        async move {
            served.head().await;
            served.closed().await;
            let _ = event.send(()).await;
            Ok(())
        }
    })
    .await;
    let mut config = config(origin.address());
    config.timeouts.request_body_idle = SHORT;
    // The upstream is not to blame: its own deadline, though shorter, does not count here.
    config.upstreams[0].timeouts.first_byte = SHORT / 2;
    let answer = Proxy::new(config)
        .http1()
        .only("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
        .await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.ends_with("\nrequest_body_timeout\n"), "{answer}");
    events.recv().await.unwrap();
}

#[tokio::test]
async fn the_upstreams_deadline_begins_at_the_end_of_the_upload() {
    let origin = Origin::start(|mut served: Served| async move {
        served.head().await;
        served.closed().await;
        Ok(())
    })
    .await;
    let mut config = config(origin.address());
    config.upstreams[0].timeouts.first_byte = SHORT * 2;
    let mut client = Proxy::new(config).http1();
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        .await;
    for _ in 0..10 {
        // Each piece comes late, but each counts as progress.
        tokio::time::sleep(SHORT).await;
        client.send("1").await;
    }
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
}

#[tokio::test]
async fn malformed_chunks_never_become_a_whole_request() {
    let (event, mut events) = mpsc::channel(1);
    let origin = Origin::start(move |mut served: Served| {
        let event = event.clone();
        async move {
            served.head().await;
            let whole = served.chunked().await.is_ok();
            let _ = event.send(whole).await;
            Ok(())
        }
    })
    .await;
    for body in ["5\r\nhello\r\nzz\r\n", "5\r\nhelloXX\r\n0\r\n\r\n"] {
        let answer = Proxy::to(origin.address())
            .http1()
            .only(&format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert_eq!(events.recv().await, Some(false));
    }
}

#[tokio::test]
async fn an_early_answer_reaches_the_client_and_ends_the_connection() {
    let origin = Origin::start(|mut served: Served| async move {
        served.head().await;
        served
            .send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
            .await?;
        // Closes with most of the body unread, so what the proxy writes is answered by a reset.
        Ok(())
    })
    .await;
    let proxy = Proxy::to(origin.address());
    for _ in 0..10 {
        let mut client = proxy.http1();
        client
            .send(&format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BIG}\r\n\r\n"
            ))
            .await;
        let (mut reader, mut writer) = tokio::io::split(client.pipe);
        let sending = tokio::spawn(async move {
            let piece = vec![b'x'; 65536];
            while writer.write_all(&piece).await.is_ok() {}
        });
        let mut answer = Vec::new();
        let mut buffer = [0; 1024];
        while !answer.ends_with(b"big") {
            let read = reader.read(&mut buffer).await.unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..read]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 413 "));
        sending.await.unwrap();
    }
    assert_eq!(
        origin.accepted(),
        10,
        "no connection with a half-sent request is reused"
    );
}

#[tokio::test]
async fn events_pass_at_once() {
    let origin = Origin::start(|mut served: Served| async move {
        served.head().await;
        served
            .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .await?;
        served.closed().await;
        Ok(())
    })
    .await;
    let mut client = Proxy::to(origin.address()).http1();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await;
    let event = timeout(Duration::from_secs(5), client.read(10))
        .await
        .unwrap();
    assert_eq!(event, "5\r\nfirst\r\n");
}

#[tokio::test]
async fn trailers_pass_where_they_are_declared() {
    let origin = Origin::start(|mut served: Served| async move {
        while served.head().await.is_some() {
            served
                .send(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n\
                     5\r\nhello\r\n0\r\nx-t: v\r\n\r\n",
                )
                .await?;
        }
        Ok(())
    })
    .await;
    let proxy = Proxy::to(origin.address());
    let answer = proxy
        .http1()
        .only("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        answer.ends_with("5\r\nhello\r\n0\r\nx-t: v\r\n\r\n"),
        "{answer}"
    );

    let mut client = proxy.http2().await;
    let request = Request::get("https://a/")
        .body(Full::default().map_err(std::io::Error::other).boxed())
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-t"], "v");
    assert_eq!(body.to_bytes(), "hello");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_each_get_their_own_answer() {
    let origin = Origin::start(|mut served: Served| async move {
        for left in (0..10).rev() {
            let Some(head) = served.head().await else {
                return Ok(());
            };
            let body = if head.contains("transfer-encoding: chunked") {
                served.chunked().await?
            } else {
                Vec::new()
            };
            let path = head.split(' ').nth(1).unwrap();
            let close = if left == 0 {
                "connection: close\r\n"
            } else {
                ""
            };
            let length = path.len() + body.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{close}\r\n{path}");
            served.send(&answer).await?;
            served.send_bytes(&body).await?;
        }
        Ok(())
    })
    .await;
    let mut config = config(origin.address());
    config.upstreams[0].pool.max_connections = 4;
    let proxy = Arc::new(Proxy::new(config));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..16 {
        let proxy = proxy.clone();
        clients.spawn(async move {
            let mut http1 = proxy.http1();
            let mut http2 = proxy.http2().await;
            for turn in 0..50 {
                let path = format!("/{client}/{turn}");
                http1
                    .send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
                    .await;
                assert!(http1.head().await.starts_with("HTTP/1.1 200 "));
                assert_eq!(http1.read(path.len()).await, path);
                let request = Request::post(format!("https://a{path}"))
                    .body(unsized_body("a body"))
                    .unwrap();
                let response = http2.send_request(request).await.unwrap();
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, format!("{path}a body"));
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert!(origin.accepted() >= 16 * 50 * 2 / 10);
}
