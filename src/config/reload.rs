//! `[reload]`: what brings a new configuration in by itself, and what keeps it out.

use toml::de::DeValue;

use super::diagnostic::Diagnostic;
use super::measures::{self, A_SHARE};
use super::table::Table;
use super::value::Value;

/// `[reload]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// `watch`, default true: whether a change of the configuration or of a file that it names
    /// reloads.
    pub watch: bool,
    /// `max_broken_clients`; `None` (the default) is no bound: a reload that would turn away more
    /// than this share of the clients that get through now is refused.
    pub max_broken_clients: Option<Share>,
}

/// A share of clients, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// `millionths` of a whole.
    #[must_use]
    pub const fn from_millionths(millionths: u32) -> Self {
        Self(millionths)
    }

    /// Whether `part` of `whole` is more than this share.
    #[must_use]
    pub fn is_exceeded_by(self, part: u64, whole: u64) -> bool {
        u128::from(part) * 1_000_000 > u128::from(whole) * u128::from(self.0)
    }
}

/// As it is written in the file: `1%`, `0.05%`.
impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        let decimals = format!("{rest:04}");
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{whole}%"),
            decimals => write!(f, "{whole}.{decimals}%"),
        }
    }
}

/// Reads `[reload]`.
pub(super) fn reload(mut table: Table<'_>) -> Reload {
    let watch = table.value("watch").and_then(|value| value.boolean());
    let bound = table.value("max_broken_clients").and_then(share);
    table.finish();
    Reload {
        watch: watch.unwrap_or(super::defaults::WATCH),
        max_broken_clients: bound,
    }
}

/// `"1%"`, or a fraction such as 0.01.
fn share(value: Value<'_>) -> Option<Share> {
    let millionths = match value.raw {
        DeValue::String(text) => match measures::percentage(text) {
            Ok(millionths) => Some(millionths),
            Err(refused) => {
                value.refuse(refused);
                None
            }
        },
        DeValue::Float(_) => value.millionths(),
        // 1 may be meant as one percent or as all of them.
        DeValue::Integer(integer) => {
            let diagnostic = Diagnostic::new(format!("expected {A_SHARE}, found an integer"));
            value.refuse(diagnostic.help(format!("write \"{}%\"", integer.as_str())));
            None
        }
        _ => {
            value.mismatch(A_SHARE, None);
            None
        }
    };
    millionths.map(Share)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    const LISTENER: &str = "[[listeners]]\naddress = \"127.0.0.1:1\"\ntls = false\n[[routes]]\n\
                            respond = { status = 204 }\n";

    fn bound(value: &str) -> Result<Option<Share>, (usize, String)> {
        let text = format!("{LISTENER}[reload]\nmax_broken_clients = {value}\n");
        match parse(&text, Path::new("a.toml")) {
            Ok(loaded) => Ok(loaded.config.reload.max_broken_clients),
            Err(diagnostics) => {
                let item = &diagnostics.items[0];
                let at = diagnostics
                    .sources
                    .position(item.location.unwrap())
                    .unwrap();
                let help = item.help.clone().unwrap_or_default();
                Err((at.line, format!("{}; {help}", item.message)))
            }
        }
    }

    #[test]
    fn without_the_table_files_are_watched_and_nothing_is_bounded() {
        let loaded = parse(LISTENER, Path::new("a.toml")).unwrap();
        let reload = loaded.config.reload;
        assert!(reload.watch);
        assert_eq!(reload.max_broken_clients, None);
    }

    #[test]
    fn shares_are_percentages_or_fractions() {
        for (written, millionths, shown) in [
            ("\"1%\"", 10_000, "1%"),
            ("\"0.5%\"", 5_000, "0.5%"),
            ("\"0%\"", 0, "0%"),
            ("\"100%\"", 1_000_000, "100%"),
            ("\"12.0345%\"", 120_345, "12.0345%"),
            ("0.01", 10_000, "1%"),
            ("0.0", 0, "0%"),
        ] {
            let share = bound(written).unwrap().unwrap();
            assert_eq!(share, Share(millionths), "{written}");
            assert_eq!(share.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_share_is_told_with_its_line_and_the_way_to_write_it() {
        for (written, expected) in [
            ("1", "write \"1%\""),
            ("\"1\"", "write \"1%\""),
            ("\"1 %\"", "write \"1%\""),
            ("\"1,5%\"", "write \"1.5%\""),
            ("\"101%\"", "from 0% to 100%"),
            ("\"0.00001%\"", "four decimals"),
            ("\"-1%\"", "a share such as \"1%\""),
            ("\"few\"", "a share such as \"1%\""),
            ("1.5", "a share from 0.000001 to 1"),
            ("true", "a share such as \"1%\""),
        ] {
            let (line, text) = bound(written).unwrap_err();
            assert_eq!(line, 7, "{written}");
            assert!(text.contains(expected), "{written}: {text}");
        }
    }

    #[test]
    fn more_than_the_share_exceeds_it() {
        let one_percent = Share(10_000);
        assert!(!one_percent.is_exceeded_by(1, 100));
        assert!(one_percent.is_exceeded_by(2, 100));
        assert!(!one_percent.is_exceeded_by(0, 0));
        assert!(Share(0).is_exceeded_by(1, u64::MAX));
        assert!(!Share(1_000_000).is_exceeded_by(7, 7));
    }
}
