//! TLS towards the servers of one upstream.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{Resumption, VerifierBuilderError, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    self, CertificateError as Refusal, ClientConfig, DigitallySignedStruct, HandshakeKind,
    RootCertStore, SignatureScheme,
};

use super::byte_stream::ByteStream;
use super::error::ExchangeError;
use crate::config::{
    Location, PemSource, ServerAddress, UpstreamProtocol, UpstreamServer, UpstreamTls,
};
use crate::pem::{self, PemError};
use crate::telemetry::UpstreamMetrics;
use crate::tls::{CertificateError, client_provider, load_client_certificate};

const H2: &[u8] = b"h2";
const HTTP11: &[u8] = b"http/1.1";

/// Sessions that are kept for each server: as many TLS 1.3 tickets (one is used a handshake) as
/// rustls keeps for a name at most. A session costs about 2 KB.
const SESSIONS: usize = 8;

/// Where the system's trust store is looked for, after the file that `SSL_CERT_FILE` names: the
/// bundles of Debian and Alpine, Fedora and RHEL, older RHEL, SUSE, and the BSDs.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How the servers of one upstream are spoken to over TLS: versions 1.2 and 1.3, sessions resumed.
///
/// Sessions are kept here and nowhere else, so they never outlive a change of what is trusted.
#[derive(Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    /// Offers HTTP/1.1 alone, for requests that need it.
    http1: Arc<ClientConfig>,
    /// In the order of the upstream's servers.
    names: Vec<ServerName<'static>>,
    /// What is trusted; `None` where nothing is verified.
    roots: Option<Arc<RootCertStore>>,
    /// What is shown to servers that ask.
    chain: Option<Vec<CertificateDer<'static>>>,
}

/// What a server may choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// What `protocol` says.
    Configured,
    /// HTTP/1.1.
    Http1,
}

/// Why an upstream cannot be spoken to as configured.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// No certificate of a server can be for this name.
    #[error("`{name}` cannot be verified: give `server_name`")]
    Name {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: InvalidDnsNameError,
    },
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not the PEM that is wanted.
    #[error("{path}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PemError,
    },
    /// One of the trusted certificates is none.
    #[error("{path} has a certificate that is not valid X.509")]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Nobody would be trusted.
    #[error("the system has no trust store: give `ca`, or set SSL_CERT_FILE")]
    NoSystemRoots,
    /// rustls does not take the trusted certificates.
    #[error("the trusted certificates cannot be used")]
    Verifier(#[source] VerifierBuilderError),
    /// The certificate to show cannot be used.
    #[error(transparent)]
    Certificate(CertificateError),
    /// The provider has no cipher suite for a version; it has.
    #[error("tls cannot be set up")]
    Setup(#[source] rustls::Error),
}

impl ClientTlsError {
    /// Where the configuration gives what is at fault.
    #[must_use]
    pub fn location(&self, spec: &UpstreamTls) -> Location {
        match self {
            Self::Read { path, .. } | Self::Pem { path, .. } | Self::Root { path, .. } => {
                spec.place_of(path)
            }
            Self::Certificate(error) => spec.place_of(error.path()),
            Self::Name { .. } | Self::NoSystemRoots | Self::Verifier(_) | Self::Setup(_) => {
                spec.location
            }
        }
    }
}

impl ClientTls {
    /// Reads the files that `spec` names, and the system's trust store where it names no `ca`.
    ///
    /// # Errors
    /// The first thing that cannot be used, and why.
    pub fn load(
        spec: &UpstreamTls,
        protocol: UpstreamProtocol,
        servers: &[UpstreamServer],
    ) -> Result<Self, ClientTlsError> {
        let names = servers
            .iter()
            .map(|server| server_name(spec, &server.address))
            .collect::<Result<Vec<_>, _>>()?;
        let provider = client_provider();
        let roots = match (&spec.ca, spec.verify) {
            (_, false) => None,
            (Some(source), true) => Some(Arc::new(roots(source)?)),
            (None, true) => Some(Arc::new(system_roots()?)),
        };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(ClientTlsError::Setup)?;
        let builder = match &roots {
            Some(roots) => {
                let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider)
                    .build()
                    .map_err(ClientTlsError::Verifier)?;
                builder.with_webpki_verifier(verifier)
            }
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unverified(provider))),
        };
        let certified = spec
            .certificate
            .as_ref()
            .map(load_client_certificate)
            .transpose()
            .map_err(ClientTlsError::Certificate)?;
        let chain = certified.as_ref().map(|certified| certified.cert.clone());
        let mut config = match certified {
            Some(certified) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![HTTP11.to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS * names.len());
        let http1 = Arc::new(config.clone());
        match protocol {
            UpstreamProtocol::Http1 => {}
            UpstreamProtocol::Http2 => config.alpn_protocols = vec![H2.to_vec()],
            UpstreamProtocol::Auto => config.alpn_protocols.insert(0, H2.to_vec()),
        }
        Ok(Self {
            config: Arc::new(config),
            http1,
            names,
            roots,
            chain,
        })
    }

    /// Whether the files of both say the same, so that the older one need not be replaced.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let roots = |tls: &Self| tls.roots.as_ref().map(|roots| roots.roots.clone());
        // A key belongs to its chain: another key makes another chain.
        self.names == other.names && self.chain == other.chain && roots(self) == roots(other)
    }

    /// The handshake on `stream` with the server at `index` of the upstream, which may choose what
    /// `protocol` of the upstream says, or HTTP/1.1 alone. It has no deadline of its own.
    ///
    /// # Errors
    /// [`ExchangeError::Tls`] or [`ExchangeError::TlsVerify`].
    pub(super) async fn handshake(
        &self,
        index: usize,
        stream: ByteStream,
        offer: Offer,
        metrics: &UpstreamMetrics,
    ) -> Result<Box<TlsStream<ByteStream>>, ExchangeError> {
        let name = self.names[index].clone();
        let connector = TlsConnector::from(match offer {
            Offer::Configured => self.config.clone(),
            Offer::Http1 => self.http1.clone(),
        });
        // Boxed: the state of a handshake is large, and lies in the future of every request.
        match Box::pin(connector.connect(name, stream)).await {
            Ok(stream) => {
                let kind = stream.get_ref().1.handshake_kind();
                metrics.handshake(kind == Some(HandshakeKind::Resumed));
                Ok(Box::new(stream))
            }
            Err(error) => {
                let server_name = self.names[index].to_str();
                let reason = reason(&error);
                tracing::debug!(%server_name, reason, %error, "upstream tls handshake failed");
                Err(if is_refusal(&error) {
                    ExchangeError::TlsVerify(error)
                } else {
                    ExchangeError::Tls(error)
                })
            }
        }
    }
}

/// Whether the server has chosen HTTP/2.
pub(super) fn is_http2(stream: &TlsStream<ByteStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(H2)
}

fn server_name(
    spec: &UpstreamTls,
    address: &ServerAddress,
) -> Result<ServerName<'static>, ClientTlsError> {
    let name = match (&spec.server_name, address) {
        (None, ServerAddress::Ip(address)) => return Ok(ServerName::from(address.ip())),
        (None, ServerAddress::Name(name, _)) | (Some(name), _) => name.to_string(),
        // Refused below: a path is no name.
        (None, ServerAddress::Unix(_)) => address.to_string(),
    };
    ServerName::try_from(name.clone()).map_err(|source| ClientTlsError::Name { name, source })
}

/// The certificates that are trusted: those of a file, or the system's.
///
/// # Errors
/// The file cannot be used, or the system has no trust store.
pub fn trusted_roots(ca: Option<&PemSource>) -> Result<RootCertStore, ClientTlsError> {
    ca.map_or_else(system_roots, roots)
}

fn roots(source: &PemSource) -> Result<RootCertStore, ClientTlsError> {
    let (path, text) = match source {
        PemSource::File { path, .. } => (path.clone(), read(path)?),
        PemSource::Memory(text) => ("(made in memory)".into(), text.as_bytes().to_vec()),
    };
    let mut roots = RootCertStore::empty();
    let certificates = pem::load_chain(&text).map_err(|source| ClientTlsError::Pem {
        path: path.clone(),
        source,
    })?;
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|source| ClientTlsError::Root {
                path: path.clone(),
                source,
            })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, ClientTlsError> {
    let given = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = SYSTEM_ROOTS.iter().map(PathBuf::from);
    let found = given.or_else(|| known.into_iter().find(|path| path.exists()));
    system_roots_in(&found.ok_or(ClientTlsError::NoSystemRoots)?)
}

fn system_roots_in(bundle: &Path) -> Result<RootCertStore, ClientTlsError> {
    let text = read(bundle)?;
    let certificates = match pem::load_chain(&text) {
        Ok(certificates) => certificates,
        Err(PemError::NoCertificate) => return Err(ClientTlsError::NoSystemRoots),
        Err(source) => {
            let path = bundle.to_owned();
            return Err(ClientTlsError::Pem { path, source });
        }
    };
    let mut roots = RootCertStore::empty();
    // Systems carry roots that are too old to be read; the others do not suffer from it.
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err(ClientTlsError::NoSystemRoots),
        _ => Ok(roots),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ClientTlsError> {
    fs::read(path).map_err(|source| ClientTlsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether it is the server's certificate that was not accepted.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        rustls_error(error),
        Some(rustls::Error::InvalidCertificate(_))
    )
}

/// The word for it in the log.
fn reason(error: &io::Error) -> &'static str {
    match rustls_error(error) {
        None if error.kind() == io::ErrorKind::UnexpectedEof => "closed",
        None => "network",
        Some(rustls::Error::AlertReceived(_)) => "alert",
        Some(rustls::Error::InvalidMessage(_)) => "not_tls",
        Some(rustls::Error::PeerIncompatible(_)) => "incompatible",
        Some(rustls::Error::InvalidCertificate(refusal)) => match refusal {
            Refusal::UnknownIssuer => "unknown_issuer",
            Refusal::NotValidForName | Refusal::NotValidForNameContext { .. } => "name_mismatch",
            Refusal::Expired | Refusal::ExpiredContext { .. } => "expired",
            Refusal::NotValidYet | Refusal::NotValidYetContext { .. } => "not_yet_valid",
            Refusal::InvalidPurpose | Refusal::InvalidPurposeContext { .. } => "wrong_purpose",
            Refusal::BadSignature => "bad_signature",
            _ => "invalid_certificate",
        },
        Some(_) => "protocol",
    }
}

/// Takes any certificate; whoever shows it must still have its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CertificatePair;

    fn pair(name: &str) -> CertificatePair {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        CertificatePair {
            chain: PemSource::Memory(made.cert.pem().into()),
            key: PemSource::Memory(made.signing_key.serialize_pem().into()),
            ocsp: None,
        }
    }

    fn server(address: ServerAddress) -> [UpstreamServer; 1] {
        [UpstreamServer { address, weight: 1 }]
    }

    fn named(name: &str) -> [UpstreamServer; 1] {
        server(ServerAddress::Name(name.into(), 443))
    }

    fn trusting(ca: PemSource) -> UpstreamTls {
        UpstreamTls {
            ca: Some(ca),
            verify: true,
            ..UpstreamTls::default()
        }
    }

    #[test]
    fn servers_are_asked_for_by_their_own_name_unless_one_is_given() {
        let mut spec = trusting(pair("a").chain);
        let name = |spec: &UpstreamTls, servers: &[UpstreamServer]| {
            let tls = ClientTls::load(spec, UpstreamProtocol::Http1, servers).unwrap();
            tls.names[0].to_str().into_owned()
        };
        let address = server(ServerAddress::Ip(([127, 0, 0, 1], 443).into()));
        assert_eq!(name(&spec, &named("a.example")), "a.example");
        assert_eq!(name(&spec, &address), "127.0.0.1");
        spec.server_name = Some("b.example".into());
        assert_eq!(name(&spec, &address), "b.example");
        let unix = server(ServerAddress::Unix("/run/app.sock".into()));
        assert_eq!(name(&spec, &unix), "b.example");
        spec.server_name = None;
        let error = ClientTls::load(&spec, UpstreamProtocol::Http1, &unix).unwrap_err();
        assert!(matches!(error, ClientTlsError::Name { .. }), "{error:?}");
        spec.server_name = Some("-.example".into());
        let error = ClientTls::load(&spec, UpstreamProtocol::Http1, &address).unwrap_err();
        assert!(matches!(error, ClientTlsError::Name { .. }), "{error:?}");
    }

    #[test]
    fn what_cannot_be_used_is_told_at_its_place() {
        let at = |column| Location {
            source: 0,
            span: (column, column + 1),
        };
        let missing = |column| PemSource::File {
            path: format!("/nonexistent/{column}.pem").into(),
            location: at(column),
        };
        let mut spec = UpstreamTls {
            location: at(1),
            ..trusting(missing(2))
        };
        let error = ClientTls::load(&spec, UpstreamProtocol::Http1, &named("a")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nonexistent/2.pem");
        assert_eq!(error.location(&spec), at(2));

        let good = pair("a");
        spec.ca = Some(good.key.clone());
        let error = ClientTls::load(&spec, UpstreamProtocol::Http1, &named("a")).unwrap_err();
        assert!(matches!(error, ClientTlsError::Pem { .. }), "{error:?}");
        assert_eq!(error.location(&spec), at(1));

        spec.ca = Some(good.chain.clone());
        spec.certificate = Some(CertificatePair {
            key: missing(3),
            ..good.clone()
        });
        let error = ClientTls::load(&spec, UpstreamProtocol::Http1, &named("a")).unwrap_err();
        assert_eq!(error.location(&spec), at(3));

        spec.certificate = Some(CertificatePair {
            key: pair("a").key,
            ..good
        });
        let error = ClientTls::load(&spec, UpstreamProtocol::Http1, &named("a")).unwrap_err();
        let ClientTlsError::Certificate(error) = error else {
            panic!("{error:?}");
        };
        assert!(matches!(error, CertificateError::KeyMismatch { .. }));
    }

    #[test]
    fn a_trust_store_without_a_certificate_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("bundle.pem");
        fs::write(&bundle, "# nothing\n").unwrap();
        let error = system_roots_in(&bundle).unwrap_err();
        assert!(matches!(error, ClientTlsError::NoSystemRoots), "{error:?}");
        let PemSource::Memory(good) = pair("a").chain else {
            unreachable!("it is made in memory");
        };
        let unreadable = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        fs::write(&bundle, format!("{unreadable}{good}")).unwrap();
        assert_eq!(system_roots_in(&bundle).unwrap().len(), 1);
    }

    #[test]
    fn files_that_say_the_same_are_the_same() {
        let (ca, own) = (pair("ca"), pair("own"));
        let spec = UpstreamTls {
            certificate: Some(own),
            ..trusting(ca.chain)
        };
        let load = |spec: &UpstreamTls| {
            ClientTls::load(spec, UpstreamProtocol::Http1, &named("a")).unwrap()
        };
        let first = load(&spec);
        assert!(first.is_same(&load(&spec)));
        let other_ca = UpstreamTls {
            ca: Some(pair("ca").chain),
            ..spec.clone()
        };
        assert!(!first.is_same(&load(&other_ca)));
        let other_own = UpstreamTls {
            certificate: Some(pair("own")),
            ..spec
        };
        assert!(!first.is_same(&load(&other_own)));
    }
}
