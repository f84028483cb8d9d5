//! What upstreams and clients see of each other's heads, and what is refused.

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::{BodyExt, Empty, Full};

use super::support::{Proxy, config, routes};
use crate::upstream::origin::{Origin, Served};

/// An origin that answers with the head it got.
async fn mirror() -> Origin {
    Origin::start(|mut served: Served| async move {
        while let Some(head) = served.head().await {
            served.respond(&head).await?;
        }
        Ok(())
    })
    .await
}

/// What the origin sees of an HTTP/1.1 request.
async fn seen(request: &str) -> String {
    let origin = mirror().await;
    Proxy::to(origin.address())
        .http1()
        .only(request)
        .await
        .split_once("\r\n\r\n")
        .unwrap()
        .1
        .to_owned()
}

/// The lines of `head` of the field `name`.
fn field<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

#[tokio::test]
async fn a_request_is_forwarded_with_the_facts_of_its_client() {
    let head = seen(
        "GET /a//b/%41/%2f?q=../%20 HTTP/1.1\r\nHost: Example.com:8443\r\nConnection: close\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
    )
    .await;
    assert!(
        head.starts_with("GET /a//b/%41/%2f?q=../%20 HTTP/1.1\r\n"),
        "{head}"
    );
    assert_eq!(field(&head, "host"), ["Example.com:8443"]);
    assert_eq!(field(&head, "x-forwarded-for"), ["192.0.2.1"]);
    assert_eq!(field(&head, "x-forwarded-proto"), ["https"]);
    assert_eq!(field(&head, "x-forwarded-host"), ["Example.com:8443"]);
    assert_eq!(field(&head, "x-a"), ["1", "2"]);
    for absent in [
        "connection",
        "transfer-encoding",
        "content-length",
        "via",
        "x-handfast-connection",
    ] {
        assert!(field(&head, absent).is_empty(), "{absent} in {head}");
    }
}

#[tokio::test]
async fn claims_of_the_client_are_removed() {
    let head = seen(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
         Forwarded: for=6.6.6.6\r\nX-Forwarded-Host: 6.6.6.6\r\nX-Forwarded-Port: 6\r\nx-handfast-connection: 6\r\n\
         X-Handfast-Anything: 6\r\nContent_Length: 6\r\nX_Other: kept\r\n\r\n",
    )
    .await;
    assert!(!head.contains('6'), "{head}");
    assert_eq!(field(&head, "x-forwarded-for"), ["192.0.2.1"]);
    assert_eq!(field(&head, "x_other"), ["kept"]);
}

#[tokio::test]
async fn the_connection_id_is_told_where_configured() {
    let origin = mirror().await;
    let mut config = config(origin.address());
    config.forwarding.connection_id = true;
    let head = Proxy::new(config)
        .http1()
        .only("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x-handfast-connection\r\nx-handfast-connection: evil\r\n\r\n")
        .await;
    assert_eq!(field(&head, "x-handfast-connection"), ["0000000000000007"]);
}

#[tokio::test]
async fn hop_by_hop_fields_end_here() {
    let head = seen(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Secret, x-forwarded-for, Host, Upgrade, HTTP2-Settings\r\n\
         Connection: X-Other\r\nX-Secret: 1\r\nX-Other: 1\r\nKeep-Alive: timeout=9\r\nProxy-Connection: keep-alive\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nTE: trailers, deflate\r\nX-End: 1\r\n\r\n",
    )
    .await;
    for gone in [
        "x-secret",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "http2-settings",
    ] {
        assert!(field(&head, gone).is_empty(), "{gone} in {head}");
    }
    assert_eq!(field(&head, "connection"), ["te"]);
    assert_eq!(field(&head, "te"), ["trailers"]);
    assert_eq!(field(&head, "x-end"), ["1"]);
    assert_eq!(field(&head, "host"), ["a"]);
    assert_eq!(field(&head, "x-forwarded-for"), ["192.0.2.1"]);
}

#[tokio::test]
async fn hop_by_hop_fields_of_responses_end_here() {
    let origin = Origin::start(|mut served: Served| async move {
        served.head().await;
        served
            .send(
                "HTTP/1.1 200 Fine\r\ncontent-length: 2\r\nconnection: x-hop, keep-alive\r\nx-hop: 1\r\n\
                 keep-alive: timeout=5\r\nproxy-connection: x\r\nset-cookie: a=1\r\nset-cookie: b=2, c\r\nx-end: 1\r\n\r\nok",
            )
            .await
    })
    .await;
    let mut client = Proxy::to(origin.address()).http1();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 Fine\r\n"), "{head}");
    for gone in ["x-hop", "keep-alive", "proxy-connection", "connection"] {
        assert!(field(&head, gone).is_empty(), "{gone} in {head}");
    }
    assert_eq!(field(&head, "x-end"), ["1"]);
    assert_eq!(field(&head, "set-cookie"), ["a=1", "b=2, c"]);
    assert_eq!(client.read(2).await, "ok");
}

#[tokio::test]
async fn a_byte_of_no_token_spoils_its_own_element_alone() {
    let origin = Origin::start(|mut served: Served| async move {
        served.head().await;
        let head = b"HTTP/1.1 200 Fine\r\ncontent-length: 2\r\nconnection: \xff, x-hop\r\nx-hop: 1\r\n\r\nok";
        served.send_bytes(head).await
    })
    .await;
    let mut client = Proxy::to(origin.address()).http1();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 Fine\r\n"), "{head}");
    assert!(field(&head, "x-hop").is_empty(), "{head}");
}

#[tokio::test]
async fn http10_is_promised_no_connection_whose_end_is_the_bodys() {
    for (answer, kept) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true),
        ("HTTP/1.1 204 No\r\n\r\n", true),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok", false),
    ] {
        let origin = Origin::start(move |mut served: Served| async move {
            served.head().await;
            served.send(answer).await
        })
        .await;
        let mut client = Proxy::to(origin.address()).http1();
        client
            .send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            .await;
        let head = client.head().await;
        let expected = if kept { "keep-alive" } else { "close" };
        assert_eq!(field(&head, "connection"), [expected], "{answer}: {head}");
        if !kept {
            assert_eq!(client.rest().await, "ok");
        }
    }
}

#[tokio::test]
async fn an_absolute_target_wins_over_host() {
    let head =
        seen("GET http://other.test/c HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await;
    assert!(head.starts_with("GET /c HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "host"), ["other.test"]);
    assert_eq!(field(&head, "x-forwarded-host"), ["other.test"]);
}

#[tokio::test]
async fn http10_without_host_gets_the_name_of_the_connection() {
    let head = seen("GET / HTTP/1.0\r\n\r\n").await;
    assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "host"), ["sni.test"]);
    assert!(field(&head, "x-forwarded-host").is_empty());
}

#[tokio::test]
async fn options_star_is_forwarded() {
    let head = seen("OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(head.starts_with("OPTIONS * HTTP/1.1\r\n"), "{head}");
}

#[tokio::test]
async fn a_post_without_a_body_says_so() {
    let head = seen("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(field(&head, "content-length"), ["0"]);
}

#[tokio::test]
async fn what_is_ambiguous_is_refused_and_closed() {
    let origin = Origin::numbered().await;
    let proxy = Proxy::to(origin.address());
    for (request, status, reason) in [
        ("GET / HTTP/1.1\r\n\r\n", 400, "bad_target"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            400,
            "bad_target",
        ),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, "bad_target"),
        ("GET foo HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"),
        (
            "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n",
            405,
            "method_not_allowed",
        ),
        (
            "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
            405,
            "method_not_allowed",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n",
            417,
            "expectation",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
            "transfer_encoding",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            501,
            "transfer_encoding",
        ),
        (
            &format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8192)),
            414,
            "request_line_too_long",
        ),
    ] {
        let answer = proxy.http1().only(request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
        assert!(
            answer.ends_with(&format!("\n{reason}\n")),
            "{request}: {answer}"
        );
        assert!(
            answer.contains("connection: close\r\n"),
            "{request}: {answer}"
        );
        assert_eq!(answer.contains("allow: "), status == 405);
    }
    assert_eq!(origin.accepted(), 0);
}

#[tokio::test]
async fn no_route_is_404_and_keeps_the_connection() {
    let origin = mirror().await;
    let mut config = config(origin.address());
    routes(&mut config, &[(Some("known.test"), "/")]);
    let mut client = Proxy::new(config).http1();
    for (host, status) in [("a", 404), ("KNOWN.test.", 200), ("known.test:1", 200)] {
        client
            .send(&format!("HEAD / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        let head = client.head().await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{host}: {head}"
        );
        assert_ne!(field(&head, "content-length"), ["0"], "{head}");
    }
    client.end().await.unwrap();
}

#[tokio::test]
async fn http2_becomes_clean_http1() {
    let origin = Origin::start(|mut served: Served| async move {
        while let Some(head) = served.head().await {
            let body = if head.contains("transfer-encoding: chunked") {
                String::from_utf8(served.chunked().await?).unwrap()
            } else if head.contains("content-length: 5") {
                String::from_utf8(served.read(5).await?).unwrap()
            } else {
                String::new()
            };
            served.respond(&format!("{head}{body}")).await?;
        }
        Ok(())
    })
    .await;
    let proxy = Proxy::to(origin.address());
    let mut client = proxy.http2().await;

    let mut send = async |method: Method, length: Option<&str>, body: &'static str| {
        let mut request = Request::builder()
            .method(method)
            .uri("https://example.com/x?y")
            .version(Version::HTTP_2)
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("te", "trailers");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        // A stream of unknown length, so that only the field tells.
        let body = if body.is_empty() {
            Empty::new().map_err(std::io::Error::other).boxed()
        } else if length.is_some() {
            Full::new(Bytes::from(body))
                .map_err(std::io::Error::other)
                .boxed()
        } else {
            super::bodies::unsized_body(body)
        };
        let response = client
            .send_request(request.body(body).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        let text = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(text.to_vec()).unwrap()
    };

    let head = send(Method::GET, None, "").await;
    assert!(head.starts_with("GET /x?y HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "host"), ["example.com"]);
    assert_eq!(field(&head, "cookie"), ["a=1; b=2"]);
    assert_eq!(field(&head, "te"), ["trailers"]);
    assert!(field(&head, "transfer-encoding").is_empty(), "{head}");
    assert!(field(&head, "content-length").is_empty(), "{head}");

    for method in [Method::POST, Method::GET] {
        let head = send(method.clone(), None, "hello").await;
        assert_eq!(field(&head, "transfer-encoding"), ["chunked"]);
        assert!(head.ends_with("\r\n\r\nhello"), "{head}");
        let head = send(method, Some("5"), "hello").await;
        assert_eq!(field(&head, "content-length"), ["5"]);
        assert!(field(&head, "transfer-encoding").is_empty());
        assert!(head.ends_with("\r\n\r\nhello"), "{head}");
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn http2_hosts_must_agree() {
    let origin = Origin::numbered().await;
    let mut client = Proxy::to(origin.address()).http2().await;
    for (host, status) in [("a.test", 400), ("B.test", 200)] {
        let request = Request::builder()
            .uri("https://b.test/")
            .header("host", host)
            .body(Empty::new().map_err(std::io::Error::other).boxed())
            .unwrap();
        assert_eq!(client.send_request(request).await.unwrap().status(), status);
    }
}
