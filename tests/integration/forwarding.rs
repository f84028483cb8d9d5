//! What passes between client and upstream, and what must not.

use std::io::{BufReader, Write};

use crate::support::{Client, Daemon, Origin, Response, Settings, TlsStream, read_response};

fn daemon(origin: &Origin) -> Daemon {
    Daemon::run(&Settings::new(origin.address()))
}

fn connect(daemon: &Daemon) -> BufReader<TlsStream> {
    BufReader::new(Client::new().connect(daemon.https()).unwrap())
}

/// Sends a head as it is and reads the response.
#[track_caller]
fn ask(stream: &mut BufReader<TlsStream>, head: &str) -> Response {
    stream.get_mut().write_all(head.as_bytes()).unwrap();
    stream.get_mut().flush().unwrap();
    read_response(stream).unwrap()
}

/// The values of the field `name` in a head as the origin printed it.
fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

#[test]
fn the_upstream_learns_who_asked_and_forged_fields_are_replaced() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    for protocol in ["--http1.1", "--http2"] {
        let output = daemon
            .curl(protocol, "/head")
            .args([
                "-H",
                "X-Forwarded-For: 6.6.6.6",
                "-H",
                "X-Forwarded-Proto: http",
            ])
            .args(["-H", "X-Forwarded-Host: evil.test", "-H", "X-Kept: yes"])
            .run()
            .success();
        let head = &output.stdout;
        assert!(head.starts_with("GET /head HTTP/1.1\n"), "{head}");
        let host = format!("example.test:{}", daemon.https().port());
        assert_eq!(values(head, "host"), [host.as_str()], "{head}");
        let forwarded_host = values(head, "x-forwarded-host").join(" ");
        let without_port = forwarded_host.split(':').next();
        assert_eq!(without_port, Some("example.test"), "{head}");
        assert_eq!(values(head, "x-forwarded-for"), ["127.0.0.1"], "{head}");
        assert_eq!(values(head, "x-forwarded-proto"), ["https"], "{head}");
        assert_eq!(values(head, "x-kept"), ["yes"], "{head}");
        for framing in ["transfer-encoding", "content-length"] {
            assert_eq!(values(head, framing), [""; 0], "{head}");
        }
    }
}

#[test]
fn hop_by_hop_fields_of_a_request_do_not_pass() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    let response = ask(
        &mut connect(&daemon),
        "GET /head HTTP/1.1\r\nHost: example.test\r\nConnection: keep-alive, X-Private\r\n\
         X-Private: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\n\
         X-Handfast-Connection: 1\r\nX-Public: 1\r\n\r\n",
    );
    let head = response.text();
    assert_eq!(values(&head, "x-public"), ["1"], "{head}");
    for name in [
        "x-private",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
        "x-handfast-connection",
    ] {
        assert_eq!(values(&head, name), [""; 0], "{name}: {head}");
    }
}

#[test]
fn hop_by_hop_fields_of_a_response_do_not_pass() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    let response = ask(
        &mut connect(&daemon),
        "GET /hop HTTP/1.1\r\nHost: example.test\r\n\r\n",
    );
    assert_eq!(response.text(), "hop\n");
    assert_eq!(response.head.one("x-public"), Some("1"));
    for name in ["x-private", "keep-alive", "proxy-connection"] {
        assert_eq!(response.head.one(name), None, "{name}");
    }
    let output = daemon.curl("--http2 -i", "/hop").run().success();
    assert!(!output.stdout.contains("x-private"), "{output}");
}

#[test]
fn requests_share_a_kept_connection_to_the_upstream() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    let mut stream = connect(&daemon);
    for _ in 0..5 {
        let response = ask(&mut stream, "GET / HTTP/1.1\r\nHost: example.test\r\n\r\n");
        assert_eq!(response.text(), "origin\n");
    }
    assert_eq!(origin.requests(), 5);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn ambiguous_requests_are_refused() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test/x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET nopath HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ] {
        let response = ask(&mut connect(&daemon), head);
        assert_eq!(response.head.status(), 400, "{head}");
    }
    assert_eq!(origin.requests(), 0, "one was forwarded");
}

#[test]
fn the_most_specific_host_then_the_longest_path_decides() {
    let general = Origin::named("general");
    let (host, path, wild) = (
        Origin::named("host"),
        Origin::named("path"),
        Origin::named("wild"),
    );
    let route = |keys: &str, origin: &Origin| {
        format!(
            "[[routes]]\n{keys}\nupstream = \"http://{}\"\n",
            origin.address()
        )
    };
    let settings = Settings::new(general.address())
        .more(&route("host = \"example.test\"", &host))
        .more(&route("host = \"example.test\"\npath = \"/api/\"", &path))
        .more(&route("host = \"*.wild.test\"", &wild));
    let daemon = Daemon::run(&settings);
    for (name, target, answer) in [
        ("example.test", "/", "host\n"),
        ("EXAMPLE.TEST", "/", "host\n"),
        ("example.test", "/api/x", "path\n"),
        ("example.test", "/apix", "host\n"),
        ("localhost", "/api/x", "general\n"),
        ("a.wild.test", "/", "wild\n"),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {name}\r\n\r\n");
        let client = Client::new().name(name);
        let mut stream = BufReader::new(client.connect(daemon.https()).unwrap());
        assert_eq!(ask(&mut stream, &head).text(), answer, "{name}{target}");
    }
}
