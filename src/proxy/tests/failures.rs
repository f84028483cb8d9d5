//! Upstreams that fail: what clients get, over HTTP/1.1 and HTTP/2.

use http::Request;
use http_body_util::{BodyExt, Empty};
use tokio::sync::mpsc;

use super::support::{Proxy, SHORT, config};
use crate::upstream::origin::{Origin, Served};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn get() -> Request<http_body_util::combinators::BoxBody<bytes::Bytes, std::io::Error>> {
    Request::builder()
        .uri("https://a/")
        .body(Empty::new().map_err(std::io::Error::other).boxed())
        .unwrap()
}

/// Checks the answer of our own over both protocols.
async fn check(proxy: &Proxy, status: u16, reason: &str) {
    let mut client = proxy.http1();
    client.send(GET).await;
    let head = client.head().await;
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    let body = client.read(length.parse().unwrap()).await;
    assert!(body.ends_with(&format!("\n{reason}\n")), "{body}");
    assert_eq!(head.contains("retry-after: "), status == 503);
    // Nothing is wrong with the client's connection.
    client.end().await.unwrap();

    let mut client = proxy.http2().await;
    let response = client.send_request(get()).await.unwrap();
    assert_eq!(response.status(), status);
    let text = response.into_body().collect().await.unwrap().to_bytes();
    assert!(text.ends_with(format!("\n{reason}\n").as_bytes()));
}

#[tokio::test]
async fn refused_is_502() {
    let proxy = Proxy::to(Origin::closed_address().await);
    check(&proxy, 502, "upstream_connect").await;
}

#[tokio::test]
async fn closed_before_the_head_is_502() {
    for reset in [false, true] {
        let origin = Origin::start(move |mut served: Served| async move {
            served.head().await;
            if reset { served.reset() } else { Ok(()) }
        })
        .await;
        check(&Proxy::to(origin.address()), 502, "upstream_closed").await;
    }
}

#[tokio::test]
async fn silence_is_504() {
    let origin = Origin::start(|mut served: Served| async move {
        served.closed().await;
        Ok(())
    })
    .await;
    let mut config = config(origin.address());
    config.upstreams[0].timeouts.first_byte = SHORT;
    check(&Proxy::new(config), 504, "upstream_first_byte_timeout").await;
}

#[tokio::test]
async fn garbage_and_an_unasked_upgrade_are_502() {
    for answer in [
        "\0garbage\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhijack",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let origin = Origin::start(move |mut served: Served| async move {
            served.head().await;
            served.send(answer).await?;
            served.closed().await;
            Ok(())
        })
        .await;
        check(&Proxy::to(origin.address()), 502, "upstream_bad_response").await;
    }
}

#[tokio::test]
async fn a_full_pool_is_503() {
    let (asked, mut wait) = mpsc::channel(1);
    let origin = Origin::start(move |mut served: Served| {
        let asked = asked.clone();
        async move {
            served.head().await;
            let _ = asked.send(()).await;
            served.closed().await;
            Ok(())
        }
    })
    .await;
    let mut config = config(origin.address());
    config.upstreams[0].pool.max_connections = 1;
    config.upstreams[0].pool.wait = SHORT;
    let proxy = Proxy::new(config);
    let mut holder = proxy.http1();
    holder.send(GET).await;
    wait.recv().await.unwrap();
    check(&proxy, 503, "upstream_pool_full").await;
}

const TRUNCATED: [&str; 4] = [
    "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n400\r\nhello",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
];

#[tokio::test]
async fn a_truncated_body_is_aborted_over_http1() {
    for answer in TRUNCATED {
        let origin = Origin::start(move |mut served: Served| async move {
            served.head().await;
            served.send(answer).await
        })
        .await;
        let mut client = Proxy::to(origin.address()).http1();
        client.send(GET).await;
        let response = client.rest().await;
        assert!(
            !response.contains("0\r\n\r\n"),
            "looks complete: {response}"
        );
        if response.contains("content-length: 1000") {
            assert!(!response.ends_with(&"x".repeat(1000)));
        } else {
            assert!(response.contains("transfer-encoding: chunked") || response.is_empty());
        }
        assert!(client.end().await.is_err(), "{answer}");
    }
}

#[tokio::test]
async fn a_truncated_body_is_a_reset_over_http2() {
    for answer in TRUNCATED {
        let origin = Origin::start(move |mut served: Served| async move {
            served.head().await;
            served.send(answer).await
        })
        .await;
        let mut client = Proxy::to(origin.address()).http2().await;
        // The reset may overtake the head.
        if let Ok(response) = client.send_request(get()).await {
            assert_eq!(response.status(), 200);
            assert!(response.into_body().collect().await.is_err(), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_upstream_request() {
    let (event, mut events) = mpsc::channel(4);
    let origin = Origin::start(move |mut served: Served| {
        let event = event.clone();
        async move {
            served.head().await;
            let _ = event.send("asked").await;
            served.closed().await;
            let _ = event.send("gone").await;
            Ok(())
        }
    })
    .await;
    let proxy = Proxy::to(origin.address());

    let mut client = proxy.http1();
    client.send(GET).await;
    assert_eq!(events.recv().await, Some("asked"));
    let _ = client.end().await;
    assert_eq!(events.recv().await, Some("gone"));

    let mut client = proxy.http2().await;
    let response = tokio::spawn(async move { client.send_request(get()).await });
    assert_eq!(events.recv().await, Some("asked"));
    response.abort();
    assert_eq!(events.recv().await, Some("gone"));
}

#[tokio::test]
async fn a_stale_kept_connection_is_not_seen_by_clients() {
    let origin = Origin::start(|mut served: Served| async move {
        served.head().await;
        served.respond("once").await
    })
    .await;
    let mut client = Proxy::to(origin.address()).http1();
    for _ in 0..5 {
        client.send(GET).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(client.read(4).await, "once");
    }
}

#[tokio::test]
async fn responses_without_a_body_keep_the_connection() {
    let origin = Origin::start(|mut served: Served| async move {
        while let Some(head) = served.head().await {
            let answer = match head.as_bytes() {
                [b'H', ..] => "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n",
                [b'P', ..] => "HTTP/1.1 204 No Content\r\n\r\n",
                _ => "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 1234\r\n\r\n",
            };
            served.send(answer).await?;
        }
        Ok(())
    })
    .await;
    let proxy = Proxy::to(origin.address());
    let mut client = proxy.http1();
    for (method, status) in [
        ("HEAD", "200 "),
        ("PUT", "204 "),
        ("GET", "304 "),
        ("HEAD", "200 "),
    ] {
        client
            .send(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let head = client.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        assert_eq!(
            head.contains("content-length: 1234"),
            method == "HEAD",
            "{head}"
        );
        assert!(!head.contains("transfer-encoding"), "{head}");
    }
    let mut client = proxy.http2().await;
    for (method, status) in [("HEAD", 200), ("PUT", 204), ("GET", 304)] {
        let mut request = get();
        *request.method_mut() = method.parse().unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), status);
        assert!(
            response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .is_empty()
        );
    }
    assert_eq!(origin.accepted(), 1);
}
