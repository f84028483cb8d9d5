//! `[[routes]]`: which requests go where.

use std::sync::Arc;

use super::bounds;
use super::certificates::host_pattern;
use super::defaults;
use super::diagnostic::Diagnostic;
use super::field_edits::{Way, field_edits};
use super::fixed_response::fixed_response;
use super::reading::Unique;
use super::redirect::redirect;
use super::route::{BodyLimit, PathPattern, PrefixRewrite, RequestRules, Route, RouteAction};
use super::table::Table;
use super::upstream::UpstreamTimeouts;
use super::upstreams::{self, Upstreams};
use super::value::{Text, Value};
use super::wording::quoted;
use crate::host::HostPattern;
use crate::path::{comparable, has_dot_segment};

const A_PATH: &str = "a path such as \"/api/\", or \"=/exact\" for one path alone";

/// The longest path of a route.
const PATH_LENGTH: usize = 1024;

/// Reads `[[routes]]`; at least one is required.
pub(super) fn routes(root: &mut Table<'_>, upstreams: &mut Upstreams) -> Vec<Route> {
    let given = root.value("routes").is_some();
    let tables = root.tables("routes");
    if tables.is_empty() && !given {
        let diagnostic = Diagnostic::at(root.location, "at least one route is required");
        root.reading
            .absent(diagnostic.help("add [[routes]] with upstream = \"http://127.0.0.1:3000\""));
    }
    let mut seen = Unique::default();
    tables
        .into_iter()
        .filter_map(|table| route(table, upstreams, &mut seen))
        .collect()
}

fn route(mut table: Table<'_>, upstreams: &mut Upstreams, seen: &mut Unique) -> Option<Route> {
    let host_value = table.value("host");
    let host = host_value.map(host);
    let path_value = table.value("path");
    let path = match path_value {
        Some(value) => path(value),
        None => Some(PathPattern::Prefix(defaults::PATH.into())),
    };
    let action = action(&mut table, upstreams);
    let request = request_rules(&mut table, path.as_ref(), action.as_ref(), upstreams);
    let response_fields = field_edits(&mut table, "response_headers", Way::Response);
    let (location, reading) = (table.location, table.reading);
    table.finish();

    // A host that was refused makes the route unknown, not one for any host.
    let host = match host {
        Some(None) => return None,
        given => given.flatten(),
    };
    let path = path?;
    let name = name(host.as_ref(), &path);
    if let Some(first) = seen.insert(name.clone(), location) {
        let message = format!("another route has the host and path {}", quoted(&name));
        let place = path_value.or(host_value);
        let location = place.map_or(location, |value| value.location);
        let help = format!("the first is in {}", reading.place(first, location));
        reading.refuse(Diagnostic::at(location, message).help(help));
    }
    Some(Route {
        name: name.into(),
        host,
        path,
        action: action?,
        request,
        response_fields,
        location,
    })
}

/// What a route does: exactly one of three keys.
fn action(table: &mut Table<'_>, upstreams: &mut Upstreams) -> Option<RouteAction> {
    let given = ["upstream", "redirect", "respond"].map(|key| (key, table.value(key)));
    let mut found = given
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    let Some((key, value)) = found.next() else {
        let _ = table.required("upstream", "\"http://127.0.0.1:3000\"");
        return None;
    };
    for (other, value) in found {
        let message = format!("`{key}` and `{other}` exclude each other");
        let help = "a route does one thing: `upstream`, `redirect` or `respond`";
        value.refuse(Diagnostic::new(message).help(help));
    }
    match key {
        "upstream" => value
            .text("the name of an upstream or a URL")
            .and_then(|text| upstreams.resolve(&text))
            .map(RouteAction::Upstream),
        "redirect" => redirect(table, value).map(RouteAction::Redirect),
        _ => fixed_response(table, value).map(RouteAction::Respond),
    }
}

/// What is changed of requests; all of it is refused where none is forwarded.
fn request_rules(
    table: &mut Table<'_>,
    path: Option<&PathPattern>,
    action: Option<&RouteAction>,
    upstreams: &Upstreams,
) -> RequestRules {
    if let Some(RouteAction::Redirect(_) | RouteAction::Respond(_)) = action {
        for key in [
            "request_headers",
            "strip_prefix",
            "replace_prefix",
            "timeouts",
            "request_body",
        ] {
            if let Some(value) = table.value(key) {
                let message = format!("`{key}` has no effect on a route that forwards nothing");
                value.refuse(Diagnostic::new(message).help("leave it out"));
            }
        }
        return RequestRules::default();
    }
    RequestRules {
        fields: field_edits(table, "request_headers", Way::Request),
        path: prefix_rewrite(table, path),
        timeouts: timeouts(table, action, upstreams),
        body: table.value("request_body").map_or(BodyLimit::Global, |it| {
            bounds::request_body(it).map_or(BodyLimit::Unlimited, BodyLimit::Bytes)
        }),
    }
}

/// `strip_prefix` and `replace_prefix`.
fn prefix_rewrite(table: &mut Table<'_>, path: Option<&PathPattern>) -> Option<PrefixRewrite> {
    let strip_value = table.value("strip_prefix");
    let replace_value = table.value("replace_prefix");
    let strip = strip_value.and_then(|value| value.boolean()) == Some(true);
    let put: Arc<str> = match (strip_value.filter(|_| strip), replace_value) {
        (None, None) => return None,
        (Some(_), Some(value)) => {
            let message = "`strip_prefix` and `replace_prefix` exclude each other";
            value.refuse(Diagnostic::new(message));
            return None;
        }
        (Some(value), None) => {
            match path {
                Some(PathPattern::Exact(_)) => {
                    let message = "an exact path has no prefix to strip";
                    let help = "write replace_prefix = \"/\"";
                    value.refuse(Diagnostic::new(message).help(help));
                }
                Some(PathPattern::Prefix(prefix)) if **prefix == *defaults::PATH => {
                    let message = "the path \"/\" has no prefix to strip";
                    value.refuse(Diagnostic::new(message).help("give the route a `path`"));
                }
                _ => {}
            }
            "/".into()
        }
        (None, Some(value)) => {
            let text = value.text("a path such as \"/v2/\"")?;
            check_path(&text, text.text)?;
            text.text.into()
        }
    };
    let cut = match path? {
        PathPattern::Exact(path) => path.len(),
        PathPattern::Prefix(prefix) => prefix.strip_suffix('/').unwrap_or(prefix).len(),
    };
    Some(PrefixRewrite { cut, put })
}

/// `timeouts`: those of the upstream where they are not given.
fn timeouts(
    table: &mut Table<'_>,
    action: Option<&RouteAction>,
    upstreams: &Upstreams,
) -> Option<UpstreamTimeouts> {
    let default = match action {
        Some(RouteAction::Upstream(id)) => upstreams.list[id.0].timeouts.clone(),
        _ => defaults::UPSTREAM_TIMEOUTS,
    };
    let given = table.has("timeouts");
    let timeouts = upstreams::timeouts(table.table("timeouts"), &default);
    given.then_some(timeouts)
}

fn name(host: Option<&HostPattern>, path: &PathPattern) -> String {
    let host = host.map_or_else(|| "*".to_owned(), HostPattern::to_string);
    match path {
        PathPattern::Prefix(path) => format!("{host}{path}"),
        PathPattern::Exact(path) => format!("{host}={path}"),
    }
}

fn host(value: Value<'_>) -> Option<HostPattern> {
    let text = value.text("a host such as \"example.com\"")?;
    if text.text == "*" {
        let help = "leave `host` out for any host";
        text.refuse(Diagnostic::new("`*` is no host name").help(help));
        return None;
    }
    text.read(host_pattern)
}

fn path(value: Value<'_>) -> Option<PathPattern> {
    let text = value.text(A_PATH)?;
    let (path, exact) = match text.text.strip_prefix('=') {
        Some(path) => (path, true),
        None => (text.text, false),
    };
    check_path(&text, path)?;
    Some(match exact {
        true => PathPattern::Exact(path.into()),
        false => PathPattern::Prefix(path.into()),
    })
}

/// Paths of requests are compared in one spelling ([`comparable`]), so one in another would match
/// nothing.
fn check_path(text: &Text<'_>, path: &str) -> Option<()> {
    let refuse = |reason: &str, help: Option<String>| {
        let message = format!("{} is no path of a route: {reason}", quoted(text.text));
        let mut diagnostic = Diagnostic::new(message);
        diagnostic.help = help;
        text.refuse(diagnostic);
        None
    };
    if path.len() > PATH_LENGTH {
        return refuse(&format!("it is longer than {PATH_LENGTH} bytes"), None);
    }
    if !path.starts_with('/') {
        let exact = if text.text.starts_with('=') { "=" } else { "" };
        let help = format!("write \"{exact}/{path}\"");
        return refuse("it does not begin with a slash", Some(help));
    }
    if path.contains('*') {
        let help = "a path matches as a prefix, without a star".to_owned();
        return refuse("it has a star", Some(help));
    }
    if path.contains(['?', '#']) {
        return refuse("a query or fragment is not part of a path", None);
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        let help = "write other characters as %-escapes of their UTF-8 bytes".to_owned();
        return refuse("it has a space or a character outside ASCII", Some(help));
    }
    if has_dot_segment(path) {
        return refuse("it has a dot segment", None);
    }
    let compared = comparable(path);
    if compared != path {
        let exact = if text.text.starts_with('=') { "=" } else { "" };
        let help =
            format!("requests are compared in another spelling: write \"{exact}{compared}\"");
        return refuse("no request has it", Some(help));
    }
    Some(())
}
