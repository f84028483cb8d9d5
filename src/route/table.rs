//! The route table: most specific host, then longest path.

use crate::config::{Route, RouteId};

/// All routes, looked up by host and path.
#[derive(Debug, Default)]
pub struct RouteTable {}

impl RouteTable {
    /// Builds the table. Two routes never have the same host and path: validation refuses them.
    #[must_use]
    pub fn new(_routes: &[Route]) -> Self {
        Self {}
    }
    /// The route for `host` (normalised) and `path` (without query).
    #[must_use]
    pub fn find(&self, _host: &str, _path: &str) -> Option<RouteId> {
        None
    }
}
