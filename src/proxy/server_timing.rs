//! What browsers are told of the handshake: `forwarding.server_timing`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::connection_info::TlsFacts;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Adds `Server-Timing` (W3C, section 3) with the handshake of the connection. The metrics of an
/// upstream stay: a field is a list.
pub(super) fn add(tls: &TlsFacts, headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::try_from(text(tls)) {
        headers.append(SERVER_TIMING, value);
    }
}

fn text(tls: &TlsFacts) -> String {
    let times = &tls.times;
    let version = tls.version.map_or("", |version| version.name());
    let kind = tls.kind.map_or("", |kind| kind.name());
    format!(
        "tls;dur={};desc=\"TLS {version} {kind}\", tls-client;dur={}, tls-cpu;dur={}, \
         tls-queue;dur={}",
        millis(times.total),
        millis(times.client),
        millis(times.cpu),
        millis(times.queue),
    )
}

/// Milliseconds, as the field has them, to the microsecond.
fn millis(time: Duration) -> String {
    format!("{}.{:03}", time.as_millis(), time.as_micros() % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds() {
        assert_eq!(millis(Duration::from_nanos(12_034_567)), "12.034");
        assert_eq!(millis(Duration::ZERO), "0.000");
    }
}
