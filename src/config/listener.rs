//! `[[listeners]]` after validation.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::diagnostic::Location;
use super::model::{CertificateId, PolicyId};
use super::peer_set::PeerSet;
use super::redirect::Redirect;

/// `[[listeners]]`
#[derive(Clone, Debug)]
pub struct Listener {
    /// `name`, by default the address as written. A metric label.
    pub name: Arc<str>,
    /// `address`
    pub address: ListenAddress,
    /// Where `address` stands, for errors when binding.
    pub location: Location,
    /// What is spoken on it.
    pub mode: ListenerMode,
    /// `redirect`; `None` (the default): requests are served. Only a plain listener has one.
    pub redirect: Option<Redirect>,
    /// `proxy_protocol_from`, default none: peers whose connections begin with a PROXY header. From
    /// others one is refused.
    pub proxy_protocol_from: PeerSet,
    /// `backlog`, default 4096.
    pub backlog: u32,
}

/// What a listener speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerMode {
    /// TLS.
    Tls {
        /// `tls`, by default the built-in policy.
        policy: PolicyId,
        /// `certificates` in order; the first serves clients that send no name. Never empty.
        certificates: Vec<CertificateId>,
    },
    /// `tls = false`
    Plain,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// An IP address and port; port 0 is a free one.
    Tcp(SocketAddr),
    /// `unix:PATH`
    Unix(PathBuf),
    /// `systemd:NAME`: the sockets that the service manager opened under this name
    /// (`FileDescriptorName=`, systemd.socket(5)).
    Systemd(Arc<str>),
}

impl ListenAddress {
    /// Whether it stands for another address each time.
    #[must_use]
    pub fn is_ephemeral(&self) -> bool {
        matches!(self, Self::Tcp(address) if address.port() == 0)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}
