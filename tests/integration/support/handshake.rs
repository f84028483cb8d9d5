//! One handshake as the admin API and the event log tell it.

use serde_json::Value;

/// The phases that are the client's or the network's time.
pub(crate) const CLIENT_PHASES: [&str; 6] = [
    "proxy_header_wait",
    "client_hello_wait",
    "client_hello_read",
    "retry_wait",
    "client_flight_wait",
    "client_flight_read",
];

/// The phases that add up to the total.
const PHASES: [&str; 16] = [
    "accept_queue",
    "proxy_header_wait",
    "client_hello_wait",
    "client_hello_read",
    "read_queue",
    "select",
    "admission",
    "server_flight",
    "server_flight_write",
    "retry_wait",
    "client_flight_wait",
    "client_flight_read",
    "client_auth",
    "client_key_exchange",
    "client_finished",
    "server_finish_write",
];

/// The report of one handshake.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Handshake(pub(crate) Value);

/// What a test expects of a handshake that succeeded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Facts<'a> {
    pub(crate) version: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) hello_retry: bool,
    pub(crate) cipher: &'a str,
    pub(crate) group: Option<&'a str>,
}

impl Handshake {
    /// A field that is text; `None` when it is null.
    #[track_caller]
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        match &self.0[field] {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => panic!("{field} is no text: {other}"),
        }
    }

    /// A field of `failure`; panics when the handshake did not fail.
    #[track_caller]
    pub(crate) fn failure(&self, field: &str) -> &Value {
        let failure = &self.0["failure"];
        assert!(failure.is_object(), "no failure: {self}");
        assert_eq!(self.text("outcome"), Some("failed"), "{self}");
        &failure[field]
    }

    /// The class of its failure.
    #[track_caller]
    pub(crate) fn class(&self) -> &str {
        self.failure("class").as_str().unwrap()
    }

    /// A phase in nanoseconds.
    #[track_caller]
    pub(crate) fn phase(&self, phase: &str) -> u64 {
        nanos(&self.0["phases_us"][phase])
    }

    /// Asserts that the phases add up to the total, to the nanosecond.
    #[track_caller]
    pub(crate) fn assert_sum(&self) {
        let phases = self.0["phases_us"].as_object();
        let phases = phases.unwrap_or_else(|| panic!("no phases: {self}"));
        for phase in phases.keys() {
            assert!(
                PHASES.contains(&phase.as_str()) || phase == "first_request_wait",
                "unknown phase {phase}: {self}"
            );
        }
        let sum: u64 = PHASES
            .iter()
            .filter_map(|phase| phases.get(*phase))
            .map(nanos)
            .sum();
        let total = nanos(&self.0["total_us"]);
        assert!(total > 0, "{self}");
        assert_eq!(sum, total, "phases do not add up to the total: {self}");
    }

    /// Asserts a success with these facts and exact phases.
    #[track_caller]
    pub(crate) fn assert_ok(&self, facts: Facts<'_>) {
        assert_eq!(self.text("outcome"), Some("ok"), "{self}");
        let found = Facts {
            version: self.text("version").unwrap_or_default(),
            kind: self.text("kind").unwrap_or_default(),
            hello_retry: self.0["hello_retry"] == true,
            cipher: self.text("cipher").unwrap_or_default(),
            group: self.text("group"),
        };
        assert_eq!(found, facts, "{self}");
        self.assert_sum();
    }

    /// The names of its messages in order, in lower case and without underscores.
    pub(crate) fn messages(&self) -> Vec<String> {
        let messages = self.0["messages"].as_array().cloned().unwrap_or_default();
        messages
            .iter()
            .map(|message| message["name"].as_str().unwrap_or_default())
            .map(|name| name.to_lowercase().replace('_', ""))
            .collect()
    }
}

impl std::fmt::Display for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

/// Microseconds with three decimals as whole nanoseconds; panics when there are more decimals.
#[track_caller]
fn nanos(micros: &Value) -> u64 {
    let micros = micros
        .as_f64()
        .unwrap_or_else(|| panic!("no time: {micros}"));
    assert!(micros >= 0.0, "{micros} is negative");
    let text = format!("{micros:.3}");
    assert_eq!(
        text.parse::<f64>().unwrap().to_bits(),
        micros.to_bits(),
        "{micros} has more than three decimals"
    );
    text.replace('.', "").parse().unwrap()
}

#[test]
fn microseconds_become_whole_nanoseconds() {
    assert_eq!(nanos(&serde_json::json!(0.0)), 0);
    assert_eq!(nanos(&serde_json::json!(0.001)), 1);
    assert_eq!(nanos(&serde_json::json!(10_000_000.019)), 10_000_000_019);
    assert_eq!(nanos(&serde_json::json!(17)), 17_000);
}
