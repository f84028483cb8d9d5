//! The admin listener: health, metrics and a JSON API of recent handshakes.
//!
//! Plain HTTP/1.1 for whoever runs the daemon, on a loopback address. Browsers on the same machine
//! are kept out by a check of the `Host` field, because a page from anywhere can make them ask.

mod api;
mod health;
mod host;
mod listener;
mod metrics;
mod query;
mod respond;
mod service;
mod state;

pub use health::Readiness;
pub use listener::serve;
pub use state::AdminState;
