//! One table of the file: keys are asked for by name, and what was never asked for is reported.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Location};
use super::reading::Reading;
use super::value::Value;
use super::wording::{quoted, suggestion};

/// A table with its place.
///
/// Every key that can stand in it must be asked for, or be named with [`Table::later`], before
/// [`Table::finish`] reports the others as unknown; so what is known is said in one place only.
pub(super) struct Table<'t> {
    /// `None` when the file leaves the table out.
    entries: Option<&'t DeTable<'t>>,
    /// Dotted, as in a header; empty for the whole file.
    path: String,
    kind: Kind,
    /// Its header, or its braces.
    pub(super) location: Location,
    pub(super) reading: &'t Reading<'t>,
    known: Vec<&'static str>,
    later: Vec<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    OfArray,
}

/// A table under a name of the user's: `[certificates.NAME]`.
pub(super) struct Named<'t> {
    pub(super) name: &'t str,
    pub(super) name_location: Location,
    pub(super) table: Table<'t>,
}

impl<'t> Table<'t> {
    /// The whole file.
    pub(super) fn root(entries: &'t DeTable<'t>, reading: &'t Reading<'t>) -> Self {
        Self {
            entries: Some(entries),
            path: String::new(),
            kind: Kind::Single,
            location: reading.location(0..0),
            reading,
            known: Vec::new(),
            later: Vec::new(),
        }
    }

    /// Its name in messages: `[tls.web]`, `[[routes]]`.
    pub(super) fn name(&self) -> String {
        match self.kind {
            Kind::Single if self.path.is_empty() => "the file".to_owned(),
            Kind::Single => format!("[{}]", self.path),
            Kind::OfArray => format!("[[{}]]", self.path),
        }
    }

    /// The value of `key`, if it is there.
    pub(super) fn value(&mut self, key: &'static str) -> Option<Value<'t>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let value = self.entries?.get(key)?;
        Some(self.place(value))
    }

    /// Whether `key` is there; does not make it known.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries
            .is_some_and(|entries| entries.contains_key(key))
    }

    /// The value of `key`; its absence is reported, with what to do about it.
    pub(super) fn required(&mut self, key: &'static str, example: &str) -> Option<Value<'t>> {
        let value = self.value(key);
        if value.is_none() {
            let message = format!("missing key `{key}` in {}", self.name());
            self.reading.absent(
                Diagnostic::at(self.location, message).help(format!("add {key} = {example}")),
            );
        }
        value
    }

    /// The table at `key`; the empty one when there is none.
    pub(super) fn table(&mut self, key: &'static str) -> Self {
        match self.value(key) {
            Some(value) => self
                .child(key, value, Kind::Single)
                .unwrap_or_else(|| self.empty(key)),
            None => self.empty(key),
        }
    }

    /// The tables of the array at `key`, and where it begins.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        if let DeValue::Table(_) = value.raw {
            let path = self.child_path(key);
            value.mismatch("an array of tables", Some(format!("write [[{path}]]")));
            return Vec::new();
        }
        let expected = format!("an array of tables [[{}]]", self.child_path(key));
        let elements = value.list(&expected).unwrap_or_default();
        elements
            .into_iter()
            .filter_map(|element| self.child(key, element, Kind::OfArray))
            .collect()
    }

    /// The tables under names of the user's at `key`, in the order of the text.
    pub(super) fn named_tables(&mut self, key: &'static str, example: &str) -> Vec<Named<'t>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Table(entries) = value.raw else {
            value.mismatch(&format!("tables [{key}.NAME]"), None);
            return Vec::new();
        };
        let mut named = Vec::new();
        for (name, value) in entries {
            let name_location = self.reading.location(name.span());
            let name = name.get_ref().as_ref();
            let value = self.place(value);
            let DeValue::Table(_) = value.raw else {
                self.reading.refuse(
                    Diagnostic::at(
                        name_location,
                        format!(
                            "expected a table [{key}.NAME], found the key {}",
                            quoted(name)
                        ),
                    )
                    .help(format!("give the table a name: [{key}.{example}]")),
                );
                continue;
            };
            check_name(name, name_location, self.reading);
            let path = format!("{key}.{name}");
            if let Some(table) = self.child(&path, value, Kind::Single) {
                named.push(Named {
                    name,
                    name_location,
                    table,
                });
            }
        }
        named.sort_by_key(|named| named.name_location.span);
        named
    }

    /// The values under names of the user's at `key`, each with the place of its name, in the
    /// order of the text.
    pub(super) fn named_values(
        &mut self,
        key: &'static str,
    ) -> Vec<(&'t str, Location, Value<'t>)> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Table(entries) = value.raw else {
            value.mismatch("a table of names and values", None);
            return Vec::new();
        };
        let mut named: Vec<_> = entries
            .iter()
            .map(|(name, value)| {
                let location = self.reading.location(name.span());
                (name.get_ref().as_ref(), location, self.place(value))
            })
            .collect();
        named.sort_by_key(|(_, location, _)| location.span);
        named
    }

    /// The table that `value`, found at `key` in this one, is.
    pub(super) fn inline(&self, key: &str, value: Value<'t>) -> Option<Self> {
        self.child(key, value, Kind::Single)
    }

    /// The table that `value`, an element of the array at `key` in this one, is.
    pub(super) fn element(&self, key: &str, value: Value<'t>) -> Option<Self> {
        self.child(key, value, Kind::OfArray)
    }

    /// The duration at `key`.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        range: &RangeInclusive<Duration>,
    ) -> Duration {
        let value = self.value(key);
        value
            .and_then(|value| value.duration(range))
            .unwrap_or(default)
    }

    /// The number at `key`, of which `range` bounds the type `T` too.
    pub(super) fn integer<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        default: T,
        range: &RangeInclusive<u64>,
    ) -> T {
        let value = self.value(key);
        value
            .and_then(|value| value.integer(range))
            .and_then(|number| T::try_from(number).ok())
            .unwrap_or(default)
    }

    /// The size at `key`, of which `range` bounds the type `T` too.
    pub(super) fn size<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        default: T,
        range: &RangeInclusive<u64>,
    ) -> T {
        let value = self.value(key);
        value
            .and_then(|value| value.size(range))
            .and_then(|bytes| T::try_from(bytes).ok())
            .unwrap_or(default)
    }

    /// The option named at `key`.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        default: T,
        options: &[(&str, T)],
        later: &[&str],
    ) -> T {
        let value = self.value(key);
        value
            .and_then(|value| value.choice(options, later))
            .unwrap_or(default)
    }

    /// Names keys that are planned: better said so than taken for a slip of the pen.
    pub(super) fn later(&mut self, keys: &[&'static str]) {
        self.later.extend_from_slice(keys);
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        for (key, value) in self.entries.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let location = self.reading.location(key.span());
            let shown = self.shown(name, value.get_ref());
            self.reading.refuse(if self.later.contains(&name) {
                Diagnostic::at(location, format!("{shown} is not supported yet"))
            } else {
                let place = match self.path.is_empty() {
                    true => String::new(),
                    false => format!(" in {}", self.name()),
                };
                Diagnostic {
                    help: suggestion(name, self.known.iter().copied(), "known here"),
                    ..Diagnostic::at(location, format!("unknown key {shown}{place}"))
                }
            });
        }
    }

    /// A key as it is written: tables of the file in brackets.
    fn shown(&self, name: &str, value: &DeValue<'_>) -> String {
        match value {
            DeValue::Table(_) if self.path.is_empty() => quoted(&format!("[{name}]")),
            _ => quoted(name),
        }
    }

    fn place(&self, value: &'t Spanned<DeValue<'t>>) -> Value<'t> {
        Value {
            raw: value.get_ref(),
            location: self.reading.location(value.span()),
            reading: self.reading,
        }
    }

    fn child_path(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn child(&self, key: &str, value: Value<'t>, kind: Kind) -> Option<Self> {
        let path = self.child_path(key);
        let DeValue::Table(entries) = value.raw else {
            let help = match kind {
                Kind::Single if value.raw.is_array() => Some(format!("write [{path}]")),
                _ => None,
            };
            value.mismatch("a table", help);
            return None;
        };
        Some(Self {
            entries: Some(entries),
            path,
            kind,
            location: value.location,
            reading: self.reading,
            known: Vec::new(),
            later: Vec::new(),
        })
    }

    fn empty(&self, key: &str) -> Self {
        Self {
            entries: None,
            path: self.child_path(key),
            kind: Kind::Single,
            location: self.location,
            reading: self.reading,
            known: Vec::new(),
            later: Vec::new(),
        }
    }
}

/// The longest name of a table or listener.
pub(super) const NAME_LENGTH: usize = 64;

/// Names become metric labels and stand beside URLs as values.
fn check_name(name: &str, location: Location, reading: &Reading<'_>) {
    let fits = (1..=NAME_LENGTH).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !fits {
        reading.refuse(Diagnostic::at(
            location,
            format!(
                "the name {} cannot be used: a name has 1 to {NAME_LENGTH} letters, digits, \
                 hyphens, underscores and dots",
                quoted(name)
            ),
        ));
    }
}
