//! What comes for an answer: whole, cut short, ambiguous, too large, or nothing.

use std::sync::Arc;

use http::Method;
use http_body_util::BodyExt;
use tokio::sync::{Notify, mpsc};

use super::super::error::{BodyError, ExchangeError};
use super::super::framing::FramingError;
use super::super::origin::{Origin, Served};
use super::cluster::{SHORT, cluster, get, one, request, spec, text};

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
