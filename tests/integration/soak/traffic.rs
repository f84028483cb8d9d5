//! Visitors that come and go, and count what became of their exchanges.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::HandshakeKind;
use tokio_rustls::rustls::pki_types::ServerName;

use super::exchange::{Dice, Exchange, Fate, LENGTHS, MOST, Upload, time_of};
use crate::support::{Client, Daemon, Life, Mortal, Sha256, sha256_of_payload};

pub(super) const SOON: Duration = Duration::from_secs(15);
pub(super) const VISITORS: u64 = 24;
/// The first ones of them have to be cut.
const CUT: u64 = 4;

/// More than the sockets on its way hold.
const STALLED: u64 = 30_000_000;

/// `handshake_timeout` and `response_idle`, and what they may be late.
const DEADLINE: Duration = Duration::from_secs(3);
const GRACE: Duration = Duration::from_secs(1);

/// What all visitors share.
#[derive(Clone)]
pub(super) struct Traffic {
    to: [SocketAddr; 2],
    /// By version, protocol, and whether sessions are kept.
    clients: Arc<[[[Client; 2]; 2]; 2]>,
    sums: Arc<BTreeMap<u64, String>>,
    pub(super) tally: Arc<Mutex<Tally>>,
}

/// How often things happened, and the longest that an exchange took.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) counts: BTreeMap<&'static str, u64>,
    longest: Duration,
}

pub(super) enum Sender {
    H1(http1::SendRequest<Upload>),
    H2(http2::SendRequest<Upload>),
}

impl Traffic {
    pub(super) fn new(daemon: &Daemon) -> Self {
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
    pub(super) async fn flow(&self, end: Instant, all: bool) {
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

    pub(super) async fn connect(&self, dice: &mut Dice) -> (Sender, JoinSet<()>) {
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
    pub(super) async fn break_off(&self, mortal: &Mortal, death: Life, h2: bool) {
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

    pub(super) async fn exchange(&self, sender: &mut Sender, exchange: Exchange) -> Fate {
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
pub(super) async fn close(sender: Sender, mut driver: JoinSet<()>) {
    drop(sender);
    let ended = timeout(SOON, driver.join_next()).await;
    ended.expect("the connection ends").unwrap().unwrap();
}
