//! `POST /api/what-if`: which clients a change of tls policies would turn away.
//!
//! Every kind of client that came is answered in memory under the changed policies, as a client
//! without a session, and under the present ones as well, because not all of them get through today.

use std::collections::HashMap;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls;

use super::forecast_failure::ForecastFailure;
use super::reload_report::{ReloadDiagnostic, located};
use super::respond::{self, Reply};
use super::state::AdminState;
use crate::config::{Policy, PolicyChange, PolicyChangeError, PolicyChangeText};
use crate::snapshot::Snapshot;
use crate::tls::{self, Sites};

/// The answer to `POST /api/what-if`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// ClientHellos of the kinds that are kept, since the start.
    pub handshakes: u64,
    /// The kinds of clients that they came from.
    pub kinds: usize,
    /// ClientHellos of kinds that are not kept any more, or came to listeners that are gone.
    pub forgotten: u64,
    /// Of `handshakes`, those that get through now and would fail.
    pub would_fail: u64,
    /// Of `handshakes`, those that fail now and would fail.
    pub fail_already: u64,
    /// Who would fail: first those that get through now, and of both the most frequent first.
    pub failures: Vec<ForecastFailure>,
}

/// The answer when the change makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastRefusal {
    /// In short.
    pub error: String,
    /// Everything that is wrong with it.
    pub diagnostics: Vec<ReloadDiagnostic>,
}

/// Why there is no forecast.
#[derive(Debug, thiserror::Error)]
enum ForecastError {
    /// The change cannot be made.
    #[error(transparent)]
    Change(#[from] PolicyChangeError),
    /// rustls takes no such policy; validation excludes it.
    #[error("tls cannot be set up so: {0}")]
    Setup(#[from] rustls::Error),
}

/// Answers a change. It computes for as long as two full handshakes with each kind of client, 512
/// at most, on a thread of its own; one at a time.
pub(super) async fn what_if(state: &AdminState, change: &PolicyChangeText) -> Reply {
    let change = match PolicyChange::read(change) {
        Ok(change) => change,
        Err(diagnostics) => {
            let refusal = ForecastRefusal {
                error: "the change makes no sense".to_owned(),
                diagnostics: located(&diagnostics),
            };
            return respond::json(StatusCode::UNPROCESSABLE_ENTITY, &refusal);
        }
    };
    let Ok(turn) = state.forecasts.clone().try_acquire_owned() else {
        return respond::problem(StatusCode::CONFLICT, "another forecast is being made");
    };
    let snapshot = state.snapshots.load_full();
    let made = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        forecast(&snapshot, &change)
    });
    match made.await {
        Ok(Ok(forecast)) => respond::json(StatusCode::OK, &forecast),
        Ok(Err(error)) => {
            let refusal = ForecastRefusal {
                error: error.to_string(),
                diagnostics: Vec::new(),
            };
            respond::json(StatusCode::UNPROCESSABLE_ENTITY, &refusal)
        }
        Err(_) => respond::problem(StatusCode::SERVICE_UNAVAILABLE, "the forecast broke off"),
    }
}

fn forecast(snapshot: &Snapshot, change: &PolicyChange) -> Result<Forecast, ForecastError> {
    let policies = &snapshot.config.policies;
    if let Some(name) = change.policy()
        && !policies.iter().any(|policy| *policy.name == *name)
    {
        return Err(PolicyChangeError::NoPolicy(name.to_owned()).into());
    }
    let changed = |policy: &Policy| -> Result<Option<Policy>, ForecastError> {
        let concerns = change.concerns(&policy.name);
        Ok(concerns.then(|| change.apply(policy)).transpose()?)
    };
    // By listener: the sites that serve, and those that would.
    let mut changes: HashMap<&str, (&Sites, Sites)> = HashMap::new();
    for listener in snapshot.listeners() {
        if let Some(own) = &listener.sites {
            changes.insert(&listener.name, (own, own.changed(changed)?));
        }
    }
    let changes = changes
        .iter()
        .map(|(name, (now, then))| (*name, (*now, then)));
    let forecast = tls::Forecast::make(snapshot.hellos().census(), &changes.collect());
    Ok(Forecast {
        handshakes: forecast.handshakes,
        kinds: forecast.kinds,
        forgotten: forecast.forgotten,
        would_fail: forecast.would_fail,
        fail_already: forecast.fail_already,
        failures: forecast
            .failures
            .iter()
            .map(ForecastFailure::from)
            .collect(),
    })
}
