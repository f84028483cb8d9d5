//! `include`: a configuration in several files, read as one.
//!
//! The files are merged before anything is checked, so a check never knows how many there were: the
//! tables of the others go into those of the main file, `[[listeners]]` and `[[routes]]` are strung
//! together, and a key that is defined twice is a fault that names both places.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::defaults;
use super::diagnostic::{Diagnostic, Source};
use super::load::syntax;
use super::reading::Reading;
use super::table::Table;
use super::unclosed::unclosed;
use super::value::Text;
use super::wording::quoted;

/// As many files as are read; together they are no larger than one alone may be.
const FILES: usize = 256;

/// The main file with those that it includes, in the order in which they are read, and what is
/// wrong with that.
pub(super) fn gather(main: Source) -> (Vec<Source>, Vec<Diagnostic>) {
    let mut sources = vec![main];
    let faults;
    let included = {
        let reading = Reading::new(&sources);
        let (table, _) = DeTable::parse_recoverable(&sources[0].text);
        let included = included(&table, &reading);
        faults = reading.into_faults();
        included
    };
    sources.extend(included);
    (sources, faults)
}

/// What the main file includes: files and patterns, as paths. What is wrong with them is left out.
pub(super) fn patterns(main: Source) -> Vec<PathBuf> {
    let sources = [main];
    let reading = Reading::new(&sources);
    let (table, _) = DeTable::parse_recoverable(&sources[0].text);
    let mut root = Table::root(table.get_ref(), &reading);
    let listed = root
        .value("include")
        .and_then(|value| value.list("a list"))
        .unwrap_or_default();
    let paths = listed
        .iter()
        .filter_map(|element| element.text("a path")?.path());
    // More than are read need not be known.
    paths.take(FILES).collect()
}

fn included(main: &Spanned<DeTable<'_>>, reading: &Reading<'_>) -> Vec<Source> {
    let mut root = Table::root(main.get_ref(), reading);
    let patterns = root
        .value("include")
        .and_then(|value| value.list("a list such as [\"conf.d/*.toml\"]"))
        .unwrap_or_default();
    let mut found: Vec<Source> = Vec::new();
    let mut left = defaults::FILE_SIZE;
    for element in patterns {
        let Some(text) = element.text("a path such as \"conf.d/*.toml\"") else {
            continue;
        };
        let Some(paths) = text.path().and_then(|pattern| files(&text, &pattern)) else {
            continue;
        };
        for path in paths {
            // Two patterns may both match it.
            if found.iter().any(|source| source.path == path) {
                continue;
            }
            if found.len() == FILES {
                let message = format!("more than {FILES} files are included");
                text.refuse(Diagnostic::new(message));
                return found;
            }
            if reading.is_main(&path) {
                let message = "the file includes itself";
                let help = "put the others into a directory of their own";
                text.refuse(Diagnostic::new(message).help(help));
                continue;
            }
            match read(&path, left) {
                Ok(source) => {
                    left -= source.text.len() as u64;
                    found.push(source);
                }
                Err(reason) => {
                    let message = format!("cannot read {}: {reason}", path.display());
                    text.refuse(Diagnostic::new(message));
                }
            }
        }
    }
    found
}

/// The files that `pattern` means, sorted by name: those of its directory that match, or the one
/// that it names. A directory that is not there is as good as an empty one.
fn files(text: &Text<'_>, pattern: &Path) -> Option<Vec<PathBuf>> {
    let refuse = |message: String| {
        text.refuse(Diagnostic::new(message));
        None
    };
    let (Some(directory), Some(name)) = (
        pattern.parent(),
        pattern.file_name().and_then(|name| name.to_str()),
    ) else {
        return refuse(format!("{} names no file", quoted(text.text)));
    };
    if directory.to_string_lossy().contains('*') {
        let message = "a star stands for a part of a file's name, not of a directory's";
        return refuse(message.to_owned());
    }
    if !name.contains('*') {
        return Some(vec![pattern.to_owned()]);
    }
    match matching(directory, name) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == ErrorKind::NotFound => Some(Vec::new()),
        Err(error) => refuse(format!("cannot read {}: {error}", directory.display())),
    }
}

/// The files of `directory` whose names match `pattern`, sorted.
pub(super) fn matching(directory: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    // The empty path is the current directory.
    let listed = match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(listed)? {
        let own = entry?.file_name();
        let path = directory.join(&own);
        if own.to_str().is_some_and(|own| matches(pattern, own)) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether `name` matches `pattern`, whose stars stand for any part of it, but not for the dot of a
/// hidden file.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn read(path: &Path, left: u64) -> Result<Source, String> {
    let mut bytes = Vec::new();
    let read = |bytes: &mut Vec<u8>| -> io::Result<usize> {
        File::open(path)?.take(left + 1).read_to_end(bytes)
    };
    read(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > left {
        return Err("the files are larger than 4 MiB together".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    Ok(Source {
        path: path.to_owned(),
        text,
    })
}

/// The tables of all files as one. What is no TOML, and what is defined twice, is reported.
pub(super) fn merged<'t>(sources: &'t [Source], reading: &Reading<'t>) -> DeTable<'t> {
    let mut whole = DeTable::new();
    for (index, source) in sources.iter().enumerate() {
        let base = reading.base(index);
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        report(&source.text, base, &errors, reading);
        let mut table = shifted_table(table.into_inner(), base);
        if index == 0 {
            whole = table;
            continue;
        }
        if let Some((key, _)) = table.get_key_value("include") {
            let location = reading.location(key.span());
            let message = "only the main file includes others";
            reading.refuse(Diagnostic::at(location, message));
            table.remove("include");
        }
        merge(&mut whole, table, reading, Level::File);
    }
    whole
}

/// Reports what TOML refuses in `text`, which begins at `base`: what merely follows from a bracket
/// that was not closed is left out.
fn report(text: &str, base: usize, errors: &[toml::de::Error], reading: &Reading<'_>) {
    let at = |error: &toml::de::Error| error.span().map(|span| span.start);
    let open = match errors {
        [] => None,
        _ => unclosed(text).filter(|open| errors.iter().any(|it| at(it) > Some(open.at))),
    };
    let Some(open) = open else {
        for error in errors {
            reading.syntax(syntax(reading, base, error));
        }
        return;
    };
    let location = reading.location(base + open.at..base + open.at + 1);
    let (before, after): (Vec<_>, Vec<_>) = errors.iter().partition(|it| at(it) <= Some(open.at));
    for error in before {
        reading.syntax(syntax(reading, base, error));
    }
    let mut follow = after.into_iter().map(|error| syntax(reading, base, error));
    if open.bracket == '{' {
        let diagnostic = Diagnostic::at(location, "this table has no end");
        reading.syntax(diagnostic.help("close it with `}`"));
    } else if let Some(first) = follow.next() {
        // A list goes over several lines as a rule: where it should have ended is where it stops to
        // be one.
        let begins = first.location.map(|it| reading.place(location, it));
        let help =
            begins.map(|it| format!("the list that begins in {it} has no end: close it with `]`"));
        reading.syntax(Diagnostic { help, ..first });
    }
    for error in follow {
        reading.breaks(error.location);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// The keys of a whole file.
    File,
    /// Those of a table in it.
    Table,
}

fn merge<'t>(whole: &mut DeTable<'t>, more: DeTable<'t>, reading: &Reading<'_>, level: Level) {
    for (key, value) in more {
        let name = key.get_ref().as_ref();
        let first = whole.get_key_value(name).map(|(key, _)| key.span());
        let Some((first, held)) = first.zip(whole.get_mut(name)) else {
            whole.insert(key, value);
            continue;
        };
        match (held.get_mut(), value.into_inner()) {
            (DeValue::Table(held), DeValue::Table(more)) => {
                merge(held, more, reading, Level::Table);
            }
            (DeValue::Array(held), DeValue::Array(more)) if level == Level::File => {
                for element in more {
                    held.push(element);
                }
            }
            _ => {
                let location = reading.location(key.span());
                let first = reading.place(reading.location(first), location);
                let message = format!("{} is defined twice", quoted(name));
                let help = format!("the first is in {first}");
                reading.refuse(Diagnostic::at(location, message).help(help));
            }
        }
    }
}

/// The same with every place `by` further on, where [`Reading::location`] finds its file.
fn shifted_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    if by == 0 {
        return table;
    }
    table
        .into_iter()
        .map(|(key, value)| {
            let span = key.span();
            let key = Spanned::new(span.start + by..span.end + by, key.into_inner());
            (key, shifted(value, by))
        })
        .collect()
}

fn shifted(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = value.span();
    let inner = match value.into_inner() {
        DeValue::Array(array) => {
            let elements = array.into_iter().map(|element| shifted(element, by));
            DeValue::Array(elements.collect())
        }
        DeValue::Table(table) => DeValue::Table(shifted_table(table, by)),
        scalar => scalar,
    };
    Spanned::new(span.start + by..span.end + by, inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Diagnostics, Loaded, load};

    const MAIN: &str = "include = [\"conf.d/*.toml\"]\n[[listeners]]\naddress = \"127.0.0.1:1\"\n\
                        tls = false\n[limits]\nh2_streams = 7\n";

    /// A directory with these files, of which the first is the main one.
    fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    fn read(files: &[(&str, &str)]) -> Result<Loaded, Diagnostics> {
        let directory = written(files);
        load(&directory.path().join(files[0].0))
    }

    /// `file:line:column message | help`, with the directory left out.
    fn faults(files: &[(&str, &str)]) -> Vec<String> {
        let directory = written(files);
        let faults = load(&directory.path().join(files[0].0)).unwrap_err();
        let head = |item: &Diagnostic| {
            let place = item
                .location
                .and_then(|location| faults.sources.position(location))
                .map_or_else(String::new, |position| format!("{position} "));
            let help = item
                .help
                .as_ref()
                .map_or_else(String::new, |help| format!(" | {help}"));
            format!("{place}{}{help}", item.message)
                .replace(&format!("{}/", directory.path().display()), "")
        };
        faults.items.iter().map(head).collect()
    }

    #[test]
    fn files_are_read_as_one() {
        let loaded = read(&[
            ("main.toml", MAIN),
            (
                "conf.d/b.toml",
                "[[routes]]\npath = \"/b\"\nupstream = \"api\"\n[upstreams.api.pool]\nmax_idle = 7\n",
            ),
            (
                "conf.d/a.toml",
                "[limits]\nhandshakes = 9\n[[listeners]]\naddress = \"127.0.0.1:2\"\n\
                 certificate = { chain = \"c.pem\", key = \"k.pem\" }\n\
                 [[routes]]\nupstream = \"api\"\n[upstreams.api]\nservers = [{ address = \"a:1\" }]\n",
            ),
            ("conf.d/.hidden.toml", "nonsense"),
            ("conf.d/c.toml.bak", "nonsense"),
            ("conf.d/d.toml/x", "nonsense"),
        ])
        .unwrap();
        let config = loaded.config;
        assert_eq!(config.listeners.len(), 2);
        let routes: Vec<_> = config.routes.iter().map(|route| &*route.name).collect();
        assert_eq!(routes, ["*/", "*/b"]);
        assert_eq!(config.limits.h2_streams, 7);
        assert_eq!(config.limits.handshakes, 9);
        assert_eq!(config.upstreams[0].pool.max_idle, 7);
        let chain = format!("{:?}", config.certificates[0].pairs[0].chain);
        assert!(chain.contains("/conf.d/c.pem"), "{chain}");
        let place = loaded.sources.position(config.routes[1].location).unwrap();
        assert!(place.to_string().ends_with("/conf.d/b.toml:1:1"), "{place}");
    }

    #[test]
    fn faults_are_located_in_their_file() {
        let route = "[[routes]]\nupstream = \"http://127.0.0.1:3\"\n";
        assert_eq!(
            faults(&[
                ("main.toml", MAIN),
                (
                    "conf.d/a.toml",
                    &format!("{route}hots = \"a\"\n[limits]\nh2_streams = 8\n")
                ),
                (
                    "conf.d/b.toml",
                    &format!("include = [\"x\"]\n{route}[tls]\nx = 1\n")
                ),
                (
                    "conf.d/c.toml",
                    "x = \n[[listeners]]\naddress = \"127.0.0.1:1\"\ntls = false\n"
                ),
            ]),
            [
                "conf.d/a.toml:3:1 unknown key `hots` in [[routes]] | did you mean `host`? (known here: `host`, `path`, `upstream`, `redirect`, `respond`, `request_headers`, `strip_prefix`, `replace_prefix`, `timeouts`, `request_body`, `response_headers`)",
                "conf.d/a.toml:5:1 `h2_streams` is defined twice | the first is in main.toml:6",
                "conf.d/b.toml:1:1 only the main file includes others",
                "conf.d/b.toml:2:1 another route has the host and path `*/` | the first is in conf.d/a.toml:1",
                "conf.d/b.toml:5:1 expected a table [tls.NAME], found the key `x` | give the table a name: [tls.default]",
                "conf.d/c.toml:1:5 the value is missing",
                "conf.d/c.toml:3:11 another listener has the address `127.0.0.1:1` | the first is in main.toml:3",
            ]
        );
    }

    #[test]
    fn what_cannot_be_included_is_told() {
        let main = |include: &str| format!("include = {include}\n{}", &MAIN[28..]);
        for (include, message) in [
            (
                "\"x.toml\"",
                "main.toml:1:11 expected a list such as [\"conf.d/*.toml\"], found string | write [\"x.toml\"]",
            ),
            (
                "[1]",
                "main.toml:1:12 expected a path such as \"conf.d/*.toml\", found integer | write \"1\"",
            ),
            (
                "[\"x.toml\"]",
                "main.toml:1:12 cannot read x.toml: No such file or directory (os error 2)",
            ),
            (
                "[\"*/x.toml\"]",
                "main.toml:1:12 a star stands for a part of a file's name, not of a directory's",
            ),
            (
                "[\"bad.toml\"]",
                "main.toml:1:12 cannot read bad.toml: it is not UTF-8",
            ),
            (
                "[\"main.*\"]",
                "main.toml:1:12 the file includes itself | put the others into a directory of their own",
            ),
            ("[\"..\"]", "main.toml:1:12 `..` names no file"),
        ] {
            let directory = written(&[("main.toml", &main(include)), ("r.toml", "")]);
            fs::write(directory.path().join("bad.toml"), b"\xff").unwrap();
            let faults = load(&directory.path().join("main.toml")).unwrap_err();
            let shown = |item: &Diagnostic| {
                let place = item
                    .location
                    .and_then(|place| faults.sources.position(place));
                let place = place.map_or_else(String::new, |place| format!("{place} "));
                let help = item.help.as_ref();
                let help = help.map_or_else(String::new, |help| format!(" | {help}"));
                format!("{place}{}{help}", item.message)
                    .replace(&format!("{}/", directory.path().display()), "")
            };
            let all: Vec<_> = faults.items.iter().map(shown).collect();
            assert!(
                all.iter().any(|fault| fault == message),
                "{include}: {all:#?}"
            );
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_empty_and_files_count_once() {
        let route = "[[routes]]\nupstream = \"http://127.0.0.1:3\"\n";
        let main = format!("{MAIN}{route}");
        assert!(read(&[("main.toml", &main)]).is_ok());
        let main = MAIN.replace("[\"conf", "[\"conf.d/a.toml\", \"conf");
        assert!(read(&[("main.toml", &main), ("conf.d/a.toml", route)]).is_ok());
    }

    #[test]
    fn stars_stand_for_parts_of_names() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", false),
            (".*", ".toml", true),
            ("*", "a", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "axbxbxc", true),
            ("a*b*c", "axc", false),
            ("ab*ba", "aba", false),
            ("*.toml", "a.toml.bak", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
