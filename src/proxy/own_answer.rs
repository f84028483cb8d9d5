//! Answers that the configuration gives instead of an upstream: redirects and fixed responses.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, Response, StatusCode};

use super::authority::{Target, TargetError};
use super::connection_info::ConnectionInfo;
use super::error::ProxyError;
use crate::config::{FixedResponse, Redirect, RedirectTarget};

/// The answer that sends the client elsewhere, with the path and query that it asked for.
///
/// # Errors
/// The client would be sent to where it is: it asked over TLS already, and the port is the same.
/// An HTTP/1.0 request without a host can only be sent to a host that the redirect names.
pub(super) fn redirect(
    redirect: &Redirect,
    target: &Target,
    method: &Method,
    connection: &ConnectionInfo,
) -> Result<Response<Bytes>, ProxyError> {
    let path = match target.uri.path_and_query() {
        Some(path) if path.as_str() != "*" => path.as_str(),
        _ => "/",
    };
    let location = match &redirect.to {
        RedirectTarget::Origin(origin) => {
            if is_own(origin, target, connection) {
                return Err(ProxyError::RedirectLoop);
            }
            format!("{origin}{path}")
        }
        RedirectTarget::Https { port } => {
            if target.host.is_empty() {
                return Err(ProxyError::Target(TargetError::NoHost));
            }
            let host = Host(&target.host);
            let origin = match port {
                443 => format!("https://{host}"),
                port => format!("https://{host}:{port}"),
            };
            if is_own(&origin, target, connection) {
                return Err(ProxyError::RedirectLoop);
            }
            format!("{origin}{path}")
        }
    };
    // The host is normalised and the path was read as one, so neither holds a line end; what else
    // a field may not hold is no path of ours either.
    let location =
        HeaderValue::try_from(location).map_err(|_| ProxyError::Target(TargetError::Path))?;
    let status = redirect.status;
    let text = format!(
        "{} {}\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Redirect")
    );
    let mut response = answer(status, Bytes::from(text), method);
    let fields = response.headers_mut();
    fields.insert(LOCATION, location);
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    fields.insert(CONTENT_TYPE, text);
    Ok(response)
}

/// The answer that is always the same.
pub(super) fn fixed(fixed: &FixedResponse, method: &Method) -> Response<Bytes> {
    let mut response = answer(fixed.status, fixed.body.clone(), method);
    for (name, value) in &fixed.fields {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

/// A response that says how long its body is, without the body for HEAD.
fn answer(status: StatusCode, body: Bytes, method: &Method) -> Response<Bytes> {
    let length = body.len();
    let sent = match *method {
        Method::HEAD => Bytes::new(),
        _ => body,
    };
    let mut response = Response::new(sent);
    *response.status_mut() = status;
    // RFC 9110 section 8.6: none with 204; a 304 would have to tell of another response.
    if !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        let length = HeaderValue::from(length);
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
    response
}

/// Whether `origin` is the one that the request was for.
fn is_own(origin: &str, target: &Target, connection: &ConnectionInfo) -> bool {
    let (scheme, default_port) = match connection.secure {
        true => ("https", "443"),
        false => ("http", "80"),
    };
    let Some(authority) = target.authority.as_ref().and_then(|it| it.to_str().ok()) else {
        return false;
    };
    let port = authority
        .rsplit_once(':')
        .map(|(_, port)| port)
        .filter(|port| !port.is_empty() && !port.contains(']'))
        .unwrap_or(default_port);
    let Some(rest) = origin.strip_prefix(scheme) else {
        return false;
    };
    let Some(rest) = rest.strip_prefix("://") else {
        return false;
    };
    let host = Host(&target.host).to_string();
    rest == host && port == default_port || rest == format!("{host}:{port}")
}

/// A normalised host as it stands in a URL.
struct Host<'a>(&'a str);

impl std::fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.contains(':') {
            true => write!(f, "[{}]", self.0),
            false => f.write_str(self.0),
        }
    }
}
