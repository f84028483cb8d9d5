//! `POST /api/what-if`: which clients a change of tls policies would turn away.
//!
//! Every kind of client that came is answered in memory under the changed policies, as a client
//! without a session; those that would fail are answered under the present ones as well, because
//! not all of them get through today.

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls;

use super::reload_report::{ReloadDiagnostic, located};
use super::respond::{self, Reply};
use super::state::AdminState;
use crate::config::{Policy, PolicyChange, PolicyChangeError, PolicyChangeText};
use crate::report::Failure;
use crate::snapshot::Snapshot;
use crate::tls::{HelloCensus, Sites, rehearse};

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

/// One kind of client that would fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastFailure {
    /// The listener.
    pub listener: String,
    /// The server name's label.
    pub server_name: String,
    /// The client's fingerprint.
    pub ja4: String,
    /// Why it would fail.
    pub class: String,
    /// The same in words.
    pub diagnosis: String,
    /// Whether it fails now, too.
    pub already: bool,
    /// How many came.
    pub handshakes: u64,
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

/// Answers a change. It computes for as long as a full handshake with each kind of client, 512 at
/// most, on a thread of its own; one at a time.
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
    let mut sites: HashMap<&str, (&Arc<Sites>, Sites)> = HashMap::new();
    for listener in snapshot.listeners() {
        if let Some(own) = &listener.sites {
            sites.insert(&listener.name, (own, own.changed(changed)?));
        }
    }
    let HelloCensus { kinds, forgotten } = snapshot.hellos().census();
    let mut forecast = Forecast {
        handshakes: 0,
        kinds: 0,
        forgotten,
        would_fail: 0,
        fail_already: 0,
        failures: Vec::new(),
    };
    for (sample, count) in kinds {
        let Some((now, then)) = sites.get(&*sample.listener) else {
            forecast.forgotten += count;
            continue;
        };
        forecast.kinds += 1;
        forecast.handshakes += count;
        let Err(Failure {
            class, diagnosis, ..
        }) = rehearse(&sample.message, then)
        else {
            continue;
        };
        let already = rehearse(&sample.message, now).is_err();
        match already {
            true => forecast.fail_already += count,
            false => forecast.would_fail += count,
        }
        forecast.failures.push(ForecastFailure {
            listener: sample.listener.to_string(),
            server_name: sample.server_name.as_str().to_owned(),
            ja4: sample.ja4.clone(),
            class: class.name().to_owned(),
            diagnosis,
            already,
            handshakes: count,
        });
    }
    // Stable: the census has the most frequent first.
    forecast.failures.sort_by_key(|failure| failure.already);
    Ok(forecast)
}
