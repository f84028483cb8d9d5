//! The two ends of a handshake: a server with its sites, and clients that trust it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs::{self, kx_group};
use tokio_rustls::rustls::pki_types::ServerName as ClientSideName;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion,
};

use crate::config::{Policy, ResumptionMode, TicketKeys};
use crate::report::{ConnectionId, HandshakeReport, Peer, PhaseKind};
use crate::telemetry::{ListenerMetrics, Metrics};
use crate::tls::{Admission, Incoming, Refused, Sites, Transport, accept, fixture};

pub(super) struct Rig {
    pub(super) sites: Sites,
    pub(super) roots: RootCertStore,
    pub(super) metrics: Arc<ListenerMetrics>,
}

impl Rig {
    pub(super) fn new(change: impl FnOnce(&mut Policy)) -> Self {
        let (sites, roots) = fixture::trusted_sites(|policy| {
            let rotated = TicketKeys::rotated(Duration::from_secs(60));
            policy.resumption.mode = ResumptionMode::Tickets(rotated);
            change(policy);
        });
        Self {
            sites,
            roots,
            metrics: Metrics::default().listener("test"),
        }
    }

    pub(super) fn client(
        &self,
        version: &'static SupportedProtocolVersion,
        retry: bool,
    ) -> TlsConnector {
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups = match retry {
            true => vec![kx_group::SECP384R1, kx_group::X25519],
            false => vec![kx_group::X25519],
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsConnector::from(Arc::new(config))
    }

    pub(super) async fn accept<S: Transport>(
        &self,
        io: S,
    ) -> Result<HandshakeReport, Box<Refused<S>>> {
        let mut established = accept(
            io,
            &incoming(),
            &self.sites,
            &self.metrics,
            &Admission::new(1, 16),
        )
        .await?;
        established.stream.write_all(b"hello").await.unwrap();
        established.stream.shutdown().await.unwrap();
        Ok(Arc::unwrap_or_clone(established.report))
    }

    /// One handshake; the client reads to the end, so that it has the tickets.
    pub(super) async fn handshake(&self, client: &TlsConnector, name: &str) -> HandshakeReport {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let name = ClientSideName::try_from(name.to_owned()).unwrap();
        let (report, got) = tokio::join!(self.accept(ours), async {
            let mut stream = client.connect(name, theirs).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.map(|_| text)
        });
        assert_eq!(got.unwrap(), "hello");
        report.map_err(|refused| refused.report).unwrap()
    }
}

pub(super) fn incoming() -> Incoming {
    Incoming {
        id: ConnectionId(1),
        time: SystemTime::now(),
        accepted: Instant::now(),
        listener: "test".into(),
        peer: Peer::Unix,
        proxy: None,
        ahead: None,
    }
}

pub(super) fn assert_exact(report: &HandshakeReport) {
    assert_eq!(
        u128::from(report.phases.sum()),
        report.total.as_nanos(),
        "{report:?}"
    );
    let computed: u64 = report
        .phases
        .iter()
        .filter(|(phase, _)| phase.kind() == PhaseKind::Cpu)
        .map(|(_, nanos)| nanos)
        .sum();
    assert_eq!(report.parts.sum(), computed, "{report:?}");
}

pub(super) fn hello(client: &TlsConnector) -> ClientConnection {
    let name = ClientSideName::try_from("localhost").unwrap();
    ClientConnection::new(client.config().clone(), name).unwrap()
}
