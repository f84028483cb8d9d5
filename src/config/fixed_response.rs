//! `respond` of a route: an answer that is always the same.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};

use super::diagnostic::Diagnostic;
use super::field_edits::{self, Way};
use super::reading::Unique;
use super::table::Table;
use super::value::Value;

/// A fixed response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedResponse {
    /// `status`, 200 to 599.
    pub status: StatusCode,
    /// `body`, default empty; always empty with 204, 205 and 304.
    pub body: Bytes,
    /// `headers`; with `Content-Type: text/plain; charset=utf-8` where there is a body and they
    /// say nothing else of it.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

/// The largest body: what is larger belongs on a server.
const BODY_LENGTH: usize = 64 << 10;

/// Reads the table `{ status, body, headers }` that `value`, at `respond` in `parent`, is.
pub(super) fn fixed_response(parent: &Table<'_>, value: Value<'_>) -> Option<FixedResponse> {
    let mut table = parent.inline("respond", value)?;
    let status = table
        .required("status", "404")
        .and_then(|value| value.integer(&(200..=599)))
        .and_then(|status| u16::try_from(status).ok())
        .and_then(|status| StatusCode::from_u16(status).ok());
    let body_value = table.value("body");
    let body = body_value
        .and_then(|value| value.text("a text"))
        .map_or("", |text| text.text);
    let mut fields =
        field_edits::fields(&mut table, "headers", Way::Response, &mut Unique::default());
    table.finish();
    let status = status?;
    if let Some(value) = body_value {
        // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
        if matches!(status.as_u16(), 204 | 205 | 304) && !body.is_empty() {
            let message = format!("a response with status {} has no body", status.as_u16());
            value.refuse(Diagnostic::new(message).help("leave `body` out"));
        }
        if body.len() > BODY_LENGTH {
            let message = "a body of more than 64 KiB cannot be given here";
            value.refuse(Diagnostic::new(message).help("serve it from an upstream"));
        }
    }
    if !body.is_empty() && fields.iter().all(|(name, _)| name != CONTENT_TYPE) {
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        fields.push((CONTENT_TYPE, text));
    }
    Some(FixedResponse {
        status,
        body: Bytes::copy_from_slice(body.as_bytes()),
        fields,
    })
}
