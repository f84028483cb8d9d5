//! What routes and listeners do with requests besides forwarding them as they are.

use crate::support::{Daemon, Origin, Settings, Tool};

const ROUTES: &str = r#"
[[listeners]]
name = "plain"
address = "127.0.0.1:0"
tls = false

[[listeners]]
name = "redirecting"
address = "127.0.0.1:0"
tls = false
redirect = { to = "https", public_port = 8443 }

[[routes]]
path = "/api/"
upstream = "origin"
strip_prefix = true
request_headers = { set = { X-Team = "payments" }, remove = ["User-Agent"] }
response_headers = { set = { X-Frame-Options = "DENY" } }

[[routes]]
path = "/moved/"
redirect = { to = "https://example.org", status = 307 }

[[routes]]
path = "/closed"
respond = { status = 403 }

[[routes]]
path = "/open"
respond = { status = 200, body = "open" }

[[routes]]
path = "=/gone"
respond = { status = 410, body = "gone\n", headers = { Cache-Control = "no-store" } }
"#;

#[test]
fn routes_rewrite_redirect_and_respond_over_both_protocols() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()).more(ROUTES));
    for protocol in ["--http1.1 -i", "--http2 -i"] {
        let answer = daemon
            .curl(protocol, "/api/head?q=1")
            .run()
            .success()
            .stdout;
        let (head, seen) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.to_ascii_lowercase()
                .contains("\r\nx-frame-options: deny"),
            "{head}"
        );
        assert!(seen.starts_with("GET /head?q=1 HTTP/1.1\n"), "{seen}");
        let seen = seen.to_ascii_lowercase();
        assert!(seen.contains("\nx-team: payments\n"), "{seen}");
        assert!(!seen.contains("user-agent"), "{seen}");

        let moved = daemon.curl(protocol, "/moved/x?y=z").run().success().stdout;
        assert!(moved.split(' ').nth(1) == Some("307"), "{moved}");
        let line = "\r\nlocation: https://example.org/moved/x?y=z\r\n";
        assert!(moved.to_ascii_lowercase().contains(line), "{moved}");

        let gone = daemon.curl(protocol, "/gone").run().success().stdout;
        assert!(gone.split(' ').nth(1) == Some("410"), "{gone}");
        assert!(gone.contains("cache-control: no-store\r\n"), "{gone}");
        assert!(gone.ends_with("\r\n\r\ngone\n"), "{gone}");
    }
    daemon.wait_metric(
        "http_requests_total",
        &[
            ("listener", "https"),
            ("route", "*=/gone"),
            ("code", "4xx"),
            ("protocol", "h2"),
        ],
        1.0,
    );
}

#[test]
fn a_plain_listener_redirects_everything() {
    let origin = Origin::start();
    let mut daemon = Daemon::run(&Settings::new(origin.address()).more(ROUTES));
    let address = daemon.wait_listening("redirecting");
    for (path, location) in [
        ("/x//y?z=1", "https://example.test:8443/x//y?z=1"),
        ("/gone", "https://example.test:8443/gone"),
    ] {
        let url = format!("http://{address}{path}");
        let answer = Tool::new("curl")
            .words("-sS -i --max-time 10 -H Host:Example.Test:80")
            .args([&*url])
            .run()
            .success()
            .stdout;
        assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
        let line = format!("\r\nlocation: {location}\r\n");
        assert!(answer.contains(&line), "{answer}");
    }
    assert_eq!(origin.requests(), 0, "nothing is forwarded");
}

/// Whatever an upstream would read as the closed path is closed.
#[test]
fn no_spelling_leads_around_a_route() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()).more(ROUTES));
    let status = |path: &str| {
        let options = "--path-as-is -s -o /dev/null -w %{http_code}";
        daemon.curl(options, path).run().success().stdout
    };
    for (path, expected) in [
        ("/closed/x", "403"),
        ("//closed/x", "403"),
        ("/%63losed/x", "403"),
        ("/.//closed/x", "400"),
        ("/head/../closed/x", "400"),
        ("/head/%2e%2E/closed/x", "400"),
        ("/head/..%2fclosed/x", "400"),
        // No path of the file system, to nobody.
        ("/head/..x", "200"),
    ] {
        assert_eq!(status(path), expected, "{path}");
    }
}
