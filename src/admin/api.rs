//! `/api/…`: what the daemon knows, as JSON.

use std::sync::Arc;

use http::StatusCode;
use serde::{Serialize, Serializer};

use super::query::{self, QueryError};
use super::respond::{self, Reply};
use super::state::AdminState;
use crate::host::normalize;
use crate::report::{FailureClass, HandshakeReport};
use crate::telemetry::{HandshakeRing, RingOrder, RingOutcome, RingQuery, Totals};

/// More than this in one answer would be megabytes.
const MAX_LIMIT: usize = 1000;

#[derive(Serialize)]
struct Handshakes {
    handshakes: Vec<Shared>,
}

struct Shared(Arc<HandshakeReport>);

#[derive(Serialize)]
struct Summary {
    version: &'static str,
    uptime_seconds: f64,
    /// Which configuration this is since the start, counted from 1.
    generation: u64,
    readiness: &'static str,
    connections_open: u64,
    handshakes: HandshakeCounts,
    requests: u64,
}

#[derive(Serialize)]
struct HandshakeCounts {
    in_flight: u64,
    ok: u64,
    failed: u64,
    probes: u64,
}

/// `GET /api/handshakes`: recent handshakes, newest or slowest first.
pub(super) fn handshakes(ring: &HandshakeRing, query: &str) -> Reply {
    match ring_query(query) {
        Ok(query) => {
            let handshakes = ring.query(&query).into_iter().map(Shared).collect();
            respond::json(StatusCode::OK, &Handshakes { handshakes })
        }
        Err(error) => respond::problem(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// `GET /api/summary`: the daemon in a few numbers.
pub(super) fn summary(state: &AdminState) -> Reply {
    let Totals {
        connections_open,
        handshakes,
        requests,
    } = state.telemetry.metrics.totals();
    let summary = Summary {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: state.started.elapsed().as_secs_f64(),
        generation: state.telemetry.metrics.generation(),
        readiness: state.readiness.state().name(),
        connections_open,
        handshakes: HandshakeCounts {
            in_flight: handshakes.in_flight,
            ok: handshakes.complete,
            failed: handshakes.failed,
            probes: handshakes.probes,
        },
        requests,
    };
    respond::json(StatusCode::OK, &summary)
}

impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

fn ring_query(text: &str) -> Result<RingQuery, QueryError> {
    let mut query = RingQuery::default();
    for (name, value) in query::parse(text)? {
        match name.as_str() {
            "class" => query.class = Some(class(&value)?),
            "limit" => query.limit = limit(&value)?,
            "outcome" => query.outcome = Some(outcome(&value)?),
            "server_name" => query.server_name = Some(server_name(&value)?),
            "sort" => query.order = order(&value)?,
            _ => {
                return Err(QueryError::Name {
                    name,
                    valid: "class, limit, outcome, server_name, sort".into(),
                });
            }
        }
    }
    Ok(query)
}

fn class(value: &str) -> Result<FailureClass, QueryError> {
    FailureClass::ALL
        .iter()
        .copied()
        .find(|class| class.name() == value)
        .ok_or_else(|| {
            let names: Vec<_> = FailureClass::ALL.iter().map(|class| class.name()).collect();
            invalid("class", value, &names.join(", "))
        })
}

fn limit(value: &str) -> Result<usize, QueryError> {
    value
        .parse()
        .ok()
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| invalid("limit", value, &format!("1 to {MAX_LIMIT}")))
}

fn outcome(value: &str) -> Result<RingOutcome, QueryError> {
    match value {
        "ok" => Ok(RingOutcome::Ok),
        "failed" => Ok(RingOutcome::Failed),
        _ => Err(invalid("outcome", value, "ok, failed")),
    }
}

fn server_name(value: &str) -> Result<String, QueryError> {
    normalize(value).map_err(|error| invalid("server_name", value, &format!("a name; {error}")))
}

fn order(value: &str) -> Result<RingOrder, QueryError> {
    match value {
        "newest" => Ok(RingOrder::Newest),
        "slowest" => Ok(RingOrder::Slowest),
        _ => Err(invalid("sort", value, "newest, slowest")),
    }
}

fn invalid(name: &'static str, value: &str, valid: &str) -> QueryError {
    QueryError::Value {
        name,
        value: value.into(),
        valid: valid.into(),
    }
}
