//! Requests that wait: for any of several full servers, for the first addresses, and not too many.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::Cluster;
use super::super::error::ExchangeError;
use super::super::origin::{Origin, Served};
use super::cluster::{LONG, cluster, get, get_text, spec, until};
use crate::config::{ServerAddress, Upstream, UpstreamProtocol};

/// A server that answers with its name once it is let.
async fn gated(name: &'static str, gate: &Arc<Notify>) -> (ServerAddress, Origin) {
    let gate = gate.clone();
    let origin = Origin::start(move |mut served: Served| {
        let gate = gate.clone();
        async move {
            while served.head().await.is_some() {
                gate.notified().await;
                served.respond(name).await?;
            }
            Ok(())
        }
    })
    .await;
    (origin.address(), origin)
}

/// The same over HTTP/2, one stream at a time.
async fn gated_http2(name: &'static str, gate: &Arc<Notify>) -> (ServerAddress, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ServerAddress::Ip(listener.local_addr().unwrap());
    let gate = gate.clone();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            let gate = gate.clone();
            connections.spawn(async move {
                let mut builder = h2::server::Builder::new();
                let builder = builder.max_concurrent_streams(1);
                let mut connection = builder.handshake::<_, Bytes>(tcp).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let gate = gate.clone();
                    tokio::spawn(async move {
                        gate.notified().await;
                        // A client that has left is another test's business.
                        if let Ok(mut body) = respond.send_response(Response::new(()), false) {
                            let _ = body.send_data(Bytes::from(name), true);
                        }
                    });
                }
            });
        }
    });
    (address, task)
}

/// Two servers that have one connection each.
fn small(left: ServerAddress, right: ServerAddress) -> Upstream {
    let mut spec = spec(&[(left, 1), (right, 1)]);
    spec.pool.max_connections = 1;
    spec
}

/// Lets one server answer while all are full, then the others: who waited gets the first place.
async fn first_place_is_taken(cluster: Cluster, gates: [(&'static str, Arc<Notify>); 2]) {
    let cluster = Arc::new(cluster);
    let in_flight = || {
        let status = cluster.status();
        let servers = status.iter().map(|server| server.in_flight);
        servers.collect::<Vec<_>>()
    };
    for turn in 0..4 {
        let mut clients = JoinSet::new();
        for count in 1..=3 {
            let cluster = cluster.clone();
            clients.spawn(async move { get_text(&cluster).await });
            until(|| in_flight().iter().sum::<usize>() == count).await;
        }
        // The one that waits is a load on one server alone.
        let (first, first_gate) = &gates[turn % 2];
        let (other, other_gate) = &gates[(turn + 1) % 2];
        for _ in 0..2 {
            first_gate.notify_one();
            let answer = timeout(LONG, clients.join_next()).await;
            assert_eq!(answer.unwrap().unwrap().unwrap(), *first, "{turn}");
        }
        other_gate.notify_one();
        assert_eq!(clients.join_next().await.unwrap().unwrap(), *other);
        assert_eq!(in_flight(), [0, 0]);
    }
}

#[tokio::test]
async fn the_first_place_at_any_server_is_taken() {
    let gates = [("left", Arc::default()), ("right", Arc::default())];
    let (left, _left) = gated("left", &gates[0].1).await;
    let (right, _right) = gated("right", &gates[1].1).await;
    first_place_is_taken(cluster(&small(left, right)), gates).await;
}

#[tokio::test]
async fn so_is_the_first_stream_of_http2() {
    let gates = [("left", Arc::default()), ("right", Arc::default())];
    let (left, _left) = gated_http2("left", &gates[0].1).await;
    let (right, _right) = gated_http2("right", &gates[1].1).await;
    let mut spec = small(left, right);
    spec.protocol = UpstreamProtocol::Http2;
    first_place_is_taken(cluster(&spec), gates).await;
}

#[tokio::test]
async fn as_many_wait_as_the_lines_of_all_servers_hold() {
    let gate = Arc::new(Notify::new());
    let (left, _left) = gated("left", &gate).await;
    let (right, _right) = gated("right", &gate).await;
    let mut spec = small(left, right);
    spec.pool.max_waiting = 2;
    let cluster = Arc::new(cluster(&spec));
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let cluster = cluster.clone();
        clients.spawn(async move { get(&cluster).await.map(drop) });
    }
    for _ in 0..14 {
        let refused = timeout(LONG / 2, clients.join_next()).await.unwrap();
        let error = refused.unwrap().unwrap().unwrap_err();
        assert!(matches!(error, ExchangeError::PoolFull), "{error:?}");
    }
    assert_eq!(clients.len(), 6);
    for _ in 0..6 {
        gate.notify_one();
        let answered = timeout(LONG, clients.join_next()).await.unwrap();
        answered.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_line_for_the_first_addresses_is_bounded() {
    let origin = Origin::numbered().await;
    let ServerAddress::Ip(address) = origin.address() else {
        unreachable!("origins have addresses");
    };
    let mut spec = spec(&[(ServerAddress::Name("a.invalid".into(), 1), 1)]);
    spec.pool.max_waiting = 3;
    let cluster = Arc::new(cluster(&spec));
    // The resolver takes its time.
    let asking = cluster.servers().asking.lock().await;
    let mut clients = JoinSet::new();
    for _ in 0..50 {
        let cluster = cluster.clone();
        clients.spawn(async move { get(&cluster).await.map(drop) });
    }
    for _ in 0..47 {
        let refused = timeout(LONG / 2, clients.join_next()).await.unwrap();
        let error = refused.unwrap().unwrap().unwrap_err();
        assert!(matches!(error, ExchangeError::PoolFull), "{error:?}");
    }
    cluster.servers().renew(0, vec![address]);
    drop(asking);
    while let Some(answered) = clients.join_next().await {
        answered.unwrap().unwrap();
    }
}
