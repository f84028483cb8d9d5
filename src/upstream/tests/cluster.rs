//! Clusters against scripted origins on loopback.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::super::error::{BodyError, ExchangeError};
use super::super::framing::FramingError;
use super::super::origin::{Origin, Served};
use super::super::{Cluster, RequestBody, ResponseBody, ServerState};
use crate::config::{
    Balance, Eject, HealthCheck, Pool, ServerAddress, Upstream, UpstreamServer, UpstreamTimeouts,
};

/// Long enough never to be reached, short enough not to hang a broken test for good.
pub(super) const LONG: Duration = Duration::from_secs(20);
/// For what a test waits for.
pub(super) const SHORT: Duration = Duration::from_millis(50);

pub(super) fn spec(servers: &[(ServerAddress, u32)]) -> Upstream {
    Upstream {
        servers: servers
            .iter()
            .map(|(address, weight)| UpstreamServer {
                address: address.clone(),
                weight: *weight,
            })
            .collect(),
        timeouts: UpstreamTimeouts {
            connect: LONG,
            first_byte: LONG,
            idle: LONG,
        },
        pool: Pool {
            max_connections: 16,
            max_idle: 16,
            idle_timeout: LONG,
            wait: LONG,
            max_waiting: 64,
        },
        ..Upstream::of("test", Vec::new())
    }
}

pub(super) fn one(origin: &Origin) -> Upstream {
    spec(&[(origin.address(), 1)])
}

pub(super) fn cluster(spec: &Upstream) -> Cluster {
    Cluster::new(spec, None, Arc::default())
}

pub(super) fn request(method: Method) -> Box<Request<RequestBody>> {
    let request = Request::builder()
        .method(method)
        .uri("/")
        .header("host", "test")
        .body(RequestBody::empty());
    Box::new(request.unwrap())
}

pub(super) async fn get(cluster: &Cluster) -> Result<Response<ResponseBody>, ExchangeError> {
    cluster
        .exchange(request(Method::GET), None, None, &mut None)
        .await
}

pub(super) async fn text(response: Response<ResponseBody>) -> Result<String, BodyError> {
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

pub(super) async fn get_text(cluster: &Cluster) -> String {
    text(get(cluster).await.unwrap()).await.unwrap()
}

/// The outcome of one GET that is answered with `answer`, after which the origin closes.
async fn answered(answer: &'static str) -> Result<Result<String, BodyError>, ExchangeError> {
    let origin = Origin::start(move |mut served: Served| async move {
        served.head().await;
        served.send(answer).await
    })
    .await;
    let cluster = cluster(&one(&origin));
    let response = get(&cluster).await?;
    Ok(text(response).await)
}

#[tokio::test]
async fn a_connection_is_kept_and_the_last_kept_is_taken_first() {
    let origin = Origin::numbered().await;
    let cluster = cluster(&one(&origin));
    // Both bodies outlive both heads, so two connections are needed; each goes back whole.
    let (first, second) = tokio::join!(get(&cluster), get(&cluster));
    let (first, second) = (first.unwrap(), second.unwrap());
    let first = text(first).await.unwrap();
    let second = text(second).await.unwrap();
    let last = get_text(&cluster).await;
    assert!(first == last || second == last);
    let accepted = origin.accepted();
    for _ in 0..10 {
        assert_eq!(get_text(&cluster).await, last, "last in, first out");
    }
    assert_eq!(origin.accepted(), accepted);
}

#[tokio::test]
async fn lifo_order_by_the_end_of_the_exchange() {
    let release = Arc::new(Notify::new());
    let gate = release.clone();
    let origin = Origin::start(move |mut served: Served| {
        let gate = gate.clone();
        async move {
            while served.head().await.is_some() {
                let number = served.number;
                served
                    .send("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n")
                    .await?;
                if number == 0 {
                    gate.notified().await;
                }
                served.send(&number.to_string()).await?;
            }
            Ok(())
        }
    })
    .await;
    let cluster = cluster(&one(&origin));
    let slow = get(&cluster).await.unwrap();
    assert_eq!(get_text(&cluster).await, "1");
    assert_eq!(get_text(&cluster).await, "1");
    release.notify_one();
    assert_eq!(text(slow).await.unwrap(), "0");
    release.notify_one();
    assert_eq!(get_text(&cluster).await, "0", "it was kept last");
}

#[tokio::test]
async fn refused_is_connect() {
    let cluster = cluster(&spec(&[(Origin::closed_address().await, 1)]));
    let mut asked = None;
    let error = cluster
        .exchange(request(Method::GET), None, None, &mut asked)
        .await
        .unwrap_err();
    assert!(matches!(error, ExchangeError::Connect(_)), "{error:?}");
    assert!(asked.unwrap().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn an_end_before_the_head_is_closed_and_not_replayed_on_a_new_connection() {
    for reset in [false, true] {
        let origin = Origin::start(move |mut served: Served| async move {
            served.head().await;
            if reset { served.reset() } else { Ok(()) }
        })
        .await;
        let cluster = cluster(&one(&origin));
        let error = get(&cluster).await.unwrap_err();
        assert!(matches!(error, ExchangeError::Closed(_)), "{error:?}");
        assert_eq!(origin.accepted(), 1);
    }
}

#[tokio::test]
async fn a_head_cut_short_is_closed() {
    let error = answered("HTTP/1.1 200 OK\r\ncontent-le").await.unwrap_err();
    assert!(matches!(error, ExchangeError::Closed(_)), "{error:?}");
}

#[tokio::test]
async fn what_is_no_http_is_a_bad_response() {
    for garbage in [
        "\0\u{1}garbage\r\n\r\n",
        "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
    ] {
        let error = answered(garbage).await.unwrap_err();
        assert!(matches!(error, ExchangeError::BadResponse(_)), "{error:?}");
    }
}

#[tokio::test]
async fn ambiguous_heads_are_refused() {
    for (answer, expected) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            FramingError::TwoLengths,
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhijack",
            FramingError::UnaskedUpgrade,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
            FramingError::TransferEncoding,
        ),
        (
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            FramingError::TransferEncoding,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nhello",
            FramingError::ContentLength,
        ),
    ] {
        match answered(answer).await {
            Err(ExchangeError::BadFraming(error)) => assert_eq!(error, expected),
            other => panic!("{answer:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn heads_are_bounded() {
    let origin = Origin::start(|mut served: Served| async move {
        served.head().await;
        served.send("HTTP/1.1 200 OK\r\n").await?;
        loop {
            served.send(&format!("x: {}\r\n", "b".repeat(4000))).await?;
        }
    })
    .await;
    let error = get(&cluster(&one(&origin))).await.unwrap_err();
    assert!(matches!(error, ExchangeError::BadResponse(_)), "{error:?}");
}

#[tokio::test]
async fn whole_bodies_of_every_framing_arrive() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    ] {
        assert_eq!(
            answered(answer).await.unwrap().unwrap(),
            "hello",
            "{answer}"
        );
    }
}

#[tokio::test]
async fn truncated_bodies_are_errors() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n400\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    ] {
        let error = answered(answer).await.unwrap().unwrap_err();
        assert!(
            matches!(error, BodyError::Truncated(_)),
            "{answer}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_reset_within_a_body_is_an_error_in_every_framing() {
    for head in [
        "content-length: 1000\r\n",
        "transfer-encoding: chunked\r\n",
        "",
    ] {
        let read = Arc::new(Notify::new());
        let seen = read.clone();
        let origin = Origin::start(move |mut served: Served| {
            let seen = seen.clone();
            async move {
                served.head().await;
                served
                    .send(&format!("HTTP/1.1 200 OK\r\n{head}\r\n5\r\nhello\r\n"))
                    .await?;
                seen.notified().await;
                served.reset()
            }
        })
        .await;
        let cluster = cluster(&one(&origin));
        let mut body = get(&cluster).await.unwrap().into_body();
        assert!(body.frame().await.unwrap().is_ok());
        read.notify_one();
        let error = body.collect().await.unwrap_err();
        assert!(
            matches!(error, BodyError::Truncated(_)),
            "{head}: {error:?}"
        );
    }
}

#[tokio::test]
async fn silence_times_out_and_closes() {
    let (closed, mut wait) = mpsc::channel(1);
    let origin = Origin::start(move |mut served: Served| {
        let closed = closed.clone();
        async move {
            served.head().await;
            served.closed().await;
            closed.send(()).await.map_err(std::io::Error::other)
        }
    })
    .await;
    let mut spec = one(&origin);
    spec.timeouts.first_byte = SHORT;
    let error = get(&cluster(&spec)).await.unwrap_err();
    assert!(
        matches!(error, ExchangeError::FirstByteTimeout),
        "{error:?}"
    );
    wait.recv().await.unwrap();
}

#[tokio::test]
async fn a_body_that_stalls_times_out() {
    let origin = Origin::start(|mut served: Served| async move {
        served.head().await;
        served
            .send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello")
            .await?;
        served.closed().await;
        Ok(())
    })
    .await;
    let mut spec = one(&origin);
    spec.timeouts.idle = SHORT;
    let error = text(get(&cluster(&spec)).await.unwrap()).await.unwrap_err();
    assert!(matches!(error, BodyError::Idle), "{error:?}");
}

#[tokio::test]
async fn dropping_a_body_closes_the_connection() {
    let (closed, mut wait) = mpsc::channel(1);
    let origin = Origin::start(move |mut served: Served| {
        let closed = closed.clone();
        async move {
            served.head().await;
            served
                .send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello")
                .await?;
            served.closed().await;
            closed.send(()).await.map_err(std::io::Error::other)
        }
    })
    .await;
    let cluster = cluster(&one(&origin));
    drop(get(&cluster).await.unwrap());
    wait.recv().await.unwrap();
}

/// What the kernel knows by now, tokio knows, too: a task that yields runs again only after the
/// reactor was asked.
async fn reactor_has_run() {
    tokio::task::yield_now().await;
}

/// An origin that serves one request a connection well and then does what `after` says.
#[derive(Clone, Copy)]
enum After {
    /// Closes at once.
    Close,
    /// Takes the next request and closes without a byte.
    SwallowNext,
    /// Sends what nobody asked for.
    Unsolicited,
}

async fn one_good_answer(after: After, done: mpsc::Sender<()>) -> Origin {
    Origin::start(move |mut served: Served| {
        let done = done.clone();
        async move {
            served.head().await;
            let number = served.number.to_string();
            served.respond(&number).await?;
            match after {
                After::Close => {}
                After::SwallowNext => {
                    served.head().await;
                }
                After::Unsolicited => {
                    served.respond("poison").await?;
                    let _ = done.send(()).await;
                    served.closed().await;
                }
            }
            drop(served);
            let _ = done.send(()).await;
            Ok(())
        }
    })
    .await
}

#[tokio::test]
async fn any_request_survives_a_kept_connection_that_was_closed() {
    for method in [Method::GET, Method::POST] {
        let (done, mut wait) = mpsc::channel(4);
        let origin = one_good_answer(After::Close, done).await;
        let cluster = cluster(&one(&origin));
        assert_eq!(get_text(&cluster).await, "0");
        wait.recv().await.unwrap();
        reactor_has_run().await;
        let again = cluster
            .exchange(request(method), None, None, &mut None)
            .await
            .unwrap();
        assert_eq!(text(again).await.unwrap(), "1");
    }
}

#[tokio::test]
async fn a_written_request_is_replayed_once_and_only_if_safe() {
    let (done, _wait) = mpsc::channel(4);
    let origin = one_good_answer(After::SwallowNext, done).await;
    let safe = cluster(&one(&origin));
    assert_eq!(get_text(&safe).await, "0");
    assert_eq!(get_text(&safe).await, "1", "replayed on a new connection");

    let (done, _wait) = mpsc::channel(4);
    let origin = one_good_answer(After::SwallowNext, done).await;
    let unsafe_ = cluster(&one(&origin));
    assert_eq!(get_text(&unsafe_).await, "0");
    let error = unsafe_
        .exchange(request(Method::POST), None, None, &mut None)
        .await
        .unwrap_err();
    assert!(matches!(error, ExchangeError::Closed(_)), "{error:?}");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn bytes_nobody_asked_for_never_reach_the_next_request() {
    let (done, mut wait) = mpsc::channel(4);
    let origin = one_good_answer(After::Unsolicited, done).await;
    let cluster = cluster(&one(&origin));
    assert_eq!(get_text(&cluster).await, "0");
    wait.recv().await.unwrap();
    for number in 1..4 {
        reactor_has_run().await;
        assert_eq!(get_text(&cluster).await, number.to_string());
        wait.recv().await.unwrap();
    }
}

#[tokio::test]
async fn a_full_pool_refuses_after_the_wait() {
    let origin = Origin::start(|mut served: Served| async move {
        served.head().await;
        served.closed().await;
        Ok(())
    })
    .await;
    let mut spec = one(&origin);
    spec.pool.max_connections = 1;
    spec.pool.wait = SHORT;
    let cluster = Arc::new(cluster(&spec));
    let holder = cluster.clone();
    let first = tokio::spawn(async move { get(&holder).await.map(drop) });
    while origin.accepted() == 0 {
        tokio::task::yield_now().await;
    }
    let error = get(&cluster).await.unwrap_err();
    assert!(matches!(error, ExchangeError::PoolFull), "{error:?}");
    assert_eq!(origin.accepted(), 1);
    first.abort();
}

#[tokio::test]
async fn who_waits_for_a_place_gets_the_connection_that_is_given_back() {
    let origin = Origin::numbered().await;
    let mut spec = one(&origin);
    spec.pool.max_connections = 1;
    let cluster = Arc::new(cluster(&spec));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let cluster = cluster.clone();
        waiting.spawn(async move { get_text(&cluster).await });
    }
    while let Some(number) = waiting.join_next().await {
        assert_eq!(number.unwrap(), "0");
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    let (closed, mut wait) = mpsc::channel(1);
    let origin = Origin::start(move |mut served: Served| {
        let closed = closed.clone();
        async move {
            served.head().await;
            served.respond("x").await?;
            served.closed().await;
            closed.send(()).await.map_err(std::io::Error::other)
        }
    })
    .await;
    let mut spec = one(&origin);
    spec.pool.idle_timeout = SHORT;
    let cluster = cluster(&spec);
    assert_eq!(get_text(&cluster).await, "x");
    // Nobody asks the cluster for anything: the pool closes it by itself.
    wait.recv().await.unwrap();
}

#[tokio::test]
async fn no_more_than_max_idle_are_kept() {
    let (closed, mut wait) = mpsc::channel(1);
    let origin = Origin::start(move |mut served: Served| {
        let closed = closed.clone();
        async move {
            served.head().await;
            served.respond("x").await?;
            served.closed().await;
            closed.send(()).await.map_err(std::io::Error::other)
        }
    })
    .await;
    let mut spec = one(&origin);
    spec.pool.max_idle = 0;
    let cluster = cluster(&spec);
    assert_eq!(get_text(&cluster).await, "x");
    wait.recv().await.unwrap();
}

#[tokio::test]
async fn weights_are_exact_and_a_dead_server_is_passed_over() {
    let (left, right) = (Origin::numbered().await, Origin::numbered().await);
    let heavy = cluster(&spec(&[(left.address(), 3), (right.address(), 1)]));
    let mut asked_left = 0;
    for _ in 0..40 {
        let mut asked = None;
        let response = heavy
            .exchange(request(Method::GET), None, None, &mut asked)
            .await
            .unwrap();
        text(response).await.unwrap();
        if *asked.unwrap() == *left.address().to_string() {
            asked_left += 1;
        }
    }
    assert_eq!(asked_left, 30);

    let dead = Origin::closed_address().await;
    let half = cluster(&spec(&[(dead, 1), (right.address(), 1)]));
    for _ in 0..4 {
        let mut asked = None;
        let response = half
            .exchange(request(Method::GET), None, None, &mut asked)
            .await
            .unwrap();
        text(response).await.unwrap();
        assert_eq!(*asked.unwrap(), *right.address().to_string());
    }
}

#[tokio::test]
async fn head_and_204_have_no_body_and_keep_the_connection() {
    let origin = Origin::start(|mut served: Served| async move {
        while let Some(head) = served.head().await {
            let answer = if head.starts_with("HEAD") {
                "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n"
            } else {
                "HTTP/1.1 204 No Content\r\n\r\n"
            };
            served.send(answer).await?;
        }
        Ok(())
    })
    .await;
    let cluster = cluster(&one(&origin));
    for method in [Method::HEAD, Method::GET, Method::HEAD] {
        let response = cluster
            .exchange(request(method), None, None, &mut None)
            .await
            .unwrap();
        assert_eq!(text(response).await.unwrap(), "");
    }
    assert_eq!(origin.accepted(), 1);
}

/// An origin that answers each request with `name`, and counts them.
pub(super) async fn counting(name: &'static str, requests: &Arc<AtomicUsize>) -> Origin {
    let requests = requests.clone();
    Origin::start(move |mut served: Served| {
        let requests = requests.clone();
        async move {
            while served.head().await.is_some() {
                requests.fetch_add(1, Ordering::Relaxed);
                served.respond(name).await?;
            }
            Ok(())
        }
    })
    .await
}

/// Waits until `condition` holds.
pub(super) async fn until(mut condition: impl FnMut() -> bool) {
    timeout(LONG, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();
}

pub(super) fn states(cluster: &Cluster) -> Vec<ServerState> {
    cluster.status().iter().map(|server| server.state).collect()
}

#[tokio::test]
async fn a_server_that_fails_is_ejected_and_comes_back() {
    let good = Origin::numbered().await;
    let dead = Origin::closed_address().await;
    let mut spec = spec(&[(dead, 1), (good.address(), 1)]);
    spec.eject = Some(Eject {
        failures: 3,
        period: SHORT,
    });
    let cluster = Arc::new(cluster(&spec));
    cluster.activate();
    for failures in 1..=3 {
        assert_eq!(states(&cluster), [ServerState::Up; 2]);
        // The turn of the good one goes to the request that met the other.
        get_text(&cluster).await;
        assert_eq!(cluster.status()[0].failures, failures);
    }
    assert_eq!(states(&cluster), [ServerState::Ejected, ServerState::Up]);
    // Nobody asks for it; the cluster ends it by itself.
    until(|| states(&cluster) == [ServerState::Up; 2]).await;
    get_text(&cluster).await;
    get_text(&cluster).await;
    assert_eq!(
        states(&cluster)[0],
        ServerState::Ejected,
        "one more failure"
    );
}

#[tokio::test]
async fn the_last_server_is_never_ejected_and_all_bad_is_all_good() {
    let (one, two) = (
        Origin::closed_address().await,
        Origin::closed_address().await,
    );
    let mut spec = spec(&[(one, 1), (two, 1)]);
    spec.eject = Some(Eject {
        failures: 1,
        period: LONG,
    });
    spec.health = Some(HealthCheck {
        path: "/".into(),
        interval: LONG,
        timeout: LONG,
        healthy_after: 1,
        unhealthy_after: 1,
    });
    let cluster = Arc::new(cluster(&spec));
    for _ in 0..4 {
        let error = get(&cluster).await.unwrap_err();
        assert!(matches!(error, ExchangeError::Connect(_)), "{error:?}");
    }
    let out = |state| {
        states(&cluster)
            .into_iter()
            .filter(|own| *own == state)
            .count()
    };
    assert_eq!(out(ServerState::Ejected), 1);
    cluster.activate();
    until(|| out(ServerState::Unhealthy) == 2).await;
    let failures =
        |cluster: &Cluster| -> u32 { cluster.status().iter().map(|server| server.failures).sum() };
    let before = failures(&cluster);
    get(&cluster).await.unwrap_err();
    assert_eq!(failures(&cluster), before + 2, "both were asked");
}

#[tokio::test]
async fn checks_take_a_server_out_and_bring_it_back() {
    let ill = Arc::new(AtomicBool::new(false));
    let state = ill.clone();
    let origin = Origin::start(move |mut served: Served| {
        let state = state.clone();
        async move {
            while let Some(head) = served.head().await {
                if head.starts_with("GET /up ") && state.load(Ordering::Relaxed) {
                    served
                        .send("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")
                        .await?;
                } else {
                    served.respond("checked").await?;
                }
            }
            Ok(())
        }
    })
    .await;
    let requests = Arc::default();
    let other = counting("other", &requests).await;
    let mut spec = spec(&[(origin.address(), 1), (other.address(), 1)]);
    spec.health = Some(HealthCheck {
        path: "/up".into(),
        interval: Duration::from_millis(5),
        timeout: LONG,
        healthy_after: 2,
        unhealthy_after: 2,
    });
    let cluster = Arc::new(cluster(&spec));
    cluster.activate();
    for _ in 0..2 {
        ill.store(true, Ordering::Relaxed);
        until(|| states(&cluster)[0] == ServerState::Unhealthy).await;
        for _ in 0..4 {
            assert_eq!(get_text(&cluster).await, "other");
        }
        ill.store(false, Ordering::Relaxed);
        until(|| states(&cluster)[0] == ServerState::Up).await;
        let mut answers = [get_text(&cluster).await, get_text(&cluster).await];
        answers.sort();
        assert_eq!(answers, ["checked", "other"]);
    }
}

#[tokio::test]
async fn a_client_keeps_its_server_and_leaves_only_a_dead_one() {
    let requests: Arc<AtomicUsize> = Arc::default();
    let (left, right) = (
        counting("left", &requests).await,
        counting("right", &requests).await,
    );
    let mut spec = spec(&[
        (left.address(), 1),
        (right.address(), 1),
        (Origin::closed_address().await, 1),
    ]);
    spec.balance = Balance::HashClientIp;
    let cluster = cluster(&spec);
    let mut names = Vec::new();
    for number in 0..40 {
        let client = Some([192, 0, 2, number].into());
        let mut own = Vec::new();
        for _ in 0..3 {
            let mut asked = None;
            let exchange = cluster.exchange(request(Method::GET), client, None, &mut asked);
            own.push(text(exchange.await.unwrap()).await.unwrap());
        }
        assert_eq!(own[0], own[1]);
        assert_eq!(own[0], own[2]);
        names.push(own.remove(0));
    }
    names.sort();
    names.dedup();
    assert_eq!(names, ["left", "right"]);
}

#[tokio::test]
async fn least_connections_avoids_a_server_that_hangs() {
    let hung = Origin::start(|mut served: Served| async move {
        served.head().await;
        served.closed().await;
        Ok(())
    })
    .await;
    let requests = Arc::default();
    let good = counting("good", &requests).await;
    let mut spec = spec(&[(hung.address(), 1), (good.address(), 1)]);
    spec.balance = Balance::LeastConnections;
    let cluster = Arc::new(cluster(&spec));
    let waiting = cluster.clone();
    let stuck = tokio::spawn(async move { get(&waiting).await.map(drop) });
    until(|| cluster.status()[0].in_flight == 1).await;
    for _ in 0..20 {
        assert_eq!(get_text(&cluster).await, "good");
    }
    stuck.abort();
    until(|| cluster.status()[0].in_flight == 0).await;
}

#[tokio::test]
async fn the_line_for_a_full_pool_is_bounded() {
    let origin = Origin::start(|mut served: Served| async move {
        served.head().await;
        served.closed().await;
        Ok(())
    })
    .await;
    let mut spec = one(&origin);
    spec.pool.max_connections = 1;
    spec.pool.max_waiting = 1;
    let cluster = Arc::new(cluster(&spec));
    let mut stuck = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let cluster = cluster.clone();
        stuck.spawn(async move { get(&cluster).await.map(drop) });
    }
    until(|| cluster.status()[0].in_flight == 2).await;
    // The wait is long, and there is none.
    let refused = timeout(LONG / 2, get(&cluster)).await.unwrap();
    let error = refused.unwrap_err();
    assert!(matches!(error, ExchangeError::PoolFull), "{error:?}");
}

#[tokio::test]
async fn without_attempts_nothing_is_tried_again() {
    let requests = Arc::default();
    let good = counting("good", &requests).await;
    let mut spec = spec(&[(Origin::closed_address().await, 1), (good.address(), 1)]);
    spec.retries.attempts = 0;
    let cluster = cluster(&spec);
    for _ in 0..2 {
        get(&cluster).await.unwrap_err();
        assert_eq!(get_text(&cluster).await, "good");
    }
}

#[tokio::test]
async fn a_name_is_a_server_for_each_address_and_those_that_go_are_drained() {
    let (closed, mut wait) = mpsc::channel(4);
    let start = |name: &'static str| {
        let closed = closed.clone();
        Origin::start(move |mut served: Served| {
            let closed = closed.clone();
            async move {
                while served.head().await.is_some() {
                    served.respond(name).await?;
                }
                closed.send(name).await.map_err(std::io::Error::other)
            }
        })
    };
    let (left, right) = (start("left").await, start("right").await);
    let ip = |origin: &Origin| match origin.address() {
        ServerAddress::Ip(address) => address,
        other => unreachable!("origins have addresses: {other}"),
    };
    let name = ServerAddress::Name("localhost".into(), 1);
    let cluster = cluster(&spec(&[(name, 1)]));
    assert_eq!(cluster.status(), []);
    cluster.servers().renew(0, vec![ip(&left), ip(&right)]);
    let mut answers = [get_text(&cluster).await, get_text(&cluster).await];
    answers.sort();
    assert_eq!(answers, ["left", "right"]);
    cluster.servers().renew(0, vec![ip(&right)]);
    assert_eq!(
        wait.recv().await,
        Some("left"),
        "its idle connection is closed"
    );
    for _ in 0..3 {
        assert_eq!(get_text(&cluster).await, "right");
    }
    assert_eq!(right.accepted(), 1, "the other one kept its connection");
}

#[tokio::test]
async fn known_addresses_outlive_a_resolver_that_fails() {
    let origin = Origin::numbered().await;
    let ServerAddress::Ip(address) = origin.address() else {
        unreachable!("origins have addresses");
    };
    let name = ServerAddress::Name("does-not-exist.invalid".into(), 1);
    let cluster = cluster(&spec(&[(name, 1)]));
    let mut asked = None;
    let error = cluster
        .exchange(request(Method::GET), None, None, &mut asked)
        .await
        .unwrap_err();
    assert!(matches!(error, ExchangeError::Resolve(_)), "{error:?}");
    assert_eq!(asked.as_deref(), Some("does-not-exist.invalid:1"));
    cluster.servers().renew(0, vec![address]);
    assert_eq!(get_text(&cluster).await, "0");
    cluster.servers().resolve().await.unwrap_err();
    assert_eq!(get_text(&cluster).await, "0");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn a_name_is_resolved_by_the_first_request() {
    let origin = Origin::numbered().await;
    let ServerAddress::Ip(address) = origin.address() else {
        unreachable!("origins have addresses");
    };
    // `localhost` may be ::1 too, where nobody listens: passed over.
    let name = ServerAddress::Name("localhost".into(), address.port());
    let cluster = cluster(&spec(&[(name, 1)]));
    assert_eq!(get_text(&cluster).await, "0");
    assert!(!cluster.status().is_empty());
}

/// Servers that die, hang, answer slowly and come back, under load: no answer is another's, what
/// may not be sent twice never is, and everything ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_die_and_come_back_cost_no_wrong_answer_and_no_second_post() {
    let seen: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let moods: [Arc<AtomicUsize>; 3] = Default::default();
    let mut addresses = Vec::new();
    let mut origins = Vec::new();
    for mood in &moods {
        let (mood, seen) = (mood.clone(), seen.clone());
        let origin = Origin::start(move |mut served: Served| {
            let (mood, seen) = (mood.clone(), seen.clone());
            async move {
                while let Some(head) = served.head().await {
                    let line = head.lines().next().unwrap_or_default();
                    let line = line.trim_end_matches(" HTTP/1.1").to_owned();
                    if !line.ends_with("/up") {
                        *seen.lock().unwrap().entry(line.clone()).or_default() += 1;
                    }
                    match mood.load(Ordering::Relaxed) {
                        // Dies with the request in hand.
                        1 => return Ok(()),
                        // Hangs.
                        2 => {
                            served.closed().await;
                            return Ok(());
                        }
                        3 => tokio::time::sleep(Duration::from_millis(5)).await,
                        _ => {}
                    }
                    served.respond(&line).await?;
                }
                Ok(())
            }
        })
        .await;
        addresses.push((origin.address(), 1));
        origins.push(origin);
    }
    let mut spec = spec(&addresses);
    spec.timeouts.first_byte = SHORT;
    spec.eject = Some(Eject {
        failures: 2,
        period: Duration::from_millis(20),
    });
    let interval = Duration::from_millis(20);
    spec.health = Some(HealthCheck {
        path: "/up".into(),
        interval,
        timeout: SHORT,
        healthy_after: 1,
        unhealthy_after: 1,
    });
    for balance in [
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::RandomTwo,
        Balance::HashClientIp,
    ] {
        spec.balance = balance;
        let cluster = Arc::new(cluster(&spec));
        cluster.activate();
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..8_u8 {
            let (cluster, over) = (cluster.clone(), over.clone());
            clients.spawn(async move {
                let mut good = 0;
                let mut number = 0;
                while !over.load(Ordering::Relaxed) {
                    number += 1;
                    let method = if number % 2 == 0 {
                        Method::GET
                    } else {
                        Method::POST
                    };
                    let path = format!("/{balance:?}/{client}/{number}");
                    let expected = format!("{method} {path}");
                    let mut request = request(method);
                    *request.uri_mut() = path.parse().unwrap();
                    let client = Some([192, 0, 2, client].into());
                    let mut asked = None;
                    let exchange = cluster.exchange(request, client, None, &mut asked);
                    if let Ok(response) = exchange.await
                        && let Ok(answer) = text(response).await
                    {
                        assert_eq!(answer, expected);
                        good += 1;
                    }
                }
                good
            });
        }
        // One after the other, then all at once, with each mood.
        for mood in [1, 2, 3] {
            for one in &moods {
                one.store(mood, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(40)).await;
                one.store(0, Ordering::Relaxed);
            }
            for one in &moods {
                one.store(mood, Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
            for one in &moods {
                one.store(0, Ordering::Relaxed);
            }
            until(|| states(&cluster) == [ServerState::Up; 3]).await;
        }
        over.store(true, Ordering::Relaxed);
        while let Some(good) = timeout(LONG, clients.join_next()).await.unwrap() {
            assert!(good.unwrap() > 0);
        }
        assert!(cluster.status().iter().all(|server| server.in_flight == 0));
    }
    let seen = seen.lock().unwrap();
    let posts = seen.iter().filter(|(line, _)| line.starts_with("POST"));
    let twice: Vec<_> = posts.clone().filter(|(_, times)| **times > 1).collect();
    assert!(posts.count() > 100);
    assert!(twice.is_empty(), "{twice:?}");
    drop(origins);
}
