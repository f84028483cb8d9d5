//! Names of servers: resolved by the first request, again in time, and kept when that fails.

use http::Method;
use tokio::sync::mpsc;

use super::super::error::ExchangeError;
use super::super::origin::{Origin, Served};
use super::cluster::{cluster, get_text, request, spec};
use crate::config::ServerAddress;

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
