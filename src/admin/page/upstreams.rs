//! Upstreams: what they take and how fast they answer, and how each of their servers is.

use super::figures::time_or_none;
use super::html::Html;
use super::view::View;
use crate::telemetry::UpstreamTotals;

pub(super) fn write(out: &mut Html, view: &View<'_>) {
    out.raw("<div class=\"two\"><section id=\"upstreams\" data-live><h2>Upstreams <small>since the start</small></h2><div class=\"scroll\"><table aria-label=\"Upstreams\"><thead><tr><th>upstream</th><th>health</th><th class=\"n\">connections</th><th class=\"n\">requests</th><th class=\"n\">first byte</th><th class=\"n\">connect</th><th>failures</th></tr></thead><tbody>");
    for (name, totals) in view.state.telemetry.metrics.upstreams() {
        out.raw("<tr>").cell(name).cell(health(&totals));
        out.number(totals.connections_open)
            .number(totals.requests)
            .number(time_or_none(totals.first_byte))
            .number(time_or_none(totals.connect));
        let failures: Vec<_> = totals
            .failures
            .iter()
            .map(|(failure, count)| format!("{count} {}", failure.name()))
            .collect();
        out.cell(failures.join(", ")).raw("</tr>");
    }
    out.raw("</tbody></table></div><div class=\"scroll\"><table aria-label=\"Servers of upstreams\"><thead><tr><th>upstream</th><th>server</th><th>state</th><th class=\"n\">in flight</th><th class=\"n\">first byte</th></tr></thead><tbody>");
    for (name, cluster) in view.state.snapshots.load().upstreams() {
        for server in cluster.status() {
            out.raw("<tr>").cell(name).cell(&server.address);
            out.cell(server.state.name())
                .number(server.in_flight)
                .number(time_or_none(server.first_byte))
                .raw("</tr>");
        }
    }
    out.raw("</tbody></table></div></section>");
}

/// What is known of an upstream's health, in words: the one place that says so.
fn health(totals: &UpstreamTotals) -> String {
    let failed: u64 = totals.failures.iter().map(|(_, count)| count).sum();
    let words = match (totals.requests, failed) {
        (0, 0) => "not asked yet".to_owned(),
        (_, 0) => "no failure".to_owned(),
        (_, failed) => format!("{failed} failed"),
    };
    match totals.servers.saturating_sub(totals.healthy) {
        0 => words,
        out => format!("{out} of {} out, {words}", totals.servers),
    }
}
