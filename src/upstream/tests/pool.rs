//! The bounds of a pool: how many connections, how many kept, how long, and who waits.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::error::ExchangeError;
use super::super::origin::{Origin, Served};
use super::cluster::{LONG, SHORT, cluster, get, get_text, one, until};

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
