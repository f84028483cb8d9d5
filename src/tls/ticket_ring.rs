//! The keys of one policy's tickets: the newest seals, all of them open.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::error::Unspecified;

use super::key_directory::{self, KeyDirectoryError, KeyFile};
use super::scope::Scope;
use super::ticket_key::{KeyMaterial, Opened, TicketKey};
use super::ticket_state::{self, TicketStateError};
use super::timestamp::Timestamp;
use super::work::Verdict;
use crate::config::{Rotation, TicketKeys};

/// The keys, made here and changed by time, or read from a directory that a fleet shares.
#[derive(Debug)]
pub(super) struct TicketRing {
    source: TicketKeys,
    lifetime: Duration,
    scope: Scope,
    /// Newest first, never empty.
    keys: ArcSwap<Vec<Arc<TicketKey>>>,
    /// What the last look at the directory complained of: said once, not every few seconds.
    complaint: Mutex<Option<String>>,
    /// The names of the keys that are in the file of the rotation.
    saved: Mutex<Vec<[u8; 16]>>,
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
    /// The file in which they outlive the process. It never keeps a ring from its keys.
    #[error(transparent)]
    State(#[from] TicketStateError),
}

/// How far clocks of a fleet may be apart.
const SKEW: Duration = Duration::from_secs(300);

impl TicketRing {
    /// The keys of `source` for tickets of `scope` that live as long as `lifetime`. Keys of our own
    /// are those of `previous` if it has such, else those of the last process if it left any.
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
            (TicketKeys::Rotated(rotation), None) => {
                match restored(rotation, lifetime, &scope, now)? {
                    keys if keys.is_empty() => vec![generate(&scope, now)?],
                    keys => keys,
                }
            }
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
            saved: Mutex::default(),
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

    /// Makes a new key if it is time, or reads the directory again, and writes down what the next
    /// process is to know. Blocks on files.
    pub(super) fn refresh(&self, policy: &str, now: Timestamp) {
        let result = self.refreshed(policy, now).and_then(|()| self.save());
        let complaint = result.err().map(|error| {
            let cause = std::error::Error::source(&error);
            let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
            match error {
                TicketKeyError::State(_) => {
                    format!("ticket keys are not kept for the next start: {error}{cause}")
                }
                _ => format!("ticket keys stay as they are: {error}{cause}"),
            }
        });
        let mut last = self
            .complaint
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *last != complaint {
            if let Some(error) = &complaint {
                tracing::error!(policy, "{error}");
            }
            *last = complaint;
        }
    }

    fn refreshed(&self, policy: &str, now: Timestamp) -> Result<(), TicketKeyError> {
        let old = self.keys.load_full();
        let new = match &self.source {
            TicketKeys::Rotated(rotation) => self.rotated(&old, rotation.every, now)?,
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

    /// Writes the keys down, if they are to be and are not.
    fn save(&self) -> Result<(), TicketKeyError> {
        let TicketKeys::Rotated(Rotation {
            file: Some(path), ..
        }) = &self.source
        else {
            return Ok(());
        };
        let keys = self.keys.load();
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if !names(&keys).eq(saved.iter()) {
            let materials = keys.iter().filter_map(|key| key.material().cloned());
            ticket_state::write(path, &materials.collect::<Vec<_>>())?;
            *saved = names(&keys).copied().collect();
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

/// The keys of the last process that can still open a ticket. None of a file that is not to be
/// trusted: the next save replaces it.
fn restored(
    rotation: &Rotation,
    lifetime: Duration,
    scope: &Scope,
    now: Timestamp,
) -> Result<Vec<Arc<TicketKey>>, TicketKeyError> {
    let Some(path) = &rotation.file else {
        return Ok(Vec::new());
    };
    let found = ticket_state::read(path).unwrap_or_else(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::warn!(
            %error, cause,
            "the ticket keys of the last run are not used, and are replaced: sessions begin anew"
        );
        Vec::new()
    });
    // The last ticket of a key is over a lifetime after the next one took its place.
    let opens = |key: &KeyMaterial| {
        now.since(key.made()) < rotation.every + lifetime && key.made().since(now) <= SKEW
    };
    let useful = found.into_iter().filter(opens);
    let keys = useful.map(|key| key.kept_key(scope).map(Arc::new));
    keys.collect::<Result<_, _>>()
        .map_err(|Unspecified| TicketKeyError::Random)
}

fn generate(scope: &Scope, now: Timestamp) -> Result<Arc<TicketKey>, TicketKeyError> {
    let key = KeyMaterial::generate(now).and_then(|material| material.kept_key(scope));
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
        let source = TicketKeys::rotated(Duration::from_secs(every));
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
        let faster = TicketKeys::rotated(Duration::from_secs(30));
        assert!(next(faster.clone(), "a").open(&ticket, at(1)).is_ok());
        let stricter = next(faster, "b");
        assert_eq!(stricter.open(&ticket, at(1)), Err(Verdict::Scope));
        let own = stricter.seal(b"y", at(1)).unwrap();
        assert!(stricter.open(&own, at(1)).is_ok());
        assert_eq!(ring.open(&own, at(1)), Err(Verdict::Scope));
    }

    fn kept(path: &Path, every: u64, now: u64) -> TicketRing {
        let source = TicketKeys::Rotated(Rotation {
            every: Duration::from_secs(every),
            file: Some(path.to_owned()),
        });
        TicketRing::new(source, LIFETIME, Scope::named("a"), at(now), None).unwrap()
    }

    #[test]
    fn keys_in_a_file_outlive_the_ring() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ticket-keys-a");
        let first = kept(&path, 60, 0);
        assert!(!path.exists(), "a check leaves nothing behind");
        first.refresh("p", at(0));
        let old = first.seal(b"old", at(0)).unwrap();
        first.refresh("p", at(60));
        let new = first.seal(b"new", at(60)).unwrap();
        drop(first);

        let second = kept(&path, 60, 61);
        assert_eq!(second.newest(), Some(at(60)));
        assert_eq!(second.open(&old, at(61)).unwrap().session, b"old");
        assert_eq!(second.open(&new, at(61)).unwrap().session, b"new");
        // What has had its time is not taken: the first key sealed until 60 at the latest.
        let third = kept(&path, 60, 160);
        assert_eq!(third.open(&old, at(160)), Err(Verdict::UnknownKey));
        assert_eq!(third.open(&new, at(159)).unwrap().session, b"new");
        third.refresh("p", at(160));
        assert_eq!(third.newest(), Some(at(160)), "its time to seal was over");
        let late = kept(&path, 60, 400);
        assert_eq!(late.newest(), Some(at(400)));
        // A clock that went back far.
        let early = TicketRing::new(
            late.source,
            LIFETIME,
            Scope::named("a"),
            Timestamp::from_millis(START - 1_000_000),
            None,
        );
        assert!(early.unwrap().newest() < Some(at(0)));
    }

    #[test]
    fn keys_that_others_can_read_are_never_used_again() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ticket-keys-a");
        let first = kept(&path, 60, 0);
        first.refresh("p", at(0));
        let ticket = first.seal(b"x", at(0)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let second = kept(&path, 60, 1);
        assert_eq!(second.open(&ticket, at(1)), Err(Verdict::UnknownKey));
        second.refresh("p", at(1));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let own = second.seal(b"y", at(1)).unwrap();
        let third = kept(&path, 60, 2);
        assert!(third.open(&own, at(2)).is_ok());
        assert_eq!(third.open(&ticket, at(2)), Err(Verdict::UnknownKey));
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
        // Its name says when it was made, to the millisecond, in which the next is made too.
        let named = key_directory::add_ticket_key(path).unwrap();
        let first = path.join("first");
        fs::rename(named, &first).unwrap();
        let earlier = std::time::SystemTime::now() - Duration::from_secs(60);
        let file = fs::File::options().write(true).open(&first).unwrap();
        file.set_modified(earlier).unwrap();
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
