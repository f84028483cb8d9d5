//! Clusters of upstream servers: balance, pools, connections, exchanges.
//!
//! A request becomes an exchange: a server is chosen, a kept connection taken or a new one made,
//! and request and response are then driven together inside the caller's own future and, later,
//! inside the response's body. No task and no channel stands between the two sides, so whoever
//! drops the future or the body closes the connection at once. HTTP/2 connections are tasks, shared
//! by streams.

mod balance;
mod body_decoder;
mod byte_stream;
mod carrier;
mod client_key;
mod client_tls;
mod cluster;
mod connect;
mod endpoint;
mod error;
mod exchange;
mod framing;
mod health_check;
mod idle_timer;
mod keeper;
mod lazy_sleep;
mod line;
mod link;
mod opening;
#[cfg(test)]
pub(crate) mod origin;
mod pool;
mod request_body;
mod request_writer;
mod resolve;
mod response_body;
mod response_head;
mod retry;
mod server;
mod servers;
mod socket;
mod standing;
mod status;
mod stream_exchange;
mod stream_tunnel;
mod streams;
#[cfg(test)]
mod tests;
mod transport;

pub use body_decoder::BodySyntaxError;
pub use client_tls::{ClientTls, ClientTlsError, trusted_roots};
pub use cluster::Cluster;
pub use error::{BodyError, ConnectionError, ExchangeError, RequestBodyError};
pub use framing::{FramingError, MOST_CONTENT};
pub use request_body::{RequestBody, Upload};
pub use response_body::ResponseBody;
pub use response_head::HeadError;
pub use socket::UpstreamSocket;
pub use standing::ServerState;
pub use status::ServerStatus;
