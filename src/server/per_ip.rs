//! How many connections each client address has (`limits.connections_per_ip`).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The open connections by client address. An entry lives as long as a connection of its address
/// is open, so the table is no longer than `limits.connections`; it is sharded, and not touched
/// while there is no limit.
#[derive(Debug)]
pub struct ConnectionsPerIp {
    /// `usize::MAX`: none.
    limit: AtomicUsize,
    hasher: RandomState,
    shards: Box<[Mutex<HashMap<Client, usize>>]>,
}

/// Whose connections count together: an IPv4 address, or the /64 of an IPv6 address, which is the
/// least that one subscriber is given (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    V4(u32),
    V6(u64),
}

/// One counted connection; dropping it takes it off.
#[derive(Debug)]
pub(super) struct Counted {
    table: Arc<ConnectionsPerIp>,
    client: Client,
}

const SHARDS: usize = 64;

impl ConnectionsPerIp {
    /// An empty table; `None` is no limit.
    #[must_use]
    pub fn new(limit: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit.unwrap_or(usize::MAX)),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        })
    }

    /// Changes the limit. Connections beyond it stay; those from a time without limit are not
    /// counted.
    pub fn resize(&self, limit: Option<usize>) {
        self.limit
            .store(limit.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Counts a connection of `address`; `None` inside where there is no limit.
    ///
    /// # Errors
    /// The address has as many as it may.
    pub(super) fn count(
        self: &Arc<Self>,
        address: IpAddr,
    ) -> Result<Option<Counted>, LimitReached> {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == usize::MAX {
            return Ok(None);
        }
        let client = Client::of(address);
        let mut shard = self.shard(client);
        let count = shard.get(&client).copied().unwrap_or(0);
        if count >= limit {
            return Err(LimitReached);
        }
        shard.insert(client, count + 1);
        drop(shard);
        Ok(Some(Counted {
            table: self.clone(),
            client,
        }))
    }

    fn shard(&self, client: Client) -> MutexGuard<'_, HashMap<Client, usize>> {
        let hash = self.hasher.hash_one(client);
        // The remainder fits any `usize`.
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        // No panic is possible while it is held.
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// An address has as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address has as many connections as limits.connections_per_ip lets it have")]
pub(super) struct LimitReached;

impl Client {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            // The upper half.
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut shard = self.table.shard(self.client);
        if let Some(count) = shard.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn entries(table: &ConnectionsPerIp) -> usize {
        table
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum()
    }

    #[test]
    fn an_address_has_its_number_and_gets_it_back() {
        let table = ConnectionsPerIp::new(Some(2));
        let one = table.count(ip("192.0.2.1")).unwrap();
        let _two = table.count(ip("::ffff:192.0.2.1")).unwrap();
        assert!(table.count(ip("192.0.2.1")).is_err());
        let _other = table.count(ip("192.0.2.2")).unwrap();
        drop(one);
        assert!(table.count(ip("192.0.2.1")).is_ok());
        assert_eq!(entries(&table), 2);
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let table = ConnectionsPerIp::new(Some(1));
        let _one = table.count(ip("2001:db8:0:1::1")).unwrap();
        assert!(table.count(ip("2001:db8:0:1:ffff::2")).is_err());
        assert!(table.count(ip("2001:db8:0:2::1")).is_ok());
    }

    #[test]
    fn the_table_is_empty_when_all_are_gone_or_nobody_counts() {
        let table = ConnectionsPerIp::new(None);
        assert!(table.count(ip("192.0.2.1")).unwrap().is_none());
        table.resize(Some(1));
        let counted = table.count(ip("192.0.2.1")).unwrap();
        assert!(counted.is_some());
        table.resize(None);
        assert!(table.count(ip("192.0.2.1")).unwrap().is_none());
        drop(counted);
        assert_eq!(entries(&table), 0);
    }
}
