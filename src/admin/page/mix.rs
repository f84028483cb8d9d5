//! What was negotiated.

use std::collections::BTreeMap;

use super::figures::share;
use super::html::Html;
use super::view::View;

pub(super) fn write(out: &mut Html, view: &View<'_>) {
    let mix = view.state.telemetry.metrics.mix();
    out.raw("<section id=\"mix\" data-live><h2>Mix <small>complete handshakes since the start</small></h2><div class=\"five\">");
    for (title, counts) in [
        ("Version", &mix.versions),
        ("Cipher suite", &mix.ciphers),
        ("Group", &mix.groups),
        ("ALPN", &mix.alpn),
        ("Certificate", &mix.certificates),
    ] {
        table(out, title, counts);
    }
    out.raw("</div></section>");
}

fn table(out: &mut Html, title: &'static str, counts: &BTreeMap<&'static str, u64>) {
    let all: u64 = counts.values().sum();
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    out.raw("<table aria-label=\"")
        .raw(title)
        .raw("\"><thead><tr><th>")
        .raw(title)
        .raw("</th><th class=\"n\">count</th><th class=\"n\">share</th></tr></thead><tbody>");
    for (name, count) in sorted {
        out.raw("<tr>").cell(name).number(count);
        out.number(share(*count, all)).raw("</tr>");
    }
    if all == 0 {
        out.raw("<tr><td class=\"none\" colspan=\"3\">none</td></tr>");
    }
    out.raw("</tbody></table>");
}
