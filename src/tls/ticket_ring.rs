//! The keys of one policy's tickets: the newest seals, all of them open.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::error::Unspecified;

use super::key_directory::{self, KeyDirectoryError, KeyFile};
use super::scope::Scope;
use super::ticket_key::{KeyMaterial, Opened, TicketKey};
use super::timestamp::Timestamp;
use super::work::Verdict;
use crate::config::TicketKeys;

/// The keys, made in memory and changed by time, or read from a directory.
#[derive(Debug)]
pub(super) struct TicketRing {
    source: TicketKeys,
    lifetime: Duration,
    scope: Scope,
    /// Newest first, never empty.
    keys: ArcSwap<Vec<Arc<TicketKey>>>,
    /// What the last look at the directory complained of: said once, not every few seconds.
    complaint: Mutex<Option<String>>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum TicketKeyError {
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    Random,
    /// The directory.
    #[error(transparent)]
    Directory(#[from] KeyDirectoryError),
}

/// How far clocks of a fleet may be apart.
const SKEW: Duration = Duration::from_secs(300);

impl TicketRing {
    /// The keys of `source` for tickets of `scope` that live as long as `lifetime`. Keys in memory
    /// are those of `previous` if it has such.
    ///
    /// # Errors
    /// There is no key.
    pub(super) fn new(
        source: TicketKeys,
        lifetime: Duration,
        scope: Scope,
        now: Timestamp,
        previous: Option<&Self>,
    ) -> Result<Self, TicketKeyError> {
        let previous = previous.filter(|ring| matches!(ring.source, TicketKeys::Rotated(_)));
        let keys = match (&source, previous) {
            (TicketKeys::Rotated(_), Some(previous)) => previous.keys_in(&scope)?,
            (TicketKeys::Rotated(_), None) => vec![generate(&scope, now)?],
            (TicketKeys::Directory(directory), _) => {
                let files = key_directory::read(&directory.path)?;
                warn_of_exposed(&files);
                ready(&files, &scope)?
            }
        };
        Ok(Self {
            source,
            lifetime,
            scope,
            keys: ArcSwap::from_pointee(keys),
            complaint: Mutex::default(),
        })
    }

    fn keys_in(&self, scope: &Scope) -> Result<Vec<Arc<TicketKey>>, TicketKeyError> {
        let keys = self.keys.load();
        keys.iter()
            .map(|key| key.in_scope(scope).map(Arc::new))
            .collect::<Result<_, _>>()
            .map_err(|Unspecified| TicketKeyError::Random)
    }

    /// A ticket for `session`. `None` when the session is too long for one.
    pub(super) fn seal(&self, session: &[u8], issued: Timestamp) -> Option<Vec<u8>> {
        self.keys.load().first()?.seal(session, issued)
    }

    /// The session in `ticket`.
    ///
    /// # Errors
    /// Every verdict that a ticket can get.
    pub(super) fn open(&self, ticket: &[u8], now: Timestamp) -> Result<Opened, Verdict> {
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.sealed(ticket));
        let opened = key.ok_or(Verdict::UnknownKey)?.open(ticket)?;
        // A time far ahead is no age at all.
        let ahead = opened.issued.since(now) > SKEW;
        if ahead || now.since(opened.issued) >= self.lifetime {
            return Err(Verdict::Expired);
        }
        Ok(opened)
    }

    /// When the key that seals was made.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.keys.load().first().map(|key| key.made())
    }

    /// Whether the keys could be made anew: what a new ring would complain of.
    ///
    /// # Errors
    /// What is wrong with the directory.
    pub(super) fn check(&self) -> Result<(), TicketKeyError> {
        match &self.source {
            TicketKeys::Rotated(_) => Ok(()),
            TicketKeys::Directory(directory) => {
                key_directory::read(&directory.path)?;
                Ok(())
            }
        }
    }

    /// Makes a new key if it is time, or reads the directory again. Blocks on files.
    pub(super) fn refresh(&self, policy: &str, now: Timestamp) {
        let complaint = self.refreshed(policy, now).err().map(|error| {
            std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
        });
        let mut last = self
            .complaint
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *last != complaint {
            if let Some(error) = &complaint {
                tracing::error!(policy, %error, "ticket keys stay as they are");
            }
            *last = complaint;
        }
    }

    fn refreshed(&self, policy: &str, now: Timestamp) -> Result<(), TicketKeyError> {
        let old = self.keys.load_full();
        let new = match &self.source {
            TicketKeys::Rotated(every) => self.rotated(&old, *every, now)?,
            TicketKeys::Directory(directory) => {
                let files = key_directory::read(&directory.path)?;
                let keys = ready(&files, &self.scope)?;
                if names(&keys).eq(names(&old)) {
                    None
                } else {
                    warn_of_exposed(&files);
                    Some(keys)
                }
            }
        };
        if let Some(keys) = new {
            let newest = keys.first().map(ToString::to_string);
            tracing::info!(policy, keys = keys.len(), newest, "ticket keys changed");
            self.keys.store(Arc::new(keys));
        }
        Ok(())
    }

    /// The keys after rotation; `None` when they stay. A key opens tickets for a lifetime after
    /// the next one took over sealing: then its last ticket is over, and past traffic safe from
    /// whoever gets hold of the memory.
    fn rotated(
        &self,
        old: &[Arc<TicketKey>],
        every: Duration,
        now: Timestamp,
    ) -> Result<Option<Vec<Arc<TicketKey>>>, TicketKeyError> {
        let due = old.first().is_none_or(|key| now.since(key.made()) >= every);
        let mut keys = Vec::with_capacity(old.len() + 1);
        if due {
            keys.push(generate(&self.scope, now)?);
        }
        keys.extend_from_slice(old);
        let useful = 1 + keys
            .iter()
            .take_while(|newer| now.since(newer.made()) < self.lifetime)
            .count();
        keys.truncate(useful);
        Ok((due || keys.len() != old.len()).then_some(keys))
    }
}

fn generate(scope: &Scope, now: Timestamp) -> Result<Arc<TicketKey>, TicketKeyError> {
    let key = KeyMaterial::generate(now).and_then(|material| material.key(scope));
    key.map(Arc::new)
        .map_err(|Unspecified| TicketKeyError::Random)
}

fn ready(files: &[KeyFile], scope: &Scope) -> Result<Vec<Arc<TicketKey>>, TicketKeyError> {
    files
        .iter()
        .map(|file| file.material.key(scope).map(Arc::new))
        .collect::<Result<_, _>>()
        .map_err(|Unspecified| TicketKeyError::Random)
}

fn names(keys: &[Arc<TicketKey>]) -> impl Iterator<Item = &[u8; 16]> {
    keys.iter().map(|key| key.name())
}

fn warn_of_exposed(files: &[KeyFile]) {
    for file in files.iter().filter(|file| file.exposed) {
        let path = file.path.display();
        tracing::warn!(%path, "everyone on this machine can read this ticket key: chmod 600 it");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::config::{KeyDirectory, Location};

    const START: u64 = 1_795_407_045_000;
    const LIFETIME: Duration = Duration::from_secs(100);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(START + seconds * 1000)
    }

    fn rotated(every: u64) -> TicketRing {
        let source = TicketKeys::Rotated(Duration::from_secs(every));
        TicketRing::new(source, LIFETIME, Scope::named("a"), at(0), None).unwrap()
    }

    fn shared(path: &Path, scope: &str) -> TicketRing {
        let source = TicketKeys::Directory(KeyDirectory {
            path: path.to_owned(),
            location: Location::default(),
        });
        TicketRing::new(source, LIFETIME, Scope::named(scope), at(0), None).unwrap()
    }

    #[test]
    fn tickets_live_as_long_as_their_lifetime() {
        let ring = rotated(1000);
        let ticket = ring.seal(b"x", at(0)).unwrap();
        assert_eq!(ring.open(&ticket, at(99)).unwrap().session, b"x");
        assert_eq!(ring.open(&ticket, at(100)), Err(Verdict::Expired));
        let ahead = ring.seal(b"x", at(200)).unwrap();
        assert!(ring.open(&ahead, at(0)).is_ok());
        let far_ahead = ring.seal(b"x", at(400)).unwrap();
        assert_eq!(ring.open(&far_ahead, at(0)), Err(Verdict::Expired));
    }

    #[test]
    fn keys_rotate_and_go_when_their_last_ticket_is_over() {
        let ring = rotated(60);
        let first = ring.seal(b"1", at(0)).unwrap();
        ring.refresh("p", at(59));
        assert_eq!(ring.newest(), Some(at(0)));
        ring.refresh("p", at(60));
        assert_eq!(ring.newest(), Some(at(60)));
        let second = ring.seal(b"2", at(60)).unwrap();
        assert_ne!(first[..16], second[..16]);
        assert!(ring.open(&first, at(61)).is_ok());
        assert!(ring.open(&second, at(61)).is_ok());
        // The first key sealed until 60: it goes at 160, while the keys of 120 and 60 stay.
        ring.refresh("p", at(120));
        ring.refresh("p", at(159));
        assert_eq!(ring.open(&first, at(159)), Err(Verdict::Expired));
        ring.refresh("p", at(160));
        assert_eq!(ring.open(&first, at(160)), Err(Verdict::UnknownKey));
        assert_eq!(ring.open(&second, at(160)), Err(Verdict::Expired));
        assert_eq!(ring.keys.load().len(), 2);
    }

    #[test]
    fn keys_in_memory_survive_a_change_of_scope_that_no_ticket_survives() {
        let ring = rotated(60);
        let ticket = ring.seal(b"x", at(0)).unwrap();
        let next = |source: TicketKeys, scope: &str| {
            let scope = Scope::named(scope);
            TicketRing::new(source, LIFETIME, scope, at(1), Some(&ring)).unwrap()
        };
        let faster = TicketKeys::Rotated(Duration::from_secs(30));
        assert!(next(faster.clone(), "a").open(&ticket, at(1)).is_ok());
        let stricter = next(faster, "b");
        assert_eq!(stricter.open(&ticket, at(1)), Err(Verdict::Scope));
        let own = stricter.seal(b"y", at(1)).unwrap();
        assert!(stricter.open(&own, at(1)).is_ok());
        assert_eq!(ring.open(&own, at(1)), Err(Verdict::Scope));
    }

    #[test]
    fn two_rings_share_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        key_directory::add_ticket_key(path).unwrap();
        let (one, other) = (shared(path, "a"), shared(path, "a"));
        let ticket = one.seal(b"x", at(0)).unwrap();
        assert_eq!(other.open(&ticket, at(1)).unwrap().session, b"x");
        assert_eq!(
            shared(path, "b").open(&ticket, at(1)),
            Err(Verdict::Scope),
            "another policy"
        );
        let elsewhere = tempfile::tempdir().unwrap();
        key_directory::add_ticket_key(elsewhere.path()).unwrap();
        let stranger = shared(elsewhere.path(), "a");
        assert_eq!(stranger.open(&ticket, at(1)), Err(Verdict::UnknownKey));
    }

    #[test]
    fn a_changed_directory_is_read_again_and_a_broken_one_is_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let first = key_directory::add_ticket_key(path).unwrap();
        let ring = shared(path, "a");
        let old = ring.seal(b"x", at(0)).unwrap();

        fs::write(path.join("half"), b"too short").unwrap();
        ring.refresh("p", at(1));
        assert!(ring.check().is_err());
        assert!(ring.open(&old, at(1)).is_ok());
        fs::remove_file(path.join("half")).unwrap();

        key_directory::add_ticket_key(path).unwrap();
        ring.refresh("p", at(1));
        let new = ring.seal(b"x", at(0)).unwrap();
        assert_ne!(old[..16], new[..16]);
        assert!(ring.open(&old, at(1)).is_ok());

        fs::remove_file(first).unwrap();
        ring.refresh("p", at(1));
        assert_eq!(ring.open(&old, at(1)), Err(Verdict::UnknownKey));
        assert!(ring.open(&new, at(1)).is_ok());
    }
}
