//! The files whose change is a reason to reload: how they look, and where changes show.
//!
//! A file counts as changed when another one stands at its path, or when its time, length, mode or
//! owner is another. What else happens in its directory is nothing to us.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::config::{ConfigFiles, config_files};

/// What is watched: a configuration with what it includes, and the files that it names.
#[derive(Clone, Debug, Default)]
pub(super) struct WatchedFiles {
    /// The main file; `None`: the configuration comes from no file.
    pub(super) main: Option<PathBuf>,
    /// The files that it names.
    pub(super) named: Vec<PathBuf>,
}

/// How files looked at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sight {
    config: BTreeMap<PathBuf, Option<Stamp>>,
    named: BTreeMap<PathBuf, Option<Stamp>>,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    size: u64,
    mode: u32,
    owner: (u32, u32),
}

/// Directories in which changes show, with the names that matter in each.
pub(super) type Places = BTreeMap<PathBuf, Names>;

/// The names that matter in a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// These.
    pub(super) some: HashSet<OsString>,
    /// Whether all do: a pattern includes files from here.
    pub(super) all: bool,
    /// Whether files are among them; else there are only directories and links on the way to some.
    pub(super) files: bool,
}

/// The most directories that are watched; for files in others, there are the looks of every minute.
const MOST_PLACES: usize = 1024;
/// As many links as Linux follows.
const MOST_LINKS: usize = 40;

impl WatchedFiles {
    /// How they look now. Blocks on files.
    pub(super) fn look(&self) -> Sight {
        let mut sight = self.look_at_config();
        sight.add(&self.named);
        sight
    }

    /// How the configuration alone looks now.
    pub(super) fn look_at_config(&self) -> Sight {
        Sight {
            config: stamps(&self.config().files),
            named: BTreeMap::new(),
        }
    }

    /// Where changes of them show: the directory of each file and each link on the way to it, and
    /// the directories above, which may be replaced. `None` beside the places: there are more than
    /// are watched.
    pub(super) fn places(&self) -> (Places, Option<TooMany>) {
        let ConfigFiles { files, directories } = self.config();
        let mut places = Places::new();
        let mut whole = true;
        for path in files.iter().chain(&self.named) {
            whole &= follow(path, &mut places);
        }
        for directory in directories {
            whole &= follow(&directory, &mut places);
            // One that is not there shows where it comes.
            if let Ok(directory) = directory.canonicalize() {
                if places.len() < MOST_PLACES || places.contains_key(&directory) {
                    let names = places.entry(directory).or_default();
                    names.all = true;
                    names.files = true;
                } else {
                    whole = false;
                }
            }
        }
        (places, (!whole).then_some(TooMany))
    }

    fn config(&self) -> ConfigFiles {
        self.main.as_deref().map(config_files).unwrap_or_default()
    }
}

/// There are more directories than are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Sight {
    /// Looks at these files too; the first look at a file counts.
    pub(super) fn add(&mut self, named: &[PathBuf]) {
        for path in named {
            if !self.named.contains_key(path) {
                self.named.insert(path.clone(), stamp(path));
            }
        }
    }

    /// The same of these named files alone.
    pub(super) fn of(mut self, named: &[PathBuf]) -> Self {
        let named: HashSet<&PathBuf> = named.iter().collect();
        self.named.retain(|path, _| named.contains(path));
        self
    }

    /// The files that look different in `now`, are there for the first time or not any more.
    pub(super) fn changes(&self, now: &Self) -> Vec<PathBuf> {
        let mut changes = Vec::new();
        for (before, now) in [(&self.config, &now.config), (&self.named, &now.named)] {
            let gone = before.keys().filter(|path| !now.contains_key(*path));
            changes.extend(gone.cloned());
            let other = now
                .iter()
                .filter(|(path, stamp)| before.get(*path) != Some(stamp));
            changes.extend(other.map(|(path, _)| path.clone()));
        }
        changes
    }
}

impl Names {
    /// Whether what happened to `name` matters.
    pub(super) fn matter(&self, name: &OsString) -> bool {
        self.all || self.some.contains(name)
    }
}

fn stamps(paths: &[PathBuf]) -> BTreeMap<PathBuf, Option<Stamp>> {
    let stamps = paths.iter().map(|path| (path.clone(), stamp(path)));
    stamps.collect()
}

/// `None`: there is nothing to be seen.
fn stamp(path: &Path) -> Option<Stamp> {
    let seen = fs::metadata(path).ok()?;
    Some(Stamp {
        device: seen.dev(),
        inode: seen.ino(),
        modified: (seen.mtime(), seen.mtime_nsec()),
        size: seen.size(),
        mode: seen.mode(),
        owner: (seen.uid(), seen.gid()),
    })
}

/// Adds where a change of what stands at `path` shows. False: there are too many places.
fn follow(path: &Path, places: &mut Places) -> bool {
    // The current directory may be gone; then nothing is to be seen from there.
    let Ok(absolute) = std::path::absolute(path) else {
        return true;
    };
    let mut rest: VecDeque<OsString> = parts(&absolute);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        if places.len() >= MOST_PLACES && !places.contains_key(&here) {
            return false;
        }
        let names = places.entry(here.clone()).or_default();
        names.files |= rest.is_empty();
        let next = here.join(&name);
        names.some.insert(name);
        match fs::read_link(&next) {
            Ok(target) if links < MOST_LINKS => {
                links += 1;
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                for part in parts(&target).into_iter().rev() {
                    rest.push_front(part);
                }
            }
            // A loop: its links are known by now.
            Ok(_) => return true,
            Err(_) => here = next,
        }
    }
    true
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_and_every_directory_on_the_way_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        // As Kubernetes does it.
        fs::create_dir(root.join("..2026_1")).unwrap();
        fs::write(root.join("..2026_1/tls.crt"), "x").unwrap();
        symlink("..2026_1", root.join("..data")).unwrap();
        symlink("..data/tls.crt", root.join("tls.crt")).unwrap();
        let files = WatchedFiles {
            main: None,
            named: vec![root.join("tls.crt"), root.join("not/there/yet")],
        };
        let (places, too_many) = files.places();
        assert_eq!(too_many, None);
        let own = &places[&root];
        for name in ["tls.crt", "..data", "..2026_1", "not"] {
            assert!(own.matter(&name.into()), "{name}");
        }
        assert!(!own.matter(&"other".into()));
        assert!(places[&root.join("..2026_1")].matter(&"tls.crt".into()));
        assert!(places[&root.join("not")].matter(&"there".into()));
        let parent = root.parent().unwrap();
        assert!(places[parent].matter(&root.file_name().unwrap().to_owned()));
    }

    #[test]
    fn a_loop_of_links_ends() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        let named = vec![root.join("a")];
        let (places, _) = WatchedFiles { main: None, named }.places();
        assert!(places[&root].matter(&"b".into()));
    }

    #[test]
    fn places_are_bounded() {
        let named = (0..MOST_PLACES + 1).map(|number| format!("/nonexistent/{number}/x").into());
        let files = WatchedFiles {
            main: None,
            named: named.collect(),
        };
        let (places, too_many) = files.places();
        assert_eq!(places.len(), MOST_PLACES);
        assert_eq!(too_many, Some(TooMany));
    }

    #[test]
    fn what_is_replaced_changed_new_or_gone_is_a_change_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("main.toml"), "include = [\"d/*.toml\"]\n").unwrap();
        fs::create_dir(at("d")).unwrap();
        for name in ["a", "b", "d/x.toml"] {
            fs::write(at(name), "old").unwrap();
        }
        let files = WatchedFiles {
            main: Some(at("main.toml")),
            named: vec![at("a"), at("b"), at("c")],
        };
        let before = files.look();
        fs::write(at("other"), "x").unwrap();
        fs::write(at("d/notes"), "x").unwrap();
        assert_eq!(before.changes(&files.look()), Vec::<PathBuf>::new());
        // Of the same length and time: only the inode differs.
        let time = fs::metadata(at("a")).unwrap().modified().unwrap();
        fs::write(at("new"), "new").unwrap();
        let new = fs::File::options().write(true).open(at("new")).unwrap();
        new.set_modified(time).unwrap();
        fs::rename(at("new"), at("a")).unwrap();
        fs::remove_file(at("b")).unwrap();
        fs::write(at("c"), "").unwrap();
        fs::write(at("d/y.toml"), "").unwrap();
        fs::remove_file(at("d/x.toml")).unwrap();
        let mut changes = before.changes(&files.look());
        changes.sort();
        let expected = ["a", "b", "c", "d/x.toml", "d/y.toml"].map(at);
        assert_eq!(changes, expected);
    }

    #[test]
    fn the_first_look_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut seen = Sight::default();
        seen.add(std::slice::from_ref(&path));
        fs::write(&path, "x").unwrap();
        seen.add(&[path.clone(), directory.path().join("b")]);
        let seen = seen.of(std::slice::from_ref(&path));
        let mut now = Sight::default();
        now.add(std::slice::from_ref(&path));
        assert_eq!(seen.changes(&now), [path]);
    }
}
