//! Servers that die and come back, and reloads that leave upstreams alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{Client, Daemon, Life, Mortal, Origin, Settings, read_response, wait_until};

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
