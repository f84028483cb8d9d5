//! What the kernel tells of changes in directories (inotify).
//!
//! A hint and no proof: who hears of one looks at the files. So nothing is lost that matters when
//! the kernel's queue overflows or a directory goes away: both are hints as well.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::watched_files::{Names, Places};

/// Directories that the kernel watches; no hint is read yet.
#[derive(Debug)]
pub(super) struct WatchedDirectories {
    inotify: OwnedFd,
    names: HashMap<i32, Names>,
    /// Why some are not watched.
    pub(super) refused: Option<WatchRefused>,
}

/// The hints from directories.
#[derive(Debug)]
pub(super) struct DirectoryEvents {
    inotify: AsyncFd<OwnedFd>,
    names: HashMap<i32, Names>,
}

/// Why directories are not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WatchRefused {
    /// The system has no more of what watches.
    #[error(
        "the system watches no directories for this process; `fs.inotify.max_user_instances` bounds that"
    )]
    Instances(#[source] Errno),
    /// The system watches no more directories.
    #[error("the system watches no more directories; `fs.inotify.max_user_watches` bounds that")]
    Watches(#[source] Errno),
}

/// What happens to directories and links on the way to files.
const ON_THE_WAY: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// And to files. Not each write: a file is read when it is whole.
const FILES: WatchFlags = ON_THE_WAY
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB);

/// What concerns a directory as a whole, or all of them.
const WHOLE: ReadFlags = ReadFlags::DELETE_SELF
    .union(ReadFlags::MOVE_SELF)
    .union(ReadFlags::UNMOUNT)
    .union(ReadFlags::IGNORED)
    .union(ReadFlags::QUEUE_OVERFLOW);

/// So long is nobody woken after events that do not matter: other things happen in directories such
/// as `/tmp`.
const REST: Duration = Duration::from_millis(50);

impl WatchedDirectories {
    /// Watches `places`. Those that are not there, or not for us to read, are left out. Blocks on
    /// the file system.
    ///
    /// # Errors
    /// None can be watched.
    pub(super) fn watch(places: Places) -> Result<Self, WatchRefused> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(WatchRefused::Instances)?;
        let mut names = HashMap::with_capacity(places.len());
        let mut refused = None;
        for (directory, own) in places {
            let flags = match own.files {
                true => FILES,
                false => ON_THE_WAY,
            };
            match inotify::add_watch(&inotify, &directory, flags) {
                Ok(watch) => {
                    // One directory by two paths is watched as the last one says.
                    let known: &mut Names = names.entry(watch).or_default();
                    if known.files && !own.files {
                        // It was watched as a directory of files; so it stays.
                        let _ = inotify::add_watch(&inotify, &directory, FILES);
                    }
                    known.some.extend(own.some);
                    known.all |= own.all;
                    known.files |= own.files;
                }
                Err(error @ (Errno::NOSPC | Errno::NOMEM)) => {
                    refused = Some(WatchRefused::Watches(error));
                    break;
                }
                Err(error) => {
                    let error = io::Error::from(error);
                    tracing::debug!(directory = %directory.display(), %error, "not watched");
                }
            }
        }
        Ok(Self {
            inotify,
            names,
            refused,
        })
    }

    /// Begins to read the hints. Needs the runtime.
    ///
    /// # Errors
    /// The runtime takes no more descriptors.
    #[expect(
        deprecated,
        reason = "its successor is unsafe to call, for descriptors that are closed or replaced \
                  while they are registered; this one is owned to the end"
    )]
    pub(super) fn events(self) -> io::Result<DirectoryEvents> {
        Ok(DirectoryEvents {
            inotify: AsyncFd::new(self.inotify)?,
            names: self.names,
        })
    }
}

impl DirectoryEvents {
    /// Waits until something happens that matters. Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) {
        loop {
            // Not reached: the runtime outlives this.
            let Ok(mut ready) = self.inotify.readable().await else {
                return std::future::pending().await;
            };
            let matters = drain(ready.get_inner(), &self.names);
            ready.clear_ready();
            if matters {
                return;
            }
            tokio::time::sleep(REST).await;
        }
    }
}

/// Reads all events, and says whether one of them matters.
fn drain(inotify: &OwnedFd, names: &HashMap<i32, Names>) -> bool {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(inotify, &mut buffer);
    let mut matters = false;
    loop {
        match reader.next() {
            Ok(event) => {
                let name = event.file_name().map(|name| {
                    let name = OsStr::from_bytes(name.to_bytes());
                    OsString::from(name)
                });
                let named = name.is_some_and(|name| {
                    let own = names.get(&event.wd());
                    own.is_some_and(|own| own.matter(&name))
                });
                matters |= named || event.events().intersects(WHOLE);
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return matters,
            // What cannot be read may have been anything.
            Err(_) => return true,
        }
    }
}
