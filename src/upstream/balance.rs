//! Which server of a cluster a request goes to.

use std::cmp::Ordering;
use std::sync::atomic::{AtomicUsize, Ordering as Memory};

use super::client_key::{ClientKey, ServerKey, mix};
use crate::config;

/// As many turns are passed over for one request, then servers are looked for one by one.
const DRAWS: usize = 64;
/// As often a second server is drawn before the first has to do.
const SECOND_DRAWS: usize = 8;

/// Chooses among the servers of one cluster. None of it takes a lock.
///
/// The turns of one round are laid out when the servers are known: each has as many as its weight
/// (all weights divided by their common divisor), spread evenly over the round. A turn is then one
/// atomic addition, and exact over each round, also across workers. The turns of a server that
/// gets no requests are passed over, so the others keep their shares.
#[derive(Debug)]
pub(super) struct Balance {
    policy: config::Balance,
    turns: Vec<u32>,
    next: AtomicUsize,
    servers: Vec<Seat>,
}

/// What the choice needs to know of a server for good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) weight: u32,
    pub(super) key: ServerKey,
}

/// What the choice needs to know of the servers now.
pub(super) trait Choosable {
    /// Whether the server at `index` may be chosen.
    fn may(&self, index: usize) -> bool;

    /// The open requests of the server at `index`.
    fn in_flight(&self, index: usize) -> usize;
}

impl Balance {
    /// The choice among `servers`, whose weights are 1 to 1000.
    pub(super) fn new(policy: config::Balance, servers: Vec<Seat>) -> Self {
        let divisor = servers
            .iter()
            .fold(0, |divisor, server| gcd(divisor, server.weight));
        let mut turns: Vec<(Turn, u32)> = Vec::new();
        for (index, server) in (0_u32..).zip(&servers) {
            let of = (server.weight / divisor.max(1)).max(1);
            turns.extend((0..of).map(|turn| (Turn { turn, of }, index)));
        }
        // Stable: servers of equal weight keep the order of the configuration.
        turns.sort_by(|(left, _), (right, _)| left.compare(right));
        Self {
            policy,
            turns: turns.into_iter().map(|(_, server)| server).collect(),
            next: AtomicUsize::new(0),
            servers,
        }
    }

    /// The server for a request of `client`; `None` where none may be chosen.
    pub(super) fn choose(&self, client: ClientKey, servers: &impl Choosable) -> Option<usize> {
        match self.policy {
            config::Balance::RoundRobin => self.turn(servers),
            config::Balance::LeastConnections => {
                // Where several have the fewest, the turns decide.
                let first = self.turn(servers)?;
                let all = (0..self.servers.len()).filter(|index| servers.may(*index));
                Some(all.fold(first, |best, other| self.lighter(best, other, servers)))
            }
            config::Balance::RandomTwo => {
                let mut dice = mix(self.next.fetch_add(1, Memory::Relaxed) as u64);
                let first = self.draw(&mut dice, servers)?;
                let second = (0..SECOND_DRAWS)
                    .map(|_| self.roll(&mut dice))
                    .find(|second| *second != first && servers.may(*second));
                Some(second.map_or(first, |second| self.lighter(first, second, servers)))
            }
            config::Balance::HashClientIp => {
                let score = |index: usize| {
                    let server = &self.servers[index];
                    client.score(server.key, server.weight)
                };
                (0..self.servers.len())
                    .filter(|index| servers.may(*index))
                    .map(|index| (index, score(index)))
                    .max_by(|(_, left), (_, right)| left.total_cmp(right))
                    .map(|(index, _)| index)
            }
        }
    }

    /// The server whose turn it is.
    fn turn(&self, servers: &impl Choosable) -> Option<usize> {
        let mut last = 0;
        for _ in 0..DRAWS.min(self.turns.len()) {
            let turn = self.next.fetch_add(1, Memory::Relaxed) % self.turns.len();
            last = self.turns[turn] as usize;
            if servers.may(last) {
                return Some(last);
            }
        }
        self.first_after(last, servers)
    }

    fn draw(&self, dice: &mut u64, servers: &impl Choosable) -> Option<usize> {
        if self.turns.is_empty() {
            return None;
        }
        let drawn = (0..DRAWS)
            .map(|_| self.roll(dice))
            .find(|server| servers.may(*server));
        drawn.or_else(|| self.first_after(self.roll(dice), servers))
    }

    /// A server at random, by weight. There is one.
    fn roll(&self, dice: &mut u64) -> usize {
        *dice = mix(*dice);
        // The high half of the product is even over the turns.
        let turn = (u128::from(*dice) * self.turns.len() as u128) >> 64;
        usize::try_from(turn).map_or(0, |turn| self.turns[turn] as usize)
    }

    fn first_after(&self, last: usize, servers: &impl Choosable) -> Option<usize> {
        let count = self.servers.len();
        (1..=count)
            .map(|step| (last + step) % count)
            .find(|index| servers.may(*index))
    }

    /// Which of two has fewer open requests for its weight; in doubt the first.
    fn lighter(&self, first: usize, second: usize, servers: &impl Choosable) -> usize {
        let load = |index: usize, other: usize| {
            servers.in_flight(index) as u64 * u64::from(self.servers[other].weight)
        };
        match load(second, first) < load(first, second) {
            true => second,
            false => first,
        }
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
    use std::cell::RefCell;

    use super::*;
    use crate::config::Balance as Policy;

    const ALL: [Policy; 4] = [
        Policy::RoundRobin,
        Policy::LeastConnections,
        Policy::RandomTwo,
        Policy::HashClientIp,
    ];

    /// Servers of which some are out, with their open requests.
    #[derive(Default)]
    struct Crowd {
        out: Vec<usize>,
        open: RefCell<Vec<usize>>,
    }

    impl Choosable for Crowd {
        fn may(&self, index: usize) -> bool {
            !self.out.contains(&index)
        }

        fn in_flight(&self, index: usize) -> usize {
            self.open.borrow().get(index).copied().unwrap_or_default()
        }
    }

    fn balance(policy: Policy, weights: &[u32]) -> Balance {
        let named: Vec<_> = (0..).zip(weights.iter().copied()).collect();
        with_names(policy, &named)
    }

    fn with_names(policy: Policy, servers: &[(u32, u32)]) -> Balance {
        let seat = |&(name, weight): &(u32, u32)| Seat {
            weight,
            key: ServerKey::of(&format!("10.0.0.{name}:80")),
        };
        Balance::new(policy, servers.iter().map(seat).collect())
    }

    fn client(number: u32) -> ClientKey {
        ClientKey::of(Some(std::net::Ipv4Addr::from_bits(number).into()))
    }

    /// How often each of `weights` is chosen by `requests` clients. None ends its request.
    fn counts(policy: Policy, weights: &[u32], crowd: &Crowd, requests: u32) -> Vec<u32> {
        let balance = balance(policy, weights);
        let mut counts = vec![0; weights.len()];
        crowd.open.borrow_mut().resize(weights.len(), 0);
        for number in 0..requests {
            let chosen = balance.choose(client(number), crowd).unwrap();
            counts[chosen] += 1;
            crowd.open.borrow_mut()[chosen] += 1;
        }
        counts
    }

    fn firsts(weights: &[u32], count: usize) -> Vec<usize> {
        let balance = balance(Policy::RoundRobin, weights);
        let choose = |_| {
            balance
                .choose(ClientKey::default(), &Crowd::default())
                .unwrap()
        };
        (0..count).map(choose).collect()
    }

    /// Pearson's statistic of `counts` against the shares of `weights`.
    fn chi_square(counts: &[u32], weights: &[u32]) -> f64 {
        let requests = f64::from(counts.iter().sum::<u32>());
        let weight = f64::from(weights.iter().sum::<u32>());
        let terms = counts.iter().zip(weights).map(|(&count, &own)| {
            let expected = requests * f64::from(own) / weight;
            (f64::from(count) - expected).powi(2) / expected
        });
        terms.sum()
    }

    /// Exceeded by chance once in ten thousand times, with three degrees of freedom.
    const CHI_SQUARE_OF_4: f64 = 21.1;

    #[test]
    fn turns_are_exact_over_a_round_and_spread() {
        let weights = [5, 1, 1, 3];
        let exact = counts(Policy::RoundRobin, &weights, &Crowd::default(), 1000);
        assert_eq!(exact, [500, 100, 100, 300]);
        assert_eq!(firsts(&[2, 1], 6), [0, 1, 0, 0, 1, 0]);
        assert_eq!(firsts(&[1, 1, 1], 6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(firsts(&[7], 3), [0, 0, 0]);
        for (weights, turns) in [([1000, 500, 1000], 5), ([10, 10, 10], 3)] {
            assert_eq!(balance(Policy::RoundRobin, &weights).turns.len(), turns);
        }
    }

    #[test]
    fn open_requests_spread_by_weight_and_drain_to_the_lightest() {
        let weights = [5, 1, 1, 3];
        let exact = counts(Policy::LeastConnections, &weights, &Crowd::default(), 1000);
        assert_eq!(exact, [500, 100, 100, 300]);
        let balance = balance(Policy::LeastConnections, &[1, 1, 2]);
        let crowd = Crowd::default();
        for (open, chosen) in [([3, 2, 6], 1), ([3, 3, 5], 2), ([0, 1, 1], 0)] {
            *crowd.open.borrow_mut() = open.to_vec();
            assert_eq!(balance.choose(client(1), &crowd), Some(chosen), "{open:?}");
        }
    }

    #[test]
    fn least_connections_without_open_requests_goes_by_turns() {
        let balance = balance(Policy::LeastConnections, &[3, 1]);
        let mut counts = [0; 2];
        for number in 0..400 {
            counts[balance.choose(client(number), &Crowd::default()).unwrap()] += 1;
        }
        assert_eq!(counts, [300, 100]);
    }

    #[test]
    fn random_two_goes_by_weight_and_avoids_the_loaded() {
        let weights = [5, 1, 1, 3];
        let balance = balance(Policy::RandomTwo, &weights);
        // The first draw alone has the shares of the weights.
        let mut counts = [0; 4];
        let mut dice = 7;
        for _ in 0..20_000 {
            counts[balance.roll(&mut dice)] += 1;
        }
        assert!(
            chi_square(&counts, &weights) < CHI_SQUARE_OF_4,
            "{counts:?}"
        );
        // Open requests that never end are balanced as well as the fewest would be, nearly.
        let open = self::counts(Policy::RandomTwo, &weights, &Crowd::default(), 10_000);
        for (count, expected) in open.iter().zip([5000_u32, 1000, 1000, 3000]) {
            assert!(count.abs_diff(expected) <= 100, "{open:?}");
        }
        // A server that is stuck under requests loses to every other that is drawn with it.
        let crowd = Crowd::default();
        *crowd.open.borrow_mut() = vec![1_000_000, 0, 0, 0];
        let mut stuck = 0;
        for number in 0..10_000 {
            stuck += u32::from(balance.choose(client(number), &crowd) == Some(0));
        }
        // Only where eight draws find no other: one in 2^8 of half of the requests.
        assert!(stuck < 60, "{stuck}");
    }

    #[test]
    fn clients_are_spread_by_weight() {
        let weights = [5, 1, 1, 3];
        let counts = counts(Policy::HashClientIp, &weights, &Crowd::default(), 20_000);
        assert!(
            chi_square(&counts, &weights) < CHI_SQUARE_OF_4,
            "{counts:?}"
        );
    }

    #[test]
    fn a_client_moves_only_when_its_own_server_goes_or_a_better_one_comes() {
        let five = [(1, 1), (2, 1), (3, 2), (4, 1), (5, 1)];
        // The third is gone, and the order is another.
        let four = [(5, 1), (4, 1), (2, 1), (1, 1)];
        let six = [(1, 1), (2, 1), (3, 2), (4, 1), (5, 1), (6, 1)];
        let name = |servers: &[(u32, u32)], number| {
            let balance = with_names(Policy::HashClientIp, servers);
            let crowd = Crowd::default();
            servers[balance.choose(client(number), &crowd).unwrap()].0
        };
        let (mut left, mut joined) = (0, 0);
        for number in 0..7000 {
            let (before, without, with) =
                (name(&five, number), name(&four, number), name(&six, number));
            if before == 3 {
                left += 1;
            } else {
                assert_eq!(before, without);
            }
            if with == 6 {
                joined += 1;
            } else {
                assert_eq!(before, with);
            }
            // One that is out loses the same clients as one that is gone.
            let crowd = Crowd {
                out: vec![2],
                ..Crowd::default()
            };
            let balance = with_names(Policy::HashClientIp, &five);
            let out = five[balance.choose(client(number), &crowd).unwrap()].0;
            assert_eq!(out, without);
        }
        assert!((2233..2433).contains(&left), "a third: {left}");
        assert!((900..1100).contains(&joined), "a seventh: {joined}");
    }

    #[test]
    fn shares_hold_among_those_that_are_left() {
        let crowd = || Crowd {
            out: vec![1],
            ..Crowd::default()
        };
        let weights = [2, 5, 1, 1];
        for policy in [Policy::RoundRobin, Policy::LeastConnections] {
            let exact = counts(policy, &weights, &crowd(), 4000);
            assert_eq!(exact, [2000, 0, 1000, 1000], "{policy:?}");
        }
        for policy in [Policy::RandomTwo, Policy::HashClientIp] {
            let counts = counts(policy, &weights, &crowd(), 20_000);
            let left = [counts[0], counts[2], counts[3]];
            let chi_square = chi_square(&left, &[2, 1, 1]);
            assert!(chi_square < CHI_SQUARE_OF_4, "{policy:?}: {counts:?}");
            assert_eq!(counts[1], 0, "{policy:?}");
        }
    }

    #[test]
    fn the_last_that_may_is_found_and_none_is_none() {
        for policy in ALL {
            let weights = [1000, 1, 1000, 999];
            let balance = balance(policy, &weights);
            let one = Crowd {
                out: vec![0, 2, 3],
                ..Crowd::default()
            };
            let none = Crowd {
                out: vec![0, 1, 2, 3],
                ..Crowd::default()
            };
            for number in 0..100 {
                assert_eq!(balance.choose(client(number), &one), Some(1), "{policy:?}");
                assert_eq!(balance.choose(client(number), &none), None, "{policy:?}");
            }
            let empty = self::balance(policy, &[]);
            assert_eq!(empty.choose(client(1), &Crowd::default()), None);
        }
    }
}
