//! Ticket keys as files: one a key, in a directory that a fleet shares.
//!
//! A file is 48 or 80 random bytes. `handfast ticket-key` puts the time into its name; any other
//! name is fine too, and then the time of its last change counts. Hidden files are left out, which
//! covers half-written ones and Kubernetes's own links.

use std::cmp::Reverse;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use time::{Date, Month, OffsetDateTime, Time};
use zeroize::Zeroizing;

use super::ticket_key::{KeyMaterial, KeyMaterialError, SIZES, short};
use super::timestamp::Timestamp;

/// Why a directory gives no keys, or takes none.
#[derive(Debug, thiserror::Error)]
pub enum KeyDirectoryError {
    /// The directory cannot be read.
    #[error("cannot read the directory {path}")]
    List {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is no key.
    #[error("{path}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KeyMaterialError,
    },
    /// No file at all.
    #[error("there is no ticket key in {path}: make one with `handfast ticket-key new {path}`")]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An old key cannot be removed.
    #[error("cannot remove {path}")]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No randomness.
    #[error("the system has no randomness to give")]
    Random,
}

/// A key of a directory.
pub(super) struct KeyFile {
    pub(super) path: PathBuf,
    pub(super) material: KeyMaterial,
    /// Whether everyone on the machine can read it.
    pub(super) exposed: bool,
}

/// As many keys of a directory as are used; the oldest beyond are left out.
pub(super) const MOST_KEYS: usize = 32;

/// Reads the keys of `path`, newest first, [`MOST_KEYS`] at most.
///
/// # Errors
/// The first file that is no key.
pub(super) fn read(path: &Path) -> Result<Vec<KeyFile>, KeyDirectoryError> {
    let list = |source| KeyDirectoryError::List {
        path: path.to_owned(),
        source,
    };
    let mut keys = Vec::new();
    for entry in fs::read_dir(path).map_err(list)? {
        let entry = entry.map_err(list)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        keys.extend(read_file(&entry.path())?);
    }
    if keys.is_empty() {
        return Err(KeyDirectoryError::Empty {
            path: path.to_owned(),
        });
    }
    // By name among those of one moment: every machine must come to the same order.
    let order = |key: &KeyFile| {
        (
            key.material.made(),
            key.path.file_name().map(OsStr::to_owned),
        )
    };
    keys.sort_by_key(|key| Reverse(order(key)));
    keys.truncate(MOST_KEYS);
    Ok(keys)
}

/// Makes a new key in `path`, which is made too if it is not there. Returns the file.
///
/// # Errors
/// What could not be written.
pub fn add_ticket_key(path: &Path) -> Result<PathBuf, KeyDirectoryError> {
    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| KeyDirectoryError::Write { path, source }
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(write(path))?;
    let now = Timestamp::now();
    let material = KeyMaterial::generate(now).map_err(|_| KeyDirectoryError::Random)?;
    let name = format!("{}-{}.key", stamp(now), short(material.bytes()));
    let target = path.join(&name);
    // A reader never sees half a key: it is written under a hidden name first.
    let hidden = path.join(format!(".{name}"));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&hidden)
        .map_err(write(&hidden))?;
    let placed = file
        .write_all(material.bytes())
        .and_then(|()| give_to_owner_of(path, &hidden))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&hidden, &target));
    if let Err(source) = placed {
        // It may be half a key; that it cannot be removed either changes nothing.
        let _ = fs::remove_file(&hidden);
        return Err(write(&target)(source));
    }
    Ok(target)
}

/// Makes a new key in `path` and removes the oldest beyond `keep`. Returns the new file and those
/// removed.
///
/// # Errors
/// What could not be read, written or removed.
pub fn rotate_ticket_keys(
    path: &Path,
    keep: usize,
) -> Result<(PathBuf, Vec<PathBuf>), KeyDirectoryError> {
    let added = add_ticket_key(path)?;
    let mut removed = Vec::new();
    // One round more finds nothing; more than `MOST_KEYS` take several.
    loop {
        let old = read(path)?.into_iter().skip(keep.max(1));
        let old: Vec<PathBuf> = old.map(|key| key.path).collect();
        if old.is_empty() {
            return Ok((added, removed));
        }
        for path in old {
            if let Err(source) = fs::remove_file(&path) {
                return Err(KeyDirectoryError::Remove { path, source });
            }
            removed.push(path);
        }
    }
}

/// The key in a file; `None` for what is no file, or not any more.
fn read_file(path: &Path) -> Result<Option<KeyFile>, KeyDirectoryError> {
    let failed = |source| KeyDirectoryError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let longest = SIZES.into_iter().max().unwrap_or_default();
    // Room for all of it from the start: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(longest + 1));
    file.take(longest as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let made = match path.file_name().and_then(|name| stamped(name.to_str()?)) {
        Some(made) => made,
        None => metadata.modified().map_err(failed)?.into(),
    };
    let material = KeyMaterial::new(bytes, made).map_err(|source| KeyDirectoryError::Key {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(KeyFile {
        path: path.to_owned(),
        material,
        exposed: metadata.permissions().mode() & 0o004 != 0,
    }))
}

/// root makes keys for the daemon, whose directory it is and who must be able to read them.
fn give_to_owner_of(directory: &Path, file: &Path) -> io::Result<()> {
    let (wanted, is) = (fs::metadata(directory)?, fs::metadata(file)?);
    if (wanted.uid(), wanted.gid()) == (is.uid(), is.gid()) {
        return Ok(());
    }
    match std::os::unix::fs::chown(file, Some(wanted.uid()), Some(wanted.gid())) {
        // Only root can, and only root needs to.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

/// `20261122T101500.123Z`: sorts as it counts.
fn stamp(time: Timestamp) -> String {
    let nanos = i128::from(time.millis()) * 1_000_000;
    let time =
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}.{:03}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond(),
    )
}

/// The time that a file name of ours begins with.
fn stamped(name: &str) -> Option<Timestamp> {
    let (date, rest) = name.split_once('T')?;
    let (clock, _) = rest.split_once('Z')?;
    let (clock, millis) = clock.split_once('.').unwrap_or((clock, "000"));
    if (date.len(), clock.len(), millis.len()) != (8, 6, 3) {
        return None;
    }
    let month = Month::try_from(number(date.get(4..6)?)?).ok()?;
    let year = date.get(..4)?.parse().ok()?;
    let date = Date::from_calendar_date(year, month, number(date.get(6..)?)?).ok()?;
    let clock = Time::from_hms_milli(
        number(clock.get(..2)?)?,
        number(clock.get(2..4)?)?,
        number(clock.get(4..)?)?,
        millis.parse().ok()?,
    );
    let time = OffsetDateTime::new_utc(date, clock.ok()?);
    let millis = u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()?;
    Some(Timestamp::from_millis(millis))
}

fn number(digits: &str) -> Option<u8> {
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let keys = read(path).unwrap();
        keys.iter()
            .map(|key| key.path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect()
    }

    fn put(directory: &Path, name: &str, age: u64) -> PathBuf {
        let path = directory.join(name);
        fs::write(
            &path,
            KeyMaterial::generate(Timestamp::now()).unwrap().bytes(),
        )
        .unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age))
            .unwrap();
        path
    }

    #[test]
    fn the_newest_comes_first_by_name_or_by_time() {
        let directory = tempfile::tempdir().unwrap();
        put(directory.path(), "b", 100);
        put(directory.path(), "a", 50);
        put(directory.path(), "20200101T000000Z.key", 0);
        fs::write(directory.path().join(".hidden"), "no key").unwrap();
        fs::create_dir(directory.path().join("lost+found")).unwrap();
        assert_eq!(names(directory.path()), ["a", "b", "20200101T000000Z.key"]);
    }

    #[test]
    fn what_is_no_key_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display().to_string();
        let error = |path: &Path| read(path).err().unwrap().to_string();
        let empty = format!(
            "there is no ticket key in {path}: make one with `handfast ticket-key new {path}`"
        );
        assert_eq!(error(directory.path()), empty);
        fs::write(directory.path().join("x"), [1; 64]).unwrap();
        let error_of_x = read(directory.path()).err().unwrap();
        assert_eq!(error_of_x.to_string(), format!("{path}/x"));
        let cause = std::error::Error::source(&error_of_x).unwrap().to_string();
        assert!(cause.starts_with("holds 64 bytes; "), "{cause}");
        let missing = directory.path().join("y");
        assert!(error(&missing).starts_with("cannot read the directory"));
    }

    #[test]
    fn rotation_keeps_the_newest() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("keys");
        let first = add_ticket_key(&directory).unwrap();
        assert_eq!(fs::metadata(&first).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        for number in 0..40 {
            put(&directory, &format!("old-{number}"), 1000 + number);
        }
        let (second, removed) = rotate_ticket_keys(&directory, 2).unwrap();
        assert_eq!(removed.len(), 40);
        let kept = read(&directory).unwrap();
        assert_eq!(kept.len(), 2);
        assert!(kept.iter().all(|key| !key.exposed));
        assert!(kept.iter().any(|key| key.path == first));
        assert!(kept.iter().any(|key| key.path == second));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
    }

    #[test]
    fn names_carry_their_time() {
        let time = Timestamp::from_millis(1_795_342_500_123);
        assert_eq!(stamp(time), "20261122T101500.123Z");
        assert_eq!(stamped("20261122T101500.123Z-0a1b2c3d.key"), Some(time));
        assert_eq!(
            stamped("20261122T101500Z"),
            Some(Timestamp::from_millis(1_795_342_500_000))
        );
        for name in [
            "",
            "TZ",
            "key",
            "20261322T101500Z",
            "2026112éT10150Z",
            "x20261122T101500Z",
        ] {
            assert_eq!(stamped(name), None, "{name}");
        }
    }
}
