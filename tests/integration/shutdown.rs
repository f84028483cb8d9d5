//! SIGTERM: what is under way ends well, nothing new begins.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::h2_frames::{DATA, END_STREAM, GOAWAY, H2Client, get, window_update};
use crate::support::{
    Client, Daemon, Origin, Settings, pause, read_response, wait_for, wait_until,
};

const SOON: Duration = Duration::from_secs(10);

fn wait_for_request(origin: &Origin, count: usize) {
    wait_until(SOON, "the request reaches the origin", || {
        origin.requests() == count
    });
}

fn wait_refused(daemon: &Daemon) {
    let address = daemon.https();
    wait_until(SOON, "new connections are refused", || {
        TcpStream::connect(address).is_err()
    });
}

#[test]
fn requests_under_way_complete_and_the_exit_code_is_0() {
    let origin = Origin::start();
    let mut daemon = Daemon::run(&Settings::new(origin.address()));
    let curl = |protocol| {
        daemon
            .curl(&format!("{protocol} -w %{{http_code}}"), "/hold")
            .start()
    };
    let running = [curl("--http1.1"), curl("--http2")];
    wait_for_request(&origin, 2);
    let mut idle = Client::new().connect(daemon.https()).unwrap();

    daemon.signal("TERM");
    wait_refused(&daemon);
    // A connection without a request does not wait for the others.
    let start = Instant::now();
    let _ = idle.read(&mut [0]);
    assert!(start.elapsed() < Duration::from_secs(5));
    daemon.assert_running();

    for request in running {
        // Opened again and again, because each opening lets one of the two go on.
        wait_until(SOON, "an answer comes", || {
            origin.open_gate();
            request.printed() > 0
        });
        let output = request.finish().success();
        assert_eq!(output.stdout, "held\n200");
    }
    assert_eq!(daemon.wait_exit(SOON).code(), Some(0));
}

#[test]
fn readiness_goes_first() {
    let origin = Origin::start();
    let mut settings = Settings::new(origin.address());
    settings.drain_delay = "2s".to_owned();
    let mut daemon = Daemon::run(&settings);
    assert_eq!(daemon.admin("/readyz").head.status(), 200);
    let start = Instant::now();
    daemon.signal("TERM");
    wait_until(SOON, "it is not ready", || {
        daemon.admin("/readyz").head.status() == 503
    });
    // Load balancers have not noticed yet: still accepting, and alive.
    assert_eq!(daemon.admin("/healthz").head.status(), 200);
    daemon.curl("", "/").run().success();
    assert_eq!(daemon.wait_exit(SOON).code(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(1900));
}

#[test]
fn the_drain_timeout_ends_what_does_not_end() {
    let origin = Origin::start();
    let mut settings = Settings::new(origin.address());
    settings.drain_timeout = "500ms".to_owned();
    let mut daemon = Daemon::run(&settings);
    let running = daemon.curl("--fail", "/hold").start();
    wait_for_request(&origin, 1);
    daemon.signal("TERM");
    daemon.wait_exit(Duration::from_secs(5));
    assert_ne!(running.finish().code, 0, "no answer looks complete");
}

#[test]
fn a_second_signal_ends_at_once() {
    let origin = Origin::start();
    let mut settings = Settings::new(origin.address());
    settings.drain_timeout = "60s".to_owned();
    let mut daemon = Daemon::run(&settings);
    let _running = daemon.curl("", "/hold").start();
    wait_for_request(&origin, 1);
    daemon.signal("TERM");
    wait_refused(&daemon);
    daemon.assert_running();
    daemon.signal("TERM");
    daemon.wait_exit(Duration::from_secs(3));
}

#[test]
fn a_kept_connection_is_told_that_it_ends() {
    let origin = Origin::start();
    let mut daemon = Daemon::run(&Settings::new(origin.address()));
    let mut stream = BufReader::new(Client::new().connect(daemon.https()).unwrap());
    write!(
        stream.get_mut(),
        "GET /hold HTTP/1.1\r\nHost: example.test\r\n\r\n"
    )
    .unwrap();
    wait_for_request(&origin, 1);
    daemon.signal("TERM");
    wait_refused(&daemon);
    origin.open_gate();
    let response = read_response(&mut stream).unwrap();
    assert_eq!(response.head.one("connection"), Some("close"));
    assert_eq!(daemon.wait_exit(SOON).code(), Some(0));
}

#[test]
fn a_request_on_its_way_is_the_last_of_its_connection() {
    let origin = Origin::named("first");
    let mut daemon = Daemon::run(&Settings::new(origin.address()));
    let ask = |stream: &mut BufReader<_>| {
        write!(
            BufReader::<crate::support::TlsStream>::get_mut(stream),
            "GET / HTTP/1.1\r\nHost: example.test\r\n\r\n"
        )?;
        read_response(stream)
    };
    let connect = || BufReader::new(Client::new().connect(daemon.https()).unwrap());
    // One that has just come, and one that was served before.
    let (mut fresh, mut kept) = (connect(), connect());
    assert_eq!(ask(&mut kept).unwrap().head.one("connection"), None);
    // Both are served by now, or would be refused below.
    daemon.wait_metric("tls_handshakes_total", &[("listener", "https")], 2.0);
    daemon.signal("TERM");
    wait_refused(&daemon);
    for stream in [&mut fresh, &mut kept] {
        let answer = ask(stream).unwrap();
        assert_eq!(answer.text(), "first\n");
        assert_eq!(answer.head.one("connection"), Some("close"));
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "in order");
    }
    assert_eq!(daemon.wait_exit(SOON).code(), Some(0));
}

#[test]
fn a_request_behind_an_answer_whose_head_is_out_is_the_last() {
    let origin = Origin::named("first");
    let mut daemon = Daemon::run(&Settings::new(origin.address()));
    let mut stream = BufReader::new(Client::new().connect(daemon.https()).unwrap());
    let mut ask = |path: &str| {
        write!(
            stream.get_mut(),
            "GET {path} HTTP/1.1\r\nHost: example.test\r\n\r\n"
        )
        .unwrap();
        // The head is there.
        assert!(!stream.fill_buf().unwrap().is_empty());
        if path != "/" {
            daemon.signal("TERM");
            wait_refused(&daemon);
        }
        read_response(&mut stream).unwrap()
    };
    // Two seconds at the origin's pace.
    let answer = ask("/slow-source/4000000");
    assert_eq!(answer.head.one("connection"), None);
    assert_eq!(answer.body.len(), 4_000_000);
    let answer = ask("/");
    assert_eq!(answer.text(), "first\n");
    assert_eq!(answer.head.one("connection"), Some("close"));
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "in order");
    assert_eq!(daemon.wait_exit(SOON).code(), Some(0));
}

#[test]
fn status_tells_what_a_drain_waits_for() {
    let origin = Origin::start();
    let mut settings = Settings::new(origin.address());
    settings.drain_timeout = "60s".to_owned();
    let mut daemon = Daemon::run(&settings);
    let requests =
        ["--http1.1", "--http2", "--http2"].map(|protocol| daemon.curl(protocol, "/hold").start());
    wait_for_request(&origin, 3);
    daemon.signal("TERM");
    wait_refused(&daemon);
    let summary: serde_json::Value = wait_for(SOON, "it drains", || {
        let text = daemon.command("status --json").run().success().stdout;
        let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
        (summary["drain"]["stage"] == "connections").then_some(summary)
    });
    let drain = &summary["drain"];
    for (field, count) in [
        ("connections", 3),
        ("http2_connections", 2),
        ("requests", 3),
        ("handshakes", 0),
        ("websockets", 0),
        ("other_tunnels", 0),
    ] {
        assert_eq!(drain[field], count, "{field}: {drain}");
    }
    let left = drain["seconds_left"].as_f64().unwrap();
    assert!((40.0..=60.0).contains(&left), "{left}");
    let status = daemon.command("status").run().success().stdout;
    let line = status.lines().find(|line| line.starts_with("drain"));
    let told = line.unwrap_or_else(|| panic!("{status}"));
    assert!(
        told.contains("waits for 2 h2 connections, 3 requests, "),
        "{told}"
    );
    daemon.signal("TERM");
    daemon.wait_exit(SOON);
    drop(requests);
}

#[test]
fn the_end_of_an_answer_waits_for_its_window() {
    const WINDOW: usize = 65_535;
    const ALL: usize = 100_000;
    let origin = Origin::start();
    let mut daemon = Daemon::run(&Settings::new(origin.address()));
    let mut client = H2Client::connect(daemon.https(), &[]);
    client.send(&get(1, &format!("/source/{ALL}")));
    let mut got = 0;
    client.find(|frame| {
        got += if frame.kind == DATA {
            frame.payload.len()
        } else {
            0
        };
        got == WINDOW
    });
    // The upstream has no part in the rest any more.
    daemon.signal("TERM");
    client.find(|frame| frame.kind == GOAWAY).unwrap();
    // A client that takes its time, longer than one that is idle would have.
    pause(Duration::from_millis(1500));
    let all = u32::try_from(ALL).unwrap();
    client.send(&[window_update(0, all), window_update(1, all)].concat());
    let end = client.find(|frame| {
        got += if frame.kind == DATA {
            frame.payload.len()
        } else {
            0
        };
        frame.kind == DATA && frame.flags & END_STREAM != 0
    });
    assert!(end.is_some(), "cut after {got} bytes");
    assert_eq!(got, ALL);
    assert_eq!(daemon.wait_exit(SOON).code(), Some(0));
}

#[test]
fn what_the_kernel_holds_arrives_too() {
    const ALL: usize = 300_000;
    const MOST: u32 = 0x7fff_0000;
    let origin = Origin::start();
    let mut daemon = Daemon::run(&Settings::new(origin.address()));
    let mut client = H2Client::connect(daemon.https(), &[(0x4, MOST)]);
    client.send(&[window_update(0, MOST), get(1, &format!("/source/{ALL}"))].concat());
    let answered = [("listener", "https"), ("code", "2xx")];
    daemon.wait_metric("http_requests_total", &answered, 1.0);
    daemon.signal("TERM");
    // A client that takes its time, longer than one that is idle would have.
    pause(Duration::from_millis(1500));
    let mut got = 0;
    loop {
        let frame = client.next();
        let frame = frame.unwrap_or_else(|| panic!("cut after {got} bytes"));
        if frame.kind == DATA {
            got += frame.payload.len();
            if frame.flags & END_STREAM != 0 {
                break;
            }
            client.send(&window_update(0, 1));
        }
    }
    assert_eq!(got, ALL);
    drop(client);
    assert_eq!(daemon.wait_exit(SOON).code(), Some(0));
}
