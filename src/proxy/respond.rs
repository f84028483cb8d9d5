//! Answers of our own: short, plain, and silent about what is behind us.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode, Version};

use super::body::ProxyBody;
use super::error::ProxyError;
use super::grpc;
use super::headers::close_connection;
use super::request_record::RequestRecord;

/// What may be tried instead of CONNECT and TRACE; upstreams may allow less.
const ALLOWED: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Status and a line of text.
    Text,
    /// `grpc-status`, for clients of gRPC.
    Grpc,
}

/// The answer to a request that is not forwarded: status line and reason word as text, without
/// the body for HEAD.
pub(super) fn respond(
    error: &ProxyError,
    method: &Method,
    version: Version,
    form: Form,
    mut record: Box<RequestRecord>,
) -> Response<ProxyBody> {
    let status = error.status();
    record.failed(error.reason());
    if form == Form::Grpc {
        record.answered(StatusCode::OK);
        let mut response = Response::new(ProxyBody::text(Bytes::new(), record));
        grpc::put(&mut response, status, error.reason());
        return response;
    }
    let text = format!(
        "{} {}\n{}\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error"),
        error.reason()
    );
    let length = text.len();
    record.answered(status);
    let body = if *method == Method::HEAD {
        Bytes::new()
    } else {
        Bytes::from(text)
    };
    let mut response = Response::new(ProxyBody::text(body, record));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    // For HEAD, too, where the body cannot say it.
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(ALLOW, ALLOWED);
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    if error.closes() {
        close_connection(version, headers);
    }
    response
}
