//! `/api/…`: what the daemon knows, as JSON.

use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::query::{self, QueryError};
use super::respond::{self, Reply};
use crate::config;
use crate::host::normalize;
use crate::report::{ConnectionId, FailureClass, HandshakeKind, HandshakeReport, Walk};
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
    match query::parse(query).and_then(ring_query) {
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

/// Which handshakes these fields of a query ask for.
///
/// # Errors
/// A name or value that means nothing.
pub(super) fn ring_query(
    fields: impl IntoIterator<Item = (String, String)>,
) -> Result<RingQuery, QueryError> {
    let mut query = RingQuery::default();
    for (name, value) in fields {
        match name.as_str() {
            "class" => query.class = Some(class(&value)?),
            "ja4" => query.ja4 = Some(value),
            "kind" => query.kind = Some(kind(&value)?),
            "limit" => query.limit = limit(&value)?,
            "outcome" => query.outcome = Some(outcome(&value)?),
            "server_name" => query.server_name = Some(server_name(&value)?),
            "since" => query.since = Some(since(&value, SystemTime::now())?),
            "sort" => query.order = order(&value)?,
            _ => {
                return Err(QueryError::Name {
                    name,
                    valid: "class, ja4, kind, limit, outcome, server_name, since, sort".into(),
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

fn kind(value: &str) -> Result<HandshakeKind, QueryError> {
    HandshakeKind::ALL
        .into_iter()
        .find(|kind| kind.name() == value)
        .ok_or_else(|| invalid("kind", value, "full, resumed"))
}

/// A moment in RFC 3339, or how long ago.
fn since(value: &str, now: SystemTime) -> Result<SystemTime, QueryError> {
    if let Ok(moment) = OffsetDateTime::parse(value, &Rfc3339) {
        return Ok(moment.into());
    }
    config::read_duration(value)
        .ok()
        .and_then(|ago| now.checked_sub(ago))
        .ok_or_else(|| {
            let valid = "a moment such as 2026-11-25T14:00:00Z, or how long ago, such as 10m";
            invalid("since", value, valid)
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn since_is_a_moment_or_a_time_ago() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_407_045);
        let minute = now - Duration::from_secs(60);
        for value in [
            "1m",
            "60s",
            "2026-11-23T04:09:45Z",
            "2026-11-23T05:09:45+01:00",
        ] {
            assert_eq!(since(value, now), Ok(minute), "{value}");
        }
        for value in ["", "yesterday", "-1m", "2026-11-23", "1000000000000d"] {
            assert!(since(value, now).is_err(), "{value}");
        }
    }
}
