//! One file while it is read: its text, its directory, and the faults found so far.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Location};

/// As many faults as are kept: a binary file given by mistake has thousands.
const FAULTS: usize = 100;

/// A file being read. Faults are pushed into it from everywhere, so that one pass finds all.
pub(super) struct Reading<'t> {
    text: &'t str,
    directory: &'t Path,
    source: usize,
    faults: RefCell<Vec<(Kind, Diagnostic)>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The text is not TOML.
    Syntax,
    /// What stands in the file is wrong.
    Stated,
    /// Something does not stand in the file. After a syntax error this proves nothing.
    Absent,
}

impl<'t> Reading<'t> {
    /// Begins `text`, the file at index `source`; relative paths start at `directory`.
    pub(super) fn new(text: &'t str, source: usize, directory: &'t Path) -> Self {
        Self {
            text,
            directory,
            source,
            faults: RefCell::new(Vec::new()),
        }
    }

    /// The place of a span.
    pub(super) fn location(&self, span: Range<usize>) -> Location {
        Location {
            source: self.source,
            span: (span.start, span.end),
        }
    }

    /// The text at a place.
    pub(super) fn text_at(&self, location: Location) -> &'t str {
        let (start, end) = location.span;
        self.text.get(start..end).unwrap_or_default()
    }

    /// The line of a place, from 1.
    pub(super) fn line(&self, location: Location) -> usize {
        let end = location.span.0.min(self.text.len());
        let before = &self.text.as_bytes()[..end];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// A place in words: `line 3`.
    pub(super) fn place(&self, location: Location) -> String {
        format!("line {}", self.line(location))
    }

    /// `path` as the file means it: relative to the file's own directory.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    /// Adds what TOML itself refuses.
    pub(super) fn syntax(&self, diagnostic: Diagnostic) {
        self.push(Kind::Syntax, diagnostic);
    }

    /// Adds a fault of something that stands in the file.
    pub(super) fn refuse(&self, diagnostic: Diagnostic) {
        self.push(Kind::Stated, diagnostic);
    }

    /// Adds a fault of something that does not stand in the file: a missing key, a name that
    /// refers to nothing.
    pub(super) fn absent(&self, diagnostic: Diagnostic) {
        self.push(Kind::Absent, diagnostic);
    }

    fn push(&self, kind: Kind, diagnostic: Diagnostic) {
        self.faults.borrow_mut().push((kind, diagnostic));
    }

    /// The faults in the order of the text. Those that may merely follow from a syntax error are
    /// left out: they come back by themselves once it is mended.
    pub(super) fn into_faults(self) -> Vec<Diagnostic> {
        let faults = self.faults.take();
        let broken: Vec<usize> = faults
            .iter()
            .filter(|(kind, _)| *kind == Kind::Syntax)
            .filter_map(|(_, diagnostic)| Some(self.line(diagnostic.location?)))
            .collect();
        let broken_at_all = faults.iter().any(|(kind, _)| *kind == Kind::Syntax);
        let follows = |kind: Kind, diagnostic: &Diagnostic| match (kind, diagnostic.location) {
            (Kind::Syntax, _) => false,
            (Kind::Absent, _) | (_, None) => broken_at_all,
            // A value that could not be read stands at offset 0.
            (Kind::Stated, Some(place)) => {
                broken_at_all && place.span == (0, 0) || broken.contains(&self.line(place))
            }
        };
        let mut kept: Vec<_> = faults
            .into_iter()
            .filter(|(kind, diagnostic)| !follows(*kind, diagnostic))
            .map(|(_, diagnostic)| diagnostic)
            .collect();
        kept.sort_by_key(|item| {
            item.location
                .map_or((true, (0, 0)), |place| (false, place.span))
        });
        kept.dedup();
        if let Some(more @ 1..) = kept.len().checked_sub(FAULTS) {
            kept.truncate(FAULTS);
            kept.push(Diagnostic::new(format!("{more} more faults are not shown")));
        }
        kept
    }
}

/// Finds what is given twice.
#[derive(Default)]
pub(super) struct Unique {
    seen: HashMap<String, Location>,
}

impl Unique {
    /// Notes `key`; the place where it was given before, if it was.
    pub(super) fn insert(
        &mut self,
        key: impl Into<String>,
        location: Location,
    ) -> Option<Location> {
        match self.seen.entry(key.into()) {
            std::collections::hash_map::Entry::Occupied(first) => Some(*first.get()),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(location);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(reading: Reading<'_>) -> Vec<String> {
        let faults = reading.into_faults();
        faults.into_iter().map(|fault| fault.message).collect()
    }

    #[test]
    fn faults_that_follow_from_syntax_errors_are_left_out() {
        let reading = Reading::new("a\nb\nc\n", 0, Path::new(""));
        let at = |start: usize| reading.location(start..start + 1);
        reading.refuse(Diagnostic::at(at(4), "third line"));
        reading.refuse(Diagnostic::at(at(2), "same line"));
        reading.refuse(Diagnostic::at(reading.location(0..0), "unreadable"));
        reading.absent(Diagnostic::at(at(4), "missing"));
        reading.syntax(Diagnostic::at(at(2), "syntax"));
        assert_eq!(messages(reading), ["syntax", "third line"]);
    }

    #[test]
    fn without_syntax_errors_every_fault_stays_in_order() {
        let reading = Reading::new("a\nb\n", 0, Path::new(""));
        let at = |start: usize| reading.location(start..start + 1);
        reading.absent(Diagnostic::new("nowhere"));
        reading.refuse(Diagnostic::at(at(2), "second"));
        reading.absent(Diagnostic::at(at(0), "first"));
        assert_eq!(messages(reading), ["first", "second", "nowhere"]);
    }

    #[test]
    fn faults_are_bounded() {
        let reading = Reading::new("", 0, Path::new(""));
        for index in 0..FAULTS + 7 {
            reading.refuse(Diagnostic::at(reading.location(index..index), "x"));
        }
        let faults = messages(reading);
        assert_eq!(faults.len(), FAULTS + 1);
        assert_eq!(faults[FAULTS], "7 more faults are not shown");
    }

    #[test]
    fn relative_paths_start_at_the_file() {
        let reading = Reading::new("", 0, Path::new("/etc/handfast"));
        assert_eq!(reading.resolve("a.pem"), Path::new("/etc/handfast/a.pem"));
        assert_eq!(reading.resolve("/b.pem"), Path::new("/b.pem"));
    }
}
