//! One line of the log: JSON that is safe to print, or words for a person at a terminal.

use std::fmt::{self, Write as _};
use std::io;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::ser::Formatter;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A time in RFC 3339, in UTC.
pub(super) struct Timestamp(pub(super) SystemTime);

/// Text from a peer, for a terminal: nothing in it moves the cursor, changes colours or looks like
/// a line of its own.
pub(super) struct Printable<'a>(pub(super) &'a str);

/// Appends `value` as JSON on one line.
pub(super) fn json(line: &mut Vec<u8>, value: &impl Serialize) {
    let start = line.len();
    let mut serializer = serde_json::Serializer::with_formatter(&mut *line, SafeFormatter);
    if value.serialize(&mut serializer).is_err() {
        // Writing to memory does not fail and our types serialize: a reader still gets an object.
        line.truncate(start);
        line.extend_from_slice(b"{}");
    }
}

/// Compact JSON in which characters that a terminal acts upon are escaped too. JSON itself asks
/// this only of those below U+0020 (RFC 8259 section 7).
struct SafeFormatter;

impl Formatter for SafeFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut utf8 = [0; 4];
        for c in fragment.chars() {
            if is_hostile(c) {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            } else {
                writer.write_all(c.encode_utf8(&mut utf8).as_bytes())?;
            }
        }
        Ok(())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A clock past the year 9999 has no form in RFC 3339.
        f.write_str(
            &OffsetDateTime::from(self.0)
                .format(&Rfc3339)
                .unwrap_or_default(),
        )
    }
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_hostile(c) || c == '\\' {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Control characters, and those that reorder or hide the text around them.
const fn is_hostile(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const HOSTILE: &str = "\"\\\r\n\t\u{1b}[2J\u{7f}\u{9b}31m\u{202e}\u{2028}\u{0}é\u{e0001}😀";

    #[test]
    fn hostile_text_stays_in_its_json_string() {
        let mut line = Vec::new();
        json(&mut line, &HOSTILE);
        let text = String::from_utf8(line).unwrap();
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), HOSTILE);
        assert!(!text.chars().any(is_hostile), "{text:?}");
        assert!(text.contains("\\u001b[2J\\u007f\\u009b31m\\u202e\\u2028\\u0000é"));
        assert!(text.contains("😀"));
    }

    #[test]
    fn hostile_text_is_visible_on_a_terminal() {
        let text = Printable(HOSTILE).to_string();
        assert!(!text.chars().any(is_hostile), "{text:?}");
        assert!(text.starts_with("\"\\\\\\r\\n\\t\\u{1b}[2J"), "{text}");
    }

    #[test]
    fn times_are_rfc_3339() {
        let time = UNIX_EPOCH + Duration::new(1_795_407_045, 120_000_000);
        assert_eq!(Timestamp(time).to_string(), "2026-11-23T04:10:45.12Z");
    }
}
