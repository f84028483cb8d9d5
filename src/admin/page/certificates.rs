//! Certificates and when they expire, the next one first.

use std::time::{Duration, UNIX_EPOCH};

use super::super::moment;
use super::html::Html;
use super::strip::days_left;
use super::view::View;

/// Days that make a certificate's end a warning.
const SOON: i64 = 21;

pub(super) fn write(out: &mut Html, view: &View<'_>) {
    let mut certificates = view.state.telemetry.metrics.certificates();
    certificates.sort_by_key(|(_, end)| *end);
    out.raw("<section id=\"certificates\" data-live><h2>Certificates</h2><div class=\"scroll\"><table aria-label=\"Certificates\"><thead><tr><th>certificate</th><th>expires</th><th class=\"n\">days left</th></tr></thead><tbody>");
    if certificates.is_empty() {
        out.raw("<tr><td class=\"none\" colspan=\"3\">none</td></tr>");
    }
    for (name, end) in certificates {
        let days = days_left(end);
        let expires = u64::try_from(end)
            .ok()
            .and_then(|end| UNIX_EPOCH.checked_add(Duration::from_secs(end)))
            .map(moment::text)
            .unwrap_or_default();
        out.raw("<tr>").cell(name).cell(expires);
        match days < SOON {
            true => out.raw("<td class=\"n bad\">").text(days).raw("</td>"),
            false => out.number(days),
        };
        out.raw("</tr>");
    }
    out.raw("</tbody></table></div></section></div>");
}
