//! What stands around the page: head, header, and the patterns that bars are filled with.

use super::figures::noun;
use super::html::Html;
use super::view::{View, span_text};

/// Up to the body, with the pattern of waiting: bars can be told apart without colour.
pub(super) fn begin(out: &mut Html, title: &'static str) {
    out.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>")
        .raw(title)
        .raw(
            "</title><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\">\
             <link rel=\"icon\" href=\"/page/icon.svg\">\
             <link rel=\"stylesheet\" href=\"/page/style.css\">\
             <script src=\"/page/page.js\" defer></script></head><body>\
             <svg class=\"defs\" aria-hidden=\"true\" width=\"0\" height=\"0\"><defs>\
             <pattern id=\"waiting\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
             patternTransform=\"rotate(45)\"><rect class=\"ground\" width=\"6\" height=\"6\"/>\
             <rect class=\"stripe\" width=\"2\" height=\"6\"/></pattern></defs></svg>",
        );
}

/// The line at the top, which says whether the page is live.
pub(super) fn header(out: &mut Html, view: &View<'_>) {
    let state = view.state;
    let metrics = &state.telemetry.metrics;
    let totals = metrics.totals();
    out.raw("<header><h1><a href=\"/\"><img src=\"/page/icon.svg\" alt=\"\" width=\"24\" height=\"24\">handfast</a></h1>");
    out.raw("<p id=\"live\" role=\"status\" data-state=\"still\">as of ")
        .text(super::super::moment::text(std::time::SystemTime::now()))
        .raw("</p><p id=\"about\" data-live>")
        .text(state.readiness.state().name())
        .raw(" · up ")
        .text(uptime(state.started.elapsed().as_secs()))
        .raw(" · generation ")
        .text(metrics.generation())
        .raw(" · ")
        .text(totals.connections_open)
        .raw(" ")
        .raw(noun(totals.connections_open, "connection", "connections"))
        .raw(" · ")
        .text(totals.requests)
        .raw(" ")
        .raw(noun(totals.requests, "request", "requests"))
        .raw(" · v")
        .text(env!("CARGO_PKG_VERSION"))
        .raw("</p><nav aria-label=\"Window of the figures\">");
    for span in [10, 60, 900] {
        out.raw("<a href=\"/?window=").text(span).raw("\"");
        if span == view.span {
            out.raw(" aria-current=\"true\"");
        }
        out.raw(">").raw(span_text(span)).raw("</a>");
    }
    out.raw("</nav></header>");
}

pub(super) fn end(out: &mut Html) {
    out.raw(
        "<dialog id=\"dialog\" aria-label=\"One handshake\"></dialog>\
         <div id=\"tip\" role=\"tooltip\" hidden></div></body></html>\n",
    );
}

fn uptime(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
