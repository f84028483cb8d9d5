//! What `GET /api/summary` tells of the last moments.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::summary::seconds;
use crate::report::Phase;
use crate::telemetry::Window;

/// What was counted within one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowSummary {
    /// How long it is meant to be: 10, 60 or 900.
    pub span_seconds: u64,
    /// How long it really is; divide by this for a rate.
    pub seconds: f64,
    /// Handshakes that ended in it.
    pub handshakes: WindowCounts,
    /// Requests that ended in it.
    pub requests: u64,
    /// Of complete handshakes, from the buckets of the histogram; `None` where there was none.
    pub duration_us: Option<DurationSummary>,
    /// The mean of each phase over all complete handshakes; empty where there was none.
    pub phases_us: BTreeMap<String, f64>,
    /// Failed handshakes by class, those that occurred.
    pub failures: BTreeMap<String, u64>,
    /// Complete handshakes by what became of the offer to resume, results that occurred.
    pub resumption: BTreeMap<String, u64>,
}

/// Handshakes by how they ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowCounts {
    /// Complete, with a new session.
    pub full: u64,
    /// Complete, with one of before.
    pub resumed: u64,
    /// Failed.
    pub failed: u64,
    /// Connections that sent nothing.
    pub probes: u64,
}

/// Quantiles in microseconds, interpolated within the buckets of the histogram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DurationSummary {
    /// The median.
    pub p50: f64,
    /// What 95 % do not exceed.
    pub p95: f64,
    /// What 99 % do not exceed.
    pub p99: f64,
}

impl From<&Window> for WindowSummary {
    fn from(window: &Window) -> Self {
        let counts = &window.counts;
        let quantile = |share| counts.quantile(share).map(micros);
        let duration = || {
            Some(DurationSummary {
                p50: quantile(0.5)?,
                p95: quantile(0.95)?,
                p99: quantile(0.99)?,
            })
        };
        let phases = Phase::ALL.into_iter().filter_map(|phase| {
            let mean = counts.mean(phase)?;
            Some((phase.name().to_owned(), micros(mean)))
        });
        let failures = counts.failures();
        let resumptions = counts.resumptions();
        Self {
            span_seconds: window.span.as_secs(),
            seconds: seconds(window.covered),
            handshakes: WindowCounts {
                full: counts.full,
                resumed: counts.resumed,
                failed: counts.failed(),
                probes: counts.probes,
            },
            requests: counts.requests,
            duration_us: duration(),
            phases_us: phases.collect(),
            failures: failures
                .map(|(class, count)| (class.name().to_owned(), count))
                .collect(),
            resumption: resumptions
                .map(|(result, count)| (result.name().to_owned(), count))
                .collect(),
        }
    }
}

/// Microseconds with one decimal: these are means and estimates.
fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}
