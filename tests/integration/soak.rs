//! Everything at once for a while: each body arrives whole or breaks off, nothing hangs, and
//! nothing is left behind.
//!
//! Five seconds of it as a rule, a minute with `HANDFAST_SOAK`.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::HandshakeKind;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::support::{
    Client, Daemon, Life, Mortal, Origin, Payload, Settings, Sha256, sha256_of_payload, wait_until,
};

const SOON: Duration = Duration::from_secs(15);
const VISITORS: u64 = 24;
/// The first ones of them have to be cut.
const CUT: u64 = 4;
const LENGTHS: [u64; 6] = [0, 1, 1000, 70_000, 300_000, 3_000_000];
/// More than the sockets on its way hold.
const STALLED: u64 = 30_000_000;
/// What goes past slow clients in a second.
const SLOW: u64 = 300_000;
/// How long the upstream stays dead, and alive.
const SLICE: Duration = Duration::from_millis(600);
/// `handshake_timeout` and `response_idle`, and what they may be late.
const DEADLINE: Duration = Duration::from_secs(3);
const GRACE: Duration = Duration::from_secs(1);
/// By then an exchange at full speed is over, one way or the other: the upstream's deadlines
/// below, twice for a retry, and a share of a busy machine.
const MOST: Duration = Duration::from_secs(5);
const DEATHS: [Life; 4] = [Life::Resets, Life::Closes, Life::Gone, Life::Hangs];
/// What memory may grow by after the warming up.
const GROWTH: u64 = 16 << 20;

const TABLES: &str = r#"
[[routes]]
path = "/steady/"
upstream = "steady"

[upstreams.steady]
servers = [{ address = "STEADY" }]
pool = { idle_timeout = "500ms" }

[[routes]]
path = "/mortal/"
upstream = "mortal"

[upstreams.mortal]
servers = [{ address = "MORTAL" }]
timeouts = { connect = "300ms", first_byte = "300ms", idle = "300ms" }
pool = { idle_timeout = "500ms" }

[timeouts]
response_idle = "3s"
"#;

/// Numbers as good as random, the same ones every time.
struct Dice(u64);

impl Dice {
    const fn new(seed: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ (seed + 1).wrapping_mul(0xff51_afd7_ed55_8ccd))
    }

    /// Below `sides`.
    const fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) % sides
    }

    const fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// What all visitors share.
#[derive(Clone)]
struct Traffic {
    to: [SocketAddr; 2],
    /// By version, protocol, and whether sessions are kept.
    clients: Arc<[[[Client; 2]; 2]; 2]>,
    sums: Arc<BTreeMap<u64, String>>,
    tally: Arc<Mutex<Tally>>,
}

/// How often things happened, and the longest that an exchange took.
#[derive(Debug, Default)]
struct Tally {
    counts: BTreeMap<&'static str, u64>,
    longest: Duration,
}

/// One request and its answer.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    mortal: bool,
    upload: bool,
    chunked: bool,
    slow: bool,
    /// The client leaves once the answer has begun.
    leaves: bool,
    length: u64,
}

/// How an exchange ended, where it was no disaster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Whole,
    /// With 502 to 504.
    Apology,
    BrokeOff,
    Left,
}

enum Sender {
    H1(http1::SendRequest<Upload>),
    H2(http2::SendRequest<Upload>),
}

impl Exchange {
    const PLAIN: Self = Self {
        mortal: false,
        upload: false,
        chunked: false,
        slow: false,
        leaves: false,
        length: 1000,
    };

    fn roll(dice: &mut Dice) -> Self {
        let slow = dice.one_in(4);
        let most = if slow { 5 } else { 6 };
        Self {
            mortal: dice.one_in(3),
            upload: dice.one_in(2),
            chunked: dice.one_in(2),
            slow,
            leaves: dice.one_in(16),
            length: LENGTHS[usize::try_from(dice.roll(most)).unwrap()],
        }
    }

    /// How long it may take.
    fn most(self) -> Duration {
        match self.slow {
            true => MOST + Duration::from_millis(self.length * 1000 / SLOW) * 2,
            false => MOST,
        }
    }

    fn request(self, h2: bool) -> Request<Upload> {
        let start = if self.mortal { "/mortal" } else { "/steady" };
        let query = if self.chunked { "?chunked" } else { "" };
        let path = match self.upload {
            true => format!("{start}/sink"),
            false => format!("{start}/source/{}{query}", self.length),
        };
        let mut request = Request::new(Upload::new(self));
        if self.upload {
            *request.method_mut() = Method::POST;
        }
        let host = if h2 { "https://example.test" } else { "" };
        *request.uri_mut() = format!("{host}{path}").parse().unwrap();
        if !h2 {
            let host = "example.test".parse().unwrap();
            request.headers_mut().insert(http::header::HOST, host);
        }
        request
    }
}

/// The body of a request: a payload, at a rate where it is slow.
struct Upload {
    payload: Payload,
    left: u64,
    chunked: bool,
    slow: bool,
    rest: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    fn new(exchange: Exchange) -> Self {
        let length = if exchange.upload { exchange.length } else { 0 };
        Self {
            payload: Payload::new(length),
            left: length,
            chunked: exchange.upload && exchange.chunked,
            slow: exchange.slow,
            rest: None,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(rest) = &mut self.rest {
            std::task::ready!(rest.as_mut().poll(cx));
            self.rest = None;
        }
        let mut bytes = vec![0; 16 * 1024];
        let count = self.payload.read(&mut bytes)?;
        if count == 0 {
            return Poll::Ready(None);
        }
        bytes.truncate(count);
        self.left -= count as u64;
        if self.slow {
            self.rest = Some(Box::pin(sleep(time_of(count))));
        }
        Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && !self.chunked
    }

    fn size_hint(&self) -> SizeHint {
        match self.chunked {
            true => SizeHint::default(),
            false => SizeHint::with_exact(self.left),
        }
    }
}

/// What `bytes` take at the rate of slow clients.
const fn time_of(bytes: usize) -> Duration {
    Duration::from_micros(bytes as u64 * 1_000_000 / SLOW)
}

impl Traffic {
    fn new(daemon: &Daemon) -> Self {
        let clients = ["1.2", "1.3"].map(|version| {
            ["http/1.1", "h2"].map(|protocol| {
                let client = Client::of_version(version).alpn(&[protocol]);
                [client.clone().full(), client]
            })
        });
        let sums = LENGTHS.map(|length| (length, sha256_of_payload(length)));
        Self {
            to: [daemon.https(), daemon.address("rsa")],
            clients: Arc::new(clients),
            sums: Arc::new(sums.into()),
            tally: Arc::default(),
        }
    }

    fn count(&self, what: &'static str) {
        *self.tally.lock().unwrap().counts.entry(what).or_default() += 1;
    }

    /// Sends clients until `end`; those that have to be cut only if `all`.
    async fn flow(&self, end: Instant, all: bool) {
        let mut visitors = JoinSet::new();
        let first = if all { 0 } else { CUT };
        for number in first..VISITORS {
            let traffic = self.clone();
            visitors.spawn(async move {
                let mut dice = Dice::new(number);
                while Instant::now() < end {
                    match number {
                        CUT.. => traffic.visit(&mut dice).await,
                        _ if number % 2 == 0 => traffic.half_hello().await,
                        _ => traffic.stalled().await,
                    }
                }
            });
        }
        while let Some(ended) = visitors.join_next().await {
            ended.unwrap();
        }
    }

    /// Half a ClientHello and no more is cut at the deadline.
    async fn half_hello(&self) {
        let start = Instant::now();
        let mut tcp = TcpStream::connect(self.to[0]).await.unwrap();
        let hello = self.clients[0][0][0].hello();
        tcp.write_all(&hello[..hello.len() / 2]).await.unwrap();
        // With FIN or RST.
        let _ = timeout(SOON, tcp.read_to_end(&mut Vec::new()))
            .await
            .unwrap();
        let age = start.elapsed();
        assert!(age < DEADLINE + GRACE, "half a hello after {age:?}");
        self.count("half hellos");
    }

    /// A client that takes nothing of a large answer is cut at the deadline.
    async fn stalled(&self) {
        let (connector, name) = self.clients[1][0][1].connector();
        let tcp = TcpStream::connect(self.to[0]).await.unwrap();
        let mut tls = connector.connect(name, tcp).await.unwrap();
        let request =
            format!("GET /steady/source/{STALLED} HTTP/1.1\r\nHost: example.test\r\n\r\n");
        tls.write_all(request.as_bytes()).await.unwrap();
        // The time is the stimulus; what comes then is what had been sent before.
        sleep(DEADLINE + GRACE).await;
        let mut bytes = 0;
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = timeout(SOON, tls.read(&mut buffer)).await.unwrap() {
            bytes += count as u64;
        }
        assert!(bytes > 0 && bytes < STALLED, "{bytes} bytes");
        self.count("stalled");
    }

    async fn connect(&self, dice: &mut Dice) -> (Sender, JoinSet<()>) {
        let h2 = dice.one_in(2);
        let protocols = &self.clients[usize::from(dice.one_in(2))];
        let kept = usize::from(!dice.one_in(4));
        let (connector, name) = protocols[usize::from(h2)][kept].connector();
        let to = self.to[usize::from(dice.one_in(4))];
        self.connect_with(connector, name, to, h2).await
    }

    async fn connect_with(
        &self,
        connector: TlsConnector,
        name: ServerName<'static>,
        to: SocketAddr,
        h2: bool,
    ) -> (Sender, JoinSet<()>) {
        let tcp = TcpStream::connect(to).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let tls = timeout(DEADLINE, connector.connect(name, tcp))
            .await
            .unwrap()
            .unwrap();
        self.count(match tls.get_ref().1.handshake_kind() {
            Some(HandshakeKind::Resumed) => "resumed",
            _ => "full",
        });
        let io = TokioIo::new(tls);
        let mut driver = JoinSet::new();
        let sender = if h2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            driver.spawn(async move { drop(connection.await) });
            Sender::H2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            driver.spawn(async move { drop(connection.await) });
            Sender::H1(sender)
        };
        (sender, driver)
    }

    /// An upstream that dies within an answer: the client hears that it is not whole.
    ///
    /// In the traffic this is chance, as most answers are over at once.
    async fn break_off(&self, mortal: &Mortal, death: Life, h2: bool) {
        let (connector, name) = self.clients[1][usize::from(h2)][1].connector();
        let (mut sender, driver) = self.connect_with(connector, name, self.to[0], h2).await;
        let exchange = Exchange {
            mortal: true,
            length: STALLED,
            ..Exchange::PLAIN
        };
        let response = sender.ask(exchange).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body();
        let mut bytes = body
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap()
            .len();
        mortal.live(death).await;
        let error = timeout(MOST, async {
            loop {
                match body.frame().await {
                    Some(Ok(frame)) => bytes += frame.into_data().map_or(0, |data| data.len()),
                    Some(Err(error)) => return Some(error),
                    None => return None,
                }
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{death:?}, h2 {h2}: hangs after {bytes} bytes"));
        assert!(
            error.is_some(),
            "{death:?}, h2 {h2}: whole with {bytes} bytes"
        );
        self.count("broke off");
        mortal.live(Life::Alive).await;
        drop(body);
        close(sender, driver).await;
    }

    /// A connection with one exchange, or some: over HTTP/2 at once, else one after the other.
    async fn visit(&self, dice: &mut Dice) {
        let (mut sender, driver) = self.connect(dice).await;
        let count = if dice.one_in(2) { 1 } else { 1 + dice.roll(8) };
        let exchanges = (0..count).map(|_| Exchange::roll(dice));
        match &mut sender {
            Sender::H1(_) => {
                for exchange in exchanges {
                    if self.exchange(&mut sender, exchange).await != Fate::Whole {
                        break;
                    }
                }
            }
            Sender::H2(h2) => {
                let mut streams = JoinSet::new();
                for exchange in exchanges {
                    let traffic = self.clone();
                    let mut sender = Sender::H2(h2.clone());
                    streams.spawn(async move { traffic.exchange(&mut sender, exchange).await });
                }
                while let Some(ended) = streams.join_next().await {
                    ended.unwrap();
                }
            }
        }
        close(sender, driver).await;
    }

    async fn exchange(&self, sender: &mut Sender, exchange: Exchange) -> Fate {
        let start = Instant::now();
        let fate = timeout(exchange.most(), self.fate(sender, exchange)).await;
        let Ok(fate) = fate else {
            panic!("{exchange:?} hangs");
        };
        let name = match (exchange.mortal, fate) {
            (_, Fate::Left) => "left",
            (false, Fate::Whole) => "whole",
            (true, Fate::Whole) => "whole from the mortal",
            (true, Fate::Apology) => "apologies",
            (true, Fate::BrokeOff) => "broke off",
            (false, fate) => panic!("{exchange:?}: {fate:?}"),
        };
        self.count(name);
        if !exchange.slow {
            let mut tally = self.tally.lock().unwrap();
            tally.longest = tally.longest.max(start.elapsed());
        }
        fate
    }

    async fn fate(&self, sender: &mut Sender, exchange: Exchange) -> Fate {
        let response = match sender.ask(exchange).await {
            Ok(response) => response,
            Err(error) => {
                assert!(exchange.mortal, "{exchange:?}: {error:?}");
                return Fate::BrokeOff;
            }
        };
        let status = response.status();
        let sorry = [
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        let apology = exchange.mortal && sorry.contains(&status);
        assert!(
            apology || status == StatusCode::OK,
            "{exchange:?}: {status}"
        );
        if exchange.leaves {
            return Fate::Left;
        }
        let mut body = response.into_body();
        let mut digest = Sha256::new();
        let mut begin = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    assert!(exchange.mortal, "{exchange:?}: {error:?}");
                    return Fate::BrokeOff;
                }
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            digest.update(&data);
            if begin.len() < 100 {
                begin.extend_from_slice(&data);
            }
            if exchange.slow {
                sleep(time_of(data.len())).await;
            }
        }
        if apology {
            return Fate::Apology;
        }
        let sum = &self.sums[&exchange.length];
        match exchange.upload {
            true => {
                let told = String::from_utf8_lossy(&begin);
                assert_eq!(told, format!("{sum} {}\n", exchange.length), "{exchange:?}");
            }
            false => assert_eq!(&digest.finish(), sum, "{exchange:?}"),
        }
        Fate::Whole
    }
}

impl Sender {
    async fn ask(&mut self, exchange: Exchange) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::H1(sender) => {
                sender.ready().await?;
                sender.send_request(exchange.request(false)).await
            }
            Self::H2(sender) => {
                sender.ready().await?;
                sender.send_request(exchange.request(true)).await
            }
        }
    }
}

/// A connection ends when nobody can ask any more.
async fn close(sender: Sender, mut driver: JoinSet<()>) {
    drop(sender);
    let ended = timeout(SOON, driver.join_next()).await;
    ended.expect("the connection ends").unwrap().unwrap();
}

/// The upstream dies in every way, and comes back each time.
async fn die_and_return(mortal: Arc<Mortal>) {
    for death in DEATHS.into_iter().cycle() {
        sleep(SLICE).await;
        mortal.live(death).await;
        sleep(SLICE).await;
        mortal.live(Life::Alive).await;
    }
}

/// What is in use when nothing goes on.
#[derive(Clone, Copy, Debug)]
struct Level {
    descriptors: usize,
    threads: usize,
    resident: u64,
}

impl Level {
    /// Waits until all connections are gone on both sides.
    fn at_rest(daemon: &Daemon) -> Self {
        wait_until(SOON, "all connections are gone", || {
            [
                "connections_open",
                "tls_handshakes_in_flight",
                "upstream_connections_open",
            ]
            .iter()
            .all(|name| daemon.metric(name, &[]) == 0.0)
        });
        Self {
            descriptors: daemon.descriptors(),
            threads: daemon.threads(),
            resident: daemon.resident().0,
        }
    }
}

#[test]
fn mixed_traffic_arrives_whole_and_leaves_nothing_behind() {
    let lasting = match std::env::var_os("HANDFAST_SOAK") {
        Some(_) => Duration::from_secs(60),
        None => Duration::from_secs(5),
    };
    // Goes on while the test looks at the daemon.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let origin = Origin::start().address();
    let mortal = runtime.block_on(async { Arc::new(Mortal::start(origin).await) });
    let tables = TABLES
        .replace("STEADY", &origin.to_string())
        .replace("MORTAL", &mortal.address().to_string());
    let settings = Settings::new(origin)
        .policy(r#"handshake_timeout = "3s""#)
        .more(&tables)
        .log("");
    let mut daemon = Daemon::run_alone(&settings);
    for protocol in ["--http1.1", "--http2"] {
        daemon.curl(protocol, "/").run().success();
    }
    let start = Level::at_rest(&daemon);

    let traffic = Traffic::new(&daemon);
    let run = |lasting, all| {
        runtime.block_on(async {
            let mut script = JoinSet::new();
            script.spawn(die_and_return(mortal.clone()));
            traffic.flow(Instant::now() + lasting, all).await;
            script.shutdown().await;
            mortal.live(Life::Alive).await;
        });
    };
    // What is kept once there was traffic is no leak.
    run(lasting / 5, false);
    // The mortal is back, and serves at once.
    runtime.block_on(async {
        let mut dice = Dice::new(VISITORS);
        let (mut sender, driver) = traffic.connect(&mut dice).await;
        let exchange = Exchange {
            mortal: true,
            ..Exchange::PLAIN
        };
        assert_eq!(traffic.exchange(&mut sender, exchange).await, Fate::Whole);
        close(sender, driver).await;
        for death in DEATHS {
            for h2 in [false, true] {
                traffic.break_off(&mortal, death, h2).await;
            }
        }
    });
    let warm = Level::at_rest(&daemon);
    run(lasting, true);
    let end = Level::at_rest(&daemon);

    daemon.assert_running();
    let tally = traffic.tally.lock().unwrap();
    eprintln!("{tally:?}; {start:?}, {warm:?}, {end:?}");
    for what in [
        "whole",
        "whole from the mortal",
        "apologies",
        "broke off",
        "left",
        "half hellos",
        "stalled",
        "full",
        "resumed",
    ] {
        assert!(tally.counts.contains_key(what), "no {what}: {tally:?}");
    }
    assert_eq!(end.threads, warm.threads);
    // A kept connection of the admin listener may come and go.
    assert!(
        end.descriptors <= start.descriptors + 2,
        "{end:?} after {start:?}"
    );
    assert!(
        end.resident < warm.resident + GROWTH,
        "{end:?} after {warm:?}"
    );
}
