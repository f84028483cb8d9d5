//! The lines of the log: that they are what the schema says, and that those of one connection fit
//! together.

use std::io::{BufReader, Write as _};
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Client, Daemon, Origin, Response, Schema, Settings, get, read_response, wait_for,
};

/// The log's events of this name, once there are `count`.
fn events(daemon: &Daemon, name: &str, count: usize) -> Vec<Value> {
    wait_for(Duration::from_secs(10), "the events are logged", || {
        let mut records = daemon.log().records();
        records.retain(|record| record["event"] == name);
        (records.len() >= count).then_some(records)
    })
}

/// Two requests on one connection.
fn two(daemon: &Daemon, version: &str) -> [Response; 2] {
    let stream = Client::of_version(version).connect(daemon.https()).unwrap();
    let mut stream = BufReader::new(stream);
    [(); 2].map(|()| {
        let request = b"GET /a HTTP/1.1\r\nHost: example.test\r\n\r\n";
        stream.get_mut().write_all(request).unwrap();
        stream.get_mut().flush().unwrap();
        read_response(&mut stream).unwrap()
    })
}

#[test]
fn every_event_is_what_the_schema_says() {
    let daemon = Daemon::run(&Settings::new(Origin::start().address()));
    let client = Client::new();
    for _ in 0..2 {
        client.get_raw(daemon.https(), "/").unwrap();
    }
    two(&daemon, "1.2");
    daemon.curl("--http2", "/").run().success();
    get(daemon.https(), "/").unwrap();
    let unknown = client.name("unknown.test");
    unknown.connect(daemon.https()).unwrap_err();
    let schema = Schema::of_events();
    let handshakes = events(&daemon, "tls.handshake", 6);
    let requests = events(&daemon, "http.request", 5);
    let failed = handshakes.iter().filter(|it| it["outcome"] == "failed");
    assert_eq!(failed.count(), 2);
    for event in handshakes.iter().chain(&requests) {
        schema.check(event).unwrap();
        let fields: Vec<_> = event.as_object().unwrap().keys().cloned().collect();
        for field in fields {
            let mut cut = event.clone();
            cut.as_object_mut().unwrap().remove(&field);
            schema.check(&cut).unwrap_err();
        }
    }
    let mut wrong = handshakes[0].clone();
    wrong["round_trips"] = Value::from(-1);
    schema.check(&wrong).unwrap_err();
}

#[test]
fn requests_tell_their_handshake_once() {
    let daemon = Daemon::run(&Settings::new(Origin::start().address()));
    two(&daemon, "1.3");
    let handshake = events(&daemon, "tls.handshake", 1).remove(0);
    let requests = events(&daemon, "http.request", 2);
    for request in &requests {
        assert_eq!(request["connection"], handshake["id"]);
        assert_eq!(request["tls_version"], handshake["version"]);
        assert_eq!(request["tls_cipher"], handshake["cipher"]);
        assert_eq!(request["tls_resumed"], false);
    }
    let total = handshake["total_us"].as_f64().unwrap().floor();
    assert_eq!(requests[0]["handshake_us"].as_f64(), Some(total));
    assert_eq!(requests[1]["handshake_us"], Value::Null);
}

#[test]
fn a_combined_log_is_combined() {
    let settings = Settings::new(Origin::start().address());
    let access = "handshake = { events = \"off\" }\naccess = { format = \"combined\" }";
    let daemon = Daemon::run(&settings.log(access));
    daemon
        .curl("-A agent/1 -e http://x.test/", "/a?b")
        .run()
        .success();
    let line = wait_for(Duration::from_secs(10), "the request is logged", || {
        let lines = daemon.log().lines();
        lines
            .into_iter()
            .find(|line| line.contains("\"GET /a?b HTTP/"))
    });
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.ends_with(" \"http://x.test/\" \"agent/1\""), "{line}");
}

#[test]
fn the_first_response_tells_the_handshake_to_the_browser() {
    let settings = Settings::new(Origin::start().address());
    let on = "[forwarding]\nserver_timing = true";
    let daemon = Daemon::run(&settings.clone().more(on));
    let [first, second] = two(&daemon, "1.3");
    let timing = first.head.one("server-timing").unwrap();
    let names: Vec<_> = timing
        .split(", ")
        .map(|metric| {
            let (name, rest) = metric.split_once(";dur=").unwrap();
            let duration = rest.split(';').next().unwrap();
            assert!(duration.parse::<f64>().unwrap() >= 0.0, "{timing}");
            name
        })
        .collect();
    assert_eq!(names, ["tls", "tls-client", "tls-cpu", "tls-queue"]);
    assert!(timing.contains(";desc=\"TLS 1.3 full\", "), "{timing}");
    assert_eq!(second.head.one("server-timing"), None);
    let off = Daemon::run(&settings);
    assert_eq!(two(&off, "1.3")[0].head.one("server-timing"), None);
}
