//! `redirect` of routes and listeners: where a client is sent instead of being served.

use std::sync::Arc;

use http::StatusCode;

use super::addresses;
use super::defaults;
use super::diagnostic::Diagnostic;
use super::table::Table;
use super::value::Value;

/// A redirect. The path and query of the request are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `to`
    pub to: RedirectTarget,
    /// `status`, default 308; one of 301, 302, 303, 307, 308 (RFC 9110 section 15.4).
    pub status: StatusCode,
}

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectTarget {
    /// `"https"`: the host that was asked for, over TLS, at `public_port`, default 443.
    Https {
        /// The port that clients see.
        port: u16,
    },
    /// `"https://example.com"`: this origin.
    Origin(Arc<str>),
}

const STATUSES: [StatusCode; 5] = [
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::SEE_OTHER,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
];

/// Reads the table `{ to, public_port, status }` that `value`, at `redirect` in `parent`, is.
pub(super) fn redirect(parent: &Table<'_>, value: Value<'_>) -> Option<Redirect> {
    let mut table = parent.inline("redirect", value)?;
    let to = table
        .required("to", "\"https\"")
        .and_then(|value| value.text("\"https\" or an origin such as \"https://example.com\""));
    let port_value = table.value("public_port");
    let port = port_value.and_then(|value| value.integer(&(1..=65_535)));
    let port = port.and_then(|port| u16::try_from(port).ok());
    let status = table.value("status").map_or_else(
        || Some(StatusCode::PERMANENT_REDIRECT),
        |value| {
            let status = value.integer(&(100..=599))?;
            let found = STATUSES
                .into_iter()
                .find(|it| u64::from(it.as_u16()) == status);
            if found.is_none() {
                let message = format!("{status} is no status of a redirect");
                let help = "possible: 301, 302, 303, 307, 308";
                value.refuse(Diagnostic::new(message).help(help));
            }
            found
        },
    );
    table.finish();
    let to = to?;
    let to = match to.text {
        "https" => RedirectTarget::Https {
            port: port.unwrap_or(defaults::HTTPS_PORT),
        },
        _ => {
            let origin = to.read(addresses::origin)?;
            if let Some(value) = port_value {
                let message = "`public_port` goes with to = \"https\" only";
                let help = "write the port into `to`";
                value.refuse(Diagnostic::new(message).help(help));
            }
            RedirectTarget::Origin(origin.into())
        }
    };
    Some(Redirect {
        to,
        status: status?,
    })
}
