//! One handshake, message by message.

use std::time::Duration;

use super::super::moment;
use super::bar;
use super::failures::remedy;
use super::figures::{NONE, time};
use super::handshakes::phases;
use super::html::Html;
use crate::report::{HandshakeReport, Outcome, Walk};

pub(super) fn write(out: &mut Html, report: &HandshakeReport) {
    let walk = Walk::of(report);
    out.raw("<article class=\"walk\"><h2>Handshake ")
        .text(report.id)
        .raw("</h2><dl>");
    let text = |known: Option<&str>| known.unwrap_or(NONE).to_owned();
    for (name, value) in [
        ("time", moment::text(report.time)),
        ("listener", report.listener.to_string()),
        ("client", report.peer.to_string()),
        ("server name", text(report.server_name.as_deref())),
        ("TLS", text(report.version.map(|version| version.name()))),
        ("kind", text(report.kind.map(|kind| kind.name()))),
        ("cipher suite", text(report.cipher)),
        ("group", text(report.group)),
        ("ALPN", text(report.alpn)),
        ("certificate", text(report.certificate_type)),
        ("resumption", text(Some(report.resumption.name()))),
        ("False Start", text(Some(report.false_start.name()))),
        ("round trips", report.round_trips().to_string()),
        ("verdict", text(Some(report.verdict().name()))),
        ("JA4", text(report.ja4.as_deref())),
        ("total", time(report.total)),
    ] {
        out.raw("<div><dt>")
            .raw(name)
            .raw("</dt><dd>")
            .text(value)
            .raw("</dd></div>");
    }
    out.raw("</dl>");
    if let Outcome::Failed(failure) = &report.outcome {
        out.raw("<p class=\"wrong\"><b>")
            .raw(failure.class.name())
            .raw("</b> ")
            .text(&failure.diagnosis)
            .raw("</p>");
        remedy(out, failure.remedy.text());
    }
    let phases = phases(report);
    bar::write(out, &phases);
    bar::legend(out);
    out.raw("<h3>Messages</h3><ol class=\"messages\">");
    for step in &walk.walk {
        out.raw("<li class=\"").raw(step.direction);
        out.raw("\"><span class=\"n\">")
            .text(time(Duration::from_secs_f64(step.at_us.max(0.0) / 1e6)))
            .raw("</span><span class=\"name\">")
            .raw(match step.direction {
                "in" => "→ ",
                _ => "← ",
            })
            .raw(step.name)
            .raw(" <small>")
            .text(step.bytes)
            .raw(" bytes</small></span><p>")
            .text(&step.what)
            .raw("</p></li>");
    }
    out.raw("</ol><h3>Phases</h3><table aria-label=\"Phases\"><tbody>");
    for (phase, taken) in phases.iter().filter(|(_, taken)| !taken.is_zero()) {
        out.raw("<tr>")
            .cell(phase.name())
            .cell(bar::kind_text(phase.kind()));
        out.number(time(*taken)).raw("</tr>");
    }
    out.raw("</tbody></table><details><summary>JSON</summary><pre>");
    // A report is always JSON.
    out.text(serde_json::to_string_pretty(&walk).unwrap_or_default())
        .raw("</pre></details><p><a href=\"/api/handshakes/")
        .text(report.id)
        .raw("\">/api/handshakes/")
        .text(report.id)
        .raw("</a></p></article>");
}
