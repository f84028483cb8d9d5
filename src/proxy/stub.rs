use crate::report::*;
use crate::snapshot::*;
use crate::telemetry::*;
use std::sync::Arc;
pub struct ConnectionInfo {
    pub id: ConnectionId,
    pub peer: Peer,
    pub local: Option<std::net::SocketAddr>,
    pub listener: usize,
    pub listener_name: Arc<str>,
    pub secure: bool,
    pub server_name: Option<Arc<str>>,
}
pub struct ProxyService;
impl ProxyService {
    pub fn new(_: Arc<ConnectionInfo>, _: Arc<SnapshotStore>, _: Telemetry) -> Self {
        Self
    }
}
impl hyper::service::Service<http::Request<hyper::body::Incoming>> for ProxyService {
    type Response = http::Response<http_body_util::Empty<bytes::Bytes>>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
    fn call(&self, _: http::Request<hyper::body::Incoming>) -> Self::Future {
        std::future::ready(Ok(http::Response::new(http_body_util::Empty::new())))
    }
}
