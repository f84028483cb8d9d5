//! What metrics and access log learn of one request, told once at its end.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{HOST, REFERER, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};
use tokio::time::Instant;

use super::connection_info::ConnectionInfo;
use super::error::body_reason;
use crate::config::{Config, Listener, RouteId, UpstreamId};
use crate::snapshot::Snapshot;
use crate::telemetry::{AccessRecord, AccessTls, ClientWords, HttpProtocol, Telemetry};
use crate::upstream::{BodyError, Upload};

/// The record of one request. It is told when it is dropped: by the body of the response, by the
/// future that waits for an upstream, whoever holds it last.
#[derive(Debug)]
pub(super) struct RequestRecord {
    connection: Arc<ConnectionInfo>,
    turn: Turn,
    telemetry: Telemetry,
    snapshot: Arc<Snapshot>,
    time: SystemTime,
    started: Instant,
    protocol: HttpProtocol,
    /// `None` where the head was not read to its end.
    asked: Option<Asked>,
    status: Option<u16>,
    error: Option<&'static str>,
    bytes_out: u64,
    /// Bytes that came through the tunnel that it has become; then it is counted already.
    tunnel: Option<u64>,
    /// The client that a trusted proxy speaks for.
    pub(super) client: Option<IpAddr>,
    /// The route that matched.
    pub(super) route: Option<RouteId>,
    /// The upstream that was asked.
    pub(super) upstream: Option<UpstreamId>,
    /// The server of it.
    pub(super) server: Option<Arc<str>>,
    /// The request body, where there is one.
    pub(super) upload: Option<Arc<Upload>>,
}

/// What is recorded of a request's head.
#[derive(Debug)]
struct Asked {
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    /// Where the access log wants them.
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
}

/// Whether a request is the first of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    First,
    Later,
}

impl RequestRecord {
    /// The record of an HTTP/1 request that is refused before its head is read to its end.
    pub(super) fn unread(
        connection: Arc<ConnectionInfo>,
        turn: Turn,
        telemetry: Telemetry,
        snapshot: Arc<Snapshot>,
    ) -> Self {
        Self::of(
            connection,
            turn,
            telemetry,
            snapshot,
            HttpProtocol::Http11,
            None,
        )
    }

    /// The record of a request whose head has just come.
    pub(super) fn new<B>(
        connection: Arc<ConnectionInfo>,
        turn: Turn,
        telemetry: Telemetry,
        snapshot: Arc<Snapshot>,
        request: &Request<B>,
    ) -> Self {
        let protocol = match request.version() {
            Version::HTTP_2 => HttpProtocol::H2,
            Version::HTTP_11 => HttpProtocol::Http11,
            _ => HttpProtocol::Http10,
        };
        // Cheap: all of them share their bytes with the request.
        let words = telemetry.access.wants_client_words();
        let word = |name| match words {
            true => request.headers().get(name).cloned(),
            false => None,
        };
        let asked = Asked {
            method: request.method().clone(),
            uri: request.uri().clone(),
            host: request.headers().get(HOST).cloned(),
            referer: word(REFERER),
            user_agent: word(USER_AGENT),
        };
        Self::of(connection, turn, telemetry, snapshot, protocol, Some(asked))
    }

    fn of(
        connection: Arc<ConnectionInfo>,
        turn: Turn,
        telemetry: Telemetry,
        snapshot: Arc<Snapshot>,
        protocol: HttpProtocol,
        asked: Option<Asked>,
    ) -> Self {
        Self {
            connection,
            turn,
            telemetry,
            snapshot,
            time: SystemTime::now(),
            started: Instant::now(),
            protocol,
            asked,
            status: None,
            error: None,
            bytes_out: 0,
            tunnel: None,
            client: None,
            route: None,
            upstream: None,
            server: None,
            upload: None,
        }
    }

    /// The head of the response goes out.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status.as_u16());
    }

    /// The request has become a tunnel, and is counted now: how long that lasts says nothing of
    /// the upstream.
    pub(super) fn switched(&mut self, status: StatusCode) {
        self.answered(status);
        self.count();
        self.tunnel = Some(0);
    }

    /// So many bytes have come from the client and the upstream, in all.
    pub(super) fn tunnelled(&mut self, bytes_in: u64, bytes_out: u64) {
        self.tunnel = Some(bytes_in);
        self.bytes_out = bytes_out;
    }

    /// So many bytes of the response's body go out.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    /// Why the answer is ours, or was cut; the first reason stands.
    pub(super) fn failed(&mut self, reason: &'static str) {
        self.error.get_or_insert(reason);
    }

    /// The body of the response broke off.
    pub(super) fn body_failed(&mut self, error: &BodyError) {
        let reason = match (error, error.failure()) {
            (_, Some(failure)) => failure.name(),
            (BodyError::RequestBody(error), None) => body_reason(*error),
            (_, None) => "response_body",
        };
        self.failed(reason);
    }

    fn count(&self) {
        let listener = listener_index(&self.snapshot.config, &self.connection);
        if let Some(metrics) =
            listener.and_then(|listener| self.snapshot.requests(listener, self.route))
        {
            metrics.record(self.status, self.protocol, self.started.elapsed());
        }
    }

    fn tell(&mut self) {
        if self.status.is_none() {
            self.failed("client_closed");
        }
        if self.tunnel.is_none() {
            self.count();
        }
        let config: &Config = &self.snapshot.config;
        if !self.telemetry.access.enabled() {
            return;
        }
        let upstream = self
            .upstream
            .and_then(|id| config.upstreams.get(id.0))
            .zip(self.server.clone())
            .map(|(upstream, server)| (&*upstream.name, server));
        let asked = self.asked.as_ref();
        let tls = self.connection.tls.as_ref();
        self.telemetry.access.record(&AccessRecord {
            connection: self.connection.id,
            time: self.time,
            listener: &self.connection.listener_name,
            peer: self.connection.peer,
            proxy: self.connection.proxy,
            client: self.client,
            method: asked.map_or("", |asked| asked.method.as_str()),
            host: asked.map_or(Cow::Borrowed(""), Asked::host),
            path: asked.map_or("", Asked::path).into(),
            protocol: self.protocol,
            status: self.status,
            route: self
                .route
                .and_then(|id| config.routes.get(id.0))
                .map(|route| &*route.name),
            upstream,
            tls: tls.map(|tls| AccessTls {
                version: tls.version,
                cipher: tls.cipher,
                kind: tls.kind,
            }),
            handshake: tls
                .filter(|_| self.turn == Turn::First)
                .map(|tls| tls.times.total),
            client_words: ClientWords {
                referer: asked.and_then(|asked| Some(asked.referer.as_ref()?.as_bytes())),
                user_agent: asked.and_then(|asked| Some(asked.user_agent.as_ref()?.as_bytes())),
            },
            bytes_in: match (self.tunnel, &self.upload) {
                (Some(bytes), _) => bytes,
                (None, Some(upload)) => upload.bytes(),
                (None, None) => 0,
            },
            bytes_out: self.bytes_out,
            duration: self.started.elapsed(),
            error: self.error,
        });
    }
}

impl Asked {
    /// The host as received: `:authority` or an absolute target's before `Host`.
    fn host(&self) -> Cow<'_, str> {
        match (self.uri.authority(), &self.host) {
            (Some(authority), _) => authority.as_str().into(),
            (None, Some(host)) => String::from_utf8_lossy(host.as_bytes()),
            (None, None) => "".into(),
        }
    }

    fn path(&self) -> &str {
        self.uri.path_and_query().map_or("", |path| path.as_str())
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        self.tell();
    }
}

/// The connection's listener in `config`, which may be of a later generation than the connection.
pub(super) fn listener_index(config: &Config, connection: &ConnectionInfo) -> Option<usize> {
    let is_it = |listener: &Listener| listener.name == connection.listener_name;
    if config.listeners.get(connection.listener).is_some_and(is_it) {
        return Some(connection.listener);
    }
    config.listeners.iter().position(is_it)
}
