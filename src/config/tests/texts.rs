//! Texts to read, and what comes of them: the configuration, or a line for each fault.

use std::path::Path;

use crate::config::{Config, Diagnostic, Diagnostics, parse};

pub(super) const FULL: &str = include_str!("../../../config/handfast.toml");
pub(super) const MINIMAL: &str = include_str!("../../../config/minimal.toml");

/// The minimal configuration, to be extended.
pub(super) const BASE: &str = "\
[[listeners]]
address = \"127.0.0.1:8443\"
certificate = { chain = \"c.pem\", key = \"k.pem\" }
[[routes]]
upstream = \"http://127.0.0.1:3000\"
";

pub(super) fn config(text: &str) -> Config {
    match parse(text, Path::new("/etc/handfast/handfast.toml")) {
        Ok(loaded) => loaded.config,
        Err(faults) => panic!("{faults}"),
    }
}

pub(super) fn with(extra: &str) -> Config {
    config(&format!("{BASE}{extra}"))
}

pub(super) fn faults(text: &str) -> Diagnostics {
    parse(text, Path::new("t.toml")).expect_err("the text is refused")
}

/// `line:column message | help` of each fault.
pub(super) fn heads(text: &str) -> Vec<String> {
    let faults = faults(text);
    let head = |item: &Diagnostic| {
        let position = item
            .location
            .and_then(|location| faults.sources.position(location))
            .map_or_else(String::new, |at| format!("{}:{} ", at.line, at.column));
        let help = item
            .help
            .as_ref()
            .map_or_else(String::new, |help| format!(" | {help}"));
        format!("{position}{}{help}", item.message)
    };
    faults.items.iter().map(head).collect()
}

/// The faults of the base with `extra`, whose lines count from 1.
pub(super) fn extra(text: &str) -> Vec<String> {
    let text = format!("{text}\n{BASE}");
    heads(&text)
}

pub(super) fn one(text: &str) -> String {
    let mut all = extra(text);
    assert_eq!(all.len(), 1, "{text:?}: {all:#?}");
    all.remove(0)
}
