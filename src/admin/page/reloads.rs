//! The last reloads and what was wrong with those that failed.

use super::super::reload_report::{ReloadCause, ReloadDiagnostic, ReloadResult};
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
            ReloadResult::Partial => out.raw("<span class=\"bad\">in part</span>"),
            ReloadResult::Failed => out.raw("<span class=\"bad\">failed</span>"),
            ReloadResult::Guarded => out.raw("<span class=\"bad\">refused</span>"),
        };
        out.raw(", generation ").text(reload.generation);
        if reload.cause == ReloadCause::Watch {
            out.raw(", because a file changed");
        }
        if let Some(error) = &reload.error {
            out.raw(": ").text(error);
        }
        for kept in &reload.kept {
            out.raw(": the certificate ").text(&kept.certificate);
            out.raw(" is still the one before");
        }
        let kept = reload.kept.iter().flat_map(|kept| &kept.diagnostics);
        for diagnostic in reload.diagnostics.iter().chain(kept) {
            write_diagnostic(out, diagnostic);
        }
        for failure in reload.broken.iter().flat_map(|broken| &broken.failures) {
            out.raw("<pre>").text(failure.handshakes).raw(" to ");
            out.text(&failure.server_name).raw(" from ");
            out.text(&failure.ja4).raw(": ");
            out.text(&failure.diagnosis).raw("</pre>");
        }
        out.raw("</li>");
    }
    out.raw("</ul></section></div>");
}

fn write_diagnostic(out: &mut Html, diagnostic: &ReloadDiagnostic) {
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
