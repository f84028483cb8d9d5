//! Listening on a unix socket: with its mode from its first moment, and gone with the daemon.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, chmod, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// Removes the socket when dropped, if it is still ours.
#[derive(Debug)]
#[must_use = "dropping it removes the socket"]
pub struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// Device and inode, and since when: inodes are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64, i64, i64);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error("another process listens on the socket {}", .0.display())]
    InUse(PathBuf),
    /// Something else is there, which is not ours to remove.
    #[error("{} is in the way: it is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// It cannot be made.
    #[error("cannot listen on the socket {}", path.display())]
    Bind {
        /// The path.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}

/// Who may connect, as far as the directory of the socket lets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketAccess {
    /// Our own user: mode 0600.
    Owner,
    /// Everybody: mode 0666.
    Everybody,
}

impl SocketAccess {
    const fn mode(self) -> Mode {
        match self {
            Self::Owner => Mode::from_raw_mode(0o600),
            Self::Everybody => Mode::from_raw_mode(0o666),
        }
    }
}

/// Listens on a unix socket at `path`; `backlog` connections wait in the kernel. The socket of a
/// process that has died is replaced. Needs a runtime.
///
/// # Errors
/// Somebody listens there, something else is there, or the system's.
pub fn bind_unix(
    path: &Path,
    access: SocketAccess,
    backlog: u32,
) -> Result<(UnixListener, SocketFile), SocketError> {
    let failed = |source| SocketError::Bind {
        path: path.to_owned(),
        source,
    };
    remove_stale(path)?;
    let bound = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec().nonblocking(), None)?;
        // On Linux the file takes this mode over: it is never open to others, not for a moment.
        fchmod(&socket, access.mode())?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile {
            path: path.to_owned(),
            identity: Identity::of(path)?,
        };
        // The umask took its part of that.
        chmod(path, access.mode())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok((listener, file))
    };
    bound().map_err(failed)
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Bind {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(SocketError::NotASocket(path.to_owned())),
    }
    match connect(path) {
        Ok(()) => Err(SocketError::InUse(path.to_owned())),
        // Its backlog is full: somebody listens, slowly.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(SocketError::InUse(path.to_owned()))
        }
        // Only a socket that nobody has open refuses.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Whether somebody listens, without waiting.
fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec().nonblocking(), None)?;
    socket.connect(&SockAddr::unix(path)?)
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let file = fs::symlink_metadata(path)?;
        Ok(Self(
            file.dev(),
            file.ino(),
            file.mtime(),
            file.mtime_nsec(),
        ))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = Identity::of(&self.path).is_ok_and(|identity| identity == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "socket not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn it_is_for_its_owner_and_goes_with_the_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let (listener, file) = bind_unix(&path, SocketAccess::Owner, 16).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert!(matches!(
            bind_unix(&path, SocketAccess::Owner, 16),
            Err(SocketError::InUse(_))
        ));
        drop((listener, file));
        assert!(!path.exists());
        let (_listener, _file) = bind_unix(&path, SocketAccess::Everybody, 16).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o666);
    }

    #[tokio::test]
    async fn what_a_dead_process_left_is_replaced_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let (listener, first) = bind_unix(&path, SocketAccess::Owner, 16).unwrap();
        drop(listener);
        let (_listener, _second) = bind_unix(&path, SocketAccess::Owner, 16).unwrap();
        // It is another one's by now.
        drop(first);
        assert!(path.exists());
        let other = directory.path().join("file");
        fs::write(&other, "precious").unwrap();
        assert!(matches!(
            bind_unix(&other, SocketAccess::Owner, 16),
            Err(SocketError::NotASocket(_))
        ));
        assert_eq!(fs::read(&other).unwrap(), b"precious");
        let nowhere = directory.path().join("no/admin.sock");
        let error = bind_unix(&nowhere, SocketAccess::Owner, 16).unwrap_err();
        assert!(error.to_string().contains("no/admin.sock"), "{error}");
    }
}
