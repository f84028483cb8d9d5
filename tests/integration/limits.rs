//! What runs out: file descriptors and time.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{Client, Daemon, Origin, Settings, pause, wait_until};

const SOON: Duration = Duration::from_secs(15);

/// Warnings and errors about accepting.
fn accept_complaints(daemon: &Daemon) -> usize {
    let records = daemon.log().records();
    records
        .iter()
        .filter(|record| record["level"] == "WARN" || record["level"] == "ERROR")
        .filter(|record| record.to_string().to_lowercase().contains("accept"))
        .count()
}

#[test]
fn running_out_of_file_descriptors_is_survived_and_logged_once() {
    let origin = Origin::start();
    let settings = Settings::new(origin.address()).policy(r#"handshake_timeout = "60s""#);
    let mut daemon = Daemon::run_after(&settings, "ulimit -n 40");
    daemon.curl("", "/").run().success();

    let idle: Vec<TcpStream> = (0..60)
        .map(|_| TcpStream::connect(daemon.https()).unwrap())
        .collect();
    wait_until(SOON, "the log says so", || accept_complaints(&daemon) > 0);
    // That it is not said again needs a time in which it could be.
    pause(Duration::from_secs(1));
    assert_eq!(accept_complaints(&daemon), 1, "{}", daemon.log().text());
    daemon.assert_running();

    drop(idle);
    wait_until(SOON, "it serves again", || {
        daemon.curl("--max-time 2", "/").run().code == 0
    });
    let labels = [("listener", "https")];
    assert!(daemon.metric("accept_errors_total", &labels) >= 1.0);
}

/// Sends `bytes`, then nothing; how long until the server closes.
fn time_to_close(daemon: &Daemon, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    let mut socket = TcpStream::connect(daemon.https()).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.write_all(bytes).unwrap();
    let mut rest = Vec::new();
    match socket.read_to_end(&mut rest) {
        Ok(_) => start.elapsed(),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => start.elapsed(),
        Err(error) => panic!("not closed: {error}"),
    }
}

#[test]
fn one_deadline_covers_the_whole_handshake() {
    let origin = Origin::start();
    let settings = Settings::new(origin.address()).policy(r#"handshake_timeout = "600ms""#);
    let daemon = Daemon::run(&settings);
    let hello = Client::of_version("1.3").hello();
    let half = &hello[..hello.len() / 2];
    for (bytes, phase) in [
        (&hello[..1], "client_hello_read"),
        (half, "client_hello_read"),
        (&hello[..], "client_flight_wait"),
    ] {
        let (took, handshake) = daemon.new_handshake(|| time_to_close(&daemon, bytes));
        assert!(took >= Duration::from_millis(590), "{took:?}");
        assert!(took < Duration::from_secs(3), "{took:?}");
        assert_eq!(handshake.class(), "timeout", "{handshake}");
        assert_eq!(handshake.failure("phase"), phase, "{handshake}");
        assert_eq!(handshake.failure("side"), "server", "{handshake}");
        handshake.assert_sum();
    }
    let labels = [
        ("listener", "https"),
        ("class", "timeout"),
        ("side", "server"),
    ];
    daemon.wait_metric("tls_handshake_failures_total", &labels, 3.0);
}

#[test]
fn a_client_that_trickles_does_not_extend_the_deadline() {
    let origin = Origin::start();
    let settings = Settings::new(origin.address()).policy(r#"handshake_timeout = "600ms""#);
    let daemon = Daemon::run(&settings);
    let hello = Client::of_version("1.3").hello();
    let mut socket = TcpStream::connect(daemon.https()).unwrap();
    let start = Instant::now();
    let closed = hello.iter().find(|byte| {
        pause(Duration::from_millis(50));
        socket.write_all(&[**byte]).is_err()
    });
    assert!(closed.is_some(), "never closed");
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn connections_that_send_nothing_are_probes_and_no_failures() {
    let origin = Origin::start();
    let settings = Settings::new(origin.address()).policy(r#"handshake_timeout = "600ms""#);
    let daemon = Daemon::run(&settings);
    drop(TcpStream::connect(daemon.https()).unwrap());
    let polite = TcpStream::connect(daemon.https()).unwrap();
    polite.shutdown(Shutdown::Write).unwrap();
    let took = time_to_close(&daemon, b"");
    assert!(took >= Duration::from_millis(590), "{took:?}");

    let labels = [("listener", "https")];
    daemon.wait_metric("tls_probe_connections_total", &labels, 3.0);
    assert_eq!(daemon.metric("tls_handshake_failures_total", &[]), 0.0);
    let events = daemon.log().records();
    assert!(
        events
            .iter()
            .all(|record| record["event"] != "tls.handshake"),
        "{}",
        daemon.log().text()
    );
}
