//! `[[routes]]`: which requests go where.

use super::certificates::host_pattern;
use super::defaults;
use super::diagnostic::Diagnostic;
use super::model::{PathPattern, Route, RouteAction};
use super::reading::Unique;
use super::table::Table;
use super::upstreams::Upstreams;
use super::value::{Text, Value};
use super::wording::quoted;
use crate::host::HostPattern;

/// Keys of routes that are planned.
const LATER: &[&str] = &[
    "request_headers",
    "response_headers",
    "strip_prefix",
    "replace_prefix",
    "timeouts",
    "request_body",
    "respond",
    "redirect",
];

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
    // A route of a planned kind lacks no upstream; its key is reported.
    let upstream = match table.has("redirect") || table.has("respond") {
        true => table.value("upstream"),
        false => table.required("upstream", "\"http://127.0.0.1:3000\""),
    };
    let upstream = upstream
        .and_then(|value| value.text("the name of an upstream or a URL"))
        .and_then(|text| upstreams.resolve(&text));
    table.later(LATER);
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
        let line = reading.line(first);
        reading
            .refuse(Diagnostic::at(location, message).help(format!("the first is in line {line}")));
    }
    Some(Route {
        name: name.into(),
        host,
        path,
        action: RouteAction::Upstream(upstream?),
        location,
    })
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

/// Paths of requests are compared after normalisation, so one that normalisation would change
/// matches nothing.
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
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return refuse("it has a dot segment", None);
    }
    Some(())
}
