//! `upstreams` of `GET /api/summary`: how the servers are.

use serde::{Deserialize, Serialize};

use crate::snapshot::Snapshot;
use crate::upstream::ServerStatus;

/// One upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpstreamSummary {
    /// Its name.
    pub name: String,
    /// Its servers; none for a name that is not resolved yet.
    pub servers: Vec<ServerSummary>,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerSummary {
    /// Where it listens. Each address of a name is a server.
    pub address: String,
    /// As the configuration has it.
    pub configured: String,
    /// `weight`
    pub weight: u32,
    /// `up`, `ejected` or `unhealthy`.
    pub state: String,
    /// Failed requests since the last good one.
    pub failures: u32,
    /// Open requests and tunnels.
    pub in_flight: usize,
    /// Kept HTTP/1.1 connections.
    pub idle_connections: usize,
    /// The mean time to the first byte of the last eight requests or so; `None` before the first.
    pub first_byte_us: Option<u64>,
}

/// Those of `snapshot`, in the order of the configuration.
pub(super) fn upstreams(snapshot: &Snapshot) -> Vec<UpstreamSummary> {
    let upstreams = snapshot.upstreams().map(|(name, cluster)| UpstreamSummary {
        name: name.to_owned(),
        servers: cluster.status().into_iter().map(Into::into).collect(),
    });
    upstreams.collect()
}

impl From<ServerStatus> for ServerSummary {
    fn from(status: ServerStatus) -> Self {
        Self {
            address: status.address.to_string(),
            configured: status.configured,
            weight: status.weight,
            state: status.state.name().to_owned(),
            failures: status.failures,
            in_flight: status.in_flight,
            idle_connections: status.idle_connections,
            first_byte_us: status
                .first_byte
                .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
        }
    }
}
