//! Clusters that are full, waited for, left behind by a reload, or stuck.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::error::ExchangeError;
use super::super::origin::{Origin, Served};
use super::super::{Cluster, RequestBody, ServerState};
use super::cluster::{
    LONG, SHORT, cluster, counting, get, get_text, one, request, spec, states, until,
};
use crate::config::{HealthCheck, ServerAddress, UpstreamProtocol};
use crate::telemetry::UpstreamMetrics;

/// One bad check, and a server is unhealthy.
fn strict() -> HealthCheck {
    HealthCheck {
        path: "/up".into(),
        interval: LONG,
        timeout: LONG,
        healthy_after: 1,
        unhealthy_after: 1,
    }
}

/// Marks the server at `index` unhealthy, as failed checks would.
fn make_unhealthy(cluster: &Cluster, index: usize) {
    let roster = cluster.servers().roster();
    let server = roster.servers().nth(index).unwrap();
    server.standing.checked(false, &strict());
}

/// Takes connections and says nothing.
async fn mute() -> Origin {
    Origin::start(|mut served: Served| async move {
        served.closed().await;
        Ok(())
    })
    .await
}

/// Answers "good" once it is let.
async fn gated(gate: &Arc<Notify>) -> Origin {
    let gate = gate.clone();
    Origin::start(move |mut served: Served| {
        let gate = gate.clone();
        async move {
            while served.head().await.is_some() {
                gate.notified().await;
                served.respond("good").await?;
            }
            Ok(())
        }
    })
    .await
}

/// A good server that is full is waited for; one that is ill gets nothing, be it dead or alive.
#[tokio::test]
async fn a_full_server_is_waited_for_before_an_unhealthy_one() {
    let requests = Arc::default();
    let ill = counting("ill", &requests).await;
    for other in [ill.address(), Origin::closed_address().await] {
        let gate = Arc::new(Notify::new());
        let good = gated(&gate).await;
        let mut spec = spec(&[(good.address(), 1), (other, 1)]);
        spec.pool.max_connections = 1;
        let cluster = Arc::new(cluster(&spec));
        make_unhealthy(&cluster, 1);
        assert_eq!(states(&cluster), [ServerState::Up, ServerState::Unhealthy]);
        let mut clients = JoinSet::new();
        for _ in 0..2 {
            let cluster = cluster.clone();
            clients.spawn(async move { get_text(&cluster).await });
        }
        until(|| cluster.status()[0].in_flight == 2).await;
        gate.notify_one();
        assert_eq!(clients.join_next().await.unwrap().unwrap(), "good");
        gate.notify_one();
        assert_eq!(clients.join_next().await.unwrap().unwrap(), "good");
        assert_eq!(cluster.status()[1].in_flight, 0);
    }
    assert_eq!(requests.load(Ordering::Relaxed), 0);
}

/// So is one that is full while another, thought good, turns out to be dead.
#[tokio::test]
async fn a_full_server_is_waited_for_after_a_dead_one() {
    let gate = Arc::new(Notify::new());
    let good = gated(&gate).await;
    let mut spec = spec(&[(good.address(), 1), (Origin::closed_address().await, 1)]);
    spec.pool.max_connections = 1;
    let cluster = Arc::new(cluster(&spec));
    let mut clients = JoinSet::new();
    for _ in 0..3 {
        let cluster = cluster.clone();
        clients.spawn(async move { get_text(&cluster).await });
    }
    until(|| cluster.status()[0].in_flight == 3).await;
    for _ in 0..3 {
        gate.notify_one();
        assert_eq!(clients.join_next().await.unwrap().unwrap(), "good");
    }
}

/// Failures between tunnels, and between streams that clients leave, are not in a row.
#[tokio::test]
async fn what_never_ends_in_order_ends_a_row_of_failures() {
    let dead = Arc::new(AtomicBool::new(false));
    let mood = dead.clone();
    let origin = Origin::start(move |mut served: Served| {
        let dead = mood.clone();
        async move {
            let head = served.head().await.unwrap_or_default();
            if dead.load(Ordering::Relaxed) {
                return Ok(());
            }
            let answer = match head.starts_with("GET /events ") {
                true => "HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n",
                false => {
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                     upgrade: websocket\r\n\r\n"
                }
            };
            served.send(answer).await?;
            served.closed().await;
            Ok(())
        }
    })
    .await;
    let cluster = cluster(&one(&origin));
    for _ in 0..3 {
        for path in ["/chat", "/events"] {
            dead.store(true, Ordering::Relaxed);
            get(&cluster).await.unwrap_err();
            assert_eq!(cluster.status()[0].failures, 1);
            dead.store(false, Ordering::Relaxed);
            let mut request = request(Method::GET);
            *request.uri_mut() = path.parse().unwrap();
            if path == "/chat" {
                let headers = request.headers_mut();
                headers.insert("connection", "upgrade".parse().unwrap());
                headers.insert("upgrade", "websocket".parse().unwrap());
            }
            let exchange = cluster.exchange(request, None, None, &mut None).await;
            let mut response = exchange.unwrap();
            match path {
                "/chat" => drop(response.body_mut().take_tunnel().unwrap()),
                _ => drop(response.body_mut().frame().await.unwrap().unwrap()),
            }
            drop(response);
            assert_eq!(cluster.status()[0].failures, 0, "{path}");
        }
    }
}

/// Waiting for another's HTTP/2 connection is waiting in the pool's line.
#[tokio::test]
async fn the_line_for_a_connection_of_http2_is_bounded() {
    let mute = mute().await;
    let mut spec = one(&mute);
    spec.protocol = UpstreamProtocol::Http2;
    spec.pool.max_connections = 1;
    spec.pool.max_waiting = 1;
    let cluster = Arc::new(cluster(&spec));
    let mut clients = JoinSet::new();
    for _ in 0..50 {
        let cluster = cluster.clone();
        clients.spawn(async move { get(&cluster).await.map(drop) });
    }
    for _ in 0..48 {
        let refused = timeout(LONG / 2, clients.join_next()).await.unwrap();
        let error = refused.unwrap().unwrap().unwrap_err();
        assert!(matches!(error, ExchangeError::PoolFull), "{error:?}");
    }
    assert_eq!(cluster.status()[0].in_flight, 2);
}

/// Waiting for it and connecting have one deadline.
#[tokio::test]
async fn a_connection_of_http2_takes_no_longer_than_connect() {
    let mute = mute().await;
    let mut spec = one(&mute);
    spec.protocol = UpstreamProtocol::Http2;
    spec.timeouts.connect = Duration::from_secs(1);
    let cluster = Arc::new(cluster(&spec));
    let other = cluster.clone();
    let first = tokio::spawn(async move { get(&other).await.map(drop) });
    until(|| cluster.status()[0].in_flight == 1).await;
    // A part of the first one's time has passed when the second begins.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = std::time::Instant::now();
    get(&cluster).await.unwrap_err();
    let took = started.elapsed();
    first.await.unwrap().unwrap_err();
    assert!(took < Duration::from_millis(1500), "{took:?}");
}

/// A reload leaves a cluster behind that a tunnel still holds.
#[tokio::test]
async fn a_retired_cluster_does_nothing_by_itself() {
    let metrics: Arc<UpstreamMetrics> = Arc::default();
    let checks = Arc::default();
    let old_origin = counting("old", &checks).await;
    let health = HealthCheck {
        interval: Duration::from_millis(5),
        ..strict()
    };
    let mut spec = one(&old_origin);
    spec.health = Some(health);
    let old = Arc::new(Cluster::new(&spec, None, metrics.clone()));
    old.activate();
    until(|| checks.load(Ordering::Relaxed) > 3).await;
    let new_origin = Origin::numbered().await;
    let new = Arc::new(Cluster::new(&one(&new_origin), None, metrics.clone()));
    old.retire();
    new.activate();
    // Only the test has it now: its tasks are gone, one that was checking included.
    until(|| Arc::strong_count(&old) == 1).await;
    let before = checks.load(Ordering::Relaxed);
    make_unhealthy(&old, 0);
    old.servers().tell();
    let totals = metrics.totals();
    assert_eq!((totals.servers, totals.healthy), (1, 1));
    tokio::time::sleep(SHORT).await;
    assert_eq!(checks.load(Ordering::Relaxed), before);
    // What is still asked of it, it does.
    assert_eq!(get_text(&old).await, "old");
}

/// A request body that comes over HTTP/1.1 from a client that goes on sending until it is stopped.
async fn endless_upload() -> (RequestBody, JoinSet<()>) {
    let (client, server) = tokio::io::duplex(1 << 20);
    let (give, mut take) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let service = service_fn(move |request: Request<Incoming>| {
            let give = give.clone();
            async move {
                give.send(request.into_body()).await.unwrap();
                std::future::pending::<Result<Response<String>, std::io::Error>>().await
            }
        });
        let builder = hyper::server::conn::http1::Builder::new();
        // How it ends is the test's doing.
        let _ = builder
            .serve_connection(TokioIo::new(server), service)
            .await;
    });
    let (_, mut write) = tokio::io::split(client);
    tasks.spawn(async move {
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n";
        write.write_all(head).await.unwrap();
        while write.write_all(&[0; 65536]).await.is_ok() {}
    });
    let incoming = take.recv().await.unwrap();
    let body = RequestBody::new(incoming, http::Version::HTTP_11, None, LONG, |_| {});
    (body, tasks)
}

/// An upload that the server does not read ends when the client leaves, after the head too.
#[tokio::test]
async fn an_upload_that_is_stuck_lets_go_of_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ServerAddress::Ip(listener.local_addr().unwrap());
    let told = Arc::new(Notify::new());
    let ended = told.clone();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::Builder::new()
            .handshake::<_, Bytes>(tcp)
            .await
            .unwrap();
        let mut unread = Vec::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let body = respond.send_response(Response::new(()), false).unwrap();
            unread.push((request, body));
        }
        ended.notify_one();
    });
    let mut spec = spec(&[(address, 1)]);
    spec.protocol = UpstreamProtocol::Http2;
    spec.pool.max_connections = 1;
    let cluster = Arc::new(cluster(&spec));
    let (body, mut client) = endless_upload().await;
    let upload = body.upload().unwrap();
    let request = Request::post("/").header("host", "a").body(body).unwrap();
    let response = cluster
        .exchange(Box::new(request), None, None, &mut None)
        .await;
    // All that the windows hold is taken.
    let mut taken = 0;
    until(|| std::mem::replace(&mut taken, upload.bytes()) == upload.bytes() && taken > 65_535)
        .await;
    drop((response.unwrap(), upload));
    client.shutdown().await;
    timeout(LONG, told.notified()).await.unwrap();
    let roster = cluster.servers().roster();
    let server = roster.servers().next().unwrap();
    until(|| server.pool.try_place().is_some()).await;
}
