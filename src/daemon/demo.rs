//! The demo upstream of `handfast dev`: answers with what it received, and with the report of
//! the connection's handshake.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config::defaults::POOL;
use crate::report::ConnectionId;
use crate::telemetry::HandshakeRing;

/// Connections at once, as many as a pool opens by default. As many more wait in the backlog: of the
/// 128 that the standard library asks for the kernel drops what is beyond, and asks again after a
/// second.
pub(super) const CONNECTIONS: usize = POOL.max_connections;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves on `listener` for as long as the process runs.
pub(super) async fn serve(listener: TcpListener, ring: Arc<HandshakeRing>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "demo upstream cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let ring = ring.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &ring));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "demo upstream connection ended");
            }
            drop(permit);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    ring: &HandshakeRing,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    let mut bytes: u64 = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            Err(_) => break,
        }
    }
    let mut headers = Map::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let values = headers
            .entry(name.as_str().to_owned())
            .or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(value.into());
        }
    }
    let handshake = head
        .headers
        .get(CONNECTION_ID)
        .and_then(|id| id.to_str().ok())
        .and_then(|id| u64::from_str_radix(id, 16).ok())
        .and_then(|id| ring.find(ConnectionId(id)));
    let answer = json!({
        "request": {
            "method": head.method.as_str(),
            "target": head.uri.to_string(),
            "headers": headers,
            "body_bytes": bytes,
        },
        "handshake": handshake.as_deref(),
    });
    let mut text = serde_json::to_vec_pretty(&answer).unwrap_or_default();
    text.push(b'\n');
    let mut response = Response::new(Full::new(text.into()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

/// Carries the connection's id to the demo upstream; clients' own copies are removed.
const CONNECTION_ID: &str = "x-handfast-connection";
