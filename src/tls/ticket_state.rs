//! The ticket keys of one policy in a file of the state directory, so that tickets of before a
//! restart still open.
//!
//! ```text
//! file = "handfast ticket keys 1\n" || (made, milliseconds since 1970 (8) || name and secret (80))*
//! ```
//!
//! Whoever reads the file can open the tickets sealed with its keys, and with a capture the sessions
//! of TLS 1.2 that they belong to. So it is read only where it is the daemon's own user's and nobody
//! else has rights to it, and written under another name first: a reader never sees half of it, nor
//! one that others could have opened.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::process::geteuid;
use zeroize::Zeroizing;

use super::key_directory::MOST_KEYS;
use super::ticket_key::{KeyMaterial, KeyMaterialError};
use super::timestamp::Timestamp;

/// Why keys are not read, or not written.
#[derive(Debug, thiserror::Error)]
pub enum TicketStateError {
    /// Other users have rights to the file.
    #[error("{path} has the mode {mode:04o}: others may have read its keys; 0600 is right")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is somebody else's.
    #[error("{path} belongs to user {uid}, who knows its keys; the daemon runs as user {own}")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
        /// Who we are.
        own: u32,
    },
    /// It is something else.
    #[error("{path} is no file of ticket keys")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// A key in it is none.
    #[error("a key in {path}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KeyMaterialError,
    },
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

const MAGIC: &[u8] = b"handfast ticket keys 1\n";
const MADE: usize = 8;
const KEY: usize = 80;
const ENTRY: usize = MADE + KEY;
/// More keys than are ever kept: `lifetime` by `rotate` is bounded.
const LONGEST: usize = MAGIC.len() + 4 * MOST_KEYS * ENTRY;

/// The keys in the file at `path`, in its order; none where there is no file.
///
/// # Errors
/// It is not to be trusted, or cannot be read.
pub(super) fn read(path: &Path) -> Result<Vec<KeyMaterial>, TicketStateError> {
    let failed = |source| TicketStateError::Read {
        path: path.to_owned(),
        source,
    };
    // No link is followed, and a pipe is not waited for.
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    let malformed = || TicketStateError::Malformed {
        path: path.to_owned(),
    };
    if !metadata.is_file() {
        return Err(malformed());
    }
    let own = geteuid().as_raw();
    if metadata.uid() != own {
        return Err(TicketStateError::Owner {
            path: path.to_owned(),
            uid: metadata.uid(),
            own,
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(TicketStateError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    // Room for all of it from the start: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    file.take(LONGEST as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let entries = bytes.strip_prefix(MAGIC).ok_or_else(malformed)?;
    let (entries, []) = entries.as_chunks::<ENTRY>() else {
        return Err(malformed());
    };
    if bytes.len() > LONGEST {
        return Err(malformed());
    }
    let keys = entries.iter().map(|entry| {
        let (made, key) = entry.split_first_chunk::<MADE>().ok_or_else(malformed)?;
        let made = Timestamp::from_millis(u64::from_be_bytes(*made));
        let key = Zeroizing::new(key.to_vec());
        KeyMaterial::new(key, made).map_err(|source| TicketStateError::Key {
            path: path.to_owned(),
            source,
        })
    });
    keys.collect()
}

/// Writes `keys` to the file at `path`, in place of what was there, for its owner alone. Makes the
/// directory if it is not there.
///
/// # Errors
/// The system's.
pub(super) fn write(path: &Path, keys: &[Arc<KeyMaterial>]) -> Result<(), TicketStateError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAGIC.len() + keys.len() * ENTRY));
    bytes.extend_from_slice(MAGIC);
    for key in keys {
        bytes.extend_from_slice(&key.made().millis().to_be_bytes());
        bytes.extend_from_slice(key.bytes());
    }
    placed(path, &bytes).map_err(|source| TicketStateError::Write {
        path: path.to_owned(),
        source,
    })
}

fn placed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut hidden = OsString::from(".");
    hidden.push(path.file_name().unwrap_or_default());
    let hidden = path.with_file_name(hidden);
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    // What a daemon left that died at this.
    match fs::remove_file(&hidden) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&hidden)?;
    let placed = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&hidden, path));
    if placed.is_err() {
        // That it cannot be removed either changes nothing.
        let _ = fs::remove_file(&hidden);
    }
    placed
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn key(made: u64) -> Arc<KeyMaterial> {
        Arc::new(KeyMaterial::generate(Timestamp::from_millis(made)).unwrap())
    }

    #[test]
    fn what_is_written_is_read_and_nobody_elses() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/ticket-keys-web");
        assert!(read(&path).unwrap().is_empty());
        let keys = [key(2_000), key(1_000)];
        write(&path, &keys).unwrap();
        // Again, beside what a daemon left that died.
        fs::write(path.with_file_name(".ticket-keys-web"), "half").unwrap();
        write(&path, &keys).unwrap();
        let found = read(&path).unwrap();
        let plain = |key: &KeyMaterial| (key.made(), key.bytes().to_vec());
        assert_eq!(
            found.iter().map(plain).collect::<Vec<_>>(),
            keys.iter().map(|it| plain(it)).collect::<Vec<_>>()
        );
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let entries = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(entries, 1);
        let mode = fs::metadata(path.parent().unwrap())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o700);
    }

    #[test]
    fn a_file_that_is_not_to_be_trusted_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ticket-keys-web");
        write(&path, &[key(1)]).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path).err().unwrap();
            assert!(matches!(error, TicketStateError::Exposed { .. }), "{error}");
            assert!(
                error.to_string().contains(&format!("{mode:04o}")),
                "{error}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(read(&link), Err(TicketStateError::Read { .. })));
        assert!(matches!(
            read(directory.path()),
            Err(TicketStateError::Malformed { .. })
        ));
        if geteuid().is_root() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
            assert!(matches!(
                read(&path),
                Err(TicketStateError::Owner { uid: 65_534, .. })
            ));
        }
    }

    #[test]
    fn damage_is_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ticket-keys-web");
        write(&path, &[key(1), key(2)]).unwrap();
        let whole = fs::read(&path).unwrap();
        let same = [MAGIC, &[0; ENTRY]].concat();
        for bytes in [
            b"",
            &whole[1..],
            &whole[..whole.len() - 1],
            &same,
            &[whole.clone(), vec![7; LONGEST]].concat(),
        ] {
            fs::write(&path, bytes).unwrap();
            assert!(read(&path).is_err(), "{} bytes", bytes.len());
        }
    }
}
