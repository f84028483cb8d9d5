//! From a request to its answer: the host check, the table of paths, the methods.

use std::net::IpAddr;

use http::header::{ALLOW, AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Body;

use super::access::Access;
use super::host::{self, HostCheck};
use super::page::{self, Asset};
use super::respond::{self, Reply};
use super::state::AdminState;
use super::{api, control, health, metrics, summary};
use crate::report::ConnectionId;

/// What is served.
#[derive(Clone, Copy, Debug)]
enum Endpoint {
    Page(Page),
    Command(Command),
}

/// What is only looked at.
#[derive(Clone, Copy, Debug)]
enum Page {
    Handshake(ConnectionId),
    Handshakes,
    Healthz,
    Metrics,
    Asset(Asset),
    Overview,
    Walk(ConnectionId),
    Readyz,
    Summary,
}

/// What changes something.
#[derive(Clone, Copy, Debug)]
enum Command {
    Drain,
    KeyLog,
    LogLevel,
    Reload,
    WhatIf,
}

/// Answers `request`. Only commands have a body that is read.
pub(super) async fn answer<B>(state: &AdminState, access: Access, request: Request<B>) -> Reply
where
    B: Body,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    if let Access::ReadOnly { local } = access
        && let Some(refused) = refuse(state, local, &request)
    {
        return refused;
    }
    let endpoint = Endpoint::find(request.uri().path());
    if access == Access::Health && !endpoint.is_some_and(Endpoint::is_health) {
        let text = "there are: /healthz /metrics /readyz";
        return respond::problem(StatusCode::NOT_FOUND, text);
    }
    let Some(endpoint) = endpoint else {
        return respond::problem(
            StatusCode::NOT_FOUND,
            "there are: / /api/handshakes /api/handshakes/ID /api/summary /healthz /metrics /readyz, and on the unix \
             socket /api/drain /api/key-log /api/log-level /api/reload \
             /api/what-if",
        );
    };
    let method = request.method().clone();
    let methods = endpoint.methods();
    if !methods.contains(&method) {
        let names: Vec<_> = methods.iter().map(Method::as_str).collect();
        let text = format!("use {}", names.join(" or "));
        let mut reply = respond::problem(StatusCode::METHOD_NOT_ALLOWED, &text);
        if let Ok(names) = HeaderValue::try_from(names.join(", ")) {
            reply.headers_mut().insert(ALLOW, names);
        }
        return reply;
    }
    match (endpoint, access) {
        (Endpoint::Page(page), _) => page.show(state, &request),
        (Endpoint::Command(_), Access::Health | Access::ReadOnly { .. }) => {
            control::forbidden(state)
        }
        (Endpoint::Command(command), Access::Full { uid }) => match command {
            Command::Drain => control::drain(state, uid).await,
            Command::KeyLog if method == Method::DELETE => control::stop_key_log(state, uid).await,
            Command::KeyLog => control::start_key_log(state, uid, request.into_body()).await,
            Command::LogLevel => control::log_level(state, uid, request.into_body()).await,
            Command::Reload => control::reload(state, uid, request.into_body()).await,
            Command::WhatIf => control::what_if(state, request.into_body()).await,
        },
    }
}

/// Why a request over TCP is not answered: it was meant for another host, or has no token.
fn refuse<B>(state: &AdminState, local: IpAddr, request: &Request<B>) -> Option<Reply> {
    match host::check(request, local) {
        HostCheck::Ours => {}
        HostCheck::Foreign => {
            return Some(respond::problem(
                StatusCode::MISDIRECTED_REQUEST,
                "this host name is not the admin listener's; use its address or localhost",
            ));
        }
        HostCheck::Invalid => {
            let text = "one valid Host field is needed";
            return Some(respond::problem(StatusCode::BAD_REQUEST, text));
        }
    }
    let token = state.status.token()?;
    let mut fields = request.headers().get_all(AUTHORIZATION).iter();
    let shown = match (fields.next(), fields.next()) {
        (Some(field), None) => field.as_bytes(),
        _ => b"",
    };
    if token.is_shown_by(shown) {
        return None;
    }
    state.telemetry.metrics.admin_unauthorized();
    let text = "the token of admin.token_file is needed: Authorization: Bearer TOKEN";
    let mut reply = respond::problem(StatusCode::UNAUTHORIZED, text);
    let headers = reply.headers_mut();
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    // What browsers ask their user for.
    let basic = "Basic realm=\"handfast: the token as password\", charset=\"UTF-8\"";
    headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(basic));
    Some(reply)
}

impl Endpoint {
    /// Whether the health listener has it.
    const fn is_health(self) -> bool {
        matches!(
            self,
            Self::Page(Page::Healthz | Page::Metrics | Page::Readyz)
        )
    }

    fn find(path: &str) -> Option<Self> {
        if let Some(id) = path.strip_prefix("/api/handshakes/") {
            return Some(Self::Page(Page::Handshake(id.parse().ok()?)));
        }
        if let Some(id) = path.strip_prefix("/handshakes/") {
            return Some(Self::Page(Page::Walk(id.parse().ok()?)));
        }
        if let Some(asset) = Asset::find(path) {
            return Some(Self::Page(Page::Asset(asset)));
        }
        Some(match path {
            "/" => Self::Page(Page::Overview),
            "/api/drain" => Self::Command(Command::Drain),
            "/api/handshakes" => Self::Page(Page::Handshakes),
            "/api/key-log" => Self::Command(Command::KeyLog),
            "/api/log-level" => Self::Command(Command::LogLevel),
            "/api/reload" => Self::Command(Command::Reload),
            "/api/what-if" => Self::Command(Command::WhatIf),
            "/api/summary" => Self::Page(Page::Summary),
            "/healthz" => Self::Page(Page::Healthz),
            "/metrics" => Self::Page(Page::Metrics),
            "/readyz" => Self::Page(Page::Readyz),
            _ => return None,
        })
    }

    const fn methods(self) -> &'static [Method] {
        match self {
            Self::Page(_) => &[Method::GET, Method::HEAD],
            Self::Command(Command::Drain | Command::Reload | Command::WhatIf) => &[Method::POST],
            Self::Command(Command::KeyLog) => &[Method::POST, Method::DELETE],
            Self::Command(Command::LogLevel) => &[Method::PUT],
        }
    }
}

impl Page {
    fn show<B>(self, state: &AdminState, request: &Request<B>) -> Reply {
        let query = request.uri().query().unwrap_or_default();
        match self {
            Self::Handshake(id) => api::handshake(&state.telemetry.ring, id),
            Self::Handshakes => api::handshakes(&state.telemetry.ring, query),
            Self::Healthz => health::healthz(),
            Self::Metrics => metrics::metrics(&state.telemetry.metrics, request.headers()),
            Self::Asset(asset) => asset.reply(),
            Self::Overview => page::main(state, query),
            Self::Walk(id) => page::walk(&state.telemetry.ring, id),
            Self::Readyz => health::readyz(&state.readiness),
            Self::Summary => summary::summary(state),
        }
    }
}
