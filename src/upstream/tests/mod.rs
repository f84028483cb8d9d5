//! Clusters against scripted origins on loopback.

mod agreement;
mod cluster;
mod pressure;
mod silence;
mod waiting;
