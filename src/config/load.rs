//! From a file or a text to a [`Config`], or to everything that is wrong with it.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::certificates::MemoryCertificate;
use super::defaults;
use super::diagnostic::{Diagnostic, Diagnostics, Location, Source, Sources};
use super::include;
use super::model::Config;
use super::process;
use super::reading::Reading;
use super::table::Table;
use super::validate;
use super::wording::{nearest, quoted};

/// A configuration and the files it came from, for faults that are found later.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What its locations point into.
    pub sources: Sources,
}

/// Reads the configuration at `path` and the files that it includes. Certificates and keys are not
/// opened. `runtime.state_dir` is what STATE_DIRECTORY says where it is left out.
///
/// # Errors
/// Everything that is wrong, at once: the file cannot be read, is above 4 MiB or not UTF-8; all
/// its faults otherwise.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    let unreadable = |reason: String| {
        let mut diagnostics = Diagnostics::default();
        let message = format!("cannot read {}: {reason}", path.display());
        diagnostics.push(Diagnostic::new(message));
        diagnostics
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(defaults::FILE_SIZE + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(error.to_string()))?;
    // A file that is longer than a `usize` counts was cut above.
    if u64::try_from(bytes.len()).is_ok_and(|length| length > defaults::FILE_SIZE) {
        return Err(unreadable("it is larger than 4 MiB".to_owned()));
    }
    match String::from_utf8(bytes) {
        Ok(text) => read(&text, path, &[], service_state_directory().as_deref()),
        Err(error) => {
            let start = error.utf8_error().valid_up_to();
            // Up to there the lossy text has the same offsets.
            let text = String::from_utf8_lossy(error.as_bytes());
            let end = start + char::REPLACEMENT_CHARACTER.len_utf8();
            let location = Location {
                source: 0,
                span: (start, end),
            };
            let mut diagnostics = Diagnostics::new(Sources::single(path, &text));
            diagnostics.push(Diagnostic::at(location, "the file is not UTF-8"));
            Err(diagnostics)
        }
    }
}

/// Reads a configuration from `text`; `path` is what messages call it, and where relative paths
/// in it start, those of included files too.
///
/// # Errors
/// Everything that is wrong, at once, in the order of the text.
pub fn parse(text: &str, path: &Path) -> Result<Loaded, Diagnostics> {
    parse_with(text, path, &[])
}

/// Like [`parse`], with certificates made in memory that listeners refer to by name.
///
/// # Errors
/// Everything that is wrong, at once, in the order of the text.
pub fn parse_with(
    text: &str,
    path: &Path,
    memory: &[MemoryCertificate],
) -> Result<Loaded, Diagnostics> {
    read(text, path, memory, None)
}

/// What systemd gives a unit with `StateDirectory=`; the first of several (systemd.exec(5)).
fn service_state_directory() -> Option<PathBuf> {
    let given = std::env::var_os("STATE_DIRECTORY")?;
    let first = std::env::split_paths(&given).next()?;
    first.is_absolute().then_some(first)
}

fn read(
    text: &str,
    path: &Path,
    memory: &[MemoryCertificate],
    state_dir: Option<&Path>,
) -> Result<Loaded, Diagnostics> {
    let (sources, faults) = include::gather(Source {
        path: path.to_owned(),
        text: text.to_owned(),
    });
    let (config, items) = {
        let reading = Reading::new(&sources);
        reading.adopt(faults);
        let table = include::merged(&sources, &reading);
        let config = validate::config(&table, &reading, memory, state_dir);
        (config, reading.into_faults())
    };
    let sources = Sources(Arc::new(sources));
    if items.is_empty() {
        Ok(Loaded { config, sources })
    } else {
        Err(Diagnostics { sources, items })
    }
}

/// The admin socket that the configuration at `path` names, whatever else is wrong with it: for
/// commands that ask the daemon what is wrong.
///
/// # Errors
/// The file cannot be read.
pub fn find_admin_socket(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(defaults::FILE_SIZE).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (sources, _) = include::gather(Source {
        path: path.to_owned(),
        text: text.into_owned(),
    });
    let reading = Reading::new(&sources);
    let table = include::merged(&sources, &reading);
    let mut root = Table::root(&table, &reading);
    Ok(process::admin_socket(&mut root.table("admin")))
}

/// The IPv6 address with its port, `[::]:443`, of which `location` is what stands in the brackets.
fn bracketed<'t>(reading: &Reading<'t>, location: Location) -> Option<&'t str> {
    let (start, end) = location.span;
    let before = Location {
        span: (start.checked_sub(1)?, end),
        ..location
    };
    let line = reading.text_from(before)?.lines().next()?;
    let end = line
        .find(|c: char| c.is_whitespace() || c == ',')
        .unwrap_or(line.len());
    let address = &line[..end];
    address.parse::<SocketAddr>().is_ok().then_some(address)
}

/// What TOML refuses in the file that begins at `base`.
pub(super) fn syntax(reading: &Reading<'_>, base: usize, error: &toml::de::Error) -> Diagnostic {
    let message = error.message();
    let Some(span) = error.span() else {
        return Diagnostic::new(message);
    };
    let location = reading.location(span.start + base..span.end + base);
    let written = reading.text_at(location);
    if message.starts_with("string values must be quoted") {
        return if written.is_empty() {
            Diagnostic::at(location, "the value is missing")
        } else {
            let written = bracketed(reading, location).unwrap_or(written);
            Diagnostic::at(location, "a string stands in quotes")
                .help(format!("write \"{}\"", written.escape_default()))
        };
    }
    if message.starts_with("invalid ") && written.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return match nearest(written, ["true", "false"]) {
            Some(near) => Diagnostic::at(location, format!("{} is no value", quoted(written)))
                .help(format!("did you mean `{near}`?")),
            None => Diagnostic::at(location, "a string stands in quotes")
                .help(format!("write \"{}\"", written.escape_default())),
        };
    }
    if message == "duplicate key" {
        let key = quoted(written);
        return Diagnostic::at(location, format!("{key} is defined twice"));
    }
    Diagnostic::at(location, message)
}
