//! Clients that take their time, or open too much: each has its deadline, and nobody else waits.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::{Client, Daemon, Origin, Settings, TlsStream, Tool, pause, wait_until};

const SOON: Duration = Duration::from_secs(15);
/// What a deadline may be late, and what a connection may cost.
const GRACE: Duration = Duration::from_secs(1);
const COST: u64 = 64 << 10;
/// What a parked one may.
/// Optimised, what does not depend on how many there are weighs more: the crowd is small.
const IDLE: u64 = if cfg!(debug_assertions) {
    12 << 10
} else {
    15 << 10
};

/// Connects from loopback address number `number`.
fn connect_from(number: u16, to: SocketAddr) -> TcpStream {
    let [high, low] = number.to_be_bytes();
    let own = SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&own.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// Asks now and then, and notes how long the answer takes from the first SYN on.
#[derive(Debug, Default)]
struct Visitor(Vec<Duration>);

impl Visitor {
    fn visit(&mut self, daemon: &Daemon) {
        let start = Instant::now();
        let answer = Client::new().get_raw(daemon.https(), "/").unwrap();
        self.0.push(start.elapsed());
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    /// Nine of ten within 100 ms: the machine is shared.
    #[track_caller]
    fn assert_served(mut self) {
        assert!(self.0.len() >= 5, "{self:?}");
        self.0.sort_unstable();
        let late = self.0[self.0.len() * 9 / 10];
        assert!(late < Duration::from_millis(100), "{self:?}");
    }
}

/// Settings with short deadlines, and a daemon that has served once.
fn daemon(more: &str) -> Daemon {
    let settings = Settings::new(Origin::start().address())
        .policy(r#"handshake_timeout = "2s""#)
        .more(more);
    let daemon = Daemon::run_alone(&settings);
    for protocol in ["--http1.1", "--http2"] {
        daemon.curl(protocol, "/").run().success();
    }
    daemon
}

/// Whether the server has closed; what it sends before that is dropped.
fn is_closed(mut socket: &TcpStream) -> bool {
    let mut buffer = [0; 1024];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

#[test]
fn silent_and_half_hellos_are_cut_and_hold_up_nobody() {
    let daemon = daemon("[limits]\nhandshakes = 128");
    let crowd = match std::env::var_os("HANDFAST_SOAK") {
        Some(_) => 4096,
        None => 256,
    };
    let hello = Client::new().hello();
    let (before, _) = daemon.resident();
    let mut visitor = Visitor::default();
    let mut open = Vec::new();
    for number in 0..crowd {
        let mut socket = connect_from(number, daemon.https());
        let start = Instant::now();
        let sent = [0, 1, 3, hello.len() / 2][usize::from(number % 4)];
        socket.write_all(&hello[..sent]).unwrap();
        socket.set_nonblocking(true).unwrap();
        open.push((start, sent, socket));
    }
    let mut peak = 0;
    let mut trickle = Instant::now();
    while !open.is_empty() {
        visitor.visit(&daemon);
        peak = peak.max(daemon.resident().0);
        let more = trickle.elapsed() > Duration::from_millis(200);
        if more {
            trickle = Instant::now();
        }
        open.retain_mut(|(start, sent, socket)| {
            let age = start.elapsed();
            let closed = is_closed(socket);
            // A round of this loop takes a moment, which is not the server's.
            assert!(
                closed || age < Duration::from_secs(2) + GRACE,
                "{sent} after {age:?}"
            );
            assert!(
                !closed || age >= Duration::from_millis(1900),
                "{sent} after {age:?}"
            );
            if more && *sent > 1 && *sent + 1 < hello.len() {
                // Whether it still takes a byte does not matter.
                let _ = socket.write_all(&hello[*sent..=*sent]);
                *sent += 1;
            }
            !closed
        });
        pause(Duration::from_millis(20));
    }
    let each = peak.saturating_sub(before) / u64::from(crowd);
    assert!(each < COST, "{each} bytes each");
    visitor.assert_served();
    daemon.wait_metric("tls_handshakes_in_flight", &[], 0.0);
    assert_eq!(daemon.metric("limit_refusals_total", &[]), 0.0);
}

#[test]
fn an_idle_connection_keeps_no_buffers() {
    // So many that what does not depend on their number weighs little: with 300 it was a quarter.
    const CROWD: u64 = 600;
    let daemon = daemon("");
    let client = Client::new().full();
    let ask = |stream: &mut TlsStream| {
        let head = b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n";
        stream.write_all(head).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"origin\n") {
            let mut more = [0; 1024];
            let count = stream.read(&mut more).unwrap();
            assert!(count > 0, "closed");
            answer.extend_from_slice(&more[..count]);
        }
    };
    let open = || {
        let mut stream = client.connect(daemon.https()).unwrap();
        ask(&mut stream);
        stream
    };
    let _first = open();
    let (before, _) = daemon.resident();
    let mut idle: Vec<TlsStream> = (0..CROWD).map(|_| open()).collect();
    // rustls alone keeps 4 KiB to read into, hyper 16; what handshakes used the allocator keeps for
    // some seconds.
    let each = || daemon.resident().0.saturating_sub(before) / CROWD;
    wait_until(SOON, "they are small", || each() < IDLE);
    eprintln!("idle: {} bytes each", each());
    // They are parked for good, and serve on.
    for stream in &mut idle {
        ask(stream);
    }
}

/// Runs slowhttptest with these arguments until the server has closed all its connections, each of
/// which may cost `cost` bytes.
fn slowhttptest(name: &str, args: &str, path: &str, cost: u64) {
    let daemon = daemon(
        "[timeouts]\nrequest_header = \"2s\"\nrequest_body_idle = \"2s\"\nresponse_idle = \"2s\"\n\
         keep_alive = \"2s\"",
    );
    let (before, _) = daemon.resident();
    let mut visitor = Visitor::default();
    let tool = Tool::new("slowhttptest")
        .words("-c 400 -r 400 -i 1 -l 60 -p 2 -v 0")
        .words(args)
        .args(["-u", &format!("https://{}{path}", daemon.https())])
        .limit(Duration::from_secs(90))
        .start();
    let opened = || daemon.metric("connections_open", &[("listener", "https")]);
    let begun = || daemon.metric("tls_handshakes_started_total", &[("listener", "https")]);
    wait_until(SOON, "all have connected", || begun() >= 402.0);
    let start = Instant::now();
    let mut peak = 0;
    while visitor.0.len() < 5 || opened() > 0.0 {
        visitor.visit(&daemon);
        peak = peak.max(daemon.resident().0);
        // Two deadlines may follow one another (an answer, then keep-alive), and connecting takes
        // its time.
        let age = start.elapsed();
        assert!(
            age < Duration::from_secs(10),
            "{name}: {} are open after {age:?}",
            opened()
        );
        pause(Duration::from_millis(50));
    }
    // It may still read what the kernel has for it.
    drop(tool);
    let each = peak.saturating_sub(before) / 400;
    eprintln!("{name}: {each} bytes each");
    assert!(each < cost, "{name}: {each} bytes each");
    visitor.assert_served();
}

#[test]
fn slowhttptest_with_slow_heads() {
    slowhttptest("heads", "-H -x 24", "/", COST);
}

#[test]
fn slowhttptest_with_slow_bodies() {
    // Each with a connection to the upstream server.
    slowhttptest("bodies", "-B -s 8192 -x 10", "/sink", COST);
}

#[test]
fn slowhttptest_with_slow_reading() {
    // A record or two that the kernel does not take; nothing is read beyond them.
    let args = "-X -w 512 -y 1024 -n 1 -z 32 -k 3";
    slowhttptest("reading", args, "/source/1000000", COST);
}

#[test]
fn slowhttptest_with_ranges() {
    slowhttptest("ranges", "-R -t HEAD -a 10 -b 3000", "/", COST);
}

#[test]
fn an_address_has_its_number_of_connections() {
    let settings = Settings::new(Origin::start().address());
    let daemon = Daemon::run(&settings.more("[limits]\nconnections_per_ip = 2"));
    let crowd = [1, 1].map(|number| connect_from(number, daemon.https()));
    let opened = || daemon.metric("connections_open", &[("listener", "https")]);
    wait_until(SOON, "both are open", || opened() >= 2.0);

    let mut third = connect_from(1, daemon.https());
    third.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = Vec::new();
    third.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 80]);
    let labels = [("limit", "connections_per_ip")];
    daemon.wait_metric("limit_refusals_total", &labels, 1.0);
    // Others are served.
    Client::new().get_raw(daemon.https(), "/").unwrap();

    drop(crowd);
    wait_until(SOON, "both are gone", || opened() == 0.0);
    let fourth = connect_from(1, daemon.https());
    wait_until(SOON, "it is open", || opened() == 1.0);
    drop(fourth);
    daemon.wait_metric("limit_refusals_total", &labels, 1.0);
}
