//! What is shipped beside the command: documents, example configurations, manifests, dashboards. None
//! of it is compiled, so tests hold it to what is.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails says where"
)]

mod configurations;
mod kubernetes;
mod monitoring;
mod profile;
mod runbook;
mod schema;
mod text;
mod unit;
