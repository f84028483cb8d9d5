//! Sessions kept by their ID: for TLS 1.2 clients without tickets, and for mode `cache`.
//!
//! Sharded, so that workers seldom meet; each shard has its part of the bytes, and its oldest
//! session goes when that is used up. A session past its lifetime is wiped, but its ID stays for
//! another lifetime, so that a client that comes late is told apart from one that never was here.
//!
//! A store outlives reloads of its policy: scope and lifetime are those of whoever asks.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

use super::scope::Scope;
use super::ticket_key::Opened;
use super::timestamp::Timestamp;
use super::work::Verdict;

/// The sessions of one policy.
#[derive(Debug)]
pub(super) struct SessionStore {
    shards: Box<[Mutex<Shard>]>,
    /// Bytes that one shard may hold.
    room: usize,
    /// When the sessions were last gone through, in milliseconds since 1970.
    swept: AtomicU64,
}

/// What a session has to be to be resumed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// Made in this scope.
    pub(super) scope: Scope,
    /// Younger than this.
    pub(super) lifetime: Duration,
    /// The present.
    pub(super) now: Timestamp,
}

/// A session ID of TLS 1.2, or the ticket that stands for one in TLS 1.3: 32 random bytes of
/// rustls's.
type Id = [u8; 32];

#[derive(Default)]
struct Shard {
    sessions: HashMap<Id, Session>,
    /// In order of arrival, those that are gone included.
    order: VecDeque<(Id, u64)>,
    bytes: usize,
    arrivals: u64,
}

struct Session {
    /// Empty once it is past its lifetime.
    value: Zeroizing<Vec<u8>>,
    issued: Timestamp,
    scope: Scope,
    arrival: u64,
}

const SHARDS: usize = 64;

/// What a session takes beside its value: its places in map and queue.
const OVERHEAD: usize = 192;

/// The longest between two looks for sessions that are over.
const LONGEST_SWEEP: Duration = Duration::from_secs(300);

impl SessionStore {
    /// A store of `size` bytes.
    pub(super) fn new(size: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            room: size / SHARDS,
            swept: AtomicU64::new(0),
        }
    }

    /// Whether it is one of `size` bytes.
    pub(super) const fn has_size(&self, size: usize) -> bool {
        self.room == size / SHARDS
    }

    /// Keeps a session of `scope`; false when it does not fit.
    pub(super) fn put(&self, id: &[u8], value: Vec<u8>, issued: Timestamp, scope: Scope) -> bool {
        let Ok(id) = Id::try_from(id) else {
            return false;
        };
        let value = Zeroizing::new(value);
        let size = value.len() + OVERHEAD;
        if size > self.room {
            return false;
        }
        let mut shard = self.shard(&id);
        shard.remove(&id);
        while shard.bytes + size > self.room && shard.remove_oldest() {}
        let arrival = shard.arrivals;
        shard.arrivals += 1;
        shard.bytes += size;
        shard.order.push_back((id, arrival));
        shard.sessions.insert(
            id,
            Session {
                value,
                issued,
                scope,
                arrival,
            },
        );
        shard.compact();
        true
    }

    /// A session, which stays.
    ///
    /// # Errors
    /// [`Verdict::CacheMiss`], [`Verdict::Scope`] or [`Verdict::Expired`].
    pub(super) fn get(&self, id: &[u8], demand: &Demand) -> Result<Opened, Verdict> {
        let id = Id::try_from(id).map_err(|_| Verdict::CacheMiss)?;
        let shard = self.shard(&id);
        let session = shard.sessions.get(&id).ok_or(Verdict::CacheMiss)?;
        session.opened(demand)
    }

    /// Whether a session is here that could be resumed; it stays.
    pub(super) fn has(&self, id: &[u8], demand: &Demand) -> bool {
        let Ok(id) = Id::try_from(id) else {
            return false;
        };
        let shard = self.shard(&id);
        let session = shard.sessions.get(&id);
        session.is_some_and(|session| session.judge(demand).is_ok())
    }

    /// A session, which is removed: TLS 1.3 uses each once.
    ///
    /// # Errors
    /// [`Verdict::CacheMiss`], [`Verdict::Scope`] or [`Verdict::Expired`].
    pub(super) fn take(&self, id: &[u8], demand: &Demand) -> Result<Opened, Verdict> {
        let id = Id::try_from(id).map_err(|_| Verdict::CacheMiss)?;
        let session = self.shard(&id).remove(&id).ok_or(Verdict::CacheMiss)?;
        session.opened(demand)
    }

    /// Wipes what is past its lifetime, if it is time to look.
    pub(super) fn expire(&self, lifetime: Duration, now: Timestamp) {
        let last = Timestamp::from_millis(self.swept.load(Ordering::Relaxed));
        if now.since(last) < (lifetime / 16).min(LONGEST_SWEEP) {
            return;
        }
        self.swept.store(now.millis(), Ordering::Relaxed);
        for shard in &self.shards {
            lock(shard).expire(now, lifetime);
        }
    }

    fn shard(&self, id: &Id) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::from(id[0]) % SHARDS])
    }
}

impl Session {
    fn judge(&self, demand: &Demand) -> Result<(), Verdict> {
        if self.scope != demand.scope {
            return Err(Verdict::Scope);
        }
        if self.value.is_empty() || demand.now.since(self.issued) >= demand.lifetime {
            return Err(Verdict::Expired);
        }
        Ok(())
    }

    fn opened(&self, demand: &Demand) -> Result<Opened, Verdict> {
        self.judge(demand)?;
        Ok(Opened {
            session: self.value.to_vec(),
            issued: self.issued,
        })
    }
}

impl Shard {
    fn remove(&mut self, id: &Id) -> Option<Session> {
        let session = self.sessions.remove(id)?;
        self.bytes -= session.value.len() + OVERHEAD;
        Some(session)
    }

    /// Removes the session that came first; false when there is none.
    fn remove_oldest(&mut self) -> bool {
        while let Some((id, arrival)) = self.order.pop_front() {
            if self.has(&id, arrival) {
                self.remove(&id);
                return true;
            }
        }
        false
    }

    fn expire(&mut self, now: Timestamp, lifetime: Duration) {
        let bytes = &mut self.bytes;
        self.sessions.retain(|_, session| {
            let age = now.since(session.issued);
            if age < lifetime {
                return true;
            }
            *bytes -= session.value.len();
            session.value = Zeroizing::default();
            let known = age < 2 * lifetime;
            if !known {
                *bytes -= OVERHEAD;
            }
            known
        });
        self.compact();
    }

    /// Keeps the queue in proportion to the sessions: those taken leave their place in it.
    fn compact(&mut self) {
        if self.order.len() > 2 * self.sessions.len() + 16 {
            let sessions = &self.sessions;
            self.order.retain(|(id, arrival)| {
                sessions
                    .get(id)
                    .is_some_and(|session| session.arrival == *arrival)
            });
        }
    }

    fn has(&self, id: &Id, arrival: u64) -> bool {
        self.sessions
            .get(id)
            .is_some_and(|session| session.arrival == arrival)
    }
}

impl std::fmt::Debug for Shard {
    /// How much it holds, never what.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("sessions", &self.sessions.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // A panic in the middle can at worst leave a session too few.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 64 << 10;
    const LIFETIME: Duration = Duration::from_millis(1000);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn scope() -> Scope {
        Scope::named("a")
    }

    fn demand(millis: u64) -> Demand {
        Demand {
            scope: scope(),
            lifetime: LIFETIME,
            now: at(millis),
        }
    }

    /// All in one shard.
    fn id(number: u32) -> Id {
        let mut id = [0; 32];
        id[1..5].copy_from_slice(&number.to_be_bytes());
        id
    }

    fn store() -> SessionStore {
        SessionStore::new(SIZE)
    }

    fn counts(store: &SessionStore) -> (usize, usize, usize) {
        let shard = lock(&store.shards[0]);
        (shard.sessions.len(), shard.order.len(), shard.bytes)
    }

    #[test]
    fn sessions_are_found_until_their_time_is_over() {
        let store = store();
        assert!(store.put(&id(1), b"one".to_vec(), at(100), scope()));
        let found = store.get(&id(1), &demand(1099)).unwrap();
        assert_eq!(
            (&*found.session, found.issued),
            (b"one".as_slice(), at(100))
        );
        assert_eq!(store.get(&id(1), &demand(1100)), Err(Verdict::Expired));
        assert_eq!(store.get(&id(2), &demand(100)), Err(Verdict::CacheMiss));
        assert_eq!(store.get(b"short", &demand(100)), Err(Verdict::CacheMiss));
        store.expire(LIFETIME, at(1100));
        assert_eq!(counts(&store), (1, 1, OVERHEAD), "wiped, but known");
        assert_eq!(store.get(&id(1), &demand(1100)), Err(Verdict::Expired));
        store.expire(LIFETIME, at(2100));
        assert_eq!(store.get(&id(1), &demand(2100)), Err(Verdict::CacheMiss));
        assert_eq!(counts(&store), (0, 1, 0));
    }

    #[test]
    fn the_scope_and_lifetime_of_who_asks_count() {
        let store = store();
        store.put(&id(1), b"one".to_vec(), at(0), scope());
        let elsewhere = Demand {
            scope: Scope::named("b"),
            ..demand(0)
        };
        assert_eq!(store.get(&id(1), &elsewhere), Err(Verdict::Scope));
        let strict = Demand {
            lifetime: Duration::from_millis(10),
            ..demand(10)
        };
        assert_eq!(store.get(&id(1), &strict), Err(Verdict::Expired));
        assert!(store.get(&id(1), &demand(10)).is_ok());
        store.expire(strict.lifetime, at(10));
        assert_eq!(
            store.get(&id(1), &demand(10)),
            Err(Verdict::Expired),
            "wiped"
        );
        assert_eq!(store.take(&id(1), &elsewhere), Err(Verdict::Scope));
    }

    #[test]
    fn a_session_is_taken_once() {
        let store = store();
        store.put(&id(1), b"one".to_vec(), at(0), scope());
        assert!(store.take(&id(1), &demand(0)).is_ok());
        assert_eq!(store.take(&id(1), &demand(0)), Err(Verdict::CacheMiss));
    }

    #[test]
    fn the_oldest_go_when_the_room_is_used_up() {
        let store = store();
        let room = SIZE / SHARDS;
        let fit = room / (100 + OVERHEAD);
        for number in 0..20 {
            assert!(store.put(&id(number), vec![0; 100], at(0), scope()));
        }
        let kept: Vec<u32> = (0..20)
            .filter(|number| store.get(&id(*number), &demand(0)).is_ok())
            .collect();
        assert_eq!(kept.len(), fit);
        assert_eq!(kept.last(), Some(&19));
        assert_eq!(kept.first(), Some(&(20 - u32::try_from(fit).unwrap())));
        assert!(counts(&store).2 <= room);
        assert!(!store.put(&id(99), vec![0; room], at(0), scope()));
    }

    #[test]
    fn a_store_of_sessions_used_once_does_not_grow() {
        let store = store();
        for number in 0..10_000 {
            store.put(&id(number), vec![0; 10], at(0), scope());
            store.take(&id(number), &demand(0)).unwrap();
        }
        let (sessions, order, bytes) = counts(&store);
        assert_eq!((sessions, bytes), (0, 0));
        assert!(order < 32, "{order}");
    }

    #[test]
    fn an_id_put_again_replaces() {
        let store = store();
        store.put(&id(1), b"old".to_vec(), at(0), scope());
        store.put(&id(1), b"new".to_vec(), at(5), scope());
        assert_eq!(store.get(&id(1), &demand(5)).unwrap().session, b"new");
        assert_eq!(counts(&store).0, 1);
        assert_eq!(counts(&store).2, 3 + OVERHEAD);
    }
}
