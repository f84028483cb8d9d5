//! Diagnostics: what is wrong with a configuration, and exactly where.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A place in a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Location {
    /// Index into [`Sources`].
    pub source: usize,
    /// Byte offsets of the first byte and the one past the last.
    pub span: (usize, usize),
}

/// One file of a configuration.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path as given.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// The files of a configuration, which locations point into.
#[derive(Clone, Debug, Default)]
pub struct Sources(pub Arc<Vec<Source>>);

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// Where; `None` for faults of no place in a file.
    pub location: Option<Location>,
    /// What, in lower case and without a final stop.
    pub message: String,
    /// What to do about it, e.g. ``did you mean `address`?``.
    pub help: Option<String>,
}

/// All that is wrong, with the files it is wrong in.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    /// The files.
    pub sources: Sources,
    /// The faults, in the order of the text.
    pub items: Vec<Diagnostic>,
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
