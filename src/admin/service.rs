//! From a request to its answer: the host check, the table of paths, the methods.

use http::header::ALLOW;
use http::{HeaderValue, Method, Request, StatusCode};

use super::host::{self, HostCheck};
use super::respond::{self, Reply};
use super::state::AdminState;
use super::{api, health, metrics};

/// What is served.
#[derive(Clone, Copy, Debug)]
enum Endpoint {
    Handshakes,
    Healthz,
    Metrics,
    Readyz,
    Summary,
}

/// Answers `request`. Bodies are never read: nothing here takes one.
pub(super) fn answer<B>(state: &AdminState, request: &Request<B>) -> Reply {
    match host::check(request, state.address.ip()) {
        HostCheck::Ours => {}
        HostCheck::Foreign => {
            return respond::problem(
                StatusCode::MISDIRECTED_REQUEST,
                "this host name is not the admin listener's; use its address or localhost",
            );
        }
        HostCheck::Invalid => {
            return respond::problem(StatusCode::BAD_REQUEST, "one valid Host field is needed");
        }
    }
    let Some(endpoint) = Endpoint::find(request.uri().path()) else {
        return respond::problem(
            StatusCode::NOT_FOUND,
            "there are: /api/handshakes /api/summary /healthz /metrics /readyz",
        );
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut reply = respond::problem(StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD");
        reply
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return reply;
    }
    let query = request.uri().query().unwrap_or_default();
    match endpoint {
        Endpoint::Handshakes => api::handshakes(&state.telemetry.ring, query),
        Endpoint::Healthz => health::healthz(),
        Endpoint::Metrics => metrics::metrics(&state.telemetry.metrics),
        Endpoint::Readyz => health::readyz(&state.readiness),
        Endpoint::Summary => api::summary(state),
    }
}

impl Endpoint {
    fn find(path: &str) -> Option<Self> {
        match path {
            "/api/handshakes" => Some(Self::Handshakes),
            "/api/summary" => Some(Self::Summary),
            "/healthz" => Some(Self::Healthz),
            "/metrics" => Some(Self::Metrics),
            "/readyz" => Some(Self::Readyz),
            _ => None,
        }
    }
}
