//! A delay in one place shows up in one phase.

use std::time::Duration;

use crate::support::{
    CLIENT_PHASES, Client, Daemon, Handshake, Origin, Point, Relay, Settings, Tool,
};

const DELAY: Duration = Duration::from_millis(50);
/// The delay, less what timers may be early by.
const GROWN: u64 = 45_000_000;
const TOO_LONG: u64 = 500_000_000;
const QUIET: u64 = 30_000_000;

fn daemon() -> Daemon {
    Daemon::run_alone(&Settings::new(Origin::start().address()))
}

/// Whether no phase of the client's but `delayed` took long.
fn others_are_quiet(handshake: &Handshake, delayed: Option<&str>) -> bool {
    CLIENT_PHASES
        .iter()
        .filter(|phase| Some(**phase) != delayed)
        .all(|phase| handshake.phase(phase) < QUIET)
}

/// The delay must be in its phase every time; that the others are quiet may take a few tries,
/// because a busy machine delays the client too.
#[track_caller]
fn assert_only(mut shake: impl FnMut() -> Handshake, delayed: Option<&str>) {
    let mut last = None;
    for _ in 0..5 {
        let handshake = shake();
        handshake.assert_sum();
        assert_eq!(handshake.text("outcome"), Some("ok"), "{handshake}");
        if let Some(phase) = delayed {
            let took = handshake.phase(phase);
            assert!(took >= GROWN, "{phase} took {took} ns: {handshake}");
            assert!(took < TOO_LONG, "{phase} took {took} ns: {handshake}");
        }
        if others_are_quiet(&handshake, delayed) {
            return;
        }
        last = Some(handshake);
    }
    panic!("more than {delayed:?} grew: {}", last.unwrap());
}

fn assert_delay_at(point: Point, phase: Option<&str>) {
    let daemon = daemon();
    let relay = Relay::start(daemon.https(), point, DELAY);
    for version in ["1.2", "1.3"] {
        let shake = || {
            // A client of its own each time: a full handshake, whose flight has two records.
            let client = Client::of_version(version);
            let (stream, handshake) = daemon.new_handshake(|| client.connect(relay.address()));
            stream.unwrap();
            assert_eq!(handshake.text("version"), Some(version), "{handshake}");
            handshake
        };
        assert_only(shake, phase);
    }
}

#[test]
fn without_a_delay_no_phase_of_the_client_grows() {
    assert_delay_at(Point::Nowhere, None);
}

#[test]
fn a_delay_before_the_client_hello_is_client_hello_wait() {
    assert_delay_at(Point::BeforeHello, Some("client_hello_wait"));
}

#[test]
fn a_delay_inside_the_client_hello_is_client_hello_read() {
    assert_delay_at(Point::InHello, Some("client_hello_read"));
}

#[test]
fn a_delay_before_the_clients_flight_is_client_flight_wait() {
    assert_delay_at(Point::BeforeFlight, Some("client_flight_wait"));
}

#[test]
fn a_delay_inside_the_clients_flight_is_client_flight_read() {
    assert_delay_at(Point::InFlight, Some("client_flight_read"));
}

#[test]
fn a_delay_before_the_second_client_hello_is_retry_wait() {
    let daemon = daemon();
    let relay = Relay::start(daemon.https(), Point::BeforeFlight, DELAY);
    let shake = || {
        let (_, handshake) = daemon.new_handshake(|| {
            Tool::new("openssl")
                .words("s_client -tls1_3 -groups P-521:X25519 -servername example.test -connect")
                .args([relay.address().to_string()])
                .run()
                .success()
        });
        assert_eq!(handshake.0["hello_retry"], true, "{handshake}");
        handshake
    };
    assert_only(shake, Some("retry_wait"));
}
