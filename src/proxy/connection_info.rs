//! What a request needs to know of the connection it came over.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::report::{ConnectionId, HandshakeKind, Peer, ProtocolVersion};
use crate::tls::TlsPolicy;

/// One downstream connection, from accept to close.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Its number, as in the handshake event.
    pub id: ConnectionId,
    /// The other end, or the client that a PROXY header gives.
    pub peer: Peer,
    /// Who sent a PROXY header; `None`: there was none.
    pub proxy: Option<SocketAddr>,
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
    /// What the handshake settled; `None` for a plain connection.
    pub tls: Option<TlsFacts>,
}

/// What a handshake settled.
#[derive(Clone, Debug)]
pub struct TlsFacts {
    /// The policy that it was made under.
    pub policy: Arc<TlsPolicy>,
    /// The version.
    pub version: Option<ProtocolVersion>,
    /// The suite, by IANA's name.
    pub cipher: Option<&'static str>,
    /// The key exchange group; `None` where no keys were exchanged.
    pub group: Option<&'static str>,
    /// Full or resumed.
    pub kind: Option<HandshakeKind>,
    /// The certificate that the client showed, verified.
    pub client_certificate: Option<CertificateDer<'static>>,
}
