//! One request: checked, routed, forwarded, answered.
//!
//! [`ProxyService`] is what hyper calls for each request of a connection. It takes the current
//! snapshot, refuses what is ambiguous, finds the route, hands the request to the upstream and
//! streams the response back; what cannot be forwarded gets a short answer of our own. Metrics and
//! access log see each request once, when its response has ended or nobody waits for it any more.

mod authority;
mod base64;
mod body;
mod connection_info;
mod error;
mod field_edits;
mod field_set;
mod forward;
mod forwarded;
mod grpc;
mod headers;
mod own_answer;
mod path_rewrite;
mod request_record;
mod respond;
mod server_timing;
mod service;
#[cfg(test)]
mod tests;
mod tls_fields;
mod trailers;
mod tunnel;
mod upgrade;

pub use body::ProxyBody;
pub use connection_info::{ConnectionInfo, HandshakeTimes, TlsFacts};
pub use service::ProxyService;
pub use tunnel::{Tunnel, TunnelEnd};
