//! Whose a wait is: bytes that lay in our socket buffer are ours, bytes that were held back are
//! not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{
    Client, Daemon, EarlyClient, Handshake, Origin, Point, Relay, Settings, Tool, pause,
};

const DELAY: Duration = Duration::from_millis(80);

/// How many handshakes are looked at, of which one in a hundred may be wrong.
fn size() -> usize {
    match std::env::var_os("HANDFAST_SOAK") {
        Some(_) => 1000,
        None => 100,
    }
}

fn settings() -> Settings {
    Settings::new(Origin::start().address())
}

/// What a handshake was told to have waited, and the bounds of what it did.
struct Sample {
    told: Duration,
    least: Duration,
    most: Duration,
    handshake: Handshake,
}

impl Sample {
    /// By how much it is wrong.
    fn error(&self) -> Duration {
        let over = self.told.saturating_sub(self.most);
        over.max(self.least.saturating_sub(self.told))
    }

    /// Within a millisecond or 5 %.
    fn is_right(&self) -> bool {
        self.error() <= Duration::from_millis(1).max(self.least.mul_f64(0.05))
    }
}

/// 99 % are right.
#[track_caller]
fn assert_right(samples: &[Sample]) {
    let wrong: Vec<_> = samples.iter().filter(|sample| !sample.is_right()).collect();
    if let Some(worst) = wrong.iter().max_by_key(|sample| sample.error()) {
        assert!(
            wrong.len() * 100 <= samples.len(),
            "{} of {} wrong, one by {:?}: {:?} for {:?} to {:?}: {}",
            wrong.len(),
            samples.len(),
            worst.error(),
            worst.told,
            worst.least,
            worst.most,
            worst.handshake
        );
    }
}

fn phases(handshake: &Handshake, names: &[&str]) -> Duration {
    Duration::from_nanos(names.iter().map(|name| handshake.phase(name)).sum())
}

#[test]
fn bytes_that_are_held_back_on_their_way_are_no_queue_of_ours() {
    let daemon = Daemon::run_alone(&settings());
    for (point, phase) in [
        (Point::InHello, "client_hello_read"),
        (Point::BeforeFlight, "client_flight_wait"),
        (Point::InFlight, "client_flight_read"),
    ] {
        let relay = Relay::start(daemon.https(), point, DELAY);
        for version in ["1.2", "1.3"] {
            let client = Client::of_version(version);
            let (stream, handshake) = daemon.new_handshake(|| client.connect(relay.address()));
            stream.unwrap();
            handshake.assert_sum();
            let held = phases(&handshake, &[phase]);
            // A busy machine keeps the daemon from beginning to wait in time.
            assert!(held >= DELAY / 2, "{held:?}: {handshake}");
            let queued = phases(&handshake, &["read_queue"]);
            assert!(queued < DELAY / 2, "{queued:?}: {handshake}");
            assert_eq!(handshake.text("verdict"), Some("client"), "{handshake}");
            let waits = handshake.0["waits"].as_array().unwrap();
            let wait = waits.iter().find(|wait| wait["phase"] == phase).unwrap();
            assert_eq!(
                wait["total_us"], handshake.0["phases_us"][phase],
                "{handshake}"
            );
            // The relay is near: only what comes after its answer can be split.
            if point == Point::BeforeFlight {
                let thought = wait["client_us"].as_f64().unwrap();
                assert!(thought > 40_000.0, "{handshake}");
            } else {
                assert!(wait["client_us"].is_null(), "{handshake}");
            }
        }
    }
}

#[test]
fn the_network_is_told_as_the_kernel_knows_it() {
    let daemon = Daemon::run(&settings());
    for (version, reasons) in [("1.2", &["no_false_start"][..]), ("1.3", &[])] {
        let client = Client::of_version(version);
        let hello = client.hello().len();
        let (_, handshake) = daemon.new_handshake(|| client.connect(daemon.https()).unwrap());
        let micros = |field: &str| handshake.0[field].as_f64().unwrap();
        assert!(
            micros("min_rtt_us") > 0.0 && micros("rtt_us") > 0.0,
            "{handshake}"
        );
        assert!(micros("min_rtt_us") < 5e6, "{handshake}");
        assert_eq!(handshake.0["round_trips"], 1 + reasons.len(), "{handshake}");
        assert_eq!(
            handshake.0["extra_round_trips"],
            Value::from(reasons),
            "{handshake}"
        );
        let flights = &handshake.0["first_flights"];
        assert_eq!(flights["client"]["bytes"], hello, "{handshake}");
        assert_eq!(flights["client"]["segments"], 1, "{handshake}");
        let messages = handshake.0["messages"].as_array().unwrap();
        let ours = messages.iter().skip(1);
        let ours = ours.take_while(|message| message["direction"] == "out");
        let bytes: u64 = ours.map(|message| message["bytes"].as_u64().unwrap()).sum();
        // Clear messages are told without their records' headers.
        let written = flights["server"]["bytes"].as_u64().unwrap();
        assert!((bytes..bytes + 30).contains(&written), "{handshake}");
        assert_eq!(flights["server"]["segments"], 1, "{handshake}");
    }
    let cost = daemon.metric(
        "tls_avoidable_wait_seconds_total",
        &[("listener", "https"), ("cause", "no_false_start")],
    );
    assert!(cost > 0.0 && cost < 5.0, "{cost}");
}

/// When the client's last bytes went: between these two, by the wall clock.
#[derive(Clone, Copy)]
struct Sent(SystemTime, SystemTime);

impl Sent {
    fn by(write: impl FnOnce()) -> Self {
        let before = SystemTime::now();
        write();
        Self(before, SystemTime::now())
    }

    /// A sample of the client's wait that began this long after accept and ended with these bytes.
    fn sample(self, handshake: Handshake, begin: Duration, told: Duration) -> Sample {
        let begin = accepted(&handshake) + begin;
        Sample {
            told,
            least: self.0.duration_since(begin).unwrap_or_default(),
            most: self.1.duration_since(begin).unwrap_or_default(),
            handshake,
        }
    }
}

fn accepted(handshake: &Handshake) -> SystemTime {
    OffsetDateTime::parse(handshake.text("time").unwrap(), &Rfc3339)
        .unwrap()
        .into()
}

/// When the last byte of our first flight went, since accept.
fn flight_written(handshake: &Handshake) -> Duration {
    let messages = handshake.0["messages"].as_array().unwrap();
    let out = |message: &&Value| message["direction"] == "out";
    let first = messages.iter().position(|message| out(&message)).unwrap();
    let last = messages[first..].iter().take_while(out).last().unwrap();
    Duration::from_secs_f64(last["at_us"].as_f64().unwrap() / 1e6)
}

const FLIGHT: [&str; 2] = ["client_flight_wait", "client_flight_read"];

#[test]
fn a_daemon_that_stands_still_at_the_hello_is_a_queue() {
    let daemon = Daemon::run_alone(&settings());
    let hello = Client::of_version("1.3").hello();
    let (half, rest) = hello.split_at(hello.len() / 2);
    let mut samples = Vec::new();
    for _ in 0..size() / 8 {
        let ((sent, stood), handshake) = daemon.new_handshake(|| {
            let mut socket = TcpStream::connect(daemon.https()).unwrap();
            socket.set_nodelay(true).unwrap();
            socket.write_all(half).unwrap();
            // Time for the daemon to take the connection and the first half.
            pause(Duration::from_millis(20));
            daemon.stop();
            let sent = Sent::by(|| socket.write_all(rest).unwrap());
            let stood = Instant::now();
            pause(DELAY);
            let stood = stood.elapsed();
            daemon.go_on();
            // Closed earlier, the end would be what came last.
            socket.read_exact(&mut [0]).unwrap();
            (sent, stood)
        });
        handshake.assert_sum();
        let queued = phases(&handshake, &["read_queue"]);
        assert!(queued >= stood, "{queued:?} of {stood:?}: {handshake}");
        assert_eq!(handshake.text("verdict"), Some("ours"), "{handshake}");
        let told = phases(&handshake, &["client_hello_wait", "client_hello_read"]);
        let queue = phases(&handshake, &["accept_queue"]);
        samples.push(sent.sample(handshake, queue, told));
    }
    assert_right(&samples);
}

#[test]
fn a_daemon_that_stands_still_at_the_flight_is_a_queue() {
    let daemon = Daemon::run_alone(&settings());
    let mut samples = Vec::new();
    for _ in 0..size() / 8 {
        let ((sent, stood), handshake) = daemon.new_handshake(|| {
            let mut client = EarlyClient::connect(daemon.https(), &["http/1.1"]).unwrap();
            // Time for the daemon to come back from its write.
            pause(Duration::from_millis(20));
            daemon.stop();
            let flight = client.flight.clone();
            let sent = Sent::by(|| client.send(&flight).unwrap());
            let stood = Instant::now();
            pause(DELAY);
            let stood = stood.elapsed();
            daemon.go_on();
            client.finish().unwrap();
            (sent, stood)
        });
        handshake.assert_sum();
        let queued = phases(&handshake, &["read_queue"]);
        assert!(queued >= stood, "{queued:?} of {stood:?}: {handshake}");
        assert_eq!(handshake.text("verdict"), Some("ours"), "{handshake}");
        let told = phases(&handshake, &FLIGHT);
        let written = flight_written(&handshake);
        samples.push(sent.sample(handshake, written, told));
    }
    assert_right(&samples);
}

/// A daemon that must share its core with others is woken late, which is no fault of the client's.
#[test]
fn a_core_that_others_keep_busy_is_a_queue() {
    // With one core alone the client is as late, which the bounds allow for.
    let mut other = CpuSet::new();
    other.set(1);
    let _ = sched_setaffinity(None, &other);
    let daemon = Daemon::run_after(&settings(), "taskset -pc 0 $$ > /dev/null");
    let hogs: Vec<_> = (0..4)
        .map(|_| {
            Tool::new("taskset")
                .args(["-c", "0", "sh", "-c", "while :; do :; done"])
                .limit(Duration::from_secs(600))
                .start()
        })
        .collect();
    let mut samples = Vec::new();
    let mut late = Duration::ZERO;
    for _ in 0..size() {
        let (sent, handshake) = daemon.new_handshake(|| {
            let mut client = EarlyClient::connect(daemon.https(), &["http/1.1"]).unwrap();
            pause(Duration::from_millis(2));
            let flight = client.flight.clone();
            let sent = Sent::by(|| client.send(&flight).unwrap());
            client.finish().unwrap();
            sent
        });
        handshake.assert_sum();
        late += phases(&handshake, &["read_queue", "accept_queue"]);
        let told = phases(&handshake, &FLIGHT);
        let written = flight_written(&handshake);
        samples.push(sent.sample(handshake, written, told));
    }
    drop(hogs);
    assert_right(&samples);
    // The control: there was something to tell.
    assert!(late > Duration::from_millis(10), "{late:?}");
}
