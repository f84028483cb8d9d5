//! A cluster of scripted origins, and requests to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::super::error::{BodyError, ExchangeError};
use super::super::origin::{Origin, Served};
use super::super::{Cluster, RequestBody, ResponseBody, ServerState};
use crate::config::{Pool, ServerAddress, Upstream, UpstreamServer, UpstreamTimeouts};

/// Long enough never to be reached, short enough not to hang a broken test for good.
pub(super) const LONG: Duration = Duration::from_secs(20);
/// For what a test waits for.
pub(super) const SHORT: Duration = Duration::from_millis(50);

pub(super) fn spec(servers: &[(ServerAddress, u32)]) -> Upstream {
    Upstream {
        servers: servers
            .iter()
            .map(|(address, weight)| UpstreamServer {
                address: address.clone(),
                weight: *weight,
            })
            .collect(),
        timeouts: UpstreamTimeouts {
            connect: LONG,
            first_byte: LONG,
            idle: LONG,
        },
        pool: Pool {
            max_connections: 16,
            max_idle: 16,
            idle_timeout: LONG,
            wait: LONG,
            max_waiting: 64,
        },
        ..Upstream::of("test", Vec::new())
    }
}

pub(super) fn one(origin: &Origin) -> Upstream {
    spec(&[(origin.address(), 1)])
}

pub(super) fn cluster(spec: &Upstream) -> Cluster {
    Cluster::new(spec, None, Arc::default())
}

pub(super) fn request(method: Method) -> Box<Request<RequestBody>> {
    let request = Request::builder()
        .method(method)
        .uri("/")
        .header("host", "test")
        .body(RequestBody::empty());
    Box::new(request.unwrap())
}

pub(super) async fn get(cluster: &Cluster) -> Result<Response<ResponseBody>, ExchangeError> {
    cluster
        .exchange(request(Method::GET), None, None, &mut None)
        .await
}

pub(super) async fn text(response: Response<ResponseBody>) -> Result<String, BodyError> {
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

pub(super) async fn get_text(cluster: &Cluster) -> String {
    text(get(cluster).await.unwrap()).await.unwrap()
}

/// An origin that answers each request with `name`, and counts them.
pub(super) async fn counting(name: &'static str, requests: &Arc<AtomicUsize>) -> Origin {
    let requests = requests.clone();
    Origin::start(move |mut served: Served| {
        let requests = requests.clone();
        async move {
            while served.head().await.is_some() {
                requests.fetch_add(1, Ordering::Relaxed);
                served.respond(name).await?;
            }
            Ok(())
        }
    })
    .await
}

/// Waits until `condition` holds.
pub(super) async fn until(mut condition: impl FnMut() -> bool) {
    timeout(LONG, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();
}

pub(super) fn states(cluster: &Cluster) -> Vec<ServerState> {
    cluster.status().iter().map(|server| server.state).collect()
}
