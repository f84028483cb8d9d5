//! Clusters of upstream servers: balance, pools, connections.

mod cluster;

pub use cluster::Cluster;
