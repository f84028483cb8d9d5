//! The PROXY protocol: whom a connection is for, who may say so, and what becomes of the rest.

use std::fmt::{Display, Write as _};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{
    Client, Daemon, Handshake, Origin, Response, Settings, Tool, pause, read_response, wait_until,
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

/// A header of version 2 with this client, the largest that is taken.
fn largest() -> Vec<u8> {
    let four = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
    let rest: u16 = 4096 - 16;
    let noop = usize::from(rest) - four.len() - 3;
    let tlv = [&[4][..], &u16::try_from(noop).unwrap().to_be_bytes()].concat();
    let fixed = [&[0x21, 0x11][..], &rest.to_be_bytes()].concat();
    version_2(&[fixed, four.to_vec(), tlv, vec![0; noop]].concat())
}

#[test]
fn a_header_may_come_byte_by_byte_and_with_what_follows_it() {
    let proxied = proxied("[timeouts]\nrequest_header = \"10s\"");
    let four = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
    let tlv = [&[0x21, 0x11, 0, 12 + 4][..], &four, &[4, 0, 1, 9]].concat();
    let head = b"GET /head HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n";
    for header in [LINE, &version_2(&tlv)] {
        let (answer, handshake) = proxied.daemon.new_handshake(|| {
            let mut socket = connect(proxied.tls);
            drip(&mut socket, header);
            socket.write_all(&Client::new().hello()).unwrap();
            let mut first = [0; 5];
            socket.read_exact(&mut first).unwrap();
            first
        });
        assert_eq!(answer[0], 22, "a ServerHello");
        assert_eq!(handshake.text("peer"), Some("192.0.2.7:56324"));
        assert!(
            handshake.phase("proxy_header_wait") > 20_000_000,
            "{handshake}"
        );
        handshake.assert_sum();
        let mut plain = connect(proxied.plain);
        drip(&mut plain, header);
        let head = ask(&mut plain).text().to_ascii_lowercase();
        assert!(head.contains("x-forwarded-for: 192.0.2.7\n"), "{head}");
    }
    // In one piece with what follows, which is not lost.
    for header in [LINE, &version_2(&tlv), &largest()] {
        let (answer, handshake) = proxied
            .daemon
            .new_handshake(|| begin(proxied.tls, &[header, &Client::new().hello()].concat()));
        assert_eq!(answer, 22, "a ServerHello");
        assert_eq!(handshake.text("peer"), Some("192.0.2.7:56324"));
        let answer = String::from_utf8(only(proxied.plain, &[header, head].concat())).unwrap();
        let answer = answer.to_ascii_lowercase();
        assert!(answer.contains("x-forwarded-for: 192.0.2.7\n"), "{answer}");
    }
    // One byte too long, which its length tells.
    let mut long = largest();
    long[14..16].copy_from_slice(&4081_u16.to_be_bytes());
    let (_, handshake) = proxied.daemon.new_handshake(|| only(proxied.tls, &long));
    assert_failed(&handshake, "proxy_header", "server");
}

/// One byte a segment.
fn drip(socket: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        socket.write_all(&[*byte]).unwrap();
        pause(Duration::from_millis(1));
    }
}

/// Sends `bytes` at once; the first byte of the answer.
fn begin(address: SocketAddr, bytes: &[u8]) -> u8 {
    let mut socket = connect(address);
    socket.write_all(bytes).unwrap();
    let mut first = [0];
    socket.read_exact(&mut first).unwrap();
    first[0]
}

#[test]
fn the_header_takes_from_the_time_of_the_handshake() {
    let proxied = proxied("");
    let (_, handshake) = proxied.daemon.new_handshake(|| {
        let mut socket = connect(proxied.tls);
        pause(Duration::from_millis(600));
        socket.write_all(LINE).unwrap();
        socket.write_all(&Client::new().hello()[..20]).unwrap();
        socket.read_to_end(&mut Vec::new()).unwrap();
    });
    assert_eq!(handshake.class(), "timeout", "{handshake}");
    assert_eq!(handshake.failure("phase"), "client_hello_read");
    assert_eq!(handshake.text("peer"), Some("192.0.2.7:56324"));
    handshake.assert_sum();
    // 700 ms from accept; from the header on it would be 1300.
    let waited = ["client_hello_wait", "client_hello_read"].map(|phase| handshake.phase(phase));
    assert!(waited.iter().sum::<u64>() < 600_000_000, "{handshake}");
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

/// HAProxy or nginx, listening on a socket that it inherits; ended when dropped.
struct FrontEnd {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl FrontEnd {
    fn haproxy(server: impl Display, options: &str) -> Self {
        let mut config = String::from("defaults\n mode tcp\n");
        for wait in ["connect", "client", "server"] {
            writeln!(config, " timeout {wait} 20s").unwrap();
        }
        write!(
            config,
            "frontend in\n bind fd@3\n default_backend out\nbackend out\n server s {server} {options}\n"
        )
        .unwrap();
        Self::start(|_, _| config, "exec haproxy -db -q -f \"$0/config\"")
    }

    /// nginx's stream module, which speaks version 1.
    fn nginx(server: SocketAddr) -> Self {
        let config = |own: SocketAddr, dir: &Path| {
            let dir = dir.display();
            format!(
                "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
                 daemon off;\nworker_processes 1;\nerror_log stderr;\npid {dir}/pid;\n\
                 events {{ worker_connections 64; }}\n\
                 stream {{ server {{ listen {own}; proxy_pass {server}; proxy_protocol on; }} }}\n"
            )
        };
        // The variable names the sockets that it takes over from its predecessor.
        Self::start(
            config,
            "NGINX='3;' exec nginx -e stderr -p \"$0\" -c \"$0/config\"",
        )
    }

    fn start(config: impl FnOnce(SocketAddr, &Path) -> String, command: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join("config"), config(address, dir.path())).unwrap();
        let command = format!("PATH=$PATH:/usr/sbin; exec 3<&0 </dev/null; {command}");
        let child = Command::new("sh")
            .args(["-c", &command])
            .arg(dir.path())
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

impl Drop for FrontEnd {
    fn drop(&mut self) {
        // nginx ends its worker, which a kill would leave behind. Both fail when it has ended already.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

/// Its client is the peer of both listeners, over HTTP/1.1 and HTTP/2.
#[track_caller]
fn check_front_end(proxied: &Proxied, front: impl Fn(SocketAddr) -> FrontEnd) {
    let tls = front(proxied.tls);
    let (own, handshake) = proxied.daemon.new_handshake(|| {
        let mut stream = Client::new().connect(tls.address).unwrap();
        let own = stream.sock.local_addr().unwrap();
        let head = ask(&mut stream).text().to_ascii_lowercase();
        assert!(head.contains("x-forwarded-for: 127.0.0.1\n"), "{head}");
        own
    });
    assert_eq!(handshake.text("outcome"), Some("ok"), "{handshake}");
    assert_eq!(handshake.text("peer"), Some(&*own.to_string()));
    let sender = handshake.text("proxy").expect("who sent the header");
    assert_ne!(sender, own.to_string());
    assert!(sender.starts_with("127.0.0.1:"), "{sender}");
    let curl = Tool::new("curl")
        .words("-sSk --http2 --max-time 20 --resolve")
        .args([
            format!("example.test:{}:127.0.0.1", tls.address.port()),
            format!("https://example.test:{}/head", tls.address.port()),
        ])
        .run()
        .success();
    assert!(curl.stdout.starts_with("GET /head "), "{curl}");
    let plain = front(proxied.plain);
    assert_eq!(ask(&mut connect(plain.address)).head.status(), 200);
}

#[test]
fn haproxy_speaks_both_versions() {
    let proxied = proxied("");
    for options in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2-ssl-cn",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
    ] {
        check_front_end(&proxied, |server| FrontEnd::haproxy(server, options));
    }
    // Its checks of such a server speak for themselves.
    let _checked = FrontEnd::haproxy(proxied.tls, "send-proxy-v2 check inter 100ms");
    wait_until(SOON, "a check is a probe", || {
        let probes = [("listener", "proxied")];
        proxied
            .daemon
            .metric("tls_probe_connections_total", &probes)
            > 0.0
    });
}

#[test]
fn headers_come_over_unix_sockets_too() {
    let origin = Origin::start();
    let listener = "[[listeners]]\nname = \"local\"\naddress = \"unix:local.sock\"\n\
                    certificates = [\"main\"]\nproxy_protocol_from = [\"unix\"]\n";
    let daemon = Daemon::run(&Settings::new(origin.address()).more(listener));
    let path = daemon.dir().join("local.sock");
    wait_until(SOON, "the socket is there", || path.exists());
    let front = FrontEnd::haproxy(format!("unix@{}", path.display()), "send-proxy-v2");
    let (own, handshake) = daemon.new_handshake(|| {
        let mut stream = Client::new().connect(front.address).unwrap();
        let head = ask(&mut stream).text().to_ascii_lowercase();
        assert!(head.contains("x-forwarded-for: 127.0.0.1\n"), "{head}");
        stream.sock.local_addr().unwrap()
    });
    assert_eq!(handshake.text("peer"), Some(&*own.to_string()));
    assert_eq!(handshake.text("proxy"), Some("unix"));
    handshake.assert_sum();
    let (_, handshake) = daemon.new_handshake(|| {
        let mut socket = UnixStream::connect(&path).unwrap();
        for byte in [LINE, &Client::new().hello()[..9]].concat() {
            socket.write_all(&[byte]).unwrap();
            pause(Duration::from_millis(1));
        }
    });
    assert_eq!(handshake.class(), "client_closed", "{handshake}");
    assert_eq!(handshake.failure("phase"), "client_hello_read");
    assert_eq!(handshake.text("peer"), Some("192.0.2.7:56324"));
    let (_, handshake) = daemon.new_handshake(|| {
        let mut socket = UnixStream::connect(&path).unwrap();
        socket.write_all(&Client::new().hello()).unwrap();
        // Closed with what was not read, which is a reset.
        let _ = socket.read(&mut [0]);
    });
    assert_failed(&handshake, "proxy_header", "server");
}

#[test]
fn nginx_speaks_version_1() {
    let proxied = proxied("");
    check_front_end(&proxied, FrontEnd::nginx);
}

#[test]
fn who_is_believed_changes_with_a_reload() {
    let origin = Origin::start();
    let listener = |from: &str| {
        let more = format!(
            "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\ntls = false\n\
             proxy_protocol_from = [{from}]\n"
        );
        Settings::new(origin.address()).more(&more)
    };
    let mut daemon = Daemon::run(&listener(""));
    let plain = daemon.wait_listening("plain");
    let status = |header: &[u8]| {
        let mut socket = connect(plain);
        socket.write_all(header).unwrap();
        ask(&mut socket).head.status()
    };
    assert_eq!((status(b""), status(LINE)), (200, 400));
    daemon.rewrite(&listener("\"127.0.0.1\"").render(daemon.dir()));
    daemon.signal("HUP");
    let reloaded = [("result", "ok")];
    daemon.wait_metric("config_reloads_total", &reloaded, 1.0);
    assert_eq!(status(LINE), 200);
    assert!(only(plain, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_empty());
}
