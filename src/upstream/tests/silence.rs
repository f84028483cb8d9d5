//! HTTP/2 servers that go silent, or deaf: asked for a sign of life, and given up without one.
//!
//! The clock stands still while anything moves, so the minutes of these tests take no time.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::BodyExt;
use hyper::ext::Protocol;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::super::Cluster;
use super::super::error::{BodyError, ExchangeError};
use super::super::streams::{PATIENCE, PING_INTERVAL, PING_TIMEOUT};
use super::cluster::{SHORT, get, request, spec};
use crate::config::{ServerAddress, UpstreamProtocol};

/// Longer than any test.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a server does after the head and a piece of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// It reads on, and so answers pings.
    Quiet,
    /// It neither reads nor writes.
    Silent,
}

/// A cluster of a server that takes one request; its task ends with the connection.
async fn cluster_of(manner: Manner, answers: bool) -> (Cluster, JoinHandle<()>, impl Sized) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ServerAddress::Ip(listener.local_addr().unwrap());
    let (keep, kept) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(tcp).await.unwrap();
        let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
        let body = answers.then(|| {
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(Bytes::from("one"), false).unwrap();
            body
        });
        match manner {
            // However it ends.
            Manner::Quiet => drop(connection.accept().await),
            Manner::Silent => {
                // What was said is sent; no ping has come by then.
                let _ = timeout(Duration::from_secs(1), connection.accept()).await;
                let _ = kept.await;
            }
        }
        drop((body, respond));
    });
    let mut spec = spec(&[(address, 1)]);
    spec.protocol = UpstreamProtocol::Http2;
    spec.timeouts.first_byte = DAY;
    spec.timeouts.idle = DAY;
    let cluster = Cluster::new(&spec, None, std::sync::Arc::default());
    (cluster, server, keep)
}

/// That it took a ping's interval and timeout, and not much more.
#[track_caller]
fn assert_pinged(took: Duration) {
    let least = PING_INTERVAL + PING_TIMEOUT;
    let most = least + Duration::from_secs(5);
    assert!((least..most).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_breaks_off_the_answer_that_it_has_begun() {
    let (cluster, _server, _keep) = cluster_of(Manner::Silent, true).await;
    let mut body = get(&cluster).await.unwrap().into_body();
    let piece = body.frame().await.unwrap().unwrap();
    assert_eq!(piece.into_data().unwrap(), "one");
    let started = Instant::now();
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(matches!(error, BodyError::Truncated(_)), "{error:?}");
    assert_pinged(started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_from_the_start_is_given_up() {
    let (cluster, _server, _keep) = cluster_of(Manner::Silent, false).await;
    let started = Instant::now();
    let error = get(&cluster).await.unwrap_err();
    assert!(matches!(error, ExchangeError::Closed(_)), "{error:?}");
    assert_pinged(started.elapsed());
}

/// A tunnel whose client has left while the server takes nothing of it.
#[tokio::test(start_paused = true)]
async fn a_stuck_tunnel_holds_its_stream_until_its_connection_is_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ServerAddress::Ip(listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        let mut connection = builder.handshake::<_, Bytes>(tcp).await.unwrap();
        let mut unread = Vec::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let is_tunnel = request.method() == Method::CONNECT;
            let body = respond.send_response(Response::new(()), !is_tunnel);
            unread.push((request, body.unwrap()));
        }
    });
    let mut spec = spec(&[(address, 1)]);
    spec.protocol = UpstreamProtocol::Http2;
    let cluster = Cluster::new(&spec, None, std::sync::Arc::default());
    let mut stuck = Vec::new();
    for _ in 0..2 {
        let mut request = request(Method::CONNECT);
        let protocol = Protocol::from_static("websocket");
        request.extensions_mut().insert(protocol);
        let response = cluster.exchange(request, None, None, &mut None).await;
        let mut tunnel = response.unwrap().into_body().take_tunnel().unwrap();
        // As much as the windows hold, and more.
        let mut pieces = 0;
        let write = async {
            while pieces < 100 {
                tunnel.write_all(&[0; 16 * 1024]).await.unwrap();
                pieces += 1;
            }
        };
        assert!(timeout(SHORT, write).await.is_err());
        assert!(pieces < 20, "{pieces}");
        stuck.push(tunnel);
    }
    assert_eq!(cluster.status()[0].in_flight, 2);
    let started = Instant::now();
    drop(stuck.pop());
    assert_eq!(cluster.status()[0].in_flight, 1);
    // The other one, and whoever wants a stream, are not disturbed.
    tokio::time::sleep(PATIENCE / 2).await;
    get(&cluster).await.unwrap();
    tokio::time::sleep(2 * PATIENCE).await;
    assert!(!server.is_finished());
    drop(stuck);
    timeout(10 * PATIENCE, server).await.unwrap().unwrap();
    let took = started.elapsed();
    assert!(took > 3 * PATIENCE && took < 4 * PATIENCE, "{took:?}");
    let roster = cluster.servers().roster();
    let place = roster.servers().next().unwrap().pool.try_place();
    assert!(place.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_pings_may_take_its_time() {
    let (cluster, server, _keep) = cluster_of(Manner::Quiet, true).await;
    let mut body = get(&cluster).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    let long = 10 * (PING_INTERVAL + PING_TIMEOUT);
    assert!(timeout(long, body.frame()).await.is_err());
    assert!(!server.is_finished());
    drop(body);
}
