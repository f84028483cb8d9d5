//! Names that refer to tables: policies, certificates, upstreams.

use std::collections::BTreeMap;

use super::diagnostic::Diagnostic;
use super::value::Text;
use super::wording::{quoted, suggestion};

/// The defined names of one kind, each with its index.
pub(super) struct References {
    kind: &'static str,
    table: &'static str,
    indices: BTreeMap<String, usize>,
}

impl References {
    /// No names yet; `kind` is what messages call one, `table` where they are defined.
    pub(super) fn new(kind: &'static str, table: &'static str) -> Self {
        Self {
            kind,
            table,
            indices: BTreeMap::new(),
        }
    }

    /// Defines `name`.
    pub(super) fn insert(&mut self, name: &str, index: usize) {
        self.indices.insert(name.to_owned(), index);
    }

    /// Whether `name` is defined.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.indices.contains_key(name)
    }

    /// What `name` refers to; a name that refers to nothing is reported.
    pub(super) fn resolve(&self, name: &Text<'_>) -> Option<usize> {
        let index = self.indices.get(name.text).copied();
        if index.is_none() {
            let names = self.indices.keys().map(String::as_str);
            let help = suggestion(name.text, names, "defined")
                .unwrap_or_else(|| format!("define it with a table [{}.NAME]", self.table));
            let message = format!("{} {} is not defined", self.kind, quoted(name.text));
            let diagnostic = Diagnostic::at(name.value.location, message).help(help);
            name.value.reading.absent(diagnostic);
        }
        index
    }
}
