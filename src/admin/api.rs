//! `/api/…`: what the daemon knows, as JSON.

use std::sync::Arc;

use http::StatusCode;
use serde::{Serialize, Serializer};

use super::query::{self, QueryError};
use super::respond::{self, Reply};
use crate::host::normalize;
use crate::report::{ConnectionId, FailureClass, HandshakeReport, Walk};
use crate::telemetry::{HandshakeRing, RingOrder, RingOutcome, RingQuery};

/// More than this in one answer would be megabytes.
const MAX_LIMIT: usize = 1000;

#[derive(Serialize)]
struct Handshakes {
    handshakes: Vec<Shared>,
}

struct Shared(Arc<HandshakeReport>);

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

/// `GET /api/handshakes/ID`: one handshake, message by message; 404 when it is not kept (any more).
pub(super) fn handshake(ring: &HandshakeRing, id: ConnectionId) -> Reply {
    match ring.find(id) {
        Some(report) => respond::json(StatusCode::OK, &Walk::of(&report)),
        None => respond::problem(
            StatusCode::NOT_FOUND,
            "no handshake with this id is kept; /api/handshakes has those that are",
        ),
    }
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
