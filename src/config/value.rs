//! One value of the file with its place: typed readers that report what they refuse.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::diagnostic::{Diagnostic, Location};
use super::measures::{self, A_DURATION, A_SIZE};
use super::reading::Reading;
use super::wording::{listed, quoted, suggestion};

/// A value with its place.
#[derive(Clone, Copy)]
pub(super) struct Value<'t> {
    pub(super) raw: &'t DeValue<'t>,
    pub(super) location: Location,
    pub(super) reading: &'t Reading<'t>,
}

/// A string with its place.
#[derive(Clone, Copy)]
pub(super) struct Text<'t> {
    pub(super) text: &'t str,
    pub(super) value: Value<'t>,
}

impl<'t> Value<'t> {
    /// Reports `diagnostic` at this place.
    pub(super) fn refuse(&self, mut diagnostic: Diagnostic) {
        diagnostic.location = Some(self.location);
        self.reading.refuse(diagnostic);
    }

    /// Reports a type other than `expected`.
    pub(super) fn mismatch(&self, expected: &str, help: Option<String>) {
        let mut diagnostic = Diagnostic::new(format!("expected {expected}, found {}", self.kind()));
        diagnostic.help = help;
        self.refuse(diagnostic);
    }

    fn kind(&self) -> &'static str {
        self.raw.type_str()
    }

    /// A string, called `expected` in the message.
    pub(super) fn text(&self, expected: &str) -> Option<Text<'t>> {
        if let DeValue::String(text) = self.raw {
            return Some(Text { text, value: *self });
        }
        let written = self.reading.text_at(self.location);
        let scalar = !matches!(self.raw, DeValue::Array(_) | DeValue::Table(_));
        self.mismatch(expected, scalar.then(|| format!("write \"{written}\"")));
        None
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        if let DeValue::Boolean(value) = self.raw {
            return Some(*value);
        }
        let help = match self.raw.as_str() {
            Some("true" | "yes" | "on" | "1") => Some("write true without quotes".to_owned()),
            Some("false" | "no" | "off" | "0") => Some("write false without quotes".to_owned()),
            _ => None,
        };
        self.mismatch("true or false", help);
        None
    }

    /// A whole number in `range`.
    pub(super) fn integer(&self, range: &RangeInclusive<u64>) -> Option<u64> {
        let DeValue::Integer(integer) = self.raw else {
            let help = self
                .raw
                .as_str()
                .and_then(|text| text.parse::<u64>().ok())
                .map(|number| format!("write {number} without quotes"));
            self.mismatch("an integer", help);
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.refuse(Diagnostic::new(format!(
                "expected an integer from {} to {}, found {}",
                range.start(),
                range.end(),
                integer.as_str()
            )));
        }
        number
    }

    /// A share from 0 to 1, in millionths.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and a million"
    )]
    pub(super) fn millionths(&self) -> Option<u32> {
        let written = match self.raw {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) => integer.as_str(),
            _ => {
                let number = self.raw.as_str().filter(|text| text.parse::<f64>().is_ok());
                let help = number.map(|text| format!("write {text} without quotes"));
                self.mismatch("a share such as 0.01", help);
                return None;
            }
        };
        let share: Option<f64> = written.replace('_', "").parse().ok();
        let millionths = share.map(|share| (share, share * 1e6));
        // Less than a millionth would be nothing, which is not what was meant.
        let possible = |share: f64| share == 0.0 || (1e-6..=1.0).contains(&share);
        match millionths {
            Some((share, millionths)) if possible(share) => Some(millionths.round() as u32),
            _ => {
                self.refuse(Diagnostic::new(format!(
                    "expected a share from 0.000001 to 1, or 0, found {written}"
                )));
                None
            }
        }
    }

    /// A duration in `range`.
    pub(super) fn duration(&self, range: &RangeInclusive<Duration>) -> Option<Duration> {
        let text = match self.raw {
            DeValue::String(text) => text,
            DeValue::Integer(integer) => {
                let help = format!("write \"{}s\"", integer.as_str());
                self.mismatch(A_DURATION, Some(help));
                return None;
            }
            _ => {
                self.mismatch(A_DURATION, None);
                return None;
            }
        };
        match measures::duration(text) {
            Ok(duration) if range.contains(&duration) => Some(duration),
            Ok(_) => {
                self.out_of_range(
                    text,
                    &measures::write_duration(*range.start()),
                    &measures::write_duration(*range.end()),
                );
                None
            }
            Err(refused) => {
                self.refuse(refused);
                None
            }
        }
    }

    /// A size in bytes in `range`.
    pub(super) fn size(&self, range: &RangeInclusive<u64>) -> Option<u64> {
        let text = match self.raw {
            DeValue::String(text) => text,
            DeValue::Integer(integer) => {
                let help = integer
                    .as_str()
                    .parse()
                    .ok()
                    .map(|bytes| format!("write \"{}\"", measures::write_size(bytes)));
                self.mismatch(A_SIZE, help);
                return None;
            }
            _ => {
                self.mismatch(A_SIZE, None);
                return None;
            }
        };
        match measures::size(text) {
            Ok(bytes) if range.contains(&bytes) => Some(bytes),
            Ok(_) => {
                self.out_of_range(
                    text,
                    &measures::write_size(*range.start()),
                    &measures::write_size(*range.end()),
                );
                None
            }
            Err(refused) => {
                self.refuse(refused);
                None
            }
        }
    }

    fn out_of_range(&self, text: &str, least: &str, most: &str) {
        self.refuse(Diagnostic::new(format!(
            "expected between \"{least}\" and \"{most}\", found {}",
            quoted(text)
        )));
    }

    /// One of the named `options`; `later` are options that other versions have.
    pub(super) fn choice<T: Copy>(&self, options: &[(&str, T)], later: &[&str]) -> Option<T> {
        let names = || options.iter().map(|(name, _)| *name);
        let text = self.text(&format!("one of {}", listed(names())))?.text;
        if let Some((_, option)) = options.iter().find(|(name, _)| *name == text) {
            return Some(*option);
        }
        self.refuse(if later.contains(&text) {
            Diagnostic::new(format!("{} is not supported yet", quoted(text)))
                .help(format!("possible: {}", listed(names())))
        } else {
            Diagnostic {
                help: suggestion(text, names().collect::<Vec<_>>(), "possible"),
                ..Diagnostic::new(format!("{} is not possible here", quoted(text)))
            }
        });
        None
    }

    /// The elements of an array, called `expected` in the message.
    pub(super) fn list(&self, expected: &str) -> Option<Vec<Self>> {
        if let DeValue::Array(array) = self.raw {
            let place = |element: &'t toml::Spanned<DeValue<'t>>| Value {
                raw: element.get_ref(),
                location: self.reading.location(element.span()),
                reading: self.reading,
            };
            return Some(array.iter().map(place).collect());
        }
        let written = self.reading.text_at(self.location);
        let help = self.raw.is_str().then(|| format!("write [{written}]"));
        self.mismatch(expected, help);
        None
    }

    /// The path of a file; a relative one starts at the directory of the configuration.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let text = self.text("the path of a file")?;
        text.path()
    }
}

impl Text<'_> {
    /// Reports `diagnostic` at this place.
    pub(super) fn refuse(&self, diagnostic: Diagnostic) {
        self.value.refuse(diagnostic);
    }

    /// What `read` makes of the text; its refusal is reported.
    pub(super) fn read<T>(&self, read: impl FnOnce(&str) -> Result<T, Diagnostic>) -> Option<T> {
        match read(self.text) {
            Ok(value) => Some(value),
            Err(refused) => {
                self.refuse(refused);
                None
            }
        }
    }

    /// The text as the path of a file.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let refused = if self.text.is_empty() || self.text.contains('\0') {
            Diagnostic::new("expected the path of a file, found an empty or impossible one")
        } else if self.text.starts_with("credential:") {
            Diagnostic::new("a path of the form `credential:…` is not supported yet")
        } else {
            return Some(self.value.reading.resolve(self.value.location, self.text));
        };
        self.refuse(refused);
        None
    }
}
