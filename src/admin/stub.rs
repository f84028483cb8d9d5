use crate::telemetry::*;
use std::sync::Arc;
#[derive(Clone)]
pub struct Readiness;
impl Readiness {
    pub fn new() -> Self {
        Self
    }
    pub fn ready(&self) {}
    pub fn draining(&self) {}
}
pub struct AdminState;
impl AdminState {
    pub fn new(_: Telemetry, _: Readiness, _: std::net::SocketAddr) -> Self {
        Self
    }
}
pub async fn serve(_: tokio::net::TcpListener, _: Arc<AdminState>, _: crate::drain::Drain) {}
