//! How the servers of a cluster are, for people.

use std::sync::Arc;
use std::time::Duration;

use super::cluster::Cluster;
use super::standing::ServerState;

/// How one server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// Where it listens. Each address of a name is a server.
    pub address: Arc<str>,
    /// As the configuration has it: a name, or the address.
    pub configured: String,
    /// `weight`
    pub weight: u32,
    /// Whether it gets requests.
    pub state: ServerState,
    /// Failed exchanges since the last good one.
    pub failures: u32,
    /// Open exchanges, tunnels included.
    pub in_flight: usize,
    /// Kept HTTP/1.1 connections.
    pub idle_connections: usize,
    /// The mean time to the first byte of the last eight exchanges or so; `None` before the first.
    pub first_byte: Option<Duration>,
}

impl Cluster {
    /// How its servers are; none for a name that is not resolved yet.
    #[must_use]
    pub fn status(&self) -> Vec<ServerStatus> {
        let spec = self.servers().spec();
        let roster = self.servers().roster();
        let status = roster.servers().map(|server| ServerStatus {
            address: server.label.clone(),
            configured: spec.servers[server.spec].address.to_string(),
            weight: spec.servers[server.spec].weight,
            state: server.standing.state(),
            failures: server.standing.failures(),
            in_flight: server.in_flight(),
            idle_connections: server.pool.idle(),
            first_byte: server.latency(),
        });
        status.collect()
    }
}
