//! One request on its way to an upstream, and the response on its way back.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::UPGRADE;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};

use super::authority::Target;
use super::error::ProxyError;
use super::field_edits;
use super::field_set::{FieldSet, Known};
use super::forwarded::{self, Sender, Trust};
use super::headers::{self, BodyLength, Expectation};
use super::own_answer;
use super::path_rewrite;
use super::request_record::{RequestRecord, listener_index};
use super::service::Shared;
use super::trailers;
use super::upgrade::Upgrade;
use crate::config::{RouteAction, RouteId, UpstreamId};
use crate::report::Peer;
use crate::snapshot::Snapshot;
use crate::upstream::{RequestBody, RequestBodyError, ResponseBody};

/// A request that is checked, routed, and as its upstream is to see it.
pub(super) struct Forwarding {
    request: Box<Request<RequestBody>>,
    upstream: UpstreamId,
    route: RouteId,
    client: Option<IpAddr>,
    version: Version,
    upgrade: Upgrade,
}

/// What a request is to have.
pub(super) enum Prepared {
    /// The answer of an upstream.
    Upstream(Forwarding),
    /// The one that the configuration gives.
    Own(Response<Bytes>),
}

/// Checks and routes `request`. Not `async`: what it needs on the way has no place in the future of
/// the request, which would be kept, and moved, at its largest.
///
/// # Errors
/// Why the request gets an answer of our own.
pub(super) fn prepare(
    shared: &Shared,
    snapshot: &Snapshot,
    request: Request<Incoming>,
    record: &mut RequestRecord,
) -> Result<Prepared, ProxyError> {
    let config = &snapshot.config;
    let (mut head, incoming) = request.into_parts();
    let trust = Trust::of(shared.connection.peer, &config.forwarding);
    if trust == Trust::Proxy {
        record.client = forwarded::client(&config.forwarding, &head.headers);
    }
    if head.method == Method::TRACE {
        return Err(ProxyError::Method(head.method));
    }
    let length = body_length(&incoming);
    let fields = FieldSet::of(&head.headers);
    let upgrade = Upgrade::read(&head, fields, length)?;
    if request_line(&head) > config.limits.request_line {
        return Err(ProxyError::RequestLine);
    }
    let limits = &config.limits;
    if head.headers.len() > limits.request_header_count
        || headers::size(&head.headers) > limits.request_headers
    {
        return Err(ProxyError::RequestHeaders);
    }
    headers::check_request(head.version, &head.headers, fields, length)
        .map_err(ProxyError::Fields)?;
    let target = Target::read(head.version, &head.method, &head.uri, &head.headers)
        .map_err(ProxyError::Target)?;
    // Only plain listeners redirect all that comes.
    if !shared.connection.secure
        && let Some(redirect) = listener_index(config, &shared.connection)
            .and_then(|index| config.listeners[index].redirect.as_ref())
    {
        return own_answer::redirect(redirect, &target, &head.method, &shared.connection)
            .map(Prepared::Own);
    }
    let tls = shared.connection.tls.as_ref();
    let policy = tls.map(|tls| &*tls.policy);
    if snapshot.is_misdirected(&shared.connection.listener_name, policy, &target.host) {
        return Err(ProxyError::Misdirected);
    }
    let route = snapshot
        .routes
        .find(&target.host, &target.path())
        .ok_or(ProxyError::NoRoute)?;
    record.route = Some(route);
    let id = route;
    let route = &config.routes[id.0];
    let upstream = match &route.action {
        RouteAction::Upstream(upstream) => *upstream,
        RouteAction::Redirect(redirect) => {
            return own_answer::redirect(redirect, &target, &head.method, &shared.connection)
                .map(Prepared::Own);
        }
        // To a client that asks for a tunnel any 2xx is one.
        RouteAction::Respond(fixed) if upgrade.is_stream() && fixed.status.is_success() => {
            return Err(ProxyError::Protocol);
        }
        RouteAction::Respond(fixed) => {
            return Ok(Prepared::Own(own_answer::fixed(fixed, &head.method)));
        }
    };
    let rules = &route.request;
    let limit = rules.body.bytes(config.limits.request_body);
    if let (BodyLength::Known(length), Some(limit)) = (length, limit)
        && length > limit
    {
        return Err(ProxyError::Body(RequestBodyError::TooLarge));
    }
    let uri = match &rules.path {
        Some(rule) => {
            path_rewrite::rewrite(rule, &target.uri, &target.path()).map_err(ProxyError::Target)?
        }
        None => target.uri,
    };
    record.upstream = Some(upstream);
    let upgrade = upgrade.towards(config.upstreams[upstream.0].protocol);

    let version = head.version;
    let expectation = Expectation::of(version, fields, length);
    // HTTP/2 may have both a length and trailers; HTTP/1.1 has trailers only after chunks.
    let trailing = version == Version::HTTP_2 && fields.has(Known::Trailer);
    let length = match length {
        BodyLength::Known(_) if trailing => BodyLength::Unknown,
        length => length,
    };
    headers::forward_request(
        &mut head.headers,
        fields,
        &head.method,
        length,
        expectation,
        target.authority,
        &Sender {
            connection: &shared.connection,
            fields: &shared.client,
            settings: &config.forwarding,
            trust,
        },
    );
    let wanted = &config.forwarding.tls_headers;
    if !wanted.is_empty() {
        shared.tls_fields().put(wanted, &mut head.headers);
    }
    field_edits::apply(&rules.fields, &mut head.headers);
    head.uri = uri;
    head.version = Version::HTTP_11;
    // What hyper noted about the client's connection must not reach the upstream's.
    head.extensions.clear();
    upgrade.put(&mut head);
    let idle = config.timeouts.request_body_idle;
    let mut body = RequestBody::new(incoming, version, limit, idle, trailers::filter);
    if expectation == Expectation::Continue {
        body = body.held();
    }
    record.upload = body.upload();

    let client = record.client.or_else(|| match shared.connection.peer {
        Peer::Tcp(peer) => Some(peer.ip()),
        Peer::Unix => None,
    });
    Ok(Prepared::Upstream(Forwarding {
        request: Box::new(Request::from_parts(head, body)),
        upstream,
        route: id,
        client,
        version,
        upgrade,
    }))
}

impl Forwarding {
    /// Sends the request, and returns the answer as the client is to see it. Bodies are streamed
    /// both ways: the request's while the future or the response's body is polled.
    ///
    /// # Errors
    /// Why the request gets an answer of our own.
    pub(super) async fn exchange(
        self,
        snapshot: &Snapshot,
        record: &mut RequestRecord,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        let head = *self.request.method() == Method::HEAD;
        let timeouts = &snapshot.config.routes[self.route.0].request.timeouts;
        let mut response = snapshot
            .cluster(self.upstream)
            .exchange(
                self.request,
                self.client,
                timeouts.as_ref(),
                &mut record.server,
            )
            .await?;
        let (version, upgrade) = (self.version, self.upgrade);
        let chosen = upgrade
            .is_asked()
            .then(|| response.headers_mut().remove(UPGRADE))
            .flatten();
        headers::forward_response(response.headers_mut());
        upgrade.answer(&mut response, chosen)?;
        if record.upload.as_ref().is_some_and(|it| it.is_refused()) {
            // Whether the client sends its body after all, only the client knows.
            headers::close_connection(version, response.headers_mut());
        }
        *response.version_mut() = Version::HTTP_11;
        if version == Version::HTTP_10 && !head && ends_with_connection(&response) {
            // hyper promises to keep the connection whose end is the body's (RFC 9112 section 9.3),
            // unless the response itself is of HTTP/1.0.
            headers::close_connection(version, response.headers_mut());
            *response.version_mut() = Version::HTTP_10;
        }
        Ok(response)
    }
}

/// Whether the end of a response shows in HTTP/1.0 by the end of the connection alone.
fn ends_with_connection(response: &Response<ResponseBody>) -> bool {
    let status = response.status();
    let bodiless = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    !bodiless && response.body().size_hint().exact().is_none()
}

/// The length of the request line as HTTP/1.1 has it, or would have it (RFC 9112 section 3).
fn request_line(head: &Parts) -> usize {
    let uri = &head.uri;
    let authority = uri
        .authority()
        .map_or(0, |authority| authority.as_str().len());
    let target = uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    head.method.as_str().len() + authority + target + " HTTP/1.1".len() + 1
}

fn body_length(incoming: &Incoming) -> BodyLength {
    if incoming.is_end_stream() {
        return BodyLength::None;
    }
    incoming
        .size_hint()
        .exact()
        .map_or(BodyLength::Unknown, BodyLength::Known)
}
