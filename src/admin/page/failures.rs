//! Failures by class: the last examples, what would have helped, and what to do.

use super::figures::share;
use super::handshakes::clock;
use super::html::Html;
use super::view::View;
use crate::report::{FailureClass, HandshakeReport, Outcome, explanation};
use crate::telemetry::{Counts, RingQuery};

/// Examples of one class.
const EXAMPLES: usize = 3;

pub(super) fn write(out: &mut Html, view: &View<'_>) {
    let none = Counts::default();
    let counts = view.window.as_ref().map_or(&none, |it| &it.counts);
    let mut classes: Vec<_> = counts.failures().collect();
    classes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let all = counts.failed();
    out.raw("<section id=\"failures\" data-live><h2>Failures <small>")
        .raw(view.span_text())
        .raw("</small></h2>");
    if classes.is_empty() {
        out.raw("<p class=\"none\">None.</p>");
    }
    out.raw("<div class=\"two\">");
    for (class, count) in classes {
        out.raw("<article data-name=\"")
            .raw(class.name())
            .raw("\"><h3><span class=\"name\">")
            .raw(class.name())
            .raw("</span> <span class=\"count\">")
            .text(count)
            .raw("</span> <small>")
            .text(share(count, all))
            .raw(" of failures</small></h3><p>")
            .raw(explanation::summary(class))
            .raw("</p>");
        examples(out, view, class);
        out.raw("<details id=\"explain-")
            .raw(class.name())
            .raw("\"><summary>Causes and remedies of ")
            .raw(class.name())
            .raw("</summary>");
        markdown(out, explanation::section(class));
        out.raw("</details></article>");
    }
    out.raw("</div></section>");
}

fn examples(out: &mut Html, view: &View<'_>, class: FailureClass) {
    let query = RingQuery {
        class: Some(class),
        limit: EXAMPLES,
        ..RingQuery::default()
    };
    out.raw("<ul class=\"examples\">");
    let mut told = None;
    for report in view.state.telemetry.ring.query(&query) {
        out.raw("<li>");
        example(out, &report, &mut told);
        out.raw("</li>");
    }
    out.raw("</ul>");
}

/// One example; `told` is the remedy of the one before, which is not told again.
fn example(out: &mut Html, report: &HandshakeReport, told: &mut Option<String>) {
    let Outcome::Failed(failure) = &report.outcome else {
        return;
    };
    out.raw("<a href=\"/handshakes/").text(report.id).raw("\">");
    clock(out, report.time);
    out.raw("</a> ");
    if let Some(name) = &report.server_name {
        out.raw("<b>").text(name).raw("</b> ");
    }
    out.text(report.peer).raw(": ").text(&failure.diagnosis);
    let text = failure.remedy.text();
    if text != told.as_deref() {
        remedy(out, text);
        *told = text.map(ToOwned::to_owned);
    }
}

/// The change of the policy that is proven to help.
pub(super) fn remedy(out: &mut Html, text: Option<&str>) {
    if let Some(text) = text {
        out.raw("<div class=\"remedy\"><p>Would have succeeded with:</p><pre>")
            .text(text.trim_end())
            .raw("</pre></div>");
    }
}

/// The little Markdown of the documentation: paragraphs, bold and code.
fn markdown(out: &mut Html, text: &'static str) {
    for paragraph in text.split("\n\n").skip(1) {
        out.raw("<p>");
        for (index, piece) in paragraph.split('`').enumerate() {
            if index % 2 == 1 {
                out.raw("<code>").text(piece).raw("</code>");
                continue;
            }
            for (index, piece) in piece.split("**").enumerate() {
                match index % 2 {
                    1 => out.raw("<b>").text(piece).raw("</b>"),
                    _ => out.text(piece),
                };
            }
        }
        out.raw("</p>");
    }
}
