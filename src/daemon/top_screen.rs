//! The screen of `handfast top`: plain text in 80 columns.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::status::uptime;
use crate::admin::{Summary, WindowSummary};
use crate::report::Phase;

/// No line is longer: terminals of 80 columns wrap at the 80th.
const WIDTH: usize = 79;
/// The longest bar.
const BAR: usize = 24;
/// How many lines of failures and of resumption there are.
const LINES: usize = 8;

/// The screen, in lines that end with a newline.
pub(super) fn screen(summary: &Summary) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        // The daemon's words are ASCII; what else may come is cut by characters.
        out.extend(text.trim_end().chars().take(WIDTH));
        out.push('\n');
    };
    line(&format!(
        "handfast {}  {}  up {}  generation {}",
        summary.version,
        summary.readiness,
        uptime(summary.uptime_seconds),
        summary.generation
    ));
    line(&format!(
        "{} connections open, {} handshakes in flight",
        summary.connections_open, summary.handshakes.in_flight
    ));
    line("");
    let windows = &summary.windows;
    line(&row("", windows, |window| span(window.span_seconds)));
    for (name, rate) in RATES {
        line(&row(name, windows, |window| {
            per_second(rate(window), window)
        }));
    }
    line(&row("resumed", windows, |window| {
        let ok = window.handshakes.full + window.handshakes.resumed;
        share(window.handshakes.resumed, ok)
    }));
    for (name, quantile) in QUANTILES {
        line(&row(name, windows, |window| {
            let duration = window.duration_us.as_ref();
            duration.map_or_else(|| "-".to_owned(), |duration| time(quantile(duration)))
        }));
    }
    // Phases need a handshake: of the shortest window that has one.
    if let Some(window) = windows.iter().find(|window| !window.phases_us.is_empty()) {
        line("");
        line(&format!("phases, mean of {}", span(window.span_seconds)));
        for text in bars(&window.phases_us) {
            line(&text);
        }
    }
    if let Some(window) = windows.last() {
        line("");
        let title = |what: &str| format!("{what}, {}", span(window.span_seconds));
        line(&pair(&title("failures"), &title("resumption")));
        let (left, right) = (ranked(&window.failures), ranked(&window.resumption));
        for index in 0..left.len().max(right.len()) {
            let cell = |side: &[String]| side.get(index).cloned().unwrap_or_default();
            line(&pair(&cell(&left), &cell(&right)));
        }
    }
    if let Some(log) = &summary.key_log {
        line("");
        line(&format!("KEY LOG of {} until {}", log.client, log.until));
    }
    out
}

type Rate = fn(&WindowSummary) -> u64;
type Quantile = fn(&crate::admin::DurationSummary) -> f64;

const RATES: [(&str, Rate); 4] = [
    ("handshakes/s", |window| {
        window.handshakes.full + window.handshakes.resumed
    }),
    ("failed/s", |window| window.handshakes.failed),
    ("probes/s", |window| window.handshakes.probes),
    ("requests/s", |window| window.requests),
];

const QUANTILES: [(&str, Quantile); 3] = [
    ("p50", |duration| duration.p50),
    ("p95", |duration| duration.p95),
    ("p99", |duration| duration.p99),
];

/// A name, and a cell for each window.
fn row(name: &str, windows: &[WindowSummary], cell: impl Fn(&WindowSummary) -> String) -> String {
    let mut text = format!("{name:<20}");
    for window in windows {
        // Writing to a string does not fail.
        let _ = write!(text, "{:>14}", cell(window));
    }
    text
}

fn pair(left: &str, right: &str) -> String {
    format!("{left:<40}{right}")
}

fn span(seconds: u64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        _ => format!("{} min", seconds / 60),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn per_second(count: u64, window: &WindowSummary) -> String {
    // The first window may be a moment long.
    let rate = count as f64 / window.seconds.max(1.0);
    match rate {
        0.0 => "0".to_owned(),
        ..100.0 => format!("{rate:.2}"),
        _ => format!("{rate:.0}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".to_owned(),
        _ => format!("{:.0} %", part as f64 * 100.0 / whole as f64),
    }
}

/// Microseconds with a unit that fits.
fn time(micros: f64) -> String {
    match micros {
        ..1_000.0 => format!("{micros:.0} us"),
        ..1_000_000.0 => format!("{:.2} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

/// The phases in wire order, those that took time, each with its share of the sum.
fn bars(phases: &BTreeMap<String, f64>) -> Vec<String> {
    let sum: f64 = phases.values().sum();
    let known = Phase::ALL.into_iter().filter_map(|phase| {
        let micros = *phases.get(phase.name())?;
        (micros > 0.0).then_some((phase.name(), micros))
    });
    known
        .map(|(name, micros)| {
            let share = micros / sum;
            format!(
                "  {name:<22}{:<BAR$}{:>14}{:>8.1} %",
                bar(share),
                time(micros),
                share * 100.0
            )
        })
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a share of the longest bar"
)]
fn bar(share: f64) -> String {
    "#".repeat((share * BAR as f64).round() as usize)
}

/// The most frequent first, and how many more there are.
fn ranked(counts: &BTreeMap<String, u64>) -> Vec<String> {
    if counts.is_empty() {
        return vec!["  none".to_owned()];
    }
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    let more = sorted.split_off(sorted.len().min(LINES));
    let mut lines: Vec<_> = sorted
        .into_iter()
        .map(|(name, count)| format!("  {name:<24}{count:>9}"))
        .collect();
    if !more.is_empty() {
        let rest: u64 = more.iter().map(|(_, count)| **count).sum();
        lines.push(format!("  {:<24}{rest:>9}", format!("{} more", more.len())));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::{FailureClass, Resumption};

    fn summary(busy: bool) -> Summary {
        let window = |span: u64| {
            let failures: BTreeMap<_, _> = FailureClass::ALL
                .iter()
                .map(|class| (class.name(), u64::MAX / 64))
                .collect();
            let results: BTreeMap<_, _> = Resumption::ALL
                .iter()
                .map(|it| (it.name(), 123_456_789))
                .collect();
            let phases: BTreeMap<_, _> = Phase::ALL
                .iter()
                .map(|phase| (phase.name(), 12_345_678.9))
                .collect();
            match busy {
                true => json!({
                    "span_seconds": span, "seconds": span, "requests": u64::MAX / 2,
                    "handshakes": {"full": 3, "resumed": 1, "failed": 7, "probes": 0},
                    "duration_us": {"p50": 999.4, "p95": 1234.5, "p99": 9_999_999.0},
                    "phases_us": phases, "failures": failures, "resumption": results,
                }),
                false => json!({
                    "span_seconds": span, "seconds": 0, "requests": 0,
                    "handshakes": {"full": 0, "resumed": 0, "failed": 0, "probes": 0},
                    "duration_us": null, "phases_us": {}, "failures": {}, "resumption": {},
                }),
            }
        };
        let summary = json!({
            "version": "0.1.0", "uptime_seconds": 61.0, "generation": 3, "readiness": "ready",
            "connections_open": 5, "requests": 1, "listeners": [], "last_reload": null,
            "handshakes": {"in_flight": 2, "ok": 1, "failed": 1, "probes": 1},
            "drain": null, "key_log": null,
            "ring": {"handshakes": 0, "bytes": 0, "max_bytes": 0},
            "windows": [window(10), window(60), window(900)],
        });
        serde_json::from_value(summary).unwrap()
    }

    #[test]
    fn a_busy_daemon_fits_into_80_columns() {
        let screen = screen(&summary(true));
        for line in screen.lines() {
            assert!(line.len() <= WIDTH, "{line}");
            assert!(
                line.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{line}"
            );
        }
        let words: Vec<Vec<_>> = screen
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        for expected in [
            "10 s 1 min 15 min",
            "handshakes/s 0.40 0.07 0.00",
            "failed/s 0.70 0.12 0.01",
            "resumed 25 % 25 % 25 %",
            "p50 999 us 999 us 999 us",
            "p95 1.23 ms 1.23 ms 1.23 ms",
            "p99 10.00 s 10.00 s 10.00 s",
            "failures, 15 min resumption, 15 min",
        ] {
            let expected: Vec<_> = expected.split(' ').collect();
            assert!(
                words.contains(&expected),
                "{expected:?} is not in\n{screen}"
            );
        }
        let more = format!("{} more", FailureClass::ALL.len() - LINES);
        assert!(screen.contains(&more), "{screen}");
    }

    #[test]
    fn an_idle_daemon_has_a_screen_too() {
        let screen = screen(&summary(false));
        assert!(screen.contains("up 1 min 1 s"), "{screen}");
        assert!(screen.contains("\n  none"), "{screen}");
        assert!(
            !screen.contains("NaN") && !screen.contains("inf"),
            "{screen}"
        );
    }
}
