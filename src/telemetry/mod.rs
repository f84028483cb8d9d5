//! What the program tells about itself: metrics, events, the access log and the ring of recent
//! handshakes.

mod access_log;
mod events;
mod hub;
mod metrics;
mod ring;

pub use access_log::{AccessLog, AccessRecord, HttpProtocol};
pub use events::EventLog;
pub use hub::Telemetry;
pub use metrics::{ListenerMetrics, Metrics, RequestMetrics, UpstreamFailure, UpstreamMetrics};
pub use ring::HandshakeRing;
