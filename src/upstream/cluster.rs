//! A named group of upstream servers.

use std::sync::Arc;

use crate::config::Upstream;
use crate::telemetry::UpstreamMetrics;

/// A named group of upstream servers with their pools.
#[derive(Debug)]
pub struct Cluster {}

impl Cluster {
    /// A cluster with empty pools.
    #[must_use]
    pub fn new(_spec: &Upstream, _metrics: Arc<UpstreamMetrics>) -> Self {
        Self {}
    }
}
