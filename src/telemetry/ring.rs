//! The last handshakes, for the admin API.

use std::cmp::Reverse;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::report::{ConnectionId, FailureClass, HandshakeKind, HandshakeReport, Message, Outcome};

/// The most recent handshakes and, for an hour, the slowest, bounded by count and by an estimate of
/// their memory. Probes are not kept.
#[derive(Debug)]
pub struct HandshakeRing {
    max_bytes: usize,
    max_count: usize,
    kept: Mutex<Kept>,
}

/// Which handshakes [`HandshakeRing::query`] returns; the default is the newest hundred.
#[derive(Clone, Debug)]
pub struct RingQuery {
    /// Only those that ended so.
    pub outcome: Option<RingOutcome>,
    /// Only failures of this class.
    pub class: Option<FailureClass>,
    /// Only those whose client sent this name (lower case, without a trailing dot).
    pub server_name: Option<String>,
    /// Only those of this kind.
    pub kind: Option<HandshakeKind>,
    /// Only those whose ClientHello has this JA4 fingerprint.
    pub ja4: Option<String>,
    /// Only those whose connection was accepted then or later.
    pub since: Option<SystemTime>,
    /// Newest or slowest first.
    pub order: RingOrder,
    /// How many at most, default 100.
    pub limit: usize,
}

/// What a ring holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingUsage {
    /// Kept handshakes; one that is both recent and slow counts twice.
    pub handshakes: usize,
    /// An estimate of their memory.
    pub bytes: usize,
    /// Its bound.
    pub max_bytes: usize,
}

/// How a kept handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingOutcome {
    /// Complete.
    Ok,
    /// Failed.
    Failed,
}

/// In which order handshakes are returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingOrder {
    /// Newest first.
    Newest,
    /// Slowest first, by total.
    Slowest,
}

#[derive(Debug, Default)]
struct Kept {
    /// Oldest first.
    recent: VecDeque<Arc<HandshakeReport>>,
    recent_bytes: usize,
    /// Complete ones and failed ones apart, slowest first: timeouts would drive out the rest.
    slowest: [Vec<Arc<HandshakeReport>>; 2],
}

/// Of which a quarter is for the slowest.
const MAX_BYTES: usize = 4 * 1024 * 1024;
const MAX_COUNT: usize = 10_000;
const MAX_SLOWEST: usize = 64;
const SLOWEST_AGE: Duration = Duration::from_secs(3600);

impl HandshakeRing {
    /// A ring of 4 MiB and 10000 handshakes at most.
    #[must_use]
    pub fn new() -> Self {
        Self::with_bounds(MAX_BYTES, MAX_COUNT)
    }

    /// A ring with bounds of its own.
    #[must_use]
    pub fn with_bounds(max_bytes: usize, max_count: usize) -> Self {
        Self {
            max_bytes,
            max_count,
            kept: Mutex::default(),
        }
    }

    /// Keeps `report`, dropping the oldest where the ring is full.
    pub fn push(&self, report: Arc<HandshakeReport>) {
        let group = match report.outcome {
            Outcome::Ok => 0,
            Outcome::Failed(_) => 1,
            Outcome::Probe => return,
        };
        // Reports that are dropped are freed after the lock.
        let mut dropped = Vec::new();
        let mut kept = self.kept();
        kept.keep_slow(group, &report, self.max_bytes / 8, &mut dropped);
        kept.recent_bytes += heap_bytes(&report);
        kept.recent.push_back(report);
        while kept.recent_bytes > self.max_bytes / 4 * 3 || kept.recent.len() > self.max_count {
            let Some(oldest) = kept.recent.pop_front() else {
                break;
            };
            kept.recent_bytes -= heap_bytes(&oldest);
            dropped.push(oldest);
        }
        drop(kept);
    }

    /// What it holds.
    #[must_use]
    pub fn usage(&self) -> RingUsage {
        let kept = self.kept();
        let mut usage = RingUsage {
            handshakes: kept.recent.len(),
            bytes: kept.recent_bytes,
            max_bytes: self.max_bytes,
        };
        // The slowest of the recent ones are counted twice: their bytes are shared, the bound is
        // not.
        for report in kept.slowest.iter().flatten() {
            usage.handshakes += 1;
            usage.bytes += heap_bytes(report);
        }
        usage
    }

    /// The report of one connection, while it is kept.
    #[must_use]
    pub fn find(&self, id: ConnectionId) -> Option<Arc<HandshakeReport>> {
        let kept = self.kept();
        kept.recent
            .iter()
            .rev()
            .chain(kept.slowest.iter().flatten())
            .find(|report| report.id == id)
            .cloned()
    }

    /// The handshakes that `query` asks for.
    #[must_use]
    pub fn query(&self, query: &RingQuery) -> Vec<Arc<HandshakeReport>> {
        match query.order {
            RingOrder::Newest => self
                .kept()
                .recent
                .iter()
                .rev()
                .filter(|report| query.wants(report))
                .take(query.limit)
                .cloned()
                .collect(),
            RingOrder::Slowest => {
                let oldest = SystemTime::now().checked_sub(SLOWEST_AGE);
                let mut seen = HashSet::new();
                // Sorted out without the lock, which every handshake takes.
                let mut found: Vec<_> = {
                    let kept = self.kept();
                    let slowest = kept
                        .slowest
                        .iter()
                        .flatten()
                        .filter(|report| Some(report.time) >= oldest);
                    kept.recent
                        .iter()
                        .chain(slowest)
                        .filter(|report| query.wants(report))
                        .cloned()
                        .collect()
                };
                found.retain(|report| seen.insert(report.id));
                found.sort_by_key(|report| Reverse(report.total));
                found.truncate(query.limit);
                found
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing that panics runs under the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for HandshakeRing {
    fn default() -> Self {
        Self::new()
    }
}

impl Kept {
    /// Keeps `report` among the slowest of its group where it belongs there.
    fn keep_slow(
        &mut self,
        group: usize,
        report: &Arc<HandshakeReport>,
        max_bytes: usize,
        dropped: &mut Vec<Arc<HandshakeReport>>,
    ) {
        let slowest = &mut self.slowest[group];
        let full = slowest.len() >= MAX_SLOWEST;
        if full
            && slowest
                .last()
                .is_some_and(|last| last.total >= report.total)
        {
            // Usual and cheap. What is out of date leaves when a slower one comes, and is left out
            // of answers until then; so look at one entry's age at a time.
            let oldest = report.time.checked_sub(SLOWEST_AGE);
            if slowest.last().is_some_and(|last| Some(last.time) >= oldest) {
                return;
            }
        }
        if let Some(oldest) = report.time.checked_sub(SLOWEST_AGE) {
            dropped.extend(slowest.extract_if(.., |kept| kept.time < oldest));
        }
        let place = slowest.partition_point(|kept| kept.total >= report.total);
        slowest.insert(place, report.clone());
        let mut bytes: usize = slowest.iter().map(|report| heap_bytes(report)).sum();
        while slowest.len() > MAX_SLOWEST || bytes > max_bytes {
            let Some(fastest) = slowest.pop() else { break };
            bytes -= heap_bytes(&fastest);
            dropped.push(fastest);
        }
    }
}

impl RingQuery {
    fn wants(&self, report: &HandshakeReport) -> bool {
        let (outcome, class) = match &report.outcome {
            Outcome::Ok => (RingOutcome::Ok, None),
            Outcome::Failed(failure) => (RingOutcome::Failed, Some(failure.class)),
            Outcome::Probe => return false,
        };
        self.outcome.is_none_or(|wanted| wanted == outcome)
            && self.class.is_none_or(|wanted| Some(wanted) == class)
            && self
                .server_name
                .as_deref()
                .is_none_or(|wanted| report.server_name.as_deref() == Some(wanted))
            && self.kind.is_none_or(|wanted| report.kind == Some(wanted))
            && self
                .ja4
                .as_deref()
                .is_none_or(|wanted| report.ja4.as_deref() == Some(wanted))
            && self.since.is_none_or(|since| report.time >= since)
    }
}

impl Default for RingQuery {
    fn default() -> Self {
        Self {
            outcome: None,
            class: None,
            server_name: None,
            kind: None,
            ja4: None,
            since: None,
            order: RingOrder::Newest,
            limit: 100,
        }
    }
}

/// What a report takes on the heap, give or take what the allocator adds.
fn heap_bytes(report: &HandshakeReport) -> usize {
    /// The two counters of an [`Arc`].
    const ARC: usize = 2 * size_of::<usize>();
    let failure = match &report.outcome {
        Outcome::Failed(failure) => {
            failure.diagnosis.capacity()
                + failure.details.heap_bytes()
                + failure.remedy.text().map_or(0, str::len)
        }
        Outcome::Ok | Outcome::Probe => 0,
    };
    ARC + size_of::<HandshakeReport>()
        + report.messages.capacity() * size_of::<Message>()
        + report
            .server_name
            .as_ref()
            .map_or(0, |name| ARC + name.len())
        // Shared by clients of one kind, but maybe not by any that is kept.
        + report.ja4.as_ref().map_or(0, |ja4| ARC + ja4.len())
        + failure
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn report(id: u64, millis: u64) -> Arc<HandshakeReport> {
        Arc::new(HandshakeReport {
            id: ConnectionId(id),
            time: SystemTime::now(),
            total: Duration::from_millis(millis),
            ..sample::complete()
        })
    }

    fn ids(reports: &[Arc<HandshakeReport>]) -> Vec<u64> {
        reports.iter().map(|report| report.id.0).collect()
    }

    #[test]
    fn newest_come_first_and_oldest_leave() {
        let ring = HandshakeRing::with_bounds(usize::MAX, 3);
        for id in 1..=5 {
            ring.push(report(id, 1));
        }
        assert_eq!(ids(&ring.query(&RingQuery::default())), [5, 4, 3]);
        let query = RingQuery {
            limit: 2,
            ..RingQuery::default()
        };
        assert_eq!(ids(&ring.query(&query)), [5, 4]);
        assert_eq!(ring.find(ConnectionId(3)).unwrap().id, ConnectionId(3));
    }

    #[test]
    fn memory_is_bounded() {
        let bytes = 100 * heap_bytes(&report(0, 1));
        let ring = HandshakeRing::with_bounds(bytes, usize::MAX);
        for id in 0..10_000 {
            ring.push(report(id, id % 97));
        }
        let usage = ring.usage();
        assert_eq!((usage.handshakes, usage.max_bytes), (75 + 12, bytes));
        assert!(usage.bytes <= bytes);
        let kept = ring.kept();
        assert_eq!(kept.recent.len(), 75);
        assert_eq!(
            kept.recent_bytes,
            kept.recent
                .iter()
                .map(|report| heap_bytes(report))
                .sum::<usize>()
        );
        assert_eq!(kept.slowest[0].len(), 12);
        assert!(kept.recent_bytes + 12 * heap_bytes(&report(0, 1)) <= bytes);
        drop(kept);
        let mut giant = HandshakeReport::clone(&report(1, 1));
        giant.ja4 = Some("x".repeat(bytes).into());
        ring.push(Arc::new(giant));
        assert_eq!(ring.kept().recent.len(), 0);
    }

    #[test]
    fn the_slowest_outlive_the_ring_for_an_hour() {
        let ring = HandshakeRing::with_bounds(usize::MAX, 2);
        ring.push(report(1, 900));
        ring.push(report(2, 50));
        let mut stale = HandshakeReport::clone(&report(3, 5000));
        stale.time -= SLOWEST_AGE * 2;
        ring.push(Arc::new(stale));
        for id in 10..20 {
            ring.push(report(id, 1));
        }
        let query = RingQuery {
            order: RingOrder::Slowest,
            limit: 3,
            ..RingQuery::default()
        };
        assert_eq!(ids(&ring.query(&query))[..2], [1, 2]);
        assert!(ring.find(ConnectionId(1)).is_some());
        assert!(ring.find(ConnectionId(3)).is_none());
    }

    #[test]
    fn filters_hold_together() {
        let ring = HandshakeRing::new();
        ring.push(report(1, 1));
        let mut failed = sample::failed();
        failed.id = ConnectionId(2);
        ring.push(Arc::new(failed.clone()));
        failed.id = ConnectionId(3);
        failed.server_name = None;
        ring.push(Arc::new(failed.clone()));
        failed.outcome = Outcome::Probe;
        ring.push(Arc::new(failed));
        let find = |query: RingQuery| ids(&ring.query(&query));
        let all = RingQuery::default();
        assert_eq!(find(all.clone()), [3, 2, 1]);
        let outcome = |outcome| RingQuery {
            outcome: Some(outcome),
            ..RingQuery::default()
        };
        assert_eq!(find(outcome(RingOutcome::Ok)), [1]);
        assert_eq!(find(outcome(RingOutcome::Failed)), [3, 2]);
        assert_eq!(
            find(RingQuery {
                server_name: Some("www.example.com".into()),
                ..outcome(RingOutcome::Failed)
            }),
            [2]
        );
        assert_eq!(
            find(RingQuery {
                kind: Some(HandshakeKind::Full),
                ..all.clone()
            }),
            [1]
        );
        let ja4 = |ja4: &str| RingQuery {
            ja4: Some(ja4.to_owned()),
            ..all.clone()
        };
        let mut known = sample::complete();
        known.id = ConnectionId(4);
        known.ja4 = Some("t13d".into());
        ring.push(Arc::new(known));
        assert_eq!(find(ja4("t13d")), [4]);
        assert_eq!(find(ja4("t12d")), Vec::<u64>::new());
        let since = |since| RingQuery {
            since: Some(since),
            ..all.clone()
        };
        assert_eq!(find(since(SystemTime::UNIX_EPOCH)), [4, 3, 2, 1]);
        let later = SystemTime::now() + SLOWEST_AGE;
        assert_eq!(find(since(later)), Vec::<u64>::new());
        assert_eq!(
            find(RingQuery {
                class: Some(FailureClass::NoSharedVersion),
                ..all.clone()
            }),
            [3, 2]
        );
        assert_eq!(
            find(RingQuery {
                class: Some(FailureClass::Timeout),
                ..all
            }),
            Vec::<u64>::new()
        );
    }
}
