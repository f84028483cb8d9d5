//! Clusters against scripted origins on loopback.

mod agreement;
mod answers;
mod balance;
mod cluster;
mod ejection;
mod kept_connections;
mod pool;
mod pressure;
mod resolution;
mod silence;
mod waiting;
