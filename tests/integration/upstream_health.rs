//! Servers that die and come back, and reloads that leave upstreams alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{
    Client, Daemon, Demand, H2Origin, Life, Mortal, Origin, Settings, TlsOrigin, certs,
    read_response, wait_until,
};

const SOON: Duration = Duration::from_secs(10);
const UPSTREAM: (&str, &str) = ("upstream", "origin");

#[test]
fn a_server_that_dies_is_found_out_and_serves_again_when_it_is_back() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (first, second) = (Origin::named("first"), Origin::named("second"));
    let mortal = runtime.block_on(Mortal::start(second.address()));
    let text = format!(
        r#"
[[routes]]
path = "/pair/"
upstream = "pair"

[upstreams.pair]
servers = [{{ address = "{}" }}, {{ address = "{}" }}]
eject = {{ failures = 2, for = "1h" }}
health = {{ path = "/up", interval = "20ms", timeout = "200ms", healthy_after = 2, unhealthy_after = 2 }}
timeouts = {{ connect = "1s", first_byte = "1s", idle = "1s" }}
"#,
        first.address(),
        mortal.address()
    );
    let daemon = Daemon::run(&Settings::new(first.address()).more(&text));
    let pair = [("upstream", "pair")];
    let healthy = |value| daemon.wait_metric("upstream_healthy", &pair, value);
    healthy(2.0);
    for life in [Life::Gone, Life::Hangs, Life::Resets, Life::Closes] {
        runtime.block_on(mortal.live(life));
        healthy(1.0);
        for _ in 0..4 {
            let output = daemon.curl("", "/pair/").run().success();
            assert_eq!(output.stdout, "first\n", "{life:?}");
        }
        runtime.block_on(mortal.live(Life::Alive));
        healthy(2.0);
        let mut answers: Vec<_> = (0..2)
            .map(|_| daemon.curl("", "/pair/").run().success().stdout)
            .collect();
        answers.sort();
        assert_eq!(answers, ["first\n", "second\n"], "{life:?}");
    }
    let checks = |result| {
        let labels = [("upstream", "pair"), ("result", result)];
        daemon.metric("upstream_health_checks_total", &labels)
    };
    assert!(checks("ok") > 0.0 && checks("connect") > 0.0 && checks("timeout") > 0.0);
    let summary: serde_json::Value =
        serde_json::from_slice(&daemon.admin("/api/summary").body).unwrap();
    let upstreams = summary["upstreams"].as_array().unwrap();
    let pair = upstreams.iter().find(|own| own["name"] == "pair").unwrap();
    assert_eq!(pair["servers"][1]["state"], "up", "{pair}");
    assert_eq!(
        pair["servers"][1]["configured"],
        mortal.address().to_string()
    );
}

/// How often checks of the upstream `name` had this result.
fn checks(daemon: &Daemon, name: &str, result: &str) -> f64 {
    let labels = [("upstream", name), ("result", result)];
    daemon.metric("upstream_health_checks_total", &labels)
}

/// An upstream that is checked often and never asked otherwise.
fn checked(name: &str, address: std::net::SocketAddr, more: &str) -> String {
    format!(
        r#"
[[routes]]
host = "{name}.test"
upstream = "{name}"

[upstreams.{name}]
servers = [{{ address = "{address}" }}]
health = {{ path = "/up?{name}", interval = "20ms", timeout = "500ms", healthy_after = 2, unhealthy_after = 2 }}
{more}
"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_go_over_tls_and_http2_as_requests_do() {
    let tls = "tls = { ca = \"ca.pem\", server_name = \"example.test\" }\n";
    let http2 = "protocol = \"http2\"\n";
    let auto = "protocol = \"auto\"\n";
    let origins = [
        ("h2c", H2Origin::plain(100).await, http2.to_owned()),
        ("h2", H2Origin::tls(&["h2"]).await, format!("{http2}{tls}")),
        (
            "auto",
            H2Origin::tls(&["h2", "http/1.1"]).await,
            format!("{auto}{tls}"),
        ),
        (
            "old",
            H2Origin::tls(&["http/1.1"]).await,
            format!("{auto}{tls}"),
        ),
        (
            "https",
            H2Origin::tls(&["h2", "http/1.1"]).await,
            tls.to_owned(),
        ),
    ];
    let mut text = String::new();
    let mut mortals = Vec::new();
    for (name, origin, more) in &origins {
        let mortal = Mortal::start(origin.address()).await;
        text.push_str(&checked(name, mortal.address(), more));
        mortals.push(mortal);
    }
    let daemon = Daemon::run(&Settings::new(Origin::start().address()).more(&text));
    let healthy = |count| {
        for (name, ..) in &origins {
            daemon.wait_metric("upstream_healthy", &[("upstream", name)], count);
        }
    };
    healthy(1.0);
    for ((name, origin, _), mortal) in origins.iter().zip(&mortals) {
        wait_until(SOON, "checks", || checks(&daemon, name, "ok") > 2.0);
        let port = mortal.address().port();
        let seen = match *name {
            "h2c" => format!("HTTP/2.0 http://127.0.0.1:{port}/up?h2c - - -"),
            "h2" | "auto" => format!("HTTP/2.0 https://example.test:{port}/up?{name} - - -"),
            _ => format!("HTTP/1.1 /up?{name} example.test:{port} - -"),
        };
        assert_eq!(origin.last_seen(), seen);
    }
    for (life, result) in [(Life::Hangs, "timeout"), (Life::Gone, "connect")] {
        for mortal in &mortals {
            mortal.live(life).await;
        }
        healthy(0.0);
        // The first may have been on its way when it happened.
        for (name, ..) in &origins {
            let what = format!("{name} {result}");
            wait_until(SOON, &what, || checks(&daemon, name, result) >= 2.0);
        }
        for mortal in &mortals {
            mortal.live(Life::Alive).await;
        }
        healthy(1.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_believe_no_server_that_requests_would_not() {
    let https = TlsOrigin::start(&certs().main, &["1.3"], Demand::Nothing).address();
    let (plain, old) = (Origin::start(), H2Origin::tls(&["http/1.1"]).await);
    let tls = |more: &str| format!("tls = {{ {more} }}\n");
    let name = "server_name = \"example.test\"";
    let trusting = tls(&format!("ca = \"ca.pem\", {name}"));
    let upstreams = [
        (
            "issuer",
            https,
            tls(&format!("ca = \"clients-ca.pem\", {name}")),
            "tls",
        ),
        (
            "name",
            https,
            tls("ca = \"ca.pem\", server_name = \"other.test\""),
            "tls",
        ),
        ("not-tls", plain.address(), trusting.clone(), "tls"),
        (
            "alpn",
            old.address(),
            format!("protocol = \"http2\"\n{trusting}"),
            "tls",
        ),
        (
            "not-h2",
            plain.address(),
            "protocol = \"http2\"\n".to_owned(),
            "broken",
        ),
    ];
    let text = upstreams
        .iter()
        .map(|(name, address, more, _)| checked(name, *address, more));
    let text = text.collect::<String>();
    let daemon = Daemon::run(&Settings::new(plain.address()).more(&text));
    for (name, _, _, result) in upstreams {
        daemon.wait_metric("upstream_healthy", &[("upstream", name)], 0.0);
        assert!(checks(&daemon, name, result) > 1.5, "{name}");
        assert!(checks(&daemon, name, "ok") < 0.1, "{name}");
    }
}

#[test]
fn a_hundred_reloads_under_load_close_no_connection_of_an_unchanged_upstream() {
    const CLIENTS: usize = 4;
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()));
    let over = Arc::new(AtomicBool::new(false));
    let address = daemon.https();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let over = over.clone();
            thread::spawn(move || {
                let mut stream = std::io::BufReader::new(Client::new().connect(address).unwrap());
                let mut requests = 0;
                while !over.load(Ordering::Relaxed) {
                    let request = "GET / HTTP/1.1\r\nHost: example.test\r\n\r\n";
                    std::io::Write::write_all(stream.get_mut(), request.as_bytes()).unwrap();
                    assert_eq!(read_response(&mut stream).unwrap().text(), "origin\n");
                    requests += 1;
                }
                requests
            })
        })
        .collect();
    let settings = Settings::new(origin.address());
    for number in 1..=100_u32 {
        // Something else changes each time, and the upstream's place in the file.
        let text = format!("\n[[routes]]\npath = \"/{number}\"\nrespond = {{ status = 200 }}\n");
        let text = settings.clone().more(&text).render(daemon.dir());
        daemon.rewrite(&format!(
            "# {number}\n{}{text}",
            "\n".repeat(number as usize)
        ));
        daemon.signal("HUP");
        let labels = [("result", "ok")];
        wait_until(SOON, "the reload is counted", || {
            daemon.metric("config_reloads_total", &labels) >= f64::from(number)
        });
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.join().unwrap() > 100);
    }
    let opened = origin.connections();
    assert!(
        opened <= CLIENTS,
        "{opened} connections for {CLIENTS} clients"
    );
    assert!(daemon.metric("upstream_retries_total", &[UPSTREAM]) < 0.5);
    assert!(daemon.metric("upstream_failures_total", &[UPSTREAM]) < 0.5);
}
