//! Clusters against scripted origins on loopback.

mod cluster;
mod pressure;
mod silence;
mod waiting;
