//! The unix socket: for its owner alone from its first moment, and gone with the daemon.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// Where `handfast reload` and its like look for the socket when nothing else is said.
pub const DEFAULT_SOCKET: &str = "/run/handfast/admin.sock";

/// Connections that wait in the kernel.
const BACKLOG: i32 = 64;

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

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error("another process listens on the admin socket {}", .0.display())]
    InUse(PathBuf),
    /// Something else is there, which is not ours to remove.
    #[error("{} is in the way of the admin socket: it is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// It cannot be made.
    #[error("cannot listen on the admin socket {}", path.display())]
    Bind {
        /// The path.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}

/// Listens on a unix socket of mode 0600 at `path`. The socket of a process that has died is
/// replaced. Needs a runtime.
///
/// # Errors
/// Somebody listens there, something else is there, or the system's.
pub fn bind_socket(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let failed = |source| SocketError::Bind {
        path: path.to_owned(),
        source,
    };
    remove_stale(path)?;
    let bound = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec().nonblocking(), None)?;
        // On Linux the file takes this mode over: it is never open to others, not for a moment.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile {
            path: path.to_owned(),
            identity: Identity::of(path)?,
        };
        socket.listen(BACKLOG)?;
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
            tracing::warn!(path = %self.path.display(), %error, "admin socket not removed");
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
        let (listener, file) = bind_socket(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert!(matches!(bind_socket(&path), Err(SocketError::InUse(_))));
        drop((listener, file));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_dead_process_left_is_replaced_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let (listener, first) = bind_socket(&path).unwrap();
        drop(listener);
        let (_listener, _second) = bind_socket(&path).unwrap();
        // It is another one's by now.
        drop(first);
        assert!(path.exists());
        let other = directory.path().join("file");
        fs::write(&other, "precious").unwrap();
        assert!(matches!(
            bind_socket(&other),
            Err(SocketError::NotASocket(_))
        ));
        assert_eq!(fs::read(&other).unwrap(), b"precious");
        let nowhere = directory.path().join("no/admin.sock");
        let error = bind_socket(&nowhere).unwrap_err();
        assert!(error.to_string().contains("no/admin.sock"), "{error}");
    }
}
