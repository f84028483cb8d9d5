//! The strip: ten figures at a glance, each with its last quarter of an hour.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::figures::{self, NONE, per_second, percent, ratio, share, time};
use super::html::Html;
use super::spark;
use super::view::View;
use crate::report::PhaseKind;
use crate::telemetry::Counts;

pub(super) fn write(out: &mut Html, view: &View<'_>) {
    let none = Counts::default();
    let counts = view.window.as_ref().map_or(&none, |it| &it.counts);
    out.raw("<section id=\"strip\" data-live aria-label=\"At a glance\">");
    let moment = view.last_moment();
    let now = moment.map_or(0.0, |it| per_second(it.counts.complete(), it.covered));
    let complete = counts.complete();
    let series = |f: fn(&Counts) -> Option<f64>| -> Vec<Option<f64>> {
        view.series.iter().map(|step| f(&step.counts)).collect()
    };
    let rates: Vec<_> = view
        .series
        .iter()
        .map(|step| Some(per_second(step.counts.complete(), step.covered)))
        .collect();
    let tile = |out: &mut Html, id, name, value: String, under: String, values: &[Option<f64>]| {
        begin(out, id, name, &value, &under);
        spark::write(out, values);
        out.raw("</div>");
    };
    tile(
        out,
        "rate",
        "Handshakes/s",
        figures::rate(now),
        format!("{complete} in {}", view.span_text()),
        &rates,
    );
    let ended = complete + counts.failed();
    tile(
        out,
        "success",
        "Success",
        share(complete, ended),
        format!("{} failed", counts.failed()),
        &series(|it| ratio(it.complete(), it.complete() + it.failed())),
    );
    for (id, name, quantile) in QUANTILES {
        let value = |counts: &Counts| counts.quantile(quantile);
        let values: Vec<_> = view
            .series
            .iter()
            .map(|step| value(&step.counts).map(|time| time.as_secs_f64()))
            .collect();
        tile(
            out,
            id,
            name,
            value(counts).map_or_else(|| NONE.to_owned(), time),
            format!("of {complete}"),
            &values,
        );
    }
    tile(
        out,
        "ours",
        "Our time",
        percent(ours(counts)),
        match ours(counts) {
            Some(ours) => format!("{} waiting", percent(Some(1.0 - ours))),
            None => "of all handshake time".to_owned(),
        },
        &series(ours),
    );
    tile(
        out,
        "resumed",
        "Resumed",
        share(counts.resumed, complete),
        format!("{} of {complete}", counts.resumed),
        &series(|it| ratio(it.resumed, it.complete())),
    );
    let [used, eligible, ..] = counts.false_starts;
    tile(
        out,
        "false-start",
        "False Start",
        share(used, used + eligible),
        format!("{used} of {} able", used + eligible),
        &series(|it| {
            let [used, eligible, ..] = it.false_starts;
            ratio(used, used + eligible)
        }),
    );
    let in_flight = view.state.telemetry.metrics.totals().handshakes.in_flight;
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let flights = series(|it| Some(it.in_flight as f64));
    tile(
        out,
        "in-flight",
        "In flight",
        in_flight.to_string(),
        "handshakes now".to_owned(),
        &flights,
    );
    expiry(out, view);
    out.raw("</section>");
}

const QUANTILES: [(&str, &str, f64); 3] = [
    ("p50", "p50", 0.5),
    ("p95", "p95", 0.95),
    ("p99", "p99", 0.99),
];

fn begin(out: &mut Html, id: &'static str, name: &'static str, value: &str, under: &str) {
    out.raw("<div class=\"tile\" id=\"")
        .raw(id)
        .raw("\"><h2>")
        .raw(name)
        .raw("</h2><p class=\"value\">")
        .text(value)
        .raw("</p><p class=\"under\">")
        .text(under)
        .raw("</p>");
}

/// The share of handshake time that was not spent waiting for the client.
fn ours(counts: &Counts) -> Option<f64> {
    let of = |kind| counts.time_of(kind).as_secs_f64();
    let ours = of(PhaseKind::Queue) + of(PhaseKind::Cpu) + of(PhaseKind::Io);
    let all = ours + of(PhaseKind::Client);
    (all > 0.0).then(|| ours / all)
}

/// A certificate's time left has no last quarter of an hour worth a line: it has the quarter of a
/// year that is left.
fn expiry(out: &mut Html, view: &View<'_>) {
    let certificates = view.state.telemetry.metrics.certificates();
    let nearest = certificates.iter().min_by_key(|(_, end)| *end);
    let days = nearest.map(|(_, end)| days_left(*end));
    let value = days.map_or_else(
        || NONE.to_owned(),
        |days| match days {
            ..1_000 => format!("{days} d"),
            _ => format!("{} y", days / 365),
        },
    );
    let under = nearest.map_or_else(
        || "no certificate".to_owned(),
        |(name, _)| format!("until {name} expires"),
    );
    begin(out, "expiry", "Certificate", &value, &under);
    let width = days.unwrap_or(0).clamp(0, 90) * 100 / 90;
    out.raw(
        "<svg class=\"spark\" aria-hidden=\"true\"><rect class=\"ground\" y=\"40%\" width=\"100%\" \
         height=\"20%\"/><rect class=\"left\" y=\"40%\" height=\"20%\" width=\"",
    )
    .text(width)
    .raw("%\"/></svg></div>");
}

/// Whole days from now, negative once they are over.
pub(super) fn days_left(unix_seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or(Duration::ZERO).as_secs();
    unix_seconds
        .saturating_sub(i64::try_from(now).unwrap_or(i64::MAX))
        .div_euclid(86_400)
}
