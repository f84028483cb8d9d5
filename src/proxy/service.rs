//! The service that hyper calls for each request of a connection.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::Service;

use super::body::ProxyBody;
use super::connection_info::ConnectionInfo;
use super::field_edits;
use super::forward::{Prepared, prepare};
use super::grpc;
use super::headers::ClientFields;
use super::request_record::{RequestRecord, Turn};
use super::respond::{Form, respond};
use super::server_timing;
use super::tls_fields::TlsFields;
use super::tunnel::Tunnel;
use super::upgrade::is_websocket;
use crate::snapshot::SnapshotStore;
use crate::telemetry::Telemetry;
use crate::upstream::ResponseBody;

/// Answers the requests of one downstream connection. Cheap to clone; never fails: what goes
/// wrong becomes an answer.
#[derive(Clone, Debug)]
pub struct ProxyService(Arc<Shared>);

/// What all requests of a connection share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) connection: Arc<ConnectionInfo>,
    pub(super) client: ClientFields,
    /// Made by the first request that needs them.
    tls: OnceLock<TlsFields>,
    /// Whether a request has come.
    asked: AtomicBool,
    snapshots: Arc<SnapshotStore>,
    telemetry: Telemetry,
}

impl Shared {
    /// Takes a turn for a request that has just come.
    fn turn(&self) -> Turn {
        // Read first: the line is shared, and written once.
        match self.asked.load(Ordering::Relaxed) || self.asked.swap(true, Ordering::Relaxed) {
            true => Turn::Later,
            false => Turn::First,
        }
    }

    /// What upstreams can be told about the TLS connection.
    pub(super) fn tls_fields(&self) -> &TlsFields {
        self.tls.get_or_init(|| TlsFields::new(&self.connection))
    }
}

impl ProxyService {
    /// The service of `connection`. Each request takes the snapshot that is current then.
    #[must_use]
    pub fn new(
        connection: Arc<ConnectionInfo>,
        snapshots: Arc<SnapshotStore>,
        telemetry: Telemetry,
    ) -> Self {
        Self(Arc::new(Shared {
            client: ClientFields::new(&connection),
            tls: OnceLock::new(),
            asked: AtomicBool::new(false),
            connection,
            snapshots,
            telemetry,
        }))
    }

    /// Records a request that was answered before it was read to its end.
    pub fn refused(&self, status: StatusCode, reason: &'static str) {
        let shared = &self.0;
        let mut record = RequestRecord::unread(
            shared.connection.clone(),
            shared.turn(),
            shared.telemetry.clone(),
            shared.snapshots.load_full(),
        );
        record.failed(reason);
        record.answered(status);
    }
}

impl Service<Request<Incoming>> for ProxyService {
    type Response = Response<ProxyBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Box::pin(answer(self.0.clone(), request))
    }
}

fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ProxyBody>, Infallible>> + Send {
    let snapshot = shared.snapshots.load_full();
    // From here on the request is recorded, also when this future is dropped.
    let turn = shared.turn();
    let mut record = Box::new(RequestRecord::new(
        shared.connection.clone(),
        turn,
        shared.telemetry.clone(),
        snapshot.clone(),
        &request,
    ));
    let method = request.method().clone();
    let version = request.version();
    // An error of gRPC is a 200, and that would be a tunnel to who asks for one.
    let form = match method != Method::CONNECT && grpc::is_grpc(version, request.headers()) {
        true => Form::Grpc,
        false => Form::Text,
    };
    let prepared = prepare(&shared, &snapshot, request, &mut record);
    async move {
        let outcome = match prepared {
            Ok(Prepared::Upstream(request)) => {
                let response = request.exchange(&snapshot, &mut record).await;
                response.map(Answer::Upstream)
            }
            Ok(Prepared::Own(response)) => Ok(Answer::Own(response)),
            Err(error) => Err(error),
        };
        let route = record.route.map(|id| &snapshot.config.routes[id.0]);
        let mut response = match outcome {
            Ok(Answer::Upstream(mut response)) => match response.body_mut().take_tunnel() {
                Some(upstream) => {
                    record.switched(response.status());
                    let idle = snapshot.config.timeouts.tunnel_idle;
                    let websocket = method == Method::CONNECT || is_websocket(response.headers());
                    let tunnel = Tunnel::new(upstream, record, idle, websocket);
                    response.map(|_| ProxyBody::tunnel(tunnel))
                }
                None => {
                    record.answered(response.status());
                    response.map(|body| ProxyBody::upstream(body, record))
                }
            },
            Ok(Answer::Own(response)) => {
                record.answered(response.status());
                response.map(|body| ProxyBody::text(body, record))
            }
            Err(error) => {
                tracing::debug!(
                    connection = %shared.connection.id,
                    reason = error.reason(),
                    cause = std::error::Error::source(&error),
                    "request not forwarded"
                );
                respond(&error, &method, version, form, record)
            }
        };
        if let Some(route) = route {
            field_edits::apply(&route.response_fields, response.headers_mut());
        }
        if turn == Turn::First
            && snapshot.config.forwarding.server_timing
            && let Some(tls) = &shared.connection.tls
        {
            server_timing::add(tls, response.headers_mut());
        }
        Ok(response)
    }
}

/// What becomes of a request.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are an upstream's, and a box would be an allocation a request"
)]
enum Answer {
    /// The upstream's.
    Upstream(Response<ResponseBody>),
    /// The one that the configuration gives.
    Own(Response<Bytes>),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one request allocates for its future.
    fn size<F: Future>(_: impl Fn(Arc<Shared>, Request<Incoming>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_a_request_stays_small() {
        // With its rare parts, and what it needs of a request, in it, it had 6 KiB.
        assert!(size(answer) <= 3072, "{}", size(answer));
    }
}
