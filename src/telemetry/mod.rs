//! What the program tells about itself: metrics, events, the access log and the ring of recent
//! handshakes.
//!
//! Reporting never waits: counters are per-worker atomics, and lines go through a bounded buffer
//! that one thread writes out; what does not fit is dropped and counted.

mod accept_fault;
mod access_log;
mod client_address;
mod combined;
mod composition;
mod counts;
mod events;
mod exemplar;
mod exposition;
mod failure_rate;
mod histogram;
mod history;
mod hub;
mod key_log_metrics;
mod labelled;
mod limit_metrics;
mod line;
mod listener_counters;
mod listener_families;
mod listener_metrics;
mod metrics;
mod metrics_settings;
mod mix;
mod reload_metrics;
mod request_metrics;
mod ring;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod scrape;
mod server_name_metrics;
mod settings;
mod shard;
mod stream;
#[cfg(test)]
mod tests;
mod tracing;
mod upstream_metrics;
mod writer;

pub use accept_fault::AcceptFault;
pub use access_log::{AccessLog, AccessRecord, AccessTls, ClientWords, HttpProtocol};
pub use composition::{Composition, Compositions, HandshakeForm};
pub use counts::Counts;
pub use events::EventLog;
pub use exposition::Format;
pub use history::{History, Window};
pub use hub::{LogError, Telemetry, TelemetryGuard};
pub use key_log_metrics::KeyLogMetrics;
pub use limit_metrics::Limit;
pub use listener_metrics::{HandshakeTotals, ListenerMetrics, ServerNameTotals, UnderWay};
pub use metrics::{Metrics, Totals};
pub use mix::Mix;
pub use reload_metrics::ReloadOutcome;
pub use request_metrics::RequestMetrics;
pub use ring::{HandshakeRing, RingOrder, RingOutcome, RingQuery, RingUsage};
pub use upstream_metrics::{
    CheckResult, RetryReason, UpstreamFailure, UpstreamMetrics, UpstreamTotals,
};
