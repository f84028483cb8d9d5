//! The fields of a message between its two hops: checked, stripped of what concerns one hop only,
//! and told whom it is forwarded for.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::connection_info::ConnectionInfo;
use super::field_set::{FieldSet, Known};
use super::forwarded::{self, Sender, Trust};
use super::trailers;
use crate::report::Peer;
use crate::upstream::MOST_CONTENT;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_HANDFAST_CONNECTION: HeaderName = HeaderName::from_static("x-handfast-connection");

const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Fields of one hop (RFC 9110 section 7.6.1). `TE` is treated apart.
const HOP_BY_HOP: [(Known, HeaderName); 6] = [
    (Known::Connection, CONNECTION),
    (Known::KeepAlive, KEEP_ALIVE),
    (Known::ProxyConnection, PROXY_CONNECTION),
    (Known::TransferEncoding, TRANSFER_ENCODING),
    (Known::Upgrade, UPGRADE),
    (Known::Http2Settings, HTTP2_SETTINGS),
];

/// A field that makes a request impossible to forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FieldError {
    /// Anything but exactly one `chunked` (RFC 9112 section 6.1).
    #[error("transfer-encoding other than chunked")]
    TransferEncoding,
    /// Anything but `100-continue` (RFC 9110 section 10.1.1).
    #[error("expectation other than 100-continue")]
    Expect,
    /// Not one number, or not what the message has, or more than [`MOST_CONTENT`].
    #[error("content-length does not fit")]
    ContentLength,
    /// In HTTP/2 a name that is no token (RFC 9110 section 5.6.2): what it means in HTTP/1.1 is
    /// anybody's guess.
    #[error("a field name that is no token")]
    Name,
    /// In HTTP/2 a value with blanks around it (RFC 9113 section 8.2.1).
    #[error("blanks around a field value")]
    Value,
    /// Not ASCII: which fields it names, and whether it says `close`, is read in two ways.
    #[error("connection that is no list of tokens")]
    Connection,
}

/// How long a request body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// There is none.
    None,
    /// As many bytes.
    Known(u64),
    /// Its end will show.
    Unknown,
}

/// Whether a client holds its body back until it is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expectation {
    /// It sends the body by itself, or there is none.
    None,
    /// `100-continue`
    Continue,
}

impl Expectation {
    /// What a request expects whose fields are checked. HTTP/1.0 knows no interim responses (RFC
    /// 9110 section 10.1.1).
    pub(super) fn of(version: Version, fields: FieldSet, body: BodyLength) -> Self {
        if version >= Version::HTTP_11 && body != BodyLength::None && fields.has(Known::Expect) {
            Self::Continue
        } else {
            Self::None
        }
    }
}

/// What upstreams are told about the client: the same for all requests of a connection.
#[derive(Debug)]
pub(super) struct ClientFields {
    /// The client's address.
    pub(super) forwarded_for: Option<HeaderValue>,
    /// `https` or `http`.
    pub(super) proto: HeaderValue,
}

impl ClientFields {
    /// The fields for one connection.
    pub(super) fn new(connection: &ConnectionInfo) -> Self {
        let text = |text: String| HeaderValue::from_str(&text).ok();
        Self {
            forwarded_for: match connection.peer {
                // A dual-stack socket shows IPv4 clients as mapped addresses.
                Peer::Tcp(peer) => text(peer.ip().to_canonical().to_string()),
                Peer::Unix => None,
            },
            proto: HeaderValue::from_static(if connection.secure { "https" } else { "http" }),
        }
    }
}

/// `Host` for HTTP/1.0 clients that send none (RFC 9112 section 3.3).
fn default_host(connection: &ConnectionInfo) -> HeaderValue {
    let text = match (&connection.server_name, connection.local) {
        (Some(name), _) => name.to_string(),
        (None, Some(local)) => local.to_string(),
        (None, None) => String::new(),
    };
    // Names and addresses hold nothing that a field may not.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// The size of all fields as HTTP/1.1 writes them: names, values, `: ` and line ends.
pub(super) fn size(fields: &HeaderMap) -> usize {
    fields
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum()
}

/// Checks the fields that decide where a request ends, before anything is forwarded. `fields` is
/// what `headers` has.
///
/// # Errors
/// See [`FieldError`].
pub(super) fn check_request(
    version: Version,
    headers: &HeaderMap,
    fields: FieldSet,
    body: BodyLength,
) -> Result<(), FieldError> {
    let all = |known, name| {
        let values = fields.has(known).then(|| headers.get_all(name).iter());
        values.into_iter().flatten()
    };
    if version == Version::HTTP_2 {
        for (name, value) in headers {
            // Of all that is no token only this comes through h2.
            if name.as_str().contains('"') {
                return Err(FieldError::Name);
            }
            let value = value.as_bytes();
            if value.len() != value.trim_ascii().len() {
                return Err(FieldError::Value);
            }
        }
    }
    if all(Known::Connection, CONNECTION).any(|value| !value.as_bytes().is_ascii()) {
        return Err(FieldError::Connection);
    }
    let mut codings = all(Known::TransferEncoding, TRANSFER_ENCODING);
    if let Some(coding) = codings.next()
        && (!coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some())
    {
        return Err(FieldError::TransferEncoding);
    }
    let mut expectations = all(Known::Expect, EXPECT);
    if version >= Version::HTTP_11
        && expectations.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(FieldError::Expect);
    }
    // hyper and h2 have checked this; what they hand over must agree with what is forwarded.
    let mut lengths = all(Known::ContentLength, CONTENT_LENGTH);
    if let Some(length) = lengths.next() {
        let length = length.to_str().ok().and_then(|text| text.parse().ok());
        let fits = match (body, length) {
            (BodyLength::None, Some(0)) => true,
            (BodyLength::Known(body), Some(length)) => body == length && length <= MOST_CONTENT,
            _ => false,
        };
        if !fits || lengths.next().is_some() {
            return Err(FieldError::ContentLength);
        }
    }
    Ok(())
}

/// Turns the fields of a client's request into those of the request to the upstream. `fields` is
/// what `headers` has.
pub(super) fn forward_request(
    headers: &mut HeaderMap,
    fields: FieldSet,
    method: &Method,
    body: BodyLength,
    expectation: Expectation,
    authority: Option<HeaderValue>,
    sender: &Sender<'_>,
) {
    let wants_trailers = fields.has(Known::Te) && wants_trailers(headers);
    // Before ours are set, so that `Connection` can never take one of ours away.
    remove_hop_by_hop(headers, fields);
    for (known, name) in [(Known::Te, TE), (Known::Expect, EXPECT)] {
        if fields.has(known) {
            headers.remove(name);
        }
    }
    remove_claims(headers, sender.trust);
    if fields.has(Known::Cookie) {
        join_cookies(headers);
    }
    if fields.has(Known::Trailer) {
        match body {
            BodyLength::Unknown => trailers::filter_announced(headers),
            BodyLength::None | BodyLength::Known(_) => drop(headers.remove(TRAILER)),
        }
    }
    if expectation == Expectation::Continue {
        headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
    }
    if wants_trailers {
        headers.insert(TE, TRAILERS);
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    match body {
        // hyper sends no body with GET and HEAD unless it is told to.
        BodyLength::Unknown => {
            headers.remove(CONTENT_LENGTH);
            headers.insert(TRANSFER_ENCODING, CHUNKED);
        }
        BodyLength::Known(length) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        BodyLength::None => {
            if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
                headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
        }
    }
    forwarded::set(headers, sender, authority.as_ref());
    if sender.settings.connection_id
        && let Ok(id) = HeaderValue::from_str(&sender.connection.id.to_string())
    {
        headers.insert(X_HANDFAST_CONNECTION, id);
    }
    headers.insert(
        HOST,
        authority.unwrap_or_else(|| default_host(sender.connection)),
    );
}

/// Turns the fields of an upstream's response into those of the response to the client.
pub(super) fn forward_response(headers: &mut HeaderMap) {
    let fields = FieldSet::of(headers);
    remove_hop_by_hop(headers, fields);
    if fields.has(Known::Te) {
        headers.remove(TE);
    }
    if fields.has(Known::Trailer) {
        trailers::filter_announced(headers);
    }
}

/// The protocol's way to say that the client's connection ends with this response.
pub(super) fn close_connection(version: Version, headers: &mut HeaderMap) {
    if version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Whether `TE` asks for trailers.
fn wants_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .flat_map(elements)
        .any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// What is between the commas of a list (RFC 9110 section 5.6.1). By the byte: one that is not ASCII
/// spoils its own element alone.
fn elements(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let elements = value.as_bytes().split(|&byte| byte == b',');
    elements.map(<[u8]>::trim_ascii)
}

fn remove_hop_by_hop(headers: &mut HeaderMap, fields: FieldSet) {
    if fields.has(Known::Connection) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(elements)
            // Options, and no fields; `Keep-Alive` goes anyway.
            .filter(|name| {
                ![&b"close"[..], b"keep-alive"]
                    .iter()
                    .any(|option| name.eq_ignore_ascii_case(option))
            })
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            // These belong to the message, whatever `Connection` says of them; nor may a client
            // take away what a trusted proxy says of it.
            .filter(|name| name != HOST && name != CONTENT_LENGTH && !is_claim(name.as_str()))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for (known, name) in &HOP_BY_HOP {
        if fields.has(*known) {
            headers.remove(name);
        }
    }
}

/// Removes what only we may say about the client, also where it is spelt with underscores, which
/// many applications read as the same name.
fn remove_claims(headers: &mut HeaderMap, trust: Trust) {
    let claims: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_claim(name.as_str()) && !trust.lets_pass(name.as_str()))
        .cloned()
        .collect();
    for name in claims {
        headers.remove(name);
    }
}

/// Whether only we may send the field `name` (in lower case).
pub(super) fn is_claim(name: &str) -> bool {
    if name.contains('_') {
        let name = name.replace('_', "-");
        return is_claim(&name) || name == "content-length" || name == "transfer-encoding";
    }
    // RFC 9440 section 2 for the last two; `x-client-cert` is an older custom.
    ["x-forwarded-", "x-handfast-", "x-tls-"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || ["x-client-cert", "client-cert", "client-cert-chain"].contains(&name)
        || name == FORWARDED
}

/// HTTP/2 clients may send cookies one by one; HTTP/1.1 wants one field (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs = headers.get_all(COOKIE);
    if crumbs.iter().nth(1).is_none() {
        return;
    }
    let joined = crumbs
        .iter()
        .map(HeaderValue::as_bytes)
        .collect::<Vec<_>>()
        .join(&b"; "[..]);
    // Joining what was valid is valid.
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, joined);
    }
}
