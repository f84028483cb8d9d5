//! The last reloads and what was wrong with those that failed.

use super::super::reload_report::ReloadResult;
use super::html::Html;
use super::view::View;

pub(super) fn write(out: &mut Html, view: &View<'_>) {
    let reloads = view.state.status.reloads();
    out.raw("<section id=\"reloads\" data-live><h2>Reloads</h2>");
    if reloads.is_empty() {
        out.raw("<p class=\"none\">None since the start.</p>");
    }
    out.raw("<ul class=\"reloads\">");
    for reload in reloads.iter().rev() {
        out.raw("<li><time>").text(&reload.time).raw("</time> ");
        match reload.result {
            ReloadResult::Ok => out.raw("ok"),
            ReloadResult::Failed => out.raw("<span class=\"bad\">failed</span>"),
        };
        out.raw(", generation ").text(reload.generation);
        if let Some(error) = &reload.error {
            out.raw(": ").text(error);
        }
        for diagnostic in &reload.diagnostics {
            out.raw("<pre>");
            if let Some(file) = &diagnostic.file {
                out.text(file.display());
                if let (Some(line), Some(column)) = (diagnostic.line, diagnostic.column) {
                    out.text(format_args!(":{line}:{column}"));
                }
                out.raw(": ");
            }
            out.text(&diagnostic.message).raw("</pre>");
        }
        out.raw("</li>");
    }
    out.raw("</ul></section></div>");
}
