//! Weighted round-robin: which server of a cluster is asked first.

use std::cmp::Ordering;
use std::sync::atomic::{AtomicUsize, Ordering as Memory};

use crate::config::UpstreamServer;

/// Weighted round-robin over the servers of one cluster.
///
/// The turns of one round are laid out when the cluster is built: each server has as many as its
/// weight (all weights divided by their common divisor), spread evenly over the round. Picking is
/// then one atomic addition and exact over each round, also across workers.
#[derive(Debug)]
pub(super) struct RoundRobin {
    turns: Vec<u32>,
    next: AtomicUsize,
    servers: usize,
}

/// The servers to try for one request: the one whose turn it is, then the others in order.
#[derive(Clone, Debug)]
pub(super) struct Candidates {
    next: usize,
    left: usize,
    servers: usize,
}

impl RoundRobin {
    /// The round for `servers`, which are never empty and whose weights are 1 to 1000.
    pub(super) fn new(servers: &[UpstreamServer]) -> Self {
        let divisor = servers
            .iter()
            .fold(0, |divisor, server| gcd(divisor, server.weight));
        let mut turns: Vec<(Turn, u32)> = Vec::new();
        for (index, server) in (0_u32..).zip(servers) {
            let of = (server.weight / divisor.max(1)).max(1);
            turns.extend((0..of).map(|turn| (Turn { turn, of }, index)));
        }
        // Stable: servers of equal weight keep the order of the configuration.
        turns.sort_by(|(left, _), (right, _)| left.compare(right));
        Self {
            turns: turns.into_iter().map(|(_, server)| server).collect(),
            next: AtomicUsize::new(0),
            servers: servers.len(),
        }
    }

    /// The servers to try for the next request.
    pub(super) fn candidates(&self) -> Candidates {
        let turn = self.next.fetch_add(1, Memory::Relaxed) % self.turns.len().max(1);
        let first = self.turns.get(turn).map_or(0, |&server| server as usize);
        self.candidates_from(first)
    }

    /// All servers, `first` first.
    pub(super) fn candidates_from(&self, first: usize) -> Candidates {
        Candidates {
            next: first,
            left: self.servers,
            servers: self.servers,
        }
    }
}

impl Iterator for Candidates {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let server = self.next;
        self.next = if server + 1 == self.servers {
            0
        } else {
            server + 1
        };
        Some(server)
    }
}

/// A server's n-th turn stands at `(2n + 1) / (2 * of)` of the round: in the middle of its share.
#[derive(Clone, Copy, Debug)]
struct Turn {
    turn: u32,
    of: u32,
}

impl Turn {
    fn compare(&self, other: &Self) -> Ordering {
        let position = |turn: &Self| 2 * u64::from(turn.turn) + 1;
        (position(self) * u64::from(other.of)).cmp(&(position(other) * u64::from(self.of)))
    }
}

fn gcd(left: u32, right: u32) -> u32 {
    if right == 0 {
        left
    } else {
        gcd(right, left % right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerAddress;

    fn round_robin(weights: &[u32]) -> RoundRobin {
        let servers: Vec<_> = weights
            .iter()
            .map(|&weight| UpstreamServer {
                address: ServerAddress::Name("localhost".into(), 80),
                weight,
            })
            .collect();
        RoundRobin::new(&servers)
    }

    fn firsts(weights: &[u32], count: usize) -> Vec<usize> {
        let balance = round_robin(weights);
        (0..count)
            .map(|_| balance.candidates().next().unwrap())
            .collect()
    }

    #[test]
    fn distribution_is_exact_over_a_round() {
        let weights = [5, 1, 1, 3];
        let mut counts = [0; 4];
        for server in firsts(&weights, 1000) {
            counts[server] += 1;
        }
        assert_eq!(counts, [500, 100, 100, 300]);
    }

    #[test]
    fn turns_are_spread() {
        assert_eq!(firsts(&[2, 1], 6), [0, 1, 0, 0, 1, 0]);
        assert_eq!(firsts(&[1, 1, 1], 6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(firsts(&[7], 3), [0, 0, 0]);
    }

    #[test]
    fn common_divisor_shortens_the_round() {
        assert_eq!(round_robin(&[1000, 500]).turns.len(), 3);
        assert_eq!(round_robin(&[10, 10, 10]).turns.len(), 3);
    }

    #[test]
    fn every_server_is_tried_once() {
        let balance = round_robin(&[1, 1, 1]);
        balance.candidates();
        assert_eq!(balance.candidates().collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(balance.candidates_from(2).collect::<Vec<_>>(), [2, 0, 1]);
    }
}
