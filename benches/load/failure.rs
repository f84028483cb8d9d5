//! What ends a run, or a row of it.

use std::io;
use std::time::Duration;

/// Why the bench, or one workload of it, could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A program is not installed.
    #[error("{program} is not installed: `make bench` installs it as root")]
    Missing {
        /// Its name.
        program: &'static str,
    },
    /// A server ended during its start.
    #[error("{program} ended before it listened; its log says: {log}")]
    Ended {
        /// Its name.
        program: String,
        /// The end of its log.
        log: String,
    },
    /// Something did not come in time.
    #[error("{what} took longer than {} s", after.as_secs())]
    Deadline {
        /// What was awaited.
        what: String,
        /// The time it was given.
        after: Duration,
    },
    /// A load generator failed.
    #[error("{program} failed: {output}")]
    Tool {
        /// Its name.
        program: String,
        /// What it printed last.
        output: String,
    },
    /// What a program printed is not what was expected.
    #[error("cannot read the output of {program}: {output}")]
    Output {
        /// Its name.
        program: String,
        /// What it printed.
        output: String,
    },
    /// The counters of handfast and of the client differ.
    #[error("handfast's counters disagree with the client's: {0}")]
    Disagreement(String),
    /// The run was told to end.
    #[error("interrupted")]
    Interrupted,
    /// An argument names nothing.
    #[error("{0}")]
    Usage(String),
}

impl Failure {
    /// Wraps an error of the system with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}

/// The last `bytes` of a text, from a whole character on.
pub(crate) fn tail(text: &str, bytes: usize) -> String {
    let text = text.trim();
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].to_owned()
}
