//! Numbers as people read them.

use std::time::Duration;

/// What stands where there is no number.
pub(super) const NONE: &str = "–";

/// A time with a unit that fits and three digits or so.
pub(super) fn time(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..1.0 => "<1 µs".to_owned(),
        ..1_000.0 => format!("{micros:.0} µs"),
        ..10_000.0 => format!("{:.2} ms", micros / 1e3),
        ..1_000_000.0 => format!("{:.1} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

/// A time that may be missing.
pub(super) fn time_or_none(known: Option<Duration>) -> String {
    known.map_or_else(|| NONE.to_owned(), time)
}

/// `part` of `whole` from 0 to 1; `None` of nothing.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// A ratio in percent: 100 and 0 only where it is all or nothing.
pub(super) fn percent(ratio: Option<f64>) -> String {
    match ratio {
        None => NONE.to_owned(),
        Some(ratio) => {
            let percent = ratio * 100.0;
            let shown = match percent {
                0.0 | 100.0 => format!("{percent:.0}"),
                99.0..100.0 => format!("{:.1}", percent.min(99.9)),
                0.0..1.0 => format!("{:.1}", percent.max(0.1)),
                _ => format!("{percent:.0}"),
            };
            format!("{shown} %")
        }
    }
}

/// `part` of `whole` in percent.
pub(super) fn share(part: u64, whole: u64) -> String {
    percent(ratio(part, whole))
}

/// How many a second.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(super) fn per_second(count: u64, time: Duration) -> f64 {
    // The first window may be a moment long.
    count as f64 / time.as_secs_f64().max(1.0)
}

/// A rate.
pub(super) fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        ..10.0 => format!("{rate:.2}"),
        ..100.0 => format!("{rate:.1}"),
        _ => format!("{rate:.0}"),
    }
}

/// `one` where it is one, and else `many`.
pub(super) const fn noun(count: u64, one: &'static str, many: &'static str) -> &'static str {
    match count {
        1 => one,
        _ => many,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rare_failure_does_not_round_away() {
        assert_eq!(share(0, 0), NONE);
        assert_eq!(share(3, 3), "100 %");
        assert_eq!(share(99_999, 100_000), "99.9 %");
        assert_eq!(share(1, 100_000), "0.1 %");
        assert_eq!(share(38, 100), "38 %");
        assert_eq!(time(Duration::from_nanos(12_340_000)), "12.3 ms");
        assert_eq!(time(Duration::from_nanos(300)), "<1 µs");
        assert_eq!(rate(0.25), "0.25");
    }
}
