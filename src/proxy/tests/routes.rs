//! What a route does with a request besides forwarding it as it is.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};

use super::support::{Client, LONG, Proxy, SHORT, config, routes};
use crate::config::{
    BodyLimit, Config, FieldEdits, FixedResponse, PrefixRewrite, Redirect, RedirectTarget, Route,
    RouteAction, ServerAddress, UpstreamTimeouts,
};
use crate::upstream::origin::{Origin, Served};

/// An origin that answers with the head it got, and names itself.
async fn mirror() -> Origin {
    Origin::start(|mut served: Served| async move {
        while let Some(head) = served.head().await {
            served.respond(&head).await?;
        }
        Ok(())
    })
    .await
}

fn nowhere() -> ServerAddress {
    ServerAddress::Ip(([127, 0, 0, 1], 1).into())
}

/// A configuration to `address` with its one route changed.
fn with(address: ServerAddress, change: impl FnOnce(&mut Route)) -> Config {
    let mut config = config(address);
    change(&mut config.routes[0]);
    config
}

fn field(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
    let name = HeaderName::from_static(name);
    (name, HeaderValue::from_static(value))
}

fn client(config: Config) -> Client {
    Proxy::new(config).http1()
}

/// The answer to one request.
async fn ask(config: Config, line: &str, host: &str) -> String {
    let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    client(config).only(&request).await
}

fn location(answer: &str) -> Option<&str> {
    answer
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
}

#[tokio::test]
async fn fields_of_requests_and_responses_are_changed() {
    let origin = mirror().await;
    let config = with(origin.address(), |route| {
        route.request.fields = FieldEdits {
            remove: vec![HeaderName::from_static("cookie")],
            set: vec![field("x-team", "pay 100%")],
            add: vec![field("x-more", "2")],
        };
        route.response_fields = FieldEdits {
            remove: vec![HeaderName::from_static("content-type")],
            set: vec![field("x-frame-options", "DENY")],
            add: Vec::new(),
        };
    });
    // `Connection` cannot take away what is set after it was obeyed.
    let answer = client(config)
        .only(
            "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close, x-team\r\nCookie: a\r\nX-Team: evil\r\n\
             X_Team: evil\r\nX-More: 1\r\n\r\n",
        )
        .await;
    let (head, seen) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nx-frame-options: DENY"), "{head}");
    let seen = seen.to_ascii_lowercase();
    assert!(seen.contains("\r\nx-team: pay 100%\r\n"), "{seen}");
    assert!(seen.contains("\r\nx-more: 1\r\nx-more: 2\r\n"), "{seen}");
    assert!(!seen.contains("evil") && !seen.contains("cookie"), "{seen}");
}

#[tokio::test]
async fn responses_of_our_own_are_changed_too() {
    let config = with(nowhere(), |route| {
        route.response_fields.set = vec![field("x-frame-options", "DENY")];
    });
    let answer = ask(config, "GET /", "a").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("\r\nx-frame-options: DENY\r\n"), "{answer}");
}

#[tokio::test]
async fn prefixes_are_replaced() {
    let origin = mirror().await;
    let rewritten = |put: &str| {
        let put = put.into();
        let mut config = config(origin.address());
        routes(&mut config, &[(None, "/api/")]);
        let cut = "/api".len();
        config.routes[0].request.path = Some(PrefixRewrite { cut, put });
        config
    };
    for (put, target, seen) in [
        ("/", "/api/", "/"),
        ("/", "/api/x/?y=/api/", "/x/?y=/api/"),
        ("/v2/", "/api/x", "/v2/x"),
    ] {
        let answer = ask(rewritten(put), &format!("GET {target}"), "a").await;
        let line = format!("\r\n\r\nGET {seen} HTTP/1.1\r\n");
        assert!(answer.contains(&line), "{answer}");
    }
    let answer = ask(rewritten("/v2/"), "GET /api/%2e%2E/admin", "a").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.ends_with("\nbad_target\n"), "{answer}");
}

#[tokio::test]
async fn redirects_keep_path_and_query() {
    let to = |to: RedirectTarget| {
        with(nowhere(), |route| {
            route.action = RouteAction::Redirect(Redirect {
                to,
                status: StatusCode::FOUND,
            });
        })
    };
    let origin = || RedirectTarget::Origin("https://b.test:8443".into());
    let https = |port| RedirectTarget::Https { port };
    for (target, line, host, expected) in [
        (
            origin(),
            "GET /x//y?z=%0d%0aA:b",
            "a",
            "https://b.test:8443/x//y?z=%0d%0aA:b",
        ),
        (
            origin(),
            "POST //evil.test/",
            "a",
            "https://b.test:8443//evil.test/",
        ),
        (origin(), "OPTIONS *", "a", "https://b.test:8443/"),
        (https(443), "GET /x", "A.test.:8080", "https://a.test/x"),
        (https(8443), "GET /x", "[::1]:80", "https://[::1]:8443/x"),
        (
            https(443),
            "GET http://c.test:80?q",
            "a",
            "https://c.test/?q",
        ),
    ] {
        let answer = ask(to(target), line, host).await;
        assert!(answer.starts_with("HTTP/1.1 302 Found\r\n"), "{answer}");
        assert_eq!(location(&answer), Some(expected), "{answer}");
        assert!(answer.ends_with("\r\n\r\n302 Found\n"), "{answer}");
    }
    let answer = ask(to(origin()), "HEAD /", "a").await;
    assert!(answer.contains("\r\ncontent-length: 10\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_redirect_never_leads_to_itself() {
    // The connection is secure.
    for (to, host) in [
        (RedirectTarget::Https { port: 443 }, "a.test"),
        (RedirectTarget::Https { port: 443 }, "A.test:443"),
        (RedirectTarget::Https { port: 8443 }, "[::1]:8443"),
        (RedirectTarget::Origin("https://a.test".into()), "a.test."),
    ] {
        let config = with(nowhere(), |route| {
            route.action = RouteAction::Redirect(Redirect {
                to,
                status: StatusCode::FOUND,
            });
        });
        let answer = ask(config, "GET /", host).await;
        assert!(answer.starts_with("HTTP/1.1 508 "), "{host}: {answer}");
        assert!(answer.ends_with("\nredirect_loop\n"), "{answer}");
    }
}

#[tokio::test]
async fn an_http10_request_without_a_host_is_sent_to_a_named_one_alone() {
    for (to, status) in [
        (RedirectTarget::Https { port: 443 }, 400),
        (RedirectTarget::Origin("https://a.test".into()), 302),
    ] {
        let config = with(nowhere(), |route| {
            route.action = RouteAction::Redirect(Redirect {
                to,
                status: StatusCode::FOUND,
            });
        });
        let answer = client(config).only("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(answer.split(' ').nth(1), Some(&*status.to_string()));
    }
}

#[tokio::test]
async fn fixed_responses_are_whole() {
    let fixed = |status: u16, body: &'static str| {
        with(nowhere(), |route| {
            route.action = RouteAction::Respond(FixedResponse {
                status: StatusCode::from_u16(status).unwrap(),
                body: Bytes::from_static(body.as_bytes()),
                fields: vec![field("content-type", "text/x")],
            });
        })
    };
    let answer = ask(fixed(410, "gone\n"), "GET /", "a").await;
    assert!(answer.starts_with("HTTP/1.1 410 Gone\r\n"), "{answer}");
    assert!(answer.contains("\r\ncontent-type: text/x\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\ngone\n"), "{answer}");
    let answer = ask(fixed(410, "gone\n"), "HEAD /", "a").await;
    assert!(answer.contains("\r\ncontent-length: 5\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = ask(fixed(204, ""), "GET /", "a").await;
    assert!(!answer.contains("content-length"), "{answer}");
    // Over HTTP/2, and with a body that nobody asks for.
    let mut http2 = Proxy::new(fixed(200, "hello")).http2().await;
    let request = Request::builder()
        .method(Method::POST)
        .uri("https://a/")
        .body(Empty::new().map_err(|never| match never {}).boxed())
        .unwrap();
    let response = http2.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "hello");
}

#[tokio::test]
async fn a_route_has_its_own_body_limit() {
    let origin = mirror().await;
    for (global, own, status) in [
        (None, BodyLimit::Bytes(3), "413"),
        (Some(3), BodyLimit::Global, "413"),
        (Some(3), BodyLimit::Unlimited, "200"),
        (Some(3), BodyLimit::Bytes(4), "200"),
    ] {
        let mut config = with(origin.address(), |route| route.request.body = own);
        config.limits.request_body = global;
        let answer = client(config)
            .only(
                "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nabcd",
            )
            .await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{own:?}: {answer}");
    }
}

#[tokio::test]
async fn a_route_has_its_own_timeouts() {
    let origin = Origin::start(|mut served: Served| async move {
        served.head().await;
        // Silent until the proxy gives up.
        served.head().await;
        Ok(())
    })
    .await;
    let config = with(origin.address(), |route| {
        route.request.timeouts = Some(UpstreamTimeouts {
            connect: LONG,
            first_byte: SHORT,
            idle: LONG,
        });
    });
    assert!(config.upstreams[0].timeouts.first_byte > Duration::from_secs(1));
    let answer = ask(config, "GET /", "a").await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
}
