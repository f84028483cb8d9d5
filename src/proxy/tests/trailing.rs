//! Trailers, both ways.

use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, Empty, Full};

use super::support::Proxy;
use crate::upstream::origin::{Origin, Served};

/// Answers with head and raw rest of a chunked request up to its last empty line.
async fn mirror() -> Origin {
    Origin::start(|mut served: Served| async move {
        let mut text = served.head().await.unwrap();
        while !text.ends_with("\r\n\r\n") || !text.contains("\r\n0\r\n") {
            text.push_str(std::str::from_utf8(&served.some().await?).unwrap());
        }
        served.respond(&text).await
    })
    .await
}

#[tokio::test]
async fn announced_trailers_of_a_request_pass_without_the_forbidden() {
    let origin = mirror().await;
    let seen = Proxy::to(origin.address())
        .http1()
        .only(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
             Trailer: X-Sum, Content-Length, X-Forwarded-For\r\n\r\n\
             5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nX-Forwarded-For: 6.6.6.6\r\n\
             Host: evil\r\n\r\n",
        )
        .await;
    assert!(seen.contains("trailer: x-sum\r\n"), "{seen}");
    assert!(
        seen.ends_with("5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"),
        "{seen}"
    );
    assert!(!seen.contains("6.6.6.6") && !seen.contains("evil"));
}

#[tokio::test]
async fn trailers_of_an_http2_request_pass_where_announced() {
    let origin = mirror().await;
    let mut client = Proxy::to(origin.address()).http2().await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    trailers.insert("authorization", HeaderValue::from_static("2"));
    let body = Full::new(bytes::Bytes::from("hello"))
        .with_trailers(async move { Some(Ok(trailers)) })
        .map_err(std::io::Error::other)
        .boxed();
    let request = Request::post("https://a/")
        .header("trailer", "x-sum, authorization")
        .body(body)
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    let seen = response.into_body().collect().await.unwrap().to_bytes();
    let seen = String::from_utf8(seen.to_vec()).unwrap();
    assert!(seen.ends_with("0\r\nx-sum: 1\r\n\r\n"), "{seen}");
    assert!(!seen.contains("authorization"), "{seen}");
}

async fn trailing(trailers: &'static str) -> Origin {
    Origin::start(move |mut served: Served| async move {
        while served.head().await.is_some() {
            served
                .send(&format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n\
                     5\r\nhello\r\n0\r\n{trailers}\r\n"
                ))
                .await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn trailers_of_a_response_pass_to_who_wants_them() {
    let origin = trailing("X-T: tv\r\nSet-Cookie: a=b\r\n").await;
    let proxy = Proxy::to(origin.address());
    for (te, end) in [
        ("TE: trailers\r\n", "0\r\nx-t: tv\r\n\r\n"),
        ("", "hello\r\n0\r\n\r\n"),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{te}Connection: close\r\n\r\n");
        let answer = proxy.http1().only(&request).await;
        assert!(answer.ends_with(end), "{answer}");
        assert!(!answer.contains("set-cookie"), "{answer}");
    }
    let mut client = proxy.http2().await;
    let request = Request::get("https://a/")
        .body(Empty::new().map_err(std::io::Error::other).boxed())
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    let trailers = body.trailers().unwrap();
    assert_eq!(trailers.len(), 1);
    assert_eq!(trailers["x-t"], "tv");
    assert_eq!(origin.accepted(), 1, "the connection is kept");
}

#[tokio::test]
async fn trailers_of_which_none_may_pass_are_an_ordinary_end() {
    let origin = trailing("Host: evil\r\n").await;
    let proxy = Proxy::to(origin.address());
    let request = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\r\n";
    let answer = proxy.http1().only(request).await;
    assert!(answer.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{answer}");
}
