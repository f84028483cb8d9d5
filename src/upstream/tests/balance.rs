//! Which server a request goes to.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use http::Method;

use super::super::origin::{Origin, Served};
use super::cluster::{cluster, counting, get, get_text, request, spec, text, until};
use crate::config::Balance;

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
