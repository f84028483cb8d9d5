//! Handshakes by configured server name.

use std::collections::BTreeMap;

use super::figures::share;
use super::html::Html;
use super::view::View;
use crate::report::ServerNameLabel;

pub(super) fn write(out: &mut Html, view: &View<'_>) {
    out.raw("<div class=\"two\"><section id=\"names\" data-live><h2>Server names <small>since the start</small></h2><div class=\"scroll\"><table aria-label=\"Server names\"><thead><tr><th>name</th><th class=\"n\">full</th><th class=\"n\">resumed</th><th class=\"n\">resumed %</th><th class=\"n\">failed</th></tr></thead><tbody>");
    let mut names: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    for (listener, _) in view.state.status.listeners().iter() {
        let listener = view.state.telemetry.metrics.listener(listener);
        for it in listener.server_names() {
            let name = match &it.name {
                ServerNameLabel::Configured(name) => name.to_string(),
                ServerNameLabel::Other => "(not configured)".to_owned(),
                ServerNameLabel::None => "(no name sent)".to_owned(),
            };
            let sums = names.entry(name).or_default();
            for (sum, count) in sums.iter_mut().zip([it.full, it.resumed, it.failed]) {
                *sum += count;
            }
        }
    }
    names.retain(|_, counts| counts.iter().any(|count| *count > 0));
    if names.is_empty() {
        out.raw("<tr><td class=\"none\" colspan=\"5\">none</td></tr>");
    }
    for (name, [full, resumed, failed]) in names {
        out.raw("<tr>").cell(name).number(full).number(resumed);
        out.number(share(resumed, full + resumed))
            .number(failed)
            .raw("</tr>");
    }
    out.raw("</tbody></table></div></section>");
}
