//! One health check: a request of our own, on a connection of its own.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderValue, Request, Response, Version};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{Instant, timeout_at};

use super::client_tls::Offer;
use super::cluster::Cluster;
use super::error::ExchangeError;
use super::server::{LOCAL_HOST, Server};
use crate::config::{HealthCheck, ServerAddress};
use crate::telemetry::CheckResult;

/// The most that is read of a head.
const HEAD: usize = 16 * 1024;

const AGENT: HeaderValue = HeaderValue::from_static("handfast-health-check");

/// Asks `server` how it is. The connection is made as for requests, and holds no place in the
/// pool: a server whose pool is full is not ill.
pub(super) async fn check(
    cluster: &Arc<Cluster>,
    server: &Server,
    health: &HealthCheck,
) -> CheckResult {
    let deadline = Instant::now() + health.timeout;
    match timeout_at(deadline, ask(cluster, server, health, deadline)).await {
        Ok(Ok(result) | Err(result)) => result,
        Err(_) => CheckResult::Timeout,
    }
}

async fn ask(
    cluster: &Cluster,
    server: &Server,
    health: &HealthCheck,
    deadline: Instant,
) -> Result<CheckResult, CheckResult> {
    let connected = cluster.connect(server, deadline, Offer::Configured).await;
    let (transport, is_http2) = connected.map_err(|error| failure(&error))?;
    let broken = |_: hyper::Error| CheckResult::Broken;
    let transport = TokioIo::new(transport);
    let request = request(cluster, server, health, is_http2).ok_or(CheckResult::Broken)?;
    let response = if is_http2 {
        let handshake = http2::handshake(TokioExecutor::new(), transport);
        let (mut sender, connection) = handshake.await.map_err(broken)?;
        answer(sender.send_request(request), connection).await
    } else {
        let mut builder = http1::Builder::new();
        let handshake = builder.max_buf_size(HEAD).handshake(transport);
        let (mut sender, connection) = handshake.await.map_err(broken)?;
        answer(sender.send_request(request), connection).await
    };
    let status = response.map_err(broken)?.status();
    Ok(match status.is_success() || status.is_redirection() {
        true => CheckResult::Ok,
        false => CheckResult::Status,
    })
}

async fn answer(
    answer: impl Future<Output = hyper::Result<Response<Incoming>>>,
    connection: impl Future<Output = hyper::Result<()>>,
) -> hyper::Result<Response<Incoming>> {
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        response = &mut answer => response,
        // Dropped when it has ended, it answers whoever waits.
        _ = connection => answer.await,
    }
}

fn failure(error: &ExchangeError) -> CheckResult {
    match error {
        ExchangeError::Connect(_) | ExchangeError::Resolve(_) => CheckResult::Connect,
        ExchangeError::ConnectTimeout => CheckResult::Timeout,
        ExchangeError::Tls(_) | ExchangeError::TlsVerify(_) | ExchangeError::NoHttp2 => {
            CheckResult::Tls
        }
        _ => CheckResult::Broken,
    }
}

/// The request, for the host that TLS is for, else for the server's own.
fn request(
    cluster: &Cluster,
    server: &Server,
    health: &HealthCheck,
    is_http2: bool,
) -> Option<Request<Empty<Bytes>>> {
    let spec = cluster.servers().spec();
    let address = &spec.servers[server.spec].address;
    let named = spec.tls.as_ref().and_then(|tls| tls.server_name.as_ref());
    let host = match (named, address) {
        (Some(name), ServerAddress::Unix(_)) => name.to_string(),
        (None, ServerAddress::Unix(_)) => LOCAL_HOST.to_owned(),
        (Some(name), ServerAddress::Ip(address)) => format!("{name}:{}", address.port()),
        (Some(name), ServerAddress::Name(_, port)) => format!("{name}:{port}"),
        (None, ServerAddress::Ip(_) | ServerAddress::Name(..)) => address.to_string(),
    };
    let path: PathAndQuery = health.path.parse().ok()?;
    let mut request = Request::get(Uri::from(path.clone()))
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, HeaderValue::from_static("*/*"))
        .body(Empty::new())
        .ok()?;
    if is_http2 {
        let scheme = match spec.tls {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        };
        let uri = Uri::builder().scheme(scheme).path_and_query(path);
        *request.uri_mut() = uri
            .authority(Authority::try_from(host).ok()?)
            .build()
            .ok()?;
        *request.version_mut() = Version::HTTP_2;
    } else {
        let host = HeaderValue::try_from(host).ok()?;
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Some(request)
}
