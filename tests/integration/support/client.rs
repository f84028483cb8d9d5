//! A TLS client of our own for what the tools cannot do: hold a connection, look at each byte,
//! take its time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Body;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, KeyLog, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};

use super::certs::certs;

/// A client; its connections share one session store.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    config: Arc<ClientConfig>,
    name: String,
}

/// A connection whose handshake is done.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl Client {
    /// Offers both versions and `http/1.1`, and asks for `example.test`.
    pub(crate) fn new() -> Self {
        Self::with(&[&TLS12, &TLS13])
    }

    /// Offers one version, `1.2` or `1.3`.
    pub(crate) fn of_version(version: &str) -> Self {
        Self::with(&[version_of(version)])
    }

    fn with(versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self::of(aws_lc_rs::default_provider(), versions)
    }

    fn of(provider: CryptoProvider, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certs().ca.der.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            config: Arc::new(config),
            name: "example.test".to_owned(),
        }
    }

    /// Asks for another name.
    pub(crate) fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Sends no server name, but still checks the certificate for it.
    pub(crate) fn without_sni(mut self) -> Self {
        Arc::make_mut(&mut self.config).enable_sni = false;
        self
    }

    /// Offers these application protocols.
    pub(crate) fn alpn(mut self, protocols: &[&str]) -> Self {
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec());
        Arc::make_mut(&mut self.config).alpn_protocols = protocols.collect();
        self
    }

    /// Offers no other cipher suite and group than these, by their code points.
    pub(crate) fn only(version: &str, suite: u16, group: u16) -> Self {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = aws_lc_rs::ALL_CIPHER_SUITES.to_vec();
        provider.kx_groups = aws_lc_rs::ALL_KX_GROUPS.to_vec();
        let suites = &mut provider.cipher_suites;
        suites.retain(|one| u16::from(one.suite()) == suite);
        provider
            .kx_groups
            .retain(|one| u16::from(one.name()) == group);
        Self::of(provider, &[version_of(version)])
    }

    /// Makes every handshake a full one, and tells its secrets to `key_log`.
    pub(crate) fn telling(mut self, key_log: Arc<dyn KeyLog>) -> Self {
        let config = Arc::make_mut(&mut self.config);
        config.key_log = key_log;
        config.resumption = Resumption::disabled();
        self
    }

    /// Makes every handshake a full one.
    pub(crate) fn full(mut self) -> Self {
        Arc::make_mut(&mut self.config).resumption = Resumption::disabled();
        self
    }

    /// For connections by the hundred, and the name that they ask for.
    pub(crate) fn connector(&self) -> (TlsConnector, ServerName<'static>) {
        let name = ServerName::try_from(self.name.clone()).unwrap();
        (TlsConnector::from(self.config.clone()), name)
    }

    /// A connection of HTTP/2, driven by a task of its own.
    pub(crate) async fn http2<B>(&self, address: SocketAddr) -> SendRequest<B>
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (connector, name) = self.clone().alpn(&["h2"]).connector();
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let io = TokioIo::new(connector.connect(name, tcp).await.unwrap());
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// The bytes of a ClientHello.
    pub(crate) fn hello(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.connection().write_tls(&mut bytes).unwrap();
        bytes
    }

    /// Connects and completes the handshake.
    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<TlsStream> {
        self.connect_after(address, b"")
    }

    /// Connects, sends `preface` and completes the handshake.
    pub(crate) fn connect_after(
        &self,
        address: SocketAddr,
        preface: &[u8],
    ) -> io::Result<TlsStream> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        socket.set_write_timeout(Some(Duration::from_secs(30)))?;
        socket.write_all(preface)?;
        let mut connection = self.connection();
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        // The last flight.
        while connection.wants_write() {
            connection.write_tls(&mut socket)?;
        }
        Ok(StreamOwned::new(connection, socket))
    }

    /// Connects, asks for `path` and reads all that comes until the connection ends, as it came:
    /// what a client with no notion of framing sees.
    pub(crate) fn get_raw(&self, address: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
        let mut stream = self.connect(address)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n"
        )?;
        let mut bytes = Vec::new();
        // However it ends: what came before is kept.
        let _ = stream.read_to_end(&mut bytes);
        Ok(bytes)
    }

    /// The certificate that the server shows for this client's name.
    pub(crate) fn certificate(&self, address: SocketAddr) -> io::Result<CertificateDer<'static>> {
        let stream = self.connect(address)?;
        let chain = stream.conn.peer_certificates().unwrap_or_default();
        Ok(chain[0].clone().into_owned())
    }

    /// A connection that has sent nothing yet.
    pub(crate) fn connection(&self) -> ClientConnection {
        let name = ServerName::try_from(self.name.clone()).unwrap();
        ClientConnection::new(self.config.clone(), name).unwrap()
    }
}

pub(super) fn version_of(version: &str) -> &'static SupportedProtocolVersion {
    match version {
        "1.2" => &TLS12,
        "1.3" => &TLS13,
        other => panic!("no version {other}"),
    }
}

/// The alert that ended a handshake, if one came.
pub(crate) fn alert_of(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}
