//! In-memory handshakes for the benches: the real driver on one end of a pipe, a rustls client on
//! the other.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use handfast::config::{self, MemoryCertificate};
use handfast::report::{ConnectionId, Peer};
use handfast::snapshot::{ListenerState, Snapshot};
use handfast::telemetry::Metrics;
use handfast::tls::{self, Admission, Established, Incoming, Refused};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

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

/// A listener's state and a client for it.
pub(crate) struct Rig {
    listener: Arc<ListenerState>,
    admission: Arc<Admission>,
    client: TlsConnector,
}

impl Rig {
    /// A listener with the default policy and a P-256 certificate. The client of a resumed cell
    /// has made a full handshake already.
    pub(crate) async fn new(cell: Cell) -> Self {
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
        let loaded = config::parse_with(text, Path::new("bench"), &[certificate])
            .expect("the configuration is right");
        let snapshot =
            Snapshot::build(&loaded, &Metrics::default(), None).expect("the certificate is right");
        let listener = snapshot
            .listener("bench")
            .cloned()
            .expect("the listener is there");
        let rig = Self {
            listener,
            admission: Admission::new(1, 16),
            client: client(cell, made.cert.der()),
        };
        if cell.resumed() {
            rig.handshake().await;
        }
        rig
    }

    /// One handshake, of which the client takes all, tickets included.
    pub(crate) async fn handshake(&self) -> Established<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let incoming = Incoming {
            id: ConnectionId(1),
            time: SystemTime::now(),
            accepted: Instant::now(),
            listener: self.listener.name.clone(),
            peer: Peer::Unix,
            proxy: None,
        };
        let sites = self
            .listener
            .sites
            .as_ref()
            .expect("the listener speaks TLS");
        // Boxed as a trait object, so that it is a function of its own for the profiler.
        let accept: Pin<Box<dyn Future<Output = Accepted> + '_>> = Box::pin(tls::accept(
            ours,
            &incoming,
            sites,
            &self.listener.metrics,
            &self.admission,
        ));
        let name = ServerName::try_from("localhost").expect("a valid name");
        let (established, client) = tokio::join!(accept, self.client.connect(name, theirs));
        let (Ok(mut established), Ok(mut client)) = (established, client) else {
            unreachable!("both ends agree");
        };
        // Tickets are read with the first data.
        established
            .stream
            .write_all(b"x")
            .await
            .expect("the pipe is open");
        let mut byte = [0];
        tokio::io::AsyncReadExt::read_exact(&mut client, &mut byte)
            .await
            .expect("it was written");
        established
    }
}

type Accepted = Result<Established<DuplexStream>, Box<Refused<DuplexStream>>>;

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
