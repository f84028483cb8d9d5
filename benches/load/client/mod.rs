//! The own load client, on rustls.
//!
//! wrk keeps its SSL object and resumes nearly every handshake, and no tool at hand says how many it
//! resumed; this one does either on purpose and counts what it got.

mod connection;
mod idle;
mod pace;
mod tls;
mod visit;

pub(crate) use idle::idle;
pub(crate) use pace::pace;
pub(crate) use tls::config;
pub(crate) use visit::visit;

use std::io::{self, Write as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a load client counted, as one line of JSON on its stdout.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Count {
    /// Connections with a full handshake whose request was answered.
    pub(crate) full: u64,
    /// Those with a resumed one.
    pub(crate) resumed: u64,
    /// Those with a full one after a HelloRetryRequest; none is expected.
    pub(crate) retried: u64,
    /// Requests answered.
    pub(crate) requests: u64,
    /// Connections or requests that failed.
    pub(crate) failed: u64,
    /// Why the first of these did.
    pub(crate) first_failure: String,
    /// From the first connect to the last answer.
    pub(crate) elapsed_us: u64,
    /// Median time of a visit or request, in microseconds.
    pub(crate) p50_us: f64,
    /// 99th percentile of it.
    pub(crate) p99_us: f64,
}

impl Count {
    fn failure(&mut self, error: &io::Error) {
        self.failed += 1;
        if self.first_failure.is_empty() {
            self.first_failure = error.to_string();
        }
    }

    fn latencies(&mut self, mut latencies: Vec<Duration>) {
        latencies.sort_unstable();
        self.p50_us = percentile(&latencies, 50);
        self.p99_us = percentile(&latencies, 99);
    }

    fn print(&self) -> io::Result<()> {
        let line = serde_json::to_string(self)?;
        writeln!(io::stdout(), "{line}")
    }
}

/// The nearest-rank percentile of sorted times, in microseconds; 0 where there are none.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted
        .get(rank - 1)
        .map_or(0.0, |time| time.as_secs_f64() * 1e6)
}
