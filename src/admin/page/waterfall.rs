//! The waterfall: the mean handshake near the median and near the slow ends.

use std::time::Duration;

use super::bar;
use super::figures::{NONE, noun, time};
use super::html::Html;
use super::view::View;
use crate::report::Phase;
use crate::telemetry::{Composition, HandshakeForm};

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

pub(super) fn write(out: &mut Html, view: &View<'_>) {
    let compositions = view.state.telemetry.compositions();
    out.raw(
        "<section id=\"waterfall\" data-live><h2>Where the time goes <small>mean of the \
         handshakes near each percentile, 15 min</small></h2><div class=\"three\">",
    );
    let mut columns: Vec<(String, Composition)> = Vec::new();
    for form in HandshakeForm::ALL {
        let handshakes = compositions.handshakes(form);
        out.raw("<div><h3>")
            .raw(title(form))
            .raw(" <small>")
            .text(handshakes)
            .raw(" ")
            .raw(noun(handshakes, "handshake", "handshakes"))
            .raw("</small></h3>");
        if handshakes == 0 {
            out.raw("<p class=\"none\">none</p>");
        }
        for (name, quantile) in QUANTILES {
            let Some(near) = compositions.near(form, quantile) else {
                continue;
            };
            out.raw("<div class=\"fall\"><span class=\"label\">")
                .raw(name)
                .raw("</span>");
            let phases: Vec<_> = Phase::ALL.into_iter().zip(near.phases).collect();
            bar::write(out, &phases);
            out.raw("<span class=\"n\">")
                .text(time(near.total()))
                .raw("</span></div>");
            columns.push((format!("{} {name}", form.name()), near));
        }
        out.raw("</div>");
    }
    out.raw("</div>");
    bar::legend(out);
    if !columns.is_empty() {
        figures(out, &columns);
    }
    out.raw("</section>");
}

/// The same as a table.
fn figures(out: &mut Html, columns: &[(String, Composition)]) {
    out.raw("<details id=\"waterfall-figures\"><summary>Figures</summary><div class=\"scroll\"><table aria-label=\"Phases near each percentile\"><thead><tr><th>phase</th>");
    for (name, _) in columns {
        out.raw("<th class=\"n\">").text(name).raw("</th>");
    }
    out.raw("</tr></thead><tbody>");
    for phase in Phase::ALL {
        let of = |near: &Composition| near.phases[phase as usize];
        if columns.iter().all(|(_, near)| of(near).is_zero()) {
            continue;
        }
        out.raw("<tr><th scope=\"row\">")
            .raw(phase.name())
            .raw("</th>");
        for (_, near) in columns {
            match of(near) {
                Duration::ZERO => out.number(NONE),
                taken => out.number(time(taken)),
            };
        }
        out.raw("</tr>");
    }
    out.raw("<tr><th scope=\"row\">total</th>");
    for (_, near) in columns {
        out.number(time(near.total()));
    }
    out.raw("</tr><tr><th scope=\"row\">mean of handshakes</th>");
    for (_, near) in columns {
        out.number(near.handshakes);
    }
    out.raw("</tr><tr><th scope=\"row\">with totals up to</th>");
    for (_, near) in columns {
        out.number(near.up_to.map_or_else(|| "…".to_owned(), time));
    }
    out.raw("</tr></tbody></table></div></details>");
}

const fn title(form: HandshakeForm) -> &'static str {
    match form {
        HandshakeForm::Full => "Full",
        HandshakeForm::Resumed => "Resumed",
        HandshakeForm::Retry => "With a retry",
    }
}
