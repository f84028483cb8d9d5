//! What a request needs to know of the connection it came over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::report::{ConnectionId, HandshakeKind, Peer, PhaseKind, Phases, ProtocolVersion};
use crate::tls::TlsPolicy;

/// One downstream connection, from accept to close.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Its number, as in the handshake event.
    pub id: ConnectionId,
    /// The other end, or the client that a PROXY header gives.
    pub peer: Peer,
    /// Who sent a PROXY header; `None`: there was none.
    pub proxy: Option<Peer>,
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
    /// How long it took, from accept, in sum and by whose time it was.
    pub times: HandshakeTimes,
    /// The certificate that the client showed, verified.
    pub client_certificate: Option<CertificateDer<'static>>,
}

/// How long a handshake took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandshakeTimes {
    /// From accept to handshake complete.
    pub total: Duration,
    /// Of it, in queues of ours.
    pub queue: Duration,
    /// Of it, for the client and the network.
    pub client: Duration,
    /// Of it, computing.
    pub cpu: Duration,
}

impl HandshakeTimes {
    /// Those of a complete handshake.
    #[must_use]
    pub fn new(total: Duration, phases: &Phases) -> Self {
        let of_kind = |kind: PhaseKind| {
            let own = phases.iter().filter(|(phase, _)| phase.kind() == kind);
            Duration::from_nanos(own.map(|(_, nanos)| nanos).sum())
        };
        Self {
            total,
            queue: of_kind(PhaseKind::Queue),
            client: of_kind(PhaseKind::Client),
            cpu: of_kind(PhaseKind::Cpu),
        }
    }
}
