//! Durations and sizes as they are written in the file.

use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::wording::quoted;

/// What a duration looks like, for messages.
pub(super) const A_DURATION: &str = "a duration such as \"10s\"";

/// What a size looks like, for messages.
pub(super) const A_SIZE: &str = "a size such as \"16KiB\"";

/// What a share looks like, for messages.
pub(super) const A_SHARE: &str = "a share such as \"1%\"";

/// Units of durations in milliseconds, the greatest first, with what else is written for them.
const DURATION_UNITS: &[(&str, u64, &[&str])] = &[
    ("d", 86_400_000, &["day", "days"]),
    ("h", 3_600_000, &["hr", "hrs", "hour", "hours"]),
    ("m", 60_000, &["min", "mins", "minute", "minutes"]),
    ("s", 1000, &["sec", "secs", "second", "seconds"]),
    ("ms", 1, &["msec", "msecs", "millis", "milliseconds"]),
];

/// Units of sizes in bytes, the greatest first, with what else is written for them.
const SIZE_UNITS: &[(&str, u64, &[&str])] = &[
    ("TiB", 1 << 40, &["tib", "tb", "t"]),
    ("GiB", 1 << 30, &["gib", "gb", "g"]),
    ("MiB", 1 << 20, &["mib", "mb", "m"]),
    ("KiB", 1 << 10, &["kib", "kb", "k"]),
    ("B", 1, &["b", "byte", "bytes"]),
];

/// Reads `"500ms"`, `"10s"`, `"5m"`, `"12h"`, `"7d"`.
///
/// # Errors
/// What is written instead, and how it is written right.
pub fn duration(text: &str) -> Result<Duration, Diagnostic> {
    measure(text, DURATION_UNITS, "s", A_DURATION).map(Duration::from_millis)
}

/// Reads `"16KiB"` and the like, as bytes.
pub(super) fn size(text: &str) -> Result<u64, Diagnostic> {
    measure(text, SIZE_UNITS, "B", A_SIZE)
}

/// Reads `"1%"` and `"0.5%"`, as millionths of a whole.
pub(super) fn percentage(text: &str) -> Result<u32, Diagnostic> {
    let refused = || Diagnostic::new(format!("expected {A_SHARE}, found {}", quoted(text)));
    let number = text.trim().trim_end_matches('%').trim().replace(',', ".");
    let (whole, decimals) = number.split_once('.').unwrap_or((&number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(decimals) {
        return Err(refused());
    }
    if format!("{number}%") != text {
        return Err(refused().help(format!("write \"{number}%\"")));
    }
    if decimals.len() > 4 {
        return Err(refused().help("it has four decimals at most"));
    }
    format!("{whole}{decimals:0<4}")
        .parse()
        .ok()
        .filter(|millionths| *millionths <= 1_000_000)
        .ok_or_else(|| refused().help("a share is from 0% to 100%"))
}

/// `duration` as it is written: in its greatest unit without a rest.
pub(super) fn write_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    write_measure(milliseconds, DURATION_UNITS, "s")
}

/// `bytes` as they are written: in their greatest unit without a rest.
pub(super) fn write_size(bytes: u64) -> String {
    write_measure(bytes, SIZE_UNITS, "B")
}

fn write_measure(number: u64, units: &[(&str, u64, &[&str])], none: &str) -> String {
    units
        .iter()
        .find(|(_, factor, _)| number >= *factor && number.is_multiple_of(*factor))
        .map_or_else(
            || format!("0{none}"),
            |(unit, factor, _)| format!("{}{unit}", number / factor),
        )
}

fn measure(
    text: &str,
    units: &[(&str, u64, &[&str])],
    usual: &str,
    expected: &str,
) -> Result<u64, Diagnostic> {
    let names = || {
        let names: Vec<_> = units.iter().rev().map(|(name, _, _)| *name).collect();
        format!("a whole number and one of the units {}", names.join(", "))
    };
    let refused = || Diagnostic::new(format!("expected {expected}, found {}", quoted(text)));
    let trimmed = text.trim();
    let end = trimmed
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(trimmed.len());
    let (digits, unit) = trimmed.split_at(end);
    if digits.is_empty() {
        return Err(refused().help(names()));
    }
    if unit.is_empty() {
        return Err(refused().help(format!("write \"{digits}{usual}\"")));
    }
    let Some((_, factor, _)) = units.iter().find(|(name, _, _)| *name == unit) else {
        return Err(refused().help(correction(digits, unit, units).unwrap_or_else(names)));
    };
    if trimmed.len() != text.len() {
        return Err(refused().help(format!("write \"{trimmed}\"")));
    }
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .ok_or_else(|| Diagnostic::new(format!("{} is too much", quoted(text))))
}

/// What was probably meant by a wrong unit or a fraction.
fn correction(digits: &str, unit: &str, units: &[(&str, u64, &[&str])]) -> Option<String> {
    let (fraction, unit) = match unit.strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|char: char| !char.is_ascii_digit())?;
            rest.split_at(end)
        }
        None => ("", unit),
    };
    let unit = unit.trim().to_ascii_lowercase();
    let (name, factor, _) = units
        .iter()
        .find(|(name, _, others)| name.eq_ignore_ascii_case(&unit) || others.contains(&&*unit))?;
    if fraction.is_empty() {
        return Some(format!("write \"{digits}{name}\""));
    }
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let number = digits
        .parse::<u64>()
        .ok()?
        .checked_mul(scale)?
        .checked_add(fraction.parse().ok()?)?
        .checked_mul(*factor)?;
    let exact = number.is_multiple_of(scale) && number > 0;
    exact.then(|| format!("write \"{}\"", write_measure(number / scale, units, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help<T: std::fmt::Debug>(result: Result<T, Diagnostic>) -> String {
        let refused = result.unwrap_err();
        refused.help.unwrap_or(refused.message)
    }

    #[test]
    fn durations_are_read() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("12h", 43_200_000),
            ("365d", 31_536_000_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        for (text, expected) in [
            ("10", "write \"10s\""),
            ("10 s", "write \"10s\""),
            (" 10s", "write \"10s\""),
            ("10sec", "write \"10s\""),
            ("5min", "write \"5m\""),
            ("1.5s", "write \"1500ms\""),
            ("0.5h", "write \"30m\""),
            ("10S", "write \"10s\""),
        ] {
            assert_eq!(help(duration(text)), expected, "{text}");
        }
        for text in [
            "", "s", "-1s", "1h30m", "10us", "ten", "1.0", "٣s", "0.0001ms",
        ] {
            let units = "a whole number and one of the units ms, s, m, h, d";
            assert_eq!(help(duration(text)), units, "{text}");
        }
        for text in ["99999999999999999999s", "18446744073709551615d"] {
            assert!(help(duration(text)).ends_with("is too much"), "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("1B", 1),
            ("16KiB", 16 << 10),
            ("1MiB", 1 << 20),
            ("2GiB", 2 << 30),
            ("3TiB", 3 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes));
            assert_eq!(write_size(bytes), text);
        }
        for (text, expected) in [
            ("16", "write \"16B\""),
            ("16k", "write \"16KiB\""),
            ("16KB", "write \"16KiB\""),
            ("1 MiB", "write \"1MiB\""),
            ("1.5MiB", "write \"1536KiB\""),
        ] {
            assert_eq!(help(size(text)), expected, "{text}");
        }
        assert!(size("infinite").is_err());
        assert!(size("99999999999TiB").is_err());
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["500ms", "10s", "5m", "12h", "365d", "90s", "36h", "0s"] {
            assert_eq!(write_duration(duration(text).unwrap()), text);
        }
    }
}
