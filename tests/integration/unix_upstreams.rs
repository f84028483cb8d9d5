//! Upstream servers at unix sockets.

use std::io::{BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{
    Daemon, Demand, H2Origin, Origin, Settings, TlsOrigin, Tool, UnixServer, certs, read_head,
    read_response, wait_until,
};

const SOON: Duration = Duration::from_secs(15);

/// A route of `NAME.test` to an upstream of this name at `address`.
fn upstream(name: &str, address: &str, more: &str) -> String {
    format!(
        r#"
[[routes]]
host = "{name}.test"
upstream = "{name}"

[upstreams.{name}]
servers = [{{ address = "{address}" }}]
{more}
"#
    )
}

/// What the upstream called `name` answers, and the status.
fn ask(daemon: &Daemon, name: &str, path: &str) -> String {
    let args = format!("--http1.1 -H Host:{name}.test -w /%{{http_code}}");
    daemon.curl(&args, path).run().success().stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_asked_as_others_are() {
    let dir = TempDir::new().unwrap();
    let (origin, h2) = (Origin::start(), H2Origin::plain(100).await);
    let server = UnixServer::start(dir.path().join("app.sock"), origin.address()).await;
    let h2_server = UnixServer::start(dir.path().join("h2.sock"), h2.address()).await;
    let text = format!(
        "[[listeners]]\naddress = \"unix:plain.sock\"\ntls = false\n\n\
         [[routes]]\npath = \"/nameless\"\nupstream = \"h2c\"\n\n\
         [[routes]]\nhost = \"inline.test\"\nupstream = \"{}\"\n{}",
        server.address(),
        upstream("h2c", &h2_server.address(), "protocol = \"http2\"")
    );
    let daemon = Daemon::run(&Settings::new(origin.address()).more(&text));
    for _ in 0..3 {
        let answer = ask(&daemon, "inline", "/head").to_ascii_lowercase();
        assert!(answer.starts_with("get /head http/1.1\n"), "{answer}");
        assert!(answer.contains("host: inline.test\n"), "{answer}");
        assert!(answer.ends_with("/200"), "{answer}");
        assert_eq!(
            ask(&daemon, "h2c", "/head"),
            "HTTP/2.0 http://h2c.test/head - - https/200"
        );
    }
    assert_eq!((server.connections(), h2_server.connections()), (1, 1));
    let args = "-H Host:inline.test -o /dev/null -w %{size_download}";
    let payload = daemon.curl(args, "/source/3000000").run().success();
    assert_eq!(payload.stdout, "3000000");

    // Where nobody knows a host, the path is none.
    let mut client = UnixStream::connect(daemon.dir().join("plain.sock")).unwrap();
    client.write_all(b"GET /nameless HTTP/1.0\r\n\r\n").unwrap();
    let answer = read_response(&mut BufReader::new(client)).unwrap();
    assert_eq!(answer.text(), "HTTP/2.0 http://localhost/nameless - - http");

    let name = server.address();
    wait_until(SOON, "the access log names the server", || {
        let lines = daemon.stdout().records().into_iter();
        let mut lines = lines.chain(daemon.log().records());
        lines.any(|line| line["upstream"] == *name && line["server"] == *name)
    });
    let requests = daemon.metric("upstream_requests_total", &[("upstream", &name)]);
    assert!((requests - 4.0).abs() < 0.1, "{requests}");
    let summary: serde_json::Value =
        serde_json::from_slice(&daemon.admin("/api/summary").body).unwrap();
    let mut upstreams = summary["upstreams"].as_array().unwrap().iter();
    let inline = upstreams.find(|own| own["name"] == *name).unwrap();
    assert_eq!(inline["servers"][0]["address"], *name, "{inline}");
    assert_eq!(inline["servers"][0]["configured"], *name, "{inline}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_for_the_name_that_is_given() {
    let dir = TempDir::new().unwrap();
    let http1 = TlsOrigin::start(&certs().main, &["1.2", "1.3"], Demand::Nothing);
    let h2 = H2Origin::tls(&["h2"]).await;
    let http1_server = UnixServer::start(dir.path().join("1.sock"), http1.address()).await;
    let h2_server = UnixServer::start(dir.path().join("2.sock"), h2.address()).await;
    let tls = |name: &str| format!("tls = {{ ca = \"ca.pem\", server_name = \"{name}\" }}\n");
    let text = [
        upstream("plain", &http1_server.address(), &tls("example.test")),
        upstream("other", &http1_server.address(), &tls("other.invalid")),
        upstream(
            "auto",
            &h2_server.address(),
            &format!("protocol = \"auto\"\n{}", tls("example.test")),
        ),
    ];
    let daemon = Daemon::run(&Settings::new(http1.address()).more(&text.concat()));
    assert_eq!(
        ask(&daemon, "plain", "/facts"),
        "TLSv1_3 full example.test http/1.1 0\n/200"
    );
    assert_eq!(
        ask(&daemon, "plain", "/facts"),
        "TLSv1_3 resumed example.test http/1.1 0\n/200"
    );
    assert_eq!(
        ask(&daemon, "auto", "/head"),
        "HTTP/2.0 https://auto.test/head - - https/200"
    );
    let refused = ask(&daemon, "other", "/facts");
    assert_eq!(refused, "502 Bad Gateway\nupstream_tls_verify\n/502");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_gone_is_502_and_serves_again_when_its_socket_is_back() {
    let dir = TempDir::new().unwrap();
    let (origin, h2) = (Origin::start(), H2Origin::plain(100).await);
    let server = UnixServer::start(dir.path().join("app.sock"), origin.address()).await;
    let h2_server = UnixServer::start(dir.path().join("h2.sock"), h2.address()).await;
    let health = "health = { path = \"/up\", interval = \"20ms\", timeout = \"2s\", \
                  healthy_after = 2, unhealthy_after = 2 }\n";
    let text = [
        upstream("app", &server.address(), health),
        upstream(
            "h2c",
            &h2_server.address(),
            &format!("protocol = \"http2\"\n{health}"),
        ),
    ];
    let daemon = Daemon::run(&Settings::new(origin.address()).more(&text.concat()));
    let healthy = |count| {
        for name in ["app", "h2c"] {
            daemon.wait_metric("upstream_healthy", &[("upstream", name)], count);
        }
    };
    let failures = |name| {
        let labels = [("upstream", name), ("reason", "upstream_connect")];
        daemon.metric("upstream_failures_total", &labels)
    };
    healthy(1.0);
    assert!(ask(&daemon, "app", "/").ends_with("origin\n/200"));
    assert!(ask(&daemon, "h2c", "/head").ends_with("/200"));
    for file_stays in [true, false] {
        for server in [&server, &h2_server] {
            server.kill().await;
            if !file_stays {
                server.remove();
            }
        }
        healthy(0.0);
        for name in ["app", "h2c"] {
            let before = failures(name);
            let answer = ask(&daemon, name, "/");
            assert_eq!(answer, "502 Bad Gateway\nupstream_connect\n/502", "{name}");
            assert!(failures(name) > before, "{name}");
        }
        for server in [&server, &h2_server] {
            server.restart().await;
        }
        healthy(1.0);
        assert!(ask(&daemon, "app", "/").ends_with("origin\n/200"));
        assert!(ask(&daemon, "h2c", "/head").ends_with("/200"));
    }
}

#[test]
fn health_checks_name_a_host() {
    // Whoever listens takes one connection and tells the head.
    let dir = TempDir::new().unwrap();
    let listener = UnixListener::bind(dir.path().join("app.sock")).unwrap();
    let address = format!("unix:{}", dir.path().join("app.sock").display());
    let origin = Origin::start();
    let health = "health = { path = \"/up\" }";
    let text = upstream("app", &address, health);
    let _daemon = Daemon::run(&Settings::new(origin.address()).more(&text));
    let (stream, _) = listener.accept().unwrap();
    let head = read_head(&mut BufReader::new(stream)).unwrap();
    let head = head.unwrap();
    assert_eq!(head.start, "GET /up HTTP/1.1");
    assert_eq!(head.one("host"), Some("localhost"));
}

#[test]
fn check_takes_them_and_says_what_is_wrong_with_one() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("handfast.toml");
    let check = |more: &str| {
        let text = format!(
            "[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = false\n\n[[routes]]\n\
             upstream = \"app\"\n\n[upstreams.app]\nservers = [{{ address = \"unix:app.sock\" }}]\n\
             {more}\n"
        );
        std::fs::write(&file, text).unwrap();
        Tool::new(env!("CARGO_BIN_EXE_handfast"))
            .words("check --config")
            .args([&file])
            .run()
    };
    check("").success();
    let output = check("tls = true");
    assert_eq!(output.code, 78, "{output:?}");
    let told = format!("{}{}", output.stdout, output.stderr);
    assert!(told.contains("`tls` needs `server_name`"), "{told}");
    assert!(told.contains("handfast.toml:10:7"), "{told}");
}
