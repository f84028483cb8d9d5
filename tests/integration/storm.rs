//! More handshakes than can be computed: what is served stays, the rest is refused and counted.
//!
//! With `HANDFAST_SOAK` alone: daemon and clients have a core each, and figures of a debug build
//! mean little.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{AlertDescription, HandshakeKind};

use crate::support::{Client, Daemon, Origin, Settings, alert_of, wait_until};

/// How long a client waits: Go's default for a handshake.
const PATIENCE: Duration = Duration::from_secs(10);
const CALM: Duration = Duration::from_secs(3);
const STORM: Duration = Duration::from_secs(8);
/// What must be left of the peak.
const LEAST: f64 = 0.90;
/// Clients that come back with a ticket, each so often.
const RETURNING: usize = 20;
const RETURN: Duration = Duration::from_millis(100);

/// How visits ended.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    full: u64,
    resumed: u64,
    refused: u64,
    other: u64,
}

impl Count {
    fn add(&mut self, end: End) {
        match end {
            End::Served(HandshakeKind::Resumed) => self.resumed += 1,
            End::Served(_) => self.full += 1,
            End::Refused => self.refused += 1,
            End::Other => self.other += 1,
        }
    }
}

impl From<End> for Count {
    fn from(end: End) -> Self {
        let mut count = Self::default();
        count.add(end);
        count
    }
}

#[derive(Clone, Copy, Debug)]
enum End {
    Served(HandshakeKind),
    Refused,
    Other,
}

/// A client of its own store, and whom it asks.
#[derive(Clone)]
struct Visitor {
    connector: TlsConnector,
    name: ServerName<'static>,
    to: SocketAddr,
}

impl Visitor {
    fn new(client: &Client, to: SocketAddr) -> Self {
        let (connector, name) = client.connector();
        Self {
            connector,
            name,
            to,
        }
    }

    /// Shakes hands and says goodbye, from loopback address number `number`.
    async fn visit(&self, number: u16) -> End {
        let visit = async {
            let [high, low] = number.to_be_bytes();
            let socket = TcpSocket::new_v4()?;
            socket.bind((Ipv4Addr::new(127, 1, high, low), 0).into())?;
            let tcp = socket.connect(self.to).await?;
            tcp.set_nodelay(true)?;
            let mut stream = self.connector.connect(self.name.clone(), tcp).await?;
            let kind = stream.get_ref().1.handshake_kind();
            stream.shutdown().await?;
            // The tickets come before the end.
            stream.read_to_end(&mut Vec::new()).await?;
            std::io::Result::Ok(kind.unwrap_or(HandshakeKind::Full))
        };
        match timeout(PATIENCE, visit).await {
            Ok(Ok(kind)) => End::Served(kind),
            Ok(Err(error)) if alert_of(&error) == Some(AlertDescription::InternalError) => {
                End::Refused
            }
            Ok(Err(_)) | Err(_) => End::Other,
        }
    }
}

/// As many as `clients` can make, one after the other.
async fn calm(visitor: &Visitor, clients: u16) -> Count {
    let end = Instant::now() + CALM;
    let mut visitors = JoinSet::new();
    for number in 0..clients {
        let visitor = visitor.clone();
        visitors.spawn(async move {
            let mut count = Count::default();
            while Instant::now() < end {
                count.add(visitor.visit(number).await);
            }
            count
        });
    }
    sum(visitors).await
}

/// `rate` visits for each second that the daemon could have run, whatever becomes of them: a core
/// that others have is no overload of ours.
async fn storm(daemon: &Daemon, visitor: &Visitor, rate: f64, lasting: Duration) -> Count {
    let start = Instant::now();
    let (_, waited) = daemon.busiest();
    let mut visits = JoinSet::new();
    let mut begun = 0_u32;
    while start.elapsed() < lasting {
        let lost = daemon.busiest().1 - waited;
        let due = start.elapsed().saturating_sub(lost).as_secs_f64() * rate;
        while f64::from(begun) < due {
            let visitor = visitor.clone();
            let number = u16::try_from(begun % 4096).unwrap();
            begun += 1;
            visits.spawn(async move { Count::from(visitor.visit(number).await) });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    sum(visits).await
}

/// Clients that have a ticket come back with it again and again.
async fn returning(visitors: &[Visitor], lasting: Duration) -> Count {
    let start = Instant::now();
    let mut all = JoinSet::new();
    for (index, visitor) in visitors.iter().cloned().enumerate() {
        all.spawn(async move {
            let mut count = Count::default();
            let mut next = start + RETURN.mul_f64(index as f64 / RETURNING as f64);
            while next < start + lasting {
                sleep_until(next).await;
                count.add(visitor.visit(5000).await);
                next += RETURN;
            }
            count
        });
    }
    sum(all).await
}

async fn sum(mut counts: JoinSet<Count>) -> Count {
    let mut sum = Count::default();
    while let Some(count) = counts.join_next().await {
        let count = count.unwrap();
        sum.full += count.full;
        sum.resumed += count.resumed;
        sum.refused += count.refused;
        sum.other += count.other;
    }
    sum
}

/// Gives this thread and those it will start one core; the daemon has the other.
fn pin_self(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).unwrap();
}

#[test]
fn three_times_too_many_handshakes_cost_little_goodput() {
    if std::env::var_os("HANDFAST_SOAK").is_none() {
        return;
    }
    let settings = Settings::new(Origin::start().address()).log("");
    let daemon = Daemon::run_after(&settings, "taskset -p -c 0 $$ >&2");
    pin_self(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(&daemon));
}

/// Full handshakes, and what they cost the daemon's one worker with all that came besides.
#[derive(Clone, Copy, Debug)]
struct Goodput {
    served: u64,
    ran: Duration,
    /// Seconds of it that went into signatures.
    signed: f64,
}

impl Goodput {
    /// For each second that the daemon ran: cores that others have are the machine's lack.
    fn rate(&self) -> f64 {
        self.served as f64 / self.ran.as_secs_f64()
    }

    /// The part of its time that the daemon signed. How fast a core is changes with what its
    /// neighbours do, from one second to the next; this does not.
    fn share(&self) -> f64 {
        self.signed / self.ran.as_secs_f64()
    }
}

/// Seconds that the daemon has signed for handshakes that became complete.
fn signed(daemon: &Daemon) -> f64 {
    let labels = [("listener", "rsa"), ("part", "sign")];
    daemon.metric("tls_handshake_part_seconds_sum", &labels)
}

async fn run(daemon: &Daemon) {
    let to = daemon.address("rsa");
    let new = Visitor::new(&Client::only("1.3", 0x1301, 29).full(), to);
    let mut old = Vec::new();
    for _ in 0..RETURNING {
        let visitor = Visitor::new(&Client::only("1.3", 0x1301, 29), to);
        assert!(matches!(visitor.visit(5000).await, End::Served(_)));
        old.push(visitor);
    }
    // Both times with those who return, so that both have the same work besides.
    let before = signed(daemon);
    let (ran, _) = daemon.busiest();
    let (count, returned) = tokio::join!(calm(&new, 32), returning(&old, CALM));
    let peak = Goodput {
        served: count.full,
        ran: daemon.busiest().0 - ran,
        signed: signed(daemon) - before,
    };
    eprintln!(
        "calm: {:.0}/s, {peak:?}; {count:?}; with tickets {returned:?}",
        peak.rate()
    );
    assert_eq!((count.refused, count.other), (0, 0), "{count:?}");

    let descriptors = daemon.descriptors();
    let labels = [("limit", "handshakes")];
    let before = daemon.metric("limit_refusals_total", &labels);
    let complete = daemon.metric("tls_handshakes_total", &[("listener", "rsa")]);
    let signed_before = signed(daemon);
    let (ran, _) = daemon.busiest();
    let (count, returned) = tokio::join!(
        storm(daemon, &new, peak.rate() * 3.0, STORM),
        returning(&old, STORM)
    );
    let goodput = Goodput {
        served: count.full,
        ran: daemon.busiest().0 - ran,
        signed: signed(daemon) - signed_before,
    };
    eprintln!(
        "storm: {:.0}/s, {goodput:?}; {count:?}; with tickets {returned:?}",
        goodput.rate()
    );
    eprintln!(
        "of the peak: {:.3}; of its share of signatures: {:.3} of {:.3}",
        goodput.rate() / peak.rate(),
        goodput.share() / peak.share(),
        peak.share()
    );
    // Who was refused, and who was served, both sides agree.
    let refused = daemon.metric("limit_refusals_total", &labels) - before;
    assert_eq!(refused, (count.refused + returned.refused) as f64);
    let served = daemon.metric("tls_handshakes_total", &[("listener", "rsa")]) - complete;
    assert_eq!(
        served,
        (count.full + returned.full + returned.resumed) as f64
    );
    assert_eq!((count.other, returned.other), (0, 0));
    let came = returned.resumed + returned.full + returned.refused;
    assert!(returned.resumed * 100 >= came * 99, "{returned:?}");
    assert!(count.refused > count.full, "{count:?}");
    assert!(
        goodput.share() >= peak.share() * LEAST,
        "{goodput:?} after {peak:?}"
    );
    // A kept connection of the admin listener may come and go.
    wait_until(PATIENCE, "all descriptors are back", || {
        daemon.descriptors() <= descriptors + 2
    });
    daemon.wait_metric("connections_open", &[("listener", "rsa")], 0.0);
}
