//! Recent and slowest handshakes, a row each with its own waterfall, and the filter of both.

use std::time::{Duration, SystemTime};

use super::super::moment;
use super::bar;
use super::figures::{NONE, time};
use super::html::Html;
use super::view::View;
use crate::report::{FailureClass, HandshakeKind, HandshakeReport, Outcome, Phase};
use crate::telemetry::{RingOrder, RingQuery};

const RECENT: usize = 20;
const SLOWEST: usize = 10;

pub(super) fn write(out: &mut Html, view: &View<'_>) {
    out.raw("<section id=\"handshakes\"><h2>Handshakes</h2>");
    form(out, view);
    for (id, title, order, limit) in [
        ("recent", "Recent", RingOrder::Newest, RECENT),
        (
            "slowest",
            "Slowest of the last hour",
            RingOrder::Slowest,
            SLOWEST,
        ),
    ] {
        out.raw("<div id=\"")
            .raw(id)
            .raw("\" data-live><h3>")
            .raw(title)
            .raw("</h3>");
        match &view.wanted {
            Ok(wanted) => {
                let query = RingQuery {
                    order,
                    limit,
                    ..wanted.clone()
                };
                table(out, &view.state.telemetry.ring.query(&query), title);
            }
            Err(error) => {
                out.raw("<p class=\"wrong\">").text(error).raw("</p>");
            }
        }
        out.raw("</div>");
    }
    out.raw("</section>");
}

fn form(out: &mut Html, view: &View<'_>) {
    let filter = &view.filter;
    out.raw("<form action=\"/\" method=\"get\" aria-label=\"Filter of the handshakes\"><input type=\"hidden\" name=\"window\" value=\"")
        .text(view.span)
        .raw("\"><label>Server name <input name=\"server_name\" value=\"")
        .text(&filter.server_name)
        .raw("\"></label><label>Class <select name=\"class\"><option value=\"\">any</option>");
    for class in FailureClass::ALL {
        option(out, class.name(), &filter.class);
    }
    out.raw("</select></label><label>Kind <select name=\"kind\"><option value=\"\">any</option>");
    for kind in HandshakeKind::ALL {
        option(out, kind.name(), &filter.kind);
    }
    out.raw("</select></label><label>JA4 <input name=\"ja4\" value=\"")
        .text(&filter.ja4)
        .raw("\"></label><button>Filter</button></form>");
}

fn option(out: &mut Html, name: &'static str, chosen: &str) {
    out.raw("<option");
    if name == chosen {
        out.raw(" selected");
    }
    out.raw(">").raw(name).raw("</option>");
}

fn table(out: &mut Html, reports: &[std::sync::Arc<HandshakeReport>], title: &'static str) {
    if reports.is_empty() {
        out.raw("<p class=\"none\">None.</p>");
        return;
    }
    out.raw("<table class=\"rows\" aria-label=\"")
        .raw(title)
        .raw(
            "\"><thead><tr><th>time (UTC)</th><th>server name</th><th>TLS</th><th>JA4</th>\
             <th>where the time went</th><th class=\"n\">total</th><th>result</th></tr></thead><tbody>",
        );
    for report in reports {
        row(out, report);
    }
    out.raw("</tbody></table>");
}

fn row(out: &mut Html, report: &HandshakeReport) {
    out.raw("<tr data-id=\"").text(report.id);
    out.raw("\"><td class=\"when\"><a href=\"/handshakes/")
        .text(report.id)
        .raw("\">");
    clock(out, report.time);
    out.raw("</a></td><td class=\"who\">")
        .text(report.server_name.as_deref().unwrap_or(NONE))
        .raw("</td><td class=\"tls\">")
        .raw(report.version.map_or(NONE, |version| version.name()))
        .raw(" ")
        .raw(report.kind.map_or("", |kind| kind.name()));
    if report.hello_retry {
        out.raw(" retry");
    }
    out.raw("</td><td class=\"ja4\">")
        .text(report.ja4.as_deref().unwrap_or(NONE))
        .raw("</td><td class=\"fall\">");
    bar::write(out, &phases(report));
    out.raw("</td>")
        .number(time(report.total))
        .raw("<td class=\"result\">");
    match &report.outcome {
        Outcome::Failed(failure) => {
            out.raw("<span class=\"bad\">")
                .raw(failure.class.name())
                .raw("</span>");
        }
        Outcome::Ok | Outcome::Probe => {
            out.raw("ok");
        }
    }
    out.raw("</td></tr>");
}

/// Its phases in wire order.
pub(super) fn phases(report: &HandshakeReport) -> Vec<(Phase, Duration)> {
    let phases = report.phases.iter();
    phases
        .map(|(phase, nanos)| (phase, Duration::from_nanos(nanos)))
        .collect()
}

/// The time of day, and the day for machines.
pub(super) fn clock(out: &mut Html, at: SystemTime) {
    let text = moment::text(at);
    let of_day = text.get(11..19).unwrap_or(NONE);
    out.raw("<time datetime=\"")
        .text(&text)
        .raw("\">")
        .text(of_day)
        .raw("</time>");
}
