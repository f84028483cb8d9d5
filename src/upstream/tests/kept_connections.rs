//! Connections that are kept: which is taken next, and what becomes of one that was closed.

use std::sync::Arc;

use http::Method;
use tokio::sync::{Notify, mpsc};

use super::super::error::ExchangeError;
use super::super::origin::{Origin, Served};
use super::cluster::{cluster, get, get_text, one, request, text};

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
