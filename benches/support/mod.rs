//! In-memory handshakes for the benches: the real driver on one end of a pipe, a rustls client on
//! the other.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use handfast::config::{self, MemoryCertificate};
use handfast::report::{ConnectionId, Peer};
use handfast::snapshot::{ListenerState, Snapshot};
use handfast::telemetry::{ListenerMetrics, Metrics, Telemetry, TelemetryGuard};
use handfast::tls::{self, Admission, Established, Incoming, RecordIo, Refused, Sites};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What kind of handshake a bench does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Full12,
    Resumed12,
    Full13,
    Resumed13,
}

impl Cell {
    pub(crate) const ALL: [Self; 4] =
        [Self::Full12, Self::Resumed12, Self::Full13, Self::Resumed13];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Full12 => "tls12_full_p256",
            Self::Resumed12 => "tls12_resumed",
            Self::Full13 => "tls13_full_p256",
            Self::Resumed13 => "tls13_resumed",
        }
    }

    const fn resumed(self) -> bool {
        matches!(self, Self::Resumed12 | Self::Resumed13)
    }
}

/// What is done with what is seen of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Its report is dropped.
    None,
    /// What cannot be turned off: metrics without server names and the ring of the admin API.
    Least,
    /// That, an event for every handshake, server names and exemplars.
    All,
}

impl Sight {
    const fn settings(self) -> &'static str {
        match self {
            Self::None | Self::Least => {
                "[log]\ntarget = \"/dev/null\"\nhandshake = { events = \"off\" }\n\
                 [metrics]\nper_sni = \"off\"\nexemplars = false\n"
            }
            Self::All => {
                "[log]\ntarget = \"/dev/null\"\nhandshake = { events = \"all\", sample = 1.0 }\n\
                 [metrics]\nper_sni = \"configured\"\nexemplars = true\n"
            }
        }
    }
}

/// A listener's state and a client for it.
pub(crate) struct Rig {
    listener: Arc<ListenerState>,
    admission: Arc<Admission>,
    client: TlsConnector,
    telemetry: Option<(Telemetry, TelemetryGuard)>,
}

impl Rig {
    /// A listener with the default policy and a P-256 certificate. The client of a resumed cell
    /// has made a full handshake already.
    pub(crate) async fn new(cell: Cell, sight: Sight) -> Self {
        tls::warm_up().expect("the system has randomness");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .expect("a certificate is made");
        let certificate = MemoryCertificate {
            name: "bench".into(),
            chain: made.cert.pem().into(),
            key: made.signing_key.serialize_pem().into(),
        };
        let text = "[[listeners]]\nname = \"bench\"\naddress = \"127.0.0.1:0\"\n\
            certificates = [\"bench\"]\n[[routes]]\nupstream = \"http://127.0.0.1:1\"\n";
        let text = format!("{text}{}", sight.settings());
        let loaded = config::parse_with(&text, Path::new("bench"), &[certificate])
            .expect("the configuration is right");
        let telemetry = (sight != Sight::None)
            .then(|| Telemetry::start(&loaded.config.log).expect("/dev/null can be written to"));
        let own = Metrics::default();
        let metrics = telemetry.as_ref().map_or(&own, |(hub, _)| &*hub.metrics);
        let snapshot = Snapshot::build(&loaded, metrics, None).expect("the certificate is right");
        let listener = snapshot
            .listener("bench")
            .cloned()
            .expect("the listener is there");
        let rig = Self {
            listener,
            admission: Admission::new(1, 16),
            client: client(cell, made.cert.der()),
            telemetry,
        };
        if cell.resumed() {
            rig.handshake().await;
        }
        rig
    }

    /// One handshake, of which the client takes all, tickets included.
    pub(crate) async fn handshake(&self) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let incoming = Incoming {
            id: ConnectionId(1),
            time: SystemTime::now(),
            accepted: Instant::now(),
            listener: self.listener.name.clone(),
            peer: Peer::Unix,
            proxy: None,
            ahead: None,
        };
        let sites = self
            .listener
            .sites
            .as_ref()
            .expect("the listener speaks TLS");
        // Boxed as a trait object, so that it is a function of its own for the profiler.
        let accept: Pin<Box<dyn Future<Output = Accepted> + '_>> = match &self.telemetry {
            None => Box::pin(accepted(
                ours,
                &incoming,
                sites,
                &self.listener.metrics,
                &self.admission,
            )),
            Some((telemetry, _)) => Box::pin(observed(
                ours,
                &incoming,
                sites,
                &self.listener.metrics,
                &self.admission,
                telemetry,
            )),
        };
        let name = ServerName::try_from("localhost").expect("a valid name");
        let (established, client) = tokio::join!(accept, self.client.connect(name, theirs));
        let (Ok(mut stream), Ok(mut client)) = (established, client) else {
            unreachable!("both ends agree");
        };
        // Tickets are read with the first data.
        stream.write_all(b"x").await.expect("the pipe is open");
        let mut byte = [0];
        tokio::io::AsyncReadExt::read_exact(&mut client, &mut byte)
            .await
            .expect("it was written");
    }
}

/// As a connection does it: the handshake, and its report to whoever is to know.
async fn observed(
    ours: DuplexStream,
    incoming: &Incoming,
    sites: &Arc<Sites>,
    metrics: &Arc<ListenerMetrics>,
    admission: &Arc<Admission>,
    telemetry: &Telemetry,
) -> Accepted {
    let Established { stream, report, .. } =
        tls::accept(ours, incoming, sites, metrics, admission).await?;
    telemetry.handshake(metrics, report);
    Ok(stream)
}

async fn accepted(
    ours: DuplexStream,
    incoming: &Incoming,
    sites: &Arc<Sites>,
    metrics: &Arc<ListenerMetrics>,
    admission: &Arc<Admission>,
) -> Accepted {
    let established = tls::accept(ours, incoming, sites, metrics, admission).await?;
    Ok(established.stream)
}

/// rustls and tokio-rustls as they come, with the settings of our default policy: what a handshake
/// costs that nobody looks at.
pub(crate) struct Stock {
    acceptor: TlsAcceptor,
    client: TlsConnector,
}

impl Stock {
    /// An acceptor with a P-256 certificate. The client of a resumed cell has made a full
    /// handshake already.
    pub(crate) async fn new(cell: Cell) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .expect("a certificate is made");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let mut provider = aws_lc_rs::default_provider();
        // AES-128 first, as the default policy has it.
        provider
            .cipher_suites
            .sort_by_key(|suite| !format!("{:?}", suite.suite()).contains("AES_128"));
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS12, &TLS13])
            .expect("the provider has suites for both")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("the key is the certificate's");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ignore_client_order = true;
        config.ticketer = aws_lc_rs::Ticketer::new().expect("the system has randomness");
        config.send_tls13_tickets = 2;
        let stock = Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            client: client(cell, made.cert.der()),
        };
        if cell.resumed() {
            stock.handshake().await;
        }
        stock
    }

    /// One handshake, of which the client takes all, tickets included.
    pub(crate) async fn handshake(&self) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let accept: Pin<Box<dyn Future<Output = _> + '_>> = Box::pin(stock(&self.acceptor, ours));
        let name = ServerName::try_from("localhost").expect("a valid name");
        let (server, client) = tokio::join!(accept, self.client.connect(name, theirs));
        let (Ok(mut server), Ok(mut client)) = (server, client) else {
            unreachable!("both ends agree");
        };
        server.write_all(b"x").await.expect("the pipe is open");
        let mut byte = [0];
        tokio::io::AsyncReadExt::read_exact(&mut client, &mut byte)
            .await
            .expect("it was written");
    }
}

async fn stock(
    acceptor: &TlsAcceptor,
    ours: DuplexStream,
) -> std::io::Result<TlsStream<DuplexStream>> {
    acceptor.accept(ours).await
}

type Accepted = Result<Box<TlsStream<RecordIo<DuplexStream>>>, Box<Refused<DuplexStream>>>;

fn client(cell: Cell, root: &CertificateDer<'static>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(root.clone())
        .expect("our own certificate is valid");
    let version = match cell {
        Cell::Full12 | Cell::Resumed12 => &TLS12,
        Cell::Full13 | Cell::Resumed13 => &TLS13,
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .expect("the provider has suites for both")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    if !cell.resumed() {
        config.resumption = Resumption::disabled();
    }
    TlsConnector::from(Arc::new(config))
}
