//! What a request needs to know of the connection it came over.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::report::{ConnectionId, Peer};

/// One downstream connection, from accept to close.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Its number, as in the handshake event.
    pub id: ConnectionId,
    /// The other end.
    pub peer: Peer,
    /// Our end; `None` for a unix socket.
    pub local: Option<SocketAddr>,
    /// The listener's index in the configuration that was current at accept.
    pub listener: usize,
    /// The listener's name: finds it again in a later configuration.
    pub listener_name: Arc<str>,
    /// Whether the connection is TLS: `X-Forwarded-Proto`.
    pub secure: bool,
    /// The server name the client sent (normalised), if any.
    pub server_name: Option<Arc<str>>,
}
