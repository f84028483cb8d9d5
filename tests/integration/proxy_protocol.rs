//! The PROXY protocol: whom a connection is for, who may say so, and what becomes of the rest.

use std::fmt::Write as _;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{
    Client, Daemon, Handshake, Origin, Response, Settings, pause, read_response, wait_until,
};

const SOON: Duration = Duration::from_secs(15);
const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";

/// A daemon with two listeners, TLS and plain, whose clients are behind a proxy.
struct Proxied {
    daemon: Daemon,
    _origin: Origin,
    tls: SocketAddr,
    plain: SocketAddr,
}

fn proxied(more: &str) -> Proxied {
    let origin = Origin::start();
    let listeners = r#"
[[listeners]]
name = "proxied"
address = "127.0.0.1:0"
certificates = ["main"]
proxy_protocol_from = ["10.0.0.0/8", "127.0.0.1"]

[[listeners]]
name = "plain"
address = "127.0.0.1:0"
tls = false
proxy_protocol_from = ["127.0.0.0/8"]

[[listeners]]
name = "direct"
address = "127.0.0.1:0"
tls = false
"#;
    let settings = Settings::new(origin.address())
        .policy("handshake_timeout = \"700ms\"")
        .more(listeners)
        .more(more);
    let mut daemon = Daemon::run(&settings);
    Proxied {
        tls: daemon.wait_listening("proxied"),
        plain: daemon.wait_listening("plain"),
        daemon,
        _origin: origin,
    }
}

/// Version 2 with these bytes after the signature.
fn version_2(rest: &[u8]) -> Vec<u8> {
    [b"\r\n\r\n\0\r\nQUIT\n", rest].concat()
}

fn ask(stream: &mut (impl Read + Write)) -> Response {
    let head = b"GET /head HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n";
    stream.write_all(head).unwrap();
    read_response(&mut BufReader::new(stream)).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// Sends `bytes` and nothing more, and reads until the end, whichever it is.
fn only(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = connect(address);
    socket.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    if let Err(error) = socket.read_to_end(&mut answer) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    answer
}

#[track_caller]
fn assert_failed(handshake: &Handshake, class: &str, side: &str) {
    assert_eq!(handshake.class(), class, "{handshake}");
    assert_eq!(handshake.failure("side"), side, "{handshake}");
    assert_eq!(
        handshake.failure("phase"),
        "proxy_header_wait",
        "{handshake}"
    );
    handshake.assert_sum();
}

#[test]
fn the_address_in_the_header_is_the_peer() {
    let proxied = proxied("");
    let four = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
    let mut six = [0; 36];
    six[..2].copy_from_slice(&[0x20, 1]);
    six[15] = 7;
    six[32..34].copy_from_slice(&[0xdc, 4]);
    let tlv = [
        &[0x21, 0x11, 0, 12 + 8][..],
        &four,
        &[4, 0, 5, 1, 2, 3, 4, 5],
    ]
    .concat();
    for (header, peer) in [
        (LINE.to_vec(), Some("192.0.2.7:56324")),
        (
            version_2(&[&[0x21, 0x11, 0, 12][..], &four].concat()),
            Some("192.0.2.7:56324"),
        ),
        (
            version_2(&[&[0x21, 0x21, 0, 36][..], &six].concat()),
            Some("[2001::7]:56324"),
        ),
        (version_2(&tlv), Some("192.0.2.7:56324")),
        (version_2(&[0x20, 0, 0, 0]), None),
        (version_2(&[0x21, 0, 0, 0]), None),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
    ] {
        let (answer, handshake) = proxied.daemon.new_handshake(|| {
            let mut stream = Client::new().connect_after(proxied.tls, &header).unwrap();
            let own = stream.sock.local_addr().unwrap();
            (ask(&mut stream).text(), own)
        });
        let (head, own) = answer;
        let peer: SocketAddr = peer.map_or(own, |peer| peer.parse().unwrap());
        assert_eq!(handshake.text("outcome"), Some("ok"), "{handshake}");
        assert_eq!(handshake.text("peer"), Some(&*peer.to_string()));
        assert_eq!(handshake.text("proxy"), Some(&*own.to_string()));
        handshake.assert_sum();
        assert!(handshake.phase("proxy_header_wait") > 0, "{handshake}");
        let forwarded = format!("x-forwarded-for: {}\n", peer.ip());
        assert!(head.to_ascii_lowercase().contains(&forwarded), "{head}");
        let mut plain = connect(proxied.plain);
        plain.write_all(&header).unwrap();
        let head = ask(&mut plain).text().to_ascii_lowercase();
        assert!(head.contains(&forwarded), "{head}");
    }
    wait_until(SOON, "the access log has the peer and the sender", || {
        proxied.daemon.log().records().iter().any(|record| {
            record["event"] == "http.request"
                && record["listener"] == "plain"
                && record["peer"] == "192.0.2.7:56324"
                && record["client"] == "192.0.2.7"
                && record["proxy"]
                    .as_str()
                    .is_some_and(|it| it.starts_with("127.0.0.1:"))
        })
    });
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let proxied = proxied("");
    let hello = Client::new().hello();
    let (answer, handshake) = proxied.daemon.new_handshake(|| {
        let mut socket = connect(proxied.tls);
        for byte in LINE {
            socket.write_all(&[*byte]).unwrap();
            pause(Duration::from_millis(1));
        }
        socket.write_all(&hello).unwrap();
        let mut first = [0; 5];
        socket.read_exact(&mut first).unwrap();
        first
    });
    assert_eq!(answer[0], 22, "a ServerHello");
    assert_eq!(handshake.text("peer"), Some("192.0.2.7:56324"));
    assert!(
        handshake.phase("proxy_header_wait") > 40_000_000,
        "{handshake}"
    );
    handshake.assert_sum();
}

#[test]
fn a_header_is_required_and_must_be_right() {
    let proxied = proxied("");
    let daemon = &proxied.daemon;
    let hello = Client::new().hello();
    for bytes in [
        &hello[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n",
        &version_2(&[0x31, 0x11, 0, 0]),
        &version_2(&[0x21, 0x11, 0xff, 0xff]),
    ] {
        let (answer, handshake) = daemon.new_handshake(|| only(proxied.tls, bytes));
        assert!(answer.is_empty(), "{answer:?}");
        assert_failed(&handshake, "proxy_header", "server");
        assert!(only(proxied.plain, bytes).is_empty());
    }
    let labels = [("class", "proxy_header"), ("listener", "proxied")];
    daemon.wait_metric("tls_handshake_failures_total", &labels, 6.0);
}

#[test]
fn a_header_from_anyone_else_is_refused() {
    let mut proxied = proxied("");
    let direct = proxied.daemon.wait_listening("direct");
    let daemon = &proxied.daemon;
    let block = version_2(&[0x20, 0, 0, 0]);
    for header in [LINE, &block] {
        let whole = [header, &Client::new().hello()].concat();
        let (answer, handshake) = daemon.new_handshake(|| only(daemon.https(), &whole));
        assert!(answer.is_empty(), "{answer:?}");
        assert_eq!(handshake.class(), "proxy_header", "{handshake}");
        assert_eq!(handshake.text("proxy"), None);
        let ((), handshake) = daemon.new_handshake(|| {
            let mut socket = connect(daemon.https());
            for byte in header {
                // The last ones may come after the refusal.
                if socket.write_all(&[*byte]).is_err() {
                    break;
                }
                pause(Duration::from_millis(1));
            }
        });
        assert_eq!(handshake.class(), "proxy_header", "{handshake}");
        let whole = [header, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        let answer = String::from_utf8(only(direct, &whole)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.ends_with("\nproxy_header\n"), "{answer}");
    }
}

#[test]
fn a_header_that_stalls_or_breaks_off_says_so() {
    let proxied = proxied("[timeouts]\nrequest_header = \"700ms\"");
    let daemon = &proxied.daemon;
    let (_, handshake) = daemon.new_handshake(|| only(proxied.tls, b"PROXY TCP4 192."));
    assert_failed(&handshake, "timeout", "server");
    let (_, handshake) = daemon.new_handshake(|| {
        let mut socket = connect(proxied.tls);
        socket.write_all(b"\r\n\r\n\0").unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        socket.read_to_end(&mut Vec::new()).unwrap();
    });
    assert_failed(&handshake, "client_closed", "client");
    assert!(only(proxied.plain, b"PROXY").is_empty());
    // Nothing, and nothing but the header, are probes.
    let probes = [("listener", "proxied")];
    let count = || daemon.metric("tls_probe_connections_total", &probes);
    assert_eq!(count(), 0.0);
    drop(connect(proxied.tls));
    daemon.wait_metric("tls_probe_connections_total", &probes, 1.0);
    only(proxied.tls, b"");
    daemon.wait_metric("tls_probe_connections_total", &probes, 2.0);
    only(proxied.tls, LINE);
    daemon.wait_metric("tls_probe_connections_total", &probes, 3.0);
    connect(proxied.tls).write_all(LINE).unwrap();
    daemon.wait_metric("tls_probe_connections_total", &probes, 4.0);
}

#[test]
fn connections_per_ip_counts_the_address_in_the_header() {
    let proxied = proxied("[limits]\nconnections_per_ip = 1");
    let other = b"PROXY TCP4 192.0.2.8 198.51.100.1 1 443\r\n";
    let client = Client::new();
    let first = client.connect_after(proxied.tls, LINE).unwrap();
    let second = client.connect_after(proxied.tls, other).unwrap();
    assert!(client.connect_after(proxied.tls, LINE).is_err());
    proxied.daemon.wait_metric(
        "limit_refusals_total",
        &[("limit", "connections_per_ip")],
        1.0,
    );
    drop(first);
    wait_until(SOON, "the place is free again", || {
        client.connect_after(proxied.tls, LINE).is_ok()
    });
    drop(second);
}

/// HAProxy in front of `server`, listening on a socket that it inherits; killed when dropped.
struct Haproxy {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Haproxy {
    fn start(server: SocketAddr, options: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let dir = tempfile::TempDir::new().unwrap();
        let mut config = String::from("defaults\n mode tcp\n");
        for wait in ["connect", "client", "server"] {
            writeln!(config, " timeout {wait} 20s").unwrap();
        }
        write!(
            config,
            "frontend in\n bind fd@3\n default_backend out\nbackend out\n server s {server} {options}\n"
        )
        .unwrap();
        let file = dir.path().join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let command = "PATH=$PATH:/usr/sbin; exec haproxy -db -q -f \"$0\" 3<&0 </dev/null";
        let child = Command::new("sh")
            .args(["-c", command])
            .arg(&file)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .spawn()
            .unwrap();
        Self {
            child,
            address,
            _dir: dir,
        }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn haproxy_speaks_both_versions() {
    let proxied = proxied("");
    for options in ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn"] {
        let haproxy = Haproxy::start(proxied.tls, options);
        let (own, handshake) = proxied.daemon.new_handshake(|| {
            let mut stream = Client::new().connect(haproxy.address).unwrap();
            let own = stream.sock.local_addr().unwrap();
            let head = ask(&mut stream).text().to_ascii_lowercase();
            assert!(head.contains("x-forwarded-for: 127.0.0.1\n"), "{head}");
            own
        });
        assert_eq!(handshake.text("outcome"), Some("ok"), "{handshake}");
        assert_eq!(handshake.text("peer"), Some(&*own.to_string()), "{options}");
        assert_ne!(
            handshake.text("proxy"),
            Some(&*own.to_string()),
            "{options}"
        );
        let haproxy = Haproxy::start(proxied.plain, options);
        assert_eq!(
            ask(&mut connect(haproxy.address)).head.status(),
            200,
            "{options}"
        );
    }
    // Its checks of such a server speak for themselves.
    let _checked = Haproxy::start(proxied.tls, "send-proxy-v2 check inter 100ms");
    wait_until(SOON, "a check is a probe", || {
        let probes = [("listener", "proxied")];
        proxied
            .daemon
            .metric("tls_probe_connections_total", &probes)
            > 0.0
    });
}
