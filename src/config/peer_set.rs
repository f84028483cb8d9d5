//! Peers in lists of the file: networks, addresses, and whoever comes over a unix socket.

use std::net::IpAddr;

use ipnet::IpNet;

use super::diagnostic::Diagnostic;
use super::value::Value;
use super::wording::quoted;
use crate::report::Peer;

/// The peers that a list names.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PeerSet {
    /// Those with an address in one of these.
    pub networks: Vec<IpNet>,
    /// `"unix"`: all that come over unix sockets, which have none.
    pub unix: bool,
}

impl PeerSet {
    /// Whether `peer` is one of them.
    #[must_use]
    pub fn contains(&self, peer: Peer) -> bool {
        match peer {
            Peer::Tcp(address) => self.contains_address(address.ip()),
            Peer::Unix => self.unix,
        }
    }

    /// Whether a peer with this address is one of them.
    #[must_use]
    pub fn contains_address(&self, address: IpAddr) -> bool {
        // A dual-stack socket shows IPv4 peers as mapped addresses.
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }
}

const A_PEER: &str = "a network such as \"10.0.0.0/8\", or \"unix\"";

/// Reads a list of networks in CIDR notation, addresses, and `unix`.
pub(super) fn peer_set(value: Value<'_>) -> PeerSet {
    let elements = value.list("a list such as [\"10.0.0.0/8\"]");
    let mut peers = PeerSet::default();
    for element in elements.unwrap_or_default() {
        match element.text(A_PEER).map(|text| text.text) {
            Some("unix") => peers.unix = true,
            Some(text) => peers.networks.extend(network(element, text)),
            None => {}
        }
    }
    peers
}

/// A network in CIDR notation, or one address.
fn network(value: Value<'_>, text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(IpNet::from(address));
    }
    let Ok(network) = text.parse::<IpNet>() else {
        let message = format!("expected {A_PEER}, found {}", quoted(text));
        value.refuse(Diagnostic::new(message));
        return None;
    };
    if network.trunc() != network {
        value.refuse(
            Diagnostic::new(format!("{} has bits beyond its prefix", quoted(text)))
                .help(format!("write \"{}\"", network.trunc())),
        );
        return None;
    }
    Some(network)
}
