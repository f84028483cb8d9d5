//! The files while they are read: their texts, their directories, and the faults found so far.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Location, Source};

/// As many faults as are kept: a binary file given by mistake has thousands.
const FAULTS: usize = 100;

/// The files being read. Faults are pushed into it from everywhere, so that one pass finds all.
///
/// Offsets count through all files, so that the tables of several can be one: each file begins
/// where the one before has ended. [`Reading::location`] tells which file an offset is in.
pub(super) struct Reading<'t> {
    sources: &'t [Source],
    /// Where each begins.
    bases: Vec<usize>,
    faults: RefCell<Vec<(Kind, Diagnostic)>>,
    /// Places that TOML refuses, for a reason that is reported elsewhere.
    broken: RefCell<Vec<Location>>,
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
    /// Begins `sources`, of which the first is the main file.
    pub(super) fn new(sources: &'t [Source]) -> Self {
        let bases = sources.iter().scan(0, |next, source| {
            let base = *next;
            // The end of a text is a place of its own.
            *next += source.text.len() + 1;
            Some(base)
        });
        Self {
            sources,
            bases: bases.collect(),
            faults: RefCell::default(),
            broken: RefCell::default(),
        }
    }

    /// Where the file at `index` begins.
    pub(super) fn base(&self, index: usize) -> usize {
        self.bases[index]
    }

    /// The place of a span.
    pub(super) fn location(&self, span: Range<usize>) -> Location {
        let after = self.bases.partition_point(|base| *base <= span.start);
        let source = after.saturating_sub(1);
        let base = self.bases.get(source).copied().unwrap_or(0);
        Location {
            source,
            span: (span.start - base, span.end - base),
        }
    }

    fn text(&self, location: Location) -> &'t str {
        let source = self.sources.get(location.source);
        source.map_or("", |source| &source.text)
    }

    /// The text at a place.
    pub(super) fn text_at(&self, location: Location) -> &'t str {
        let (start, end) = location.span;
        self.text(location).get(start..end).unwrap_or_default()
    }

    /// The text from where a place begins.
    pub(super) fn text_from(&self, location: Location) -> Option<&'t str> {
        self.text(location).get(location.span.0..)
    }

    /// The line of a place, from 1.
    fn line(&self, location: Location) -> usize {
        let text = self.text(location).as_bytes();
        let before = &text[..location.span.0.min(text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// A place in words, for a message about the place `from`: `line 3`, or `a.toml:3` where it is
    /// in another file.
    pub(super) fn place(&self, location: Location, from: Location) -> String {
        let line = self.line(location);
        match self.sources.get(location.source) {
            Some(source) if location.source != from.source => {
                format!("{}:{line}", source.path.display())
            }
            _ => format!("line {line}"),
        }
    }

    /// `path`, given at `location`, as the file means it: relative to the file's own directory.
    pub(super) fn resolve(&self, location: Location, path: &str) -> PathBuf {
        let source = self.sources.get(location.source);
        let directory = source.and_then(|source| source.path.parent());
        directory.unwrap_or_else(|| Path::new("")).join(path)
    }

    /// Whether `path` is the main file.
    pub(super) fn is_main(&self, path: &Path) -> bool {
        let main = self
            .sources
            .first()
            .map(|source| source.path.canonicalize());
        matches!((main, path.canonicalize()), (Some(Ok(main)), Ok(path)) if main == path)
    }

    /// Adds faults that were found before.
    pub(super) fn adopt(&self, faults: Vec<Diagnostic>) {
        for fault in faults {
            self.refuse(fault);
        }
    }

    /// Adds what TOML itself refuses.
    pub(super) fn syntax(&self, diagnostic: Diagnostic) {
        self.push(Kind::Syntax, diagnostic);
    }

    /// Nothing on the line of this place is worth a fault.
    pub(super) fn breaks(&self, location: Option<Location>) {
        self.broken.borrow_mut().extend(location);
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
        let line = |place: Location| (place.source, self.line(place));
        let broken: Vec<(usize, usize)> = faults
            .iter()
            .filter(|(kind, _)| *kind == Kind::Syntax)
            .filter_map(|(_, diagnostic)| diagnostic.location)
            .chain(self.broken.take())
            .map(line)
            .collect();
        let broken_at_all = faults.iter().any(|(kind, _)| *kind == Kind::Syntax);
        let follows = |kind: Kind, diagnostic: &Diagnostic| match (kind, diagnostic.location) {
            (Kind::Syntax, _) => false,
            (Kind::Absent, _) | (_, None) => broken_at_all,
            // A value that could not be read stands at offset 0.
            (Kind::Stated, Some(place)) => {
                broken_at_all && place.span == (0, 0) || broken.contains(&line(place))
            }
        };
        let mut kept: Vec<_> = faults
            .into_iter()
            .filter(|(kind, diagnostic)| !follows(*kind, diagnostic))
            .map(|(_, diagnostic)| diagnostic)
            .collect();
        kept.sort_by_key(|item| {
            item.location
                .map_or((true, 0, (0, 0)), |place| (false, place.source, place.span))
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

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.into(),
            text: text.into(),
        }
    }

    #[test]
    fn offsets_count_through_all_files() {
        let sources = [source("a", "x\ny"), source("b", ""), source("c", "z\nz")];
        let reading = Reading::new(&sources);
        for (offset, index, local) in [(0, 0, 0), (3, 0, 3), (4, 1, 0), (5, 2, 0), (8, 2, 3)] {
            let location = reading.location(offset..offset);
            assert_eq!((location.source, location.span.0), (index, local));
        }
        let (first, last) = (reading.location(2..3), reading.location(7..8));
        assert_eq!(reading.text_at(first), "y");
        assert_eq!(reading.place(first, first), "line 2");
        assert_eq!(reading.place(last, first), "c:2");
    }

    fn messages(reading: Reading<'_>) -> Vec<String> {
        let faults = reading.into_faults();
        faults.into_iter().map(|fault| fault.message).collect()
    }

    #[test]
    fn faults_that_follow_from_syntax_errors_are_left_out() {
        let sources = [source("t.toml", "a\nb\nc\n")];
        let reading = Reading::new(&sources);
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
        let sources = [source("t.toml", "a\nb\n")];
        let reading = Reading::new(&sources);
        let at = |start: usize| reading.location(start..start + 1);
        reading.absent(Diagnostic::new("nowhere"));
        reading.refuse(Diagnostic::at(at(2), "second"));
        reading.absent(Diagnostic::at(at(0), "first"));
        assert_eq!(messages(reading), ["first", "second", "nowhere"]);
    }

    #[test]
    fn faults_are_bounded() {
        let sources = [source("t.toml", "")];
        let reading = Reading::new(&sources);
        for index in 0..FAULTS + 7 {
            reading.refuse(Diagnostic::at(reading.location(index..index), "x"));
        }
        let faults = messages(reading);
        assert_eq!(faults.len(), FAULTS + 1);
        assert_eq!(faults[FAULTS], "7 more faults are not shown");
    }

    #[test]
    fn relative_paths_start_at_the_file() {
        let sources = [source("/etc/handfast/handfast.toml", "")];
        let reading = Reading::new(&sources);
        let at = reading.location(0..0);
        assert_eq!(
            reading.resolve(at, "a.pem"),
            Path::new("/etc/handfast/a.pem")
        );
        assert_eq!(reading.resolve(at, "/b.pem"), Path::new("/b.pem"));
    }
}
