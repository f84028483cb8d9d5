//! `handfast dev`: what a newcomer runs first.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Daemon, Origin, Tool, wait_for};

fn curl_line(daemon: &mut Daemon) -> String {
    let stdout = daemon.stdout().clone();
    wait_for(Duration::from_secs(15), "a curl line is printed", || {
        daemon.assert_running();
        let lines = stdout.lines();
        let line = lines.iter().map(|line| line.trim());
        line.filter(|line| line.starts_with("curl "))
            .map(ToOwned::to_owned)
            .next()
    })
}

/// Every object inside `value`, itself included.
fn objects(value: &Value) -> Vec<&Value> {
    let inner: Vec<&Value> = match value {
        Value::Object(map) => map.values().collect(),
        Value::Array(list) => list.iter().collect(),
        _ => Vec::new(),
    };
    let mut found: Vec<&Value> = inner.into_iter().flat_map(objects).collect();
    if value.is_object() {
        found.push(value);
    }
    found
}

#[test]
fn dev_prints_a_curl_line_that_shows_the_request_and_its_handshake() {
    let mut daemon = Daemon::dev(&[]);
    let line = curl_line(&mut daemon);

    let output = Tool::new("sh").args(["-c", &line]).run().success();
    let json = &output.stdout[output.stdout.find('{').expect("JSON is printed")..];
    let json: Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {output}"));
    let objects = objects(&json);
    let request = objects.iter().find(|object| object["method"] == "GET");
    assert!(request.is_some(), "the request is missing: {json:#}");
    let handshake = objects
        .iter()
        .find(|object| object["phases_us"].is_object())
        .unwrap_or_else(|| panic!("the handshake is missing: {json:#}"));
    assert_eq!(handshake["outcome"], "ok", "{handshake:#}");
    assert_eq!(handshake["version"], "1.3", "{handshake:#}");
    assert_eq!(handshake["alpn"], "h2", "{handshake:#}");

    let line = format!("{line} -sS -o /dev/null -w '%{{http_code}}/%{{http_version}}'");
    let output = Tool::new("sh").args(["-c", &line]).run().success();
    assert!(output.stdout.ends_with("200/2"), "{output}");
}

#[test]
fn dev_forwards_to_an_upstream_of_the_users_choice() {
    let origin = Origin::named("mine");
    let to = origin.address().to_string();
    let mut daemon = Daemon::dev(&["--to", &to]);
    let line = curl_line(&mut daemon);
    let output = Tool::new("sh").args(["-c", &line]).run().success();
    assert!(output.stdout.contains("mine"), "{output}");
}

#[test]
fn dev_ends_with_0_at_ctrl_c() {
    let mut daemon = Daemon::dev(&[]);
    curl_line(&mut daemon);
    daemon.signal("INT");
    // The delay for load balancers applies where standard error is no terminal, as here.
    let status = daemon.wait_exit(Duration::from_secs(15));
    assert_eq!(status.code(), Some(0));
}
