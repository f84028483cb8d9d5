//! One generation of everything the configuration describes.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::{Config, RouteId, UpstreamId};
use crate::route::RouteTable;
use crate::telemetry::RequestMetrics;
use crate::upstream::Cluster;

/// Where the current generation is read from: one atomic pointer.
pub type SnapshotStore = ArcSwap<Snapshot>;

/// One immutable generation.
#[derive(Debug)]
pub struct Snapshot {
    /// The configuration it was built from.
    pub config: Arc<Config>,
    /// The routes.
    pub routes: RouteTable,
    clusters: Vec<Arc<Cluster>>,
    requests: Vec<Vec<Arc<RequestMetrics>>>,
}

impl Snapshot {
    /// The upstream at `id`.
    #[must_use]
    pub fn cluster(&self, id: UpstreamId) -> &Arc<Cluster> {
        &self.clusters[id.0]
    }

    /// The request counters of a listener (by its index in the configuration) and a route, or of
    /// requests that match none.
    #[must_use]
    pub fn requests(
        &self,
        listener: usize,
        route: Option<RouteId>,
    ) -> Option<&Arc<RequestMetrics>> {
        let row = self.requests.get(listener)?;
        row.get(route.map_or(row.len().checked_sub(1)?, |route| route.0))
    }
}
