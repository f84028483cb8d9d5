//! Upstreams that fail: the client is told, and never gets a response that looks complete and is
//! not.

use std::io::{Read, Write};
use std::time::Duration;

use crate::support::{Client, Daemon, Origin, Output, Settings, refusing_address, wait_until};

const PROTOCOLS: [(&str, &str); 2] = [("--http1.1", "1.1"), ("--http2", "2")];

fn daemon(origin: &Origin) -> Daemon {
    Daemon::run(&settings(origin))
}

fn settings(origin: &Origin) -> Settings {
    let mut settings = Settings::new(origin.address());
    settings.upstream_timeouts = r#"first_byte = "1s""#.to_owned();
    settings
}

/// curl's exit codes for a body that broke off: partial file, receive error, HTTP/2 stream error.
const BROKE_OFF: [i32; 3] = [18, 56, 92];
/// curl's exit code for a connection that ended before a response.
const NO_RESPONSE: i32 = 52;

#[track_caller]
fn assert_broke_off(output: &Output) {
    assert!(BROKE_OFF.contains(&output.code), "{output}");
}

#[track_caller]
fn assert_still_serves(daemon: &Daemon, protocol: &str) {
    let output = daemon.curl(protocol, "/").run().success();
    assert_eq!(output.stdout, "origin\n");
}

/// Asserts a whole answer of ours with this status.
#[track_caller]
fn assert_answers(daemon: &Daemon, path: &str, status: &str) {
    for (protocol, version) in PROTOCOLS {
        let args = format!("{protocol} -o /dev/null -w %{{http_code}}/%{{http_version}}");
        let output = daemon.curl(&args, path).run().success();
        assert_eq!(output.stdout, format!("{status}/{version}"), "{path}");
        assert_still_serves(daemon, protocol);
    }
}

#[test]
fn an_upstream_that_refuses_is_502() {
    let (_socket, gone) = refusing_address();
    let origin = Origin::start();
    let settings = settings(&origin).more(&format!(
        r#"
[[routes]]
path = "/gone/"
upstream = "gone"

[upstreams.gone]
servers = [{{ address = "{gone}" }}]
"#
    ));
    let daemon = Daemon::run(&settings);
    assert_answers(&daemon, "/gone/", "502");
    let labels = [("upstream", "gone")];
    assert!(daemon.metric("upstream_failures_total", &labels) >= 2.0);
}

#[test]
fn an_upstream_that_resets_before_its_response_is_502() {
    let origin = Origin::start();
    assert_answers(&daemon(&origin), "/reset-before", "502");
}

#[test]
fn an_upstream_that_never_answers_is_504() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    let start = std::time::Instant::now();
    assert_answers(&daemon, "/never", "504");
    // Twice the timeout of 1 s, once for each protocol.
    assert!(start.elapsed() >= Duration::from_millis(1900));
}

#[test]
fn an_upstream_that_resets_in_its_response_aborts_it() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    for (protocol, version) in PROTOCOLS {
        let args = format!("{protocol} -N -w %{{http_code}}/%{{http_version}}");
        let running = daemon.curl(&args, "/reset-middle").start();
        // A reset that came before would take unread bytes with it.
        wait_until(Duration::from_secs(10), "the body comes", || {
            running.printed() >= 10_000
        });
        origin.open_gate();
        let output = running.finish();
        assert_broke_off(&output);
        assert!(
            output.stdout.ends_with(&format!("200/{version}")),
            "{output}"
        );
        assert_still_serves(&daemon, protocol);
    }
}

#[test]
fn a_body_that_breaks_off_aborts_the_response() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    for path in ["/truncated-chunked", "/truncated-length"] {
        for (protocol, version) in PROTOCOLS {
            let args = format!("{protocol} -N -w %{{http_code}}/%{{http_version}}");
            let running = daemon.curl(&args, &format!("{path}?gate")).start();
            // What has come is passed on before more does.
            wait_until(Duration::from_secs(10), "the body comes", || {
                running.stdout() == "hello"
            });
            origin.open_gate();
            let output = running.finish();
            assert_broke_off(&output);
            assert_eq!(output.stdout, format!("hello200/{version}"), "{path}");
            assert_still_serves(&daemon, protocol);
        }
    }
}

#[test]
fn a_body_that_breaks_off_at_once_is_no_response_or_a_broken_one() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    for path in ["/truncated-chunked", "/truncated-length"] {
        for (protocol, _) in PROTOCOLS {
            let output = daemon.curl(protocol, path).run();
            if output.code != NO_RESPONSE {
                assert_broke_off(&output);
            }
            assert_still_serves(&daemon, protocol);
        }
    }
}

#[test]
fn a_chunked_body_that_breaks_off_has_no_last_chunk() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    let mut stream = Client::new().connect(daemon.https()).unwrap();
    let request = "GET /truncated-chunked?gate HTTP/1.1\r\nHost: example.test\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"hello\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.extend(byte);
    }
    assert!(bytes.starts_with(b"HTTP/1.1 200"));
    origin.open_gate();
    let mut rest = Vec::new();
    // With or without close_notify.
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(String::from_utf8_lossy(&rest), "");
}
