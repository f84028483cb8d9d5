//! Notices that files have changed, so that a reload needs nobody to ask for it.
//!
//! The kernel's hints are followed by a look at the files once it has been quiet for a moment; and
//! every minute one looks without a hint, for file systems that give none. Each look watches the
//! directories anew before it sees the files: what comes and goes on the way to them is followed,
//! and no change falls between.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::directory_events::{DirectoryEvents, WatchRefused, WatchedDirectories};
use super::reloader::chain;
use super::watched_files::{Sight, TooMany, WatchedFiles};

/// The files of the configuration that serves and whether they are watched.
#[derive(Debug)]
pub(super) struct Watch {
    main: Option<PathBuf>,
    /// `None`: not watched.
    watching: Option<Watching>,
    /// What was told of how it is watched, so that it is told once.
    told: Option<Dullness>,
}

#[derive(Debug)]
struct Watching {
    files: WatchedFiles,
    /// How they looked before they were read.
    before: Sight,
    /// `None`: the system gives no hints.
    events: Option<DirectoryEvents>,
    /// Hints that no look has followed.
    hints: Option<Hints>,
    /// When to look without one.
    look_at: Instant,
    /// A look that is being made. One at a time: a file system may hang.
    looking: Option<JoinHandle<Look>>,
}

#[derive(Clone, Copy, Debug)]
struct Hints {
    first: Instant,
    last: Instant,
}

#[derive(Debug)]
struct Look {
    /// Whether it followed hints, and so a time in which it was quiet.
    hinted: bool,
    sight: Sight,
    directories: Result<WatchedDirectories, WatchRefused>,
    too_many: Option<TooMany>,
}

/// Why changes are seen late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Dullness {
    #[error("more directories than are watched")]
    TooMany,
    #[error(transparent)]
    Refused(WatchRefused),
}

/// So long is it quiet before files are looked at: they are written one after the other.
const QUIET: Duration = Duration::from_millis(500);
/// So long is a look put off while it is not quiet.
const LONGEST: Duration = Duration::from_secs(1);
/// How often files are looked at without a hint.
const EVERY: Duration = Duration::from_secs(60);

impl Watch {
    /// Watches nothing yet. `main`: where the configuration comes from, if from a file.
    pub(super) fn new(main: Option<&Path>) -> Self {
        Self {
            main: main.map(Path::to_owned),
            watching: None,
            told: None,
        }
    }

    /// How the configuration looks, before it is read.
    pub(super) fn look(&self) -> Sight {
        let files = WatchedFiles {
            main: self.main.clone(),
            named: Vec::new(),
        };
        files.look_at_config()
    }

    /// Something was read: from now on `named` is watched beside the configuration, as it looked in
    /// `seen`, before that; or nothing is.
    pub(super) fn renew(&mut self, wanted: bool, named: Vec<PathBuf>, seen: Sight) {
        if !wanted || self.main.is_none() {
            self.watching = None;
            return;
        }
        let before = seen.of(&named);
        let files = WatchedFiles {
            main: self.main.clone(),
            named,
        };
        let last = self.watching.take();
        self.watching = Some(Watching {
            files,
            before,
            // Until the first look.
            events: last.and_then(|last| last.events),
            hints: None,
            look_at: Instant::now(),
            looking: None,
        });
    }

    /// Waits until files have changed since they were read, and says which. Nothing is lost when
    /// the future is dropped. The same changes are told until [`Watch::renew`].
    pub(super) async fn changed(&mut self) -> Vec<PathBuf> {
        let Some(watching) = &mut self.watching else {
            return std::future::pending().await;
        };
        loop {
            let dull = match watching.next().await {
                Noticed::Changes(changes) => return changes,
                Noticed::Nothing(dull) => dull,
            };
            if let Some(dull) = dull.filter(|dull| self.told != Some(*dull)) {
                let error = chain(&dull);
                tracing::warn!(error, "changes of files may be seen a minute late");
            }
            self.told = dull;
        }
    }
}

impl Hints {
    /// When it has been quiet, or not quiet for too long.
    fn due(self) -> Instant {
        (self.last + QUIET).min(self.first + LONGEST)
    }
}

enum Noticed {
    Changes(Vec<PathBuf>),
    Nothing(Option<Dullness>),
}

impl Watching {
    async fn next(&mut self) -> Noticed {
        loop {
            let due = self.due();
            tokio::select! {
                look = finished(&mut self.looking) => {
                    self.looking = None;
                    // A look that broke off is followed by the next.
                    let Some(look) = look else { continue };
                    return self.saw(look);
                }
                () = next_hint(&mut self.events) => self.hint(),
                () = sleep_until(due), if self.looking.is_none() => {
                    let now = Instant::now();
                    let hinted = self.hints.take_if(|hints| hints.due() <= now).is_some();
                    self.look_at = now + EVERY;
                    let files = self.files.clone();
                    let look = move || look(&files, hinted);
                    self.looking = Some(tokio::task::spawn_blocking(look));
                }
            }
        }
    }

    /// When the next look is to be made.
    fn due(&self) -> Instant {
        let hinted = self.hints.map(|hints| hints.due());
        hinted.map_or(self.look_at, |hinted| hinted.min(self.look_at))
    }

    fn saw(&mut self, look: Look) -> Noticed {
        let mut dull = look.too_many.map(|TooMany| Dullness::TooMany);
        match look.directories {
            Ok(directories) => {
                dull = directories.refused.map(Dullness::Refused).or(dull);
                // Without hints there is the next minute.
                self.events = directories.events().ok();
            }
            Err(refused) => {
                dull = Some(Dullness::Refused(refused));
                self.events = None;
            }
        }
        let changes = self.before.changes(&look.sight);
        if changes.is_empty() {
            return Noticed::Nothing(dull);
        }
        if !look.hinted {
            // They may be half written.
            self.hint();
            return Noticed::Nothing(dull);
        }
        Noticed::Changes(changes)
    }

    fn hint(&mut self) {
        let now = Instant::now();
        let first = self.hints.map_or(now, |hints| hints.first);
        self.hints = Some(Hints { first, last: now });
    }
}

/// Directories first: what changes between is seen twice and not missed.
fn look(files: &WatchedFiles, hinted: bool) -> Look {
    let (places, too_many) = files.places();
    let directories = WatchedDirectories::watch(places);
    Look {
        hinted,
        sight: files.look(),
        directories,
        too_many,
    }
}

/// Waits for the look that is being made; `None`: it broke off.
async fn finished(looking: &mut Option<JoinHandle<Look>>) -> Option<Look> {
    match looking {
        Some(looking) => looking.await.ok(),
        None => std::future::pending().await,
    }
}

async fn next_hint(events: &mut Option<DirectoryEvents>) {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Within this a change is seen by hints; far below [`EVERY`].
    const SOON: Duration = Duration::from_secs(10);

    fn watch(main: &Path, named: &[PathBuf]) -> Watch {
        let mut watch = Watch::new(Some(main));
        let mut seen = watch.look();
        seen.add(named);
        watch.renew(true, named.to_vec(), seen);
        watch
    }

    /// Waits until a first look is over, which changes nothing.
    async fn settled(watch: &mut Watch) {
        let watching = watch.watching.as_mut().unwrap();
        let noticed = tokio::time::timeout(SOON, watching.next()).await.unwrap();
        assert!(matches!(noticed, Noticed::Nothing(None)));
        assert!(watching.events.is_some());
    }

    #[tokio::test]
    async fn a_change_is_seen_soon() {
        let directory = tempfile::tempdir().unwrap();
        let main = directory.path().join("a.toml");
        let certificate = directory.path().join("a.pem");
        fs::write(&main, "").unwrap();
        let mut watch = watch(&main, std::slice::from_ref(&certificate));
        settled(&mut watch).await;
        fs::write(&certificate, "x").unwrap();
        let changed = tokio::time::timeout(SOON, watch.changed()).await.unwrap();
        assert_eq!(changed, [certificate]);
    }

    #[tokio::test]
    async fn a_change_before_the_first_look_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let main = directory.path().join("a.toml");
        fs::write(&main, "").unwrap();
        let mut watch = watch(&main, &[]);
        fs::write(&main, "# more\n").unwrap();
        let changed = tokio::time::timeout(SOON, watch.changed()).await.unwrap();
        assert_eq!(changed, [main]);
    }

    #[tokio::test]
    async fn directories_that_come_and_go_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("a.toml"), "").unwrap();
        let named = at("x/y/a.pem");
        let mut watch = watch(&at("a.toml"), std::slice::from_ref(&named));
        settled(&mut watch).await;
        // Each step is noticed as a hint, though nothing changes for the file.
        fs::create_dir(at("x")).unwrap();
        settled(&mut watch).await;
        fs::create_dir(at("x/y")).unwrap();
        settled(&mut watch).await;
        fs::write(&named, "x").unwrap();
        let changed = tokio::time::timeout(SOON, watch.changed()).await.unwrap();
        assert_eq!(changed, [named]);
    }

    /// Time does not pass by itself, and the system gives no hints.
    #[tokio::test(start_paused = true)]
    async fn without_hints_a_change_is_seen_within_a_minute() {
        let directory = tempfile::tempdir().unwrap();
        let main = directory.path().join("a.toml");
        fs::write(&main, "").unwrap();
        let mut watch = watch(&main, &[]);
        settled(&mut watch).await;
        watch.watching.as_mut().unwrap().events = None;
        let start = Instant::now();
        fs::write(&main, "# more\n").unwrap();
        assert_eq!(watch.changed().await, [main]);
        assert!(start.elapsed() <= EVERY + QUIET, "{:?}", start.elapsed());
        assert!(start.elapsed() > LONGEST);
    }

    #[tokio::test]
    async fn nothing_is_watched_that_nobody_wants_watched() {
        let directory = tempfile::tempdir().unwrap();
        let main = directory.path().join("a.toml");
        let mut watch = watch(&main, &[]);
        let seen = watch.look();
        watch.renew(false, Vec::new(), seen);
        assert!(watch.watching.is_none());
        let mut unnamed = Watch::new(None);
        unnamed.renew(true, Vec::new(), Sight::default());
        assert!(unnamed.watching.is_none());
    }
}
