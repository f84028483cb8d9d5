//! Metrics of the requests of one listener and route.

use std::collections::BTreeMap;
use std::time::Duration;

use super::access_log::HttpProtocol;
use super::exposition::{Exposition, Kind};
use super::histogram::{HTTP, Histogram, Reading};
use super::shard::Block;

/// Request counters of one listener and route.
#[derive(Debug)]
pub struct RequestMetrics {
    counters: Block,
}

const CODES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const DURATION: usize = CODES.len() * HttpProtocol::ALL.len();
const COUNTERS: usize = DURATION + HTTP.counters();

static TIME: Histogram = Histogram::at(&HTTP, DURATION);

impl RequestMetrics {
    /// Counts a request; `status` is `None` when the client was gone before there was one (499).
    pub fn record(&self, status: Option<u16>, protocol: HttpProtocol, duration: Duration) {
        // Statuses are 100 to 999 on the wire (RFC 9110 section 15): what is above 599 is the
        // upstream's fault.
        let class = usize::from(status.unwrap_or(499) / 100).clamp(1, CODES.len()) - 1;
        let lane = self.counters.lane();
        lane.add(counter(class, protocol), 1);
        TIME.observe(lane, duration);
    }

    /// Requests of all codes and protocols.
    pub(super) fn total(&self) -> u64 {
        (0..DURATION)
            .map(|counter| self.counters.sum(counter))
            .sum()
    }
}

impl Default for RequestMetrics {
    fn default() -> Self {
        Self {
            counters: Block::new(COUNTERS),
        }
    }
}

const fn counter(class: usize, protocol: HttpProtocol) -> usize {
    class * HttpProtocol::ALL.len() + protocol as usize
}

/// Writes the families of all listeners and routes, given as listener, route and counters.
pub(super) fn write(out: &mut Exposition, requests: &[(&str, &str, &RequestMetrics)]) {
    out.family(
        "http_requests",
        Kind::Counter,
        "Requests by class of status; 4xx includes clients that left before an answer (499).",
        |family| {
            for (listener, route, metrics) in requests {
                for (class, code) in CODES.into_iter().enumerate() {
                    for protocol in HttpProtocol::ALL {
                        let value = metrics.counters.sum(counter(class, protocol));
                        // HTTP/1.0 and final 1xx are too rare to have a series before they occur.
                        let initial = class > 0 && protocol != HttpProtocol::Http10;
                        if value > 0 || initial {
                            let labels = [
                                ("listener", *listener),
                                ("route", *route),
                                ("code", code),
                                ("protocol", protocol.name()),
                            ];
                            family.sample(&labels, value);
                        }
                    }
                }
            }
        },
    );
    let mut by_route: BTreeMap<&str, Reading> = BTreeMap::new();
    for (_, route, metrics) in requests {
        let reading = TIME.read(&metrics.counters);
        by_route
            .entry(route)
            .and_modify(|sum| sum.merge(&reading))
            .or_insert(reading);
    }
    out.family(
        "http_request_duration_seconds",
        Kind::Histogram,
        "From the whole head of a request to the end of its response.",
        |family| {
            for (route, reading) in &by_route {
                family.histogram(&[("route", route)], &HTTP, reading);
            }
        },
    );
}
