//! Which server a client belongs to, whatever other servers there are.

use std::net::IpAddr;

/// What requests of one client have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ClientKey(u64);

impl ClientKey {
    /// The key of `client`: its IPv4 address or IPv6 /64, which is what one customer has. Clients
    /// without an address are all the same one.
    pub(super) fn of(client: Option<IpAddr>) -> Self {
        Self(match client.map(|ip| ip.to_canonical()) {
            None => 0,
            Some(IpAddr::V4(ip)) => mix(u64::from(ip.to_bits())),
            Some(IpAddr::V6(ip)) => {
                let [high, _] = halves(ip.to_bits());
                mix(!high)
            }
        })
    }

    /// How well a server suits this client: the best one of those that are there serves it.
    ///
    /// Rendezvous hashing: a server that goes takes only its own clients along, one that comes
    /// takes its share from all others alike, and each has clients in proportion to its weight.
    pub(super) fn score(self, server: ServerKey, weight: u32) -> f64 {
        // 53 bits, as many as a double holds; never 0, of which there is no logarithm.
        let hash = (mix(self.0 ^ server.0) >> 11) | 1;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let share = hash as f64 / (1_u64 << 53) as f64;
        f64::from(weight) / -share.ln()
    }
}

/// What tells one server from another, in every process alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServerKey(u64);

impl ServerKey {
    /// The key of the server at `address`.
    pub(super) fn of(address: &str) -> Self {
        // FNV-1a.
        let hash = address.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(mix(hash))
    }
}

/// SplitMix64's last step: each bit of `value` changes half of the result's.
pub(super) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[expect(clippy::cast_possible_truncation, reason = "the halves are wanted")]
const fn halves(bits: u128) -> [u64; 2] {
    [(bits >> 64) as u64, bits as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_its_address_or_its_network() {
        let key = |text: &str| ClientKey::of(Some(text.parse().unwrap()));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::2:0:0:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    }

    #[test]
    fn scores_are_numbers_that_grow_with_the_weight() {
        for client in 0..1000_u32 {
            let client = ClientKey(mix(u64::from(client)));
            let server = ServerKey::of("10.0.0.1:80");
            let score = client.score(server, 1);
            assert!(score.is_finite() && score > 0.0, "{score}");
            assert!(client.score(server, 2) > score);
        }
    }
}
