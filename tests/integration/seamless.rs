//! Reloads, new certificates and restarts under load: nobody who could be served is not.
//!
//! A short form as a rule; 200 reloads, 20 certificates, a download of a minute and 5 restarts with
//! `HANDFAST_SOAK`.

use std::io::{BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::support::{
    Activation, Client, Daemon, Origin, Settings, Sha256, TlsStream, Tool, certs, pause,
    read_response, sha256_of_payload, wait_until,
};
use crate::websocket::echo;

const SOON: Duration = Duration::from_secs(15);
/// `drain_timeout`; what holds on is cut after it.
const DRAIN: Duration = Duration::from_millis(1500);
/// A new certificate is shown by then.
const NEW_CERTIFICATE: Duration = Duration::from_secs(2);
const VISITORS: usize = 3;

struct Plan {
    reloads: usize,
    swaps: usize,
    restarts: usize,
    /// What is downloaded meanwhile, at 2 MB/s.
    download: u64,
}

fn plan() -> Plan {
    match std::env::var_os("HANDFAST_SOAK") {
        Some(_) => Plan {
            reloads: 200,
            swaps: 20,
            restarts: 5,
            download: 120_000_000,
        },
        None => Plan {
            reloads: 12,
            swaps: 3,
            restarts: 2,
            download: 4_000_000,
        },
    }
}

/// Visitors of our own: connections of a few requests, each of which is counted.
struct Visitors {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    answered: AtomicU64,
    /// Requests on a kept connection that ended before a byte of an answer: sent again, as every
    /// client does (RFC 9112 section 9.3.1).
    again: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Visitors {
    fn start(address: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = (0..VISITORS).map(|_| {
            let shared = shared.clone();
            std::thread::spawn(move || {
                let client = Client::new();
                while !shared.over.load(Ordering::Acquire) {
                    if let Err(failure) = visit(&client, address, &shared) {
                        shared.failures.lock().unwrap().push(failure);
                    }
                }
            })
        });
        Self {
            threads: threads.collect(),
            shared,
        }
    }

    /// Their answers, how many were asked for again, and each failure.
    fn stop(self) -> (u64, u64, Vec<String>) {
        self.shared.over.store(true, Ordering::Release);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let failures = std::mem::take(&mut *self.shared.failures.lock().unwrap());
        (
            self.shared.answered.load(Ordering::Acquire),
            self.shared.again.load(Ordering::Acquire),
            failures,
        )
    }
}

/// One connection with eight requests, or fewer if the daemon says so.
fn visit(client: &Client, address: SocketAddr, shared: &Shared) -> Result<(), String> {
    let stream = client
        .connect(address)
        .map_err(|error| format!("no connection: {error}"))?;
    let mut stream = BufReader::new(stream);
    for count in 0..8 {
        let sent = write!(
            stream.get_mut(),
            "GET / HTTP/1.1\r\nHost: example.test\r\n\r\n"
        );
        let answer = sent.and_then(|()| read_response(&mut stream));
        match answer {
            Ok(answer) if answer.head.status() == 200 && answer.text() == "origin\n" => {
                shared.answered.fetch_add(1, Ordering::AcqRel);
                if answer.head.one("connection") == Some("close") {
                    return Ok(());
                }
            }
            Ok(answer) => return Err(format!("{}: {}", answer.head.start, answer.text())),
            Err(_) if count > 0 && stream.buffer().is_empty() => {
                shared.again.fetch_add(1, Ordering::AcqRel);
                return Ok(());
            }
            Err(error) => return Err(format!("request {count}: {error}")),
        }
        pause(Duration::from_millis(2));
    }
    Ok(())
}

/// A WebSocket that is spoken over until it ends; when that was.
fn talk(mut socket: WebSocket<TlsStream>, over: &AtomicBool) -> Result<u64, (u64, Instant)> {
    let mut echoes = 0;
    while !over.load(Ordering::Acquire) {
        let message = Message::text(format!("message {echoes}"));
        let back = socket.send(message.clone()).and_then(|()| socket.read());
        match back {
            Ok(back) if back == message => echoes += 1,
            _ => return Err((echoes, Instant::now())),
        }
        pause(Duration::from_millis(10));
    }
    Ok(echoes)
}

fn open_socket(address: SocketAddr) -> WebSocket<TlsStream> {
    let stream = Client::new().connect(address).unwrap();
    let (socket, response) = tungstenite::client("wss://example.test/chat", stream).unwrap();
    assert_eq!(response.status(), 101);
    socket
}

/// A download of `length` bytes at the origin's slow pace, checked to its last byte.
fn download(address: SocketAddr, length: u64) -> JoinHandle<()> {
    let mut stream = BufReader::new(Client::new().connect(address).unwrap());
    write!(
        stream.get_mut(),
        "GET /slow-source/{length} HTTP/1.1\r\nHost: example.test\r\n\r\n"
    )
    .unwrap();
    std::thread::spawn(move || {
        let answer = read_response(&mut stream).unwrap();
        let mut digest = Sha256::new();
        digest.update(&answer.body);
        assert_eq!(digest.finish(), sha256_of_payload(length));
    })
}

/// Puts a certificate of another key in the place of the one that is served.
fn swap(directory: &Path, round: usize) -> &'static [u8] {
    let leaf = match round % 2 {
        0 => &certs().p384,
        _ => &certs().main,
    };
    std::fs::write(directory.join("main.pem"), &leaf.pem).unwrap();
    std::fs::write(directory.join("main.key"), &leaf.key).unwrap();
    &leaf.der
}

fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().unwrap_or_default();
    let number = before.split([' ', ',']).rfind(|it| !it.is_empty());
    number.and_then(|it| it.trim().parse().ok()).unwrap_or(0)
}

#[test]
fn reloads_certificates_and_restarts_lose_nobody() {
    let Plan {
        reloads,
        swaps,
        restarts,
        download: length,
    } = plan();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let chat = runtime.block_on(echo());
    let origin = Origin::start();
    let mut settings = Settings::new(origin.address())
        .https("systemd:https")
        .log("access = { enabled = false }")
        .more(&format!(
            "[[routes]]\npath = \"/chat\"\nupstream = \"http://{chat}\"\n\n\
             [runtime]\nstate_dir = \"state\""
        ));
    settings.drain_delay = "0ms".to_owned();
    settings.drain_timeout = format!("{}ms", DRAIN.as_millis());
    let (activation, [address]) = Activation::over_tcp(["https"]);
    let mut daemon = Daemon::activate_alone(&settings, &activation, ":");
    daemon.knows("https", address);

    // Reloads and new certificates: not even a race may lose a request.
    let over = Arc::new(AtomicBool::new(false));
    let talking = {
        let (socket, over) = (open_socket(address), over.clone());
        std::thread::spawn(move || talk(socket, &over))
    };
    let downloading = download(address, length);
    let visitors = Visitors::start(address);
    let load = |command: &str| {
        Tool::new(command.split(' ').next().unwrap_or_default())
            .words(command.split_once(' ').map_or("", |(_, rest)| rest))
            .args([format!("https://{address}/")])
            .limit(Duration::from_secs(300))
            .start()
    };
    // As long as it takes: it is asked to end, and prints what it has.
    let wrk = load("wrk -t1 -c64 -d250s --timeout 10s");
    let requests = 1000 * reloads;
    let h2load = load(&format!("h2load -t1 -c64 -m4 -n {requests}"));
    let mut swapped = 0;
    for round in 0..reloads {
        let certificate = (round * swaps / reloads >= swapped).then(|| {
            swapped += 1;
            swap(daemon.dir(), swapped - 1)
        });
        daemon.command("reload").run().success();
        let reloaded = Instant::now();
        if let Some(certificate) = certificate {
            let shown = || {
                let stream = Client::new().full().connect(address).unwrap();
                **stream.conn.peer_certificates().unwrap().first().unwrap() == *certificate
            };
            wait_until(NEW_CERTIFICATE, "the new certificate is shown", shown);
            assert!(reloaded.elapsed() < NEW_CERTIFICATE);
        }
    }
    assert_eq!(swapped, swaps);
    let h2 = h2load.finish().success();
    let all = format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout");
    assert!(h2.stdout.contains(&all), "{h2}");
    wrk.interrupt();
    let h1 = wrk.finish();
    assert!(number_before(&h1.stdout, "requests in") > 64, "{h1}");
    assert!(!h1.stdout.contains("Non-2xx"), "{h1}");
    assert!(!h1.stdout.contains("Socket errors"), "{h1}");
    downloading.join().unwrap();
    let (answered, again, failures) = visitors.stop();
    eprintln!("{reloads} reloads, {swaps} certificates: {answered} answers, {again} again");
    assert_eq!(failures, Vec::<String>::new());
    assert_eq!(again, 0);
    assert!(answered > 0);
    over.store(true, Ordering::Release);
    let echoes = talking
        .join()
        .unwrap()
        .expect("the WebSocket outlives reloads");
    assert!(echoes > 0);
    let counted = daemon.metric("config_reloads_total", &[("result", "ok")]);
    assert_eq!(counted, reloads as f64);

    // Restarts. What is longer than the drain is cut, after all of it; nothing else is.
    let visitors = Visitors::start(address);
    let wrk = load("wrk -t1 -c64 -d250s --timeout 30s");
    let mut first = None;
    for _ in 0..restarts {
        let talking = {
            let socket = open_socket(address);
            std::thread::spawn(move || talk(socket, &AtomicBool::new(false)))
        };
        let downloading = download(address, 1_000_000);
        daemon.wait_metric("tunnels_open", &[("listener", "https")], 1.0);
        let asked = Instant::now();
        daemon.signal("TERM");
        let told = || {
            let status = daemon.command("status").run().success().stdout;
            status.contains("waits for 1 websocket, ")
        };
        wait_until(DRAIN, "the drain waits for the WebSocket", told);
        assert_eq!(daemon.wait_exit(SOON).code(), Some(0));
        let (echoes, cut) = talking.join().unwrap().expect_err("a drain has an end");
        assert!(echoes > 0);
        assert!(
            cut.duration_since(asked) >= DRAIN,
            "cut after {:?}",
            cut.duration_since(asked)
        );
        downloading.join().unwrap();
        let mut next = daemon.activate_again(&activation, ":");
        next.knows("https", address);
        // The first one holds the turn.
        let ended = std::mem::replace(&mut daemon, next);
        first.get_or_insert(ended);
    }
    pause(Duration::from_millis(500));
    wrk.interrupt();
    let h1 = wrk.finish();
    let (answered, again, failures) = visitors.stop();
    eprintln!("{restarts} restarts: {answered} answers, {again} again\n{h1}");
    assert_eq!(failures, Vec::<String>::new());
    assert!(answered > 0);
    // wrk counts each kept connection that ends as an error of reading, and opens another one.
    let errors = |kind: &str| {
        let (_, rest) = h1
            .stdout
            .split_once(&format!("{kind} "))
            .unwrap_or(("", "0"));
        let number = rest.split(|c: char| !c.is_ascii_digit()).next();
        number.and_then(|it| it.parse::<usize>().ok()).unwrap_or(0)
    };
    assert!(!h1.stdout.contains("Non-2xx"), "{h1}");
    assert_eq!((errors("connect"), errors("timeout")), (0, 0), "{h1}");
    assert!(
        errors("read") <= 64 * restarts && errors("write") <= 64 * restarts,
        "{h1}"
    );
    drop(daemon);
    drop(first);
}
