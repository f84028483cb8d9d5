//! Clients' addresses as the log tells them: `log.handshake.client_ip`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::ClientIp;
use crate::report::Peer;

/// Bits that are kept of an IPv4 address…
const IPV4_BITS: u32 = 24;
/// …and of an IPv6 address: what a site has of its own.
const IPV6_BITS: u32 = 48;

/// A peer: cut, it is its network with port 0, because port and time tell one client from others
/// behind the same address.
pub(super) fn peer(peer: Peer, client_ip: ClientIp) -> Peer {
    match (peer, client_ip) {
        (Peer::Tcp(peer), ClientIp::Truncate) => {
            Peer::Tcp(SocketAddr::new(address(peer.ip(), client_ip), 0))
        }
        (peer, _) => peer,
    }
}

/// An address: cut, it is that of its network. IPv4 in IPv6 is cut as IPv4.
pub(super) fn address(address: IpAddr, client_ip: ClientIp) -> IpAddr {
    match (client_ip, address.to_canonical()) {
        (ClientIp::Full, _) => address,
        (ClientIp::Truncate, IpAddr::V4(v4)) => {
            let mask = u32::MAX << (u32::BITS - IPV4_BITS);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        (ClientIp::Truncate, IpAddr::V6(v6)) => {
            let mask = u128::MAX << (u128::BITS - IPV6_BITS);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_left() {
        for (full, network) in [
            ("192.0.2.255:443", "192.0.2.0:0"),
            ("[::ffff:192.0.2.9]:1", "192.0.2.0:0"),
            ("[2001:db8:1:2:3:4:5:6]:1", "[2001:db8:1::]:0"),
        ] {
            let full = Peer::Tcp(full.parse().unwrap());
            assert_eq!(peer(full, ClientIp::Truncate).to_string(), network);
            assert_eq!(peer(full, ClientIp::Full), full);
        }
        assert_eq!(peer(Peer::Unix, ClientIp::Truncate), Peer::Unix);
    }
}
