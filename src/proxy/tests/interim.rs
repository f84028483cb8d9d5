//! Interim responses: `Expect: 100-continue` end to end, and what else comes before a response.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::support::Proxy;
use crate::upstream::origin::{Origin, Served};

const EXPECTING: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n";

#[tokio::test]
async fn the_client_is_asked_for_its_body_when_the_upstream_asks() {
    let (event, mut events) = mpsc::channel(1);
    let origin = Origin::start(move |mut served: Served| {
        let event = event.clone();
        async move {
            let head = served.head().await.unwrap();
            assert!(head.contains("expect: 100-continue\r\n"), "{head}");
            served.send("HTTP/1.1 103 Early Hints\r\n\r\n").await?;
            let early = timeout(Duration::from_millis(100), served.read(1)).await;
            assert!(early.is_err(), "the body came before it was asked for");
            event.send(()).await.unwrap();
            served.send("HTTP/1.1 100 Continue\r\n\r\n").await?;
            let body = served.read(5).await?;
            served.respond(std::str::from_utf8(&body).unwrap()).await?;
            served.head().await;
            served.respond("second").await
        }
    })
    .await;
    let mut client = Proxy::to(origin.address()).http1();
    client.send(EXPECTING).await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(events.try_recv().is_ok(), "asked before the upstream did");
    client.send("hello").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(client.read(5).await, "hello");
    // Both connections go on.
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(client.read(6).await, "second");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn a_final_answer_means_that_the_body_is_not_wanted() {
    let (event, mut events) = mpsc::channel(1);
    let origin = Origin::start(move |mut served: Served| {
        let event = event.clone();
        async move {
            served.head().await.unwrap();
            served
                .send("HTTP/1.1 401 No\r\ncontent-length: 2\r\n\r\nno")
                .await?;
            let rest = served.some().await.unwrap_or_default();
            event.send(rest).await.unwrap();
            Ok(())
        }
    })
    .await;
    let answer = Proxy::to(origin.address()).http1().only(EXPECTING).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nno"), "{answer}");
    assert_eq!(events.recv().await.unwrap(), b"", "a body was sent");
}

#[tokio::test]
async fn an_upstream_that_says_nothing_gets_the_body_after_a_second() {
    let origin = Origin::start(|mut served: Served| async move {
        served.head().await.unwrap();
        served.read(5).await?;
        served.respond("got5").await
    })
    .await;
    let mut client = Proxy::to(origin.address()).http1();
    let started = Instant::now();
    client.send(EXPECTING).await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(started.elapsed() >= Duration::from_millis(990));
    client.send("hello").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn http10_and_requests_without_a_body_expect_nothing() {
    let origin = Origin::start(|mut served: Served| async move {
        let head = served.head().await.unwrap();
        served.respond(&head).await
    })
    .await;
    let proxy = Proxy::to(origin.address());
    for request in [
        "GET / HTTP/1.0\r\nHost: a\r\nExpect: tea\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
    ] {
        let answer = proxy.http1().only(request).await;
        assert!(answer.contains(" 200 OK\r\n"), "{answer}");
        assert!(!answer.contains("expect: "), "{answer}");
    }
}

#[tokio::test]
async fn http2_expects_the_same() {
    let origin = Origin::start(|mut served: Served| async move {
        let head = served.head().await.unwrap();
        assert!(head.contains("expect: 100-continue\r\n"), "{head}");
        served.send("HTTP/1.1 100 Continue\r\n\r\n").await?;
        served.read(5).await?;
        served.respond("got5").await
    })
    .await;
    let mut client = Proxy::to(origin.address()).http2().await;
    let body = Full::new(Bytes::from("hello"));
    let request = Request::post("https://a/")
        .header("expect", "100-continue")
        .body(body.map_err(std::io::Error::other).boxed())
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn several_interim_responses_pass_and_a_flood_is_502() {
    let several = Origin::start(|mut served: Served| async move {
        served.head().await.unwrap();
        let interim = "HTTP/1.1 102 Processing\r\nX: y\r\n\r\n".repeat(50);
        served.send(&interim).await?;
        served.respond("done").await
    })
    .await;
    let get = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = Proxy::to(several.address()).http1().only(get).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\ndone"), "{answer}");

    let flood = Origin::start(|mut served: Served| async move {
        served.head().await.unwrap();
        let interim = "HTTP/1.1 102 Processing\r\nX: y\r\n\r\n".repeat(100);
        // Until the proxy has had enough.
        while served.send(&interim).await.is_ok() {}
        Ok(())
    })
    .await;
    let answer = Proxy::to(flood.address()).http1().only(get).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.ends_with("\nupstream_bad_response\n"), "{answer}");
}
