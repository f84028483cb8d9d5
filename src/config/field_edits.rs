//! `request_headers` and `response_headers` of a route: fields that are removed, set and added.
//!
//! What decides where a message ends, what concerns one hop only and what only we may say about a
//! client is refused here, so that an edit can never make a message ambiguous.

use http::{HeaderName, HeaderValue};

use super::diagnostic::Diagnostic;
use super::reading::Unique;
use super::table::Table;
use super::value::{Text, Value};
use super::wording::quoted;

/// Changes to the fields of a message, in this order. No field is in two of the lists, and none
/// twice in one.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FieldEdits {
    /// `remove`: fields that are taken out.
    pub remove: Vec<HeaderName>,
    /// `set`: fields that replace what there is of their name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// `add`: fields beside what there is of their name.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl FieldEdits {
    /// Whether nothing is changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// Which way a message goes: each has fields of its own that are not to be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Request,
    Response,
}

/// The longest name and value, in bytes, and the most fields of one table: what is sent with
/// every message.
const NAME_LENGTH: usize = 128;
const VALUE_LENGTH: usize = 4096;
const FIELDS: usize = 64;

/// Fields of one hop (RFC 9110 section 7.6.1), and those that frame a message (RFC 9112 section 6).
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What `forwarding.headers` decides over.
const FORWARDED: &[&str] = &[
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Reads the table `{ set, add, remove }` at `key`.
pub(super) fn field_edits(table: &mut Table<'_>, key: &'static str, way: Way) -> FieldEdits {
    let mut given = table.table(key);
    let mut seen = Unique::default();
    let remove = given
        .value("remove")
        .and_then(|value| value.list("a list such as [\"Cookie\"]"))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|element| {
            let text = element.text("the name of a field")?;
            name(text.text, element, way, &mut seen)
        })
        .collect();
    let edits = FieldEdits {
        remove,
        set: fields(&mut given, "set", way, &mut seen),
        add: fields(&mut given, "add", way, &mut seen),
    };
    if edits.remove.len() + edits.set.len() + edits.add.len() > FIELDS {
        let message = format!("{} has more than {FIELDS} fields", given.name());
        given
            .reading
            .refuse(Diagnostic::at(given.location, message));
    }
    given.finish();
    edits
}

/// Reads the table of names and values at `key`.
pub(super) fn fields(
    table: &mut Table<'_>,
    key: &'static str,
    way: Way,
    seen: &mut Unique,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut found = Vec::new();
    for (text, location, value) in table.named_values(key) {
        let place = Value { location, ..value };
        let name = name(text, place, way, seen);
        let value = value
            .text("the value of a field")
            .and_then(|text| field_value(&text));
        found.extend(name.zip(value));
    }
    found
}

/// The field called `text`, which stands at `place`.
fn name(text: &str, place: Value<'_>, way: Way, seen: &mut Unique) -> Option<HeaderName> {
    let refuse = |reason: &str, help: Option<&str>| {
        let message = format!("the field {} cannot be changed: {reason}", quoted(text));
        let mut diagnostic = Diagnostic::new(message);
        diagnostic.help = help.map(Into::into);
        place.refuse(diagnostic);
        None
    };
    let name = match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) if text.len() <= NAME_LENGTH => name,
        _ => {
            let message = format!(
                "{} is no name of a field: it has 1 to {NAME_LENGTH} letters, digits and hyphens",
                quoted(text)
            );
            place.refuse(Diagnostic::new(message));
            return None;
        }
    };
    // Many applications read both spellings as one name.
    let folded = name.as_str().replace('_', "-");
    let folded = folded.as_str();
    if FRAMING.contains(&folded) {
        return refuse("it belongs to the connection, not to the message", None);
    }
    if way == Way::Request {
        if folded == "host" {
            return refuse("the upstream sees the host that the client asked for", None);
        }
        if folded == "expect" {
            return refuse("it is answered on the way", None);
        }
        if FORWARDED.contains(&folded) {
            return refuse("it tells of the client", Some("see `forwarding.headers`"));
        }
        let own = ["x-tls-", "x-handfast-"];
        let own = own.iter().any(|prefix| folded.starts_with(prefix));
        if own || ["client-cert", "client-cert-chain", "x-client-cert"].contains(&folded) {
            let help = Some("see `forwarding.tls_headers`");
            return refuse("it tells of the client's connection", help);
        }
    }
    if let Some(first) = seen.insert(name.as_str(), place.location) {
        let message = format!("the field {} is given twice", quoted(text));
        let help = format!(
            "the first is in {}",
            place.reading.place(first, place.location)
        );
        place.refuse(Diagnostic::new(message).help(help));
        return None;
    }
    Some(name)
}

/// RFC 9110 section 5.5, without bytes beyond ASCII. Nothing in a value is special.
fn field_value(text: &Text<'_>) -> Option<HeaderValue> {
    let refuse = |reason: &str| {
        let message = format!("{} is no value of a field: {reason}", quoted(text.text));
        text.refuse(Diagnostic::new(message));
        None
    };
    if text.text.len() > VALUE_LENGTH {
        return refuse(&format!("it is longer than {VALUE_LENGTH} bytes"));
    }
    if text.text.trim() != text.text {
        return refuse("it begins or ends with a blank");
    }
    match HeaderValue::from_str(text.text) {
        Ok(value) if text.text.is_ascii() => Some(value),
        _ => refuse("it has a control character or one outside ASCII"),
    }
}
