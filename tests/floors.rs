//! The import floors: a file imports only from floors below its own.
//!
//! Reads every file of `src`, finds what it imports of the crate, and compares the floors. A file
//! of no floor, an upward import, or no files at all fail the test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every room with its floor, lowest first.
const FLOORS: &[(&str, u8)] = &[
    ("bearer", 0),
    ("deadline", 0),
    ("drain", 0),
    ("host", 0),
    ("path", 0),
    ("pem", 0),
    ("proxy_protocol", 0),
    ("report", 0),
    ("unix_socket", 0),
    ("config", 1),
    ("telemetry", 2),
    ("route", 3),
    ("tls", 3),
    ("upstream", 3),
    ("probe", 4),
    ("snapshot", 4),
    ("proxy", 5),
    ("server", 6),
    ("admin", 7),
    ("daemon", 7),
];

/// Imports between rooms of one floor that are allowed, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    // The daemon starts the admin listener and tells it whether it is ready.
    ("daemon", "admin"),
    // `upstream::client_tls` has the same provider, and loads certificates the same way.
    ("upstream", "tls"),
];

#[test]
fn imports_go_down_the_floors() {
    let floors: BTreeMap<&str, u8> = FLOORS.iter().copied().collect();
    let files = files(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    assert!(files.len() > 40, "only {} files seen", files.len());
    let mut faults = Vec::new();
    let mut imports = 0;
    for file in files {
        let room = room(&file);
        if room == "lib" || room == "main" {
            continue;
        }
        let Some(floor) = floors.get(&*room) else {
            faults.push(format!("{}: room `{room}` is on no floor", file.display()));
            continue;
        };
        for target in targets(&fs::read_to_string(&file).unwrap()) {
            imports += 1;
            let Some(below) = floors.get(&*target) else {
                faults.push(format!(
                    "{}: imports `{target}`, which is on no floor",
                    file.display()
                ));
                continue;
            };
            let excepted = EXCEPTIONS.contains(&(&*room, &*target));
            if target != room && below >= floor && !excepted {
                faults.push(format!(
                    "{}: `{room}` imports `{target}`, not below it",
                    file.display()
                ));
            }
        }
    }
    assert!(imports > 60, "only {imports} imports seen");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn pemfile_has_one_user() {
    let users: Vec<PathBuf> = files(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")))
        .into_iter()
        .filter(|file| {
            fs::read_to_string(file)
                .unwrap()
                .contains("rustls_pemfile::")
        })
        .collect();
    assert_eq!(users.len(), 1, "{users:?}");
    assert!(users[0].ends_with("src/pem.rs"));
}

#[test]
fn index_files_hold_no_items() {
    for file in files(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        if !(file.ends_with("mod.rs") || file.ends_with("lib.rs")) {
            continue;
        }
        for line in fs::read_to_string(&file).unwrap().lines() {
            for item in ["fn ", "struct ", "enum ", "impl ", "const ", "static "] {
                let bare = line.trim_start().trim_start_matches("pub ");
                assert!(!bare.starts_with(item), "{}: {line}", file.display());
            }
        }
    }
}

#[test]
fn the_scanner_sees_what_it_should() {
    let text = "use crate::config::{A, B};\nuse crate::{admin, drain::x, tls};\n\
        let y = crate::report::Z;\n/// [`crate::server`]\n#[cfg(test)]\nmod tests { use crate::daemon::Q; }\n";
    assert_eq!(targets(text), ["config", "admin", "drain", "tls", "report"]);
}

/// The rooms that a file imports. Comments and the tests at its end do not count.
fn targets(text: &str) -> Vec<String> {
    let code = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |all, line| all + line + "\n");
    let mut found = Vec::new();
    for part in code.split("crate::").skip(1) {
        if let Some(group) = part.strip_prefix('{') {
            let mut depth = 1;
            let mut word = String::new();
            let mut words = Vec::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => words.push(std::mem::take(&mut word)),
                    c if depth == 1 => word.push(c),
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
            words.push(word);
            found.extend(words.iter().filter_map(|word| first(word.trim())));
        } else {
            found.extend(first(part));
        }
    }
    found
}

fn first(path: &str) -> Option<String> {
    let end = path
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(path.len());
    let name = &path[..end];
    (!name.is_empty() && name.chars().all(|c| c.is_lowercase() || c == '_')).then(|| name.into())
}

/// `src/tls/hello.rs` is in `tls`, `src/pem.rs` in `pem`.
fn room(file: &Path) -> String {
    let below = file
        .strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
        .unwrap_or(file);
    let first = below
        .components()
        .next()
        .map(|first| first.as_os_str().to_string_lossy());
    first.map_or_else(String::new, |first| {
        first.trim_end_matches(".rs").to_owned()
    })
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // An unreadable directory shows as too few files.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
