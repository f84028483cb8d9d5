//! Client certificates: asked for, verified against a policy's CA, revocation lists and
//! allow-list, and timed.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, HandshakeKind,
    RootCertStore, ServerConnection, SignatureScheme,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer, GeneralName};

use super::client_identity::{Identity, ip_of};
use super::work::timed;
use crate::config::{AllowList, ClientAuth, ClientAuthMode, Location, PemSource, SanPattern};
use crate::host::{self, HostPattern};
use crate::pem::{self, PemError};
use crate::report::Part;

/// The verifier of one policy, with the files it was made from.
#[derive(Debug)]
pub struct ClientVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    spec: ClientAuth,
    ca: Vec<u8>,
    crl: Option<Vec<u8>>,
    /// The allow-list in a form that is the same for the same list alone.
    allow: Vec<u8>,
}

/// Why client certificates cannot be verified as configured.
#[derive(Debug, thiserror::Error)]
#[error("{path}")]
pub struct ClientAuthError {
    /// Where the file is given.
    pub location: Option<Location>,
    path: String,
    #[source]
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("cannot be read")]
    Read(#[source] std::io::Error),
    #[error(transparent)]
    Pem(PemError),
    #[error("has a certificate that is not valid X.509")]
    Certificate(#[source] Error),
    #[error("has a revocation list that cannot be used")]
    Crl(#[source] VerifierBuilderError),
    #[error("cannot be used")]
    Verifier(#[source] VerifierBuilderError),
}

impl ClientVerifier {
    /// Loads the files of `spec`.
    ///
    /// # Errors
    /// The first file that cannot be used, and why.
    pub fn load(spec: &ClientAuth) -> Result<Self, ClientAuthError> {
        let ca = read(&spec.ca)?;
        let mut roots = RootCertStore::empty();
        for certificate in
            pem::load_chain(&ca).map_err(|error| fault(&spec.ca, Cause::Pem(error)))?
        {
            roots
                .add(certificate)
                .map_err(|error| fault(&spec.ca, Cause::Certificate(error)))?;
        }
        let provider: Arc<CryptoProvider> = aws_lc_rs::default_provider().into();
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        let mut crl = None;
        if let Some(source) = &spec.crl {
            let text = read(source)?;
            let lists = pem::load_crls(&text).map_err(|error| fault(source, Cause::Pem(error)))?;
            for list in &lists {
                warn_if_expired(source, list);
            }
            builder = builder.with_crls(lists).enforce_revocation_expiration();
            crl = Some(text);
        }
        if spec.mode == ClientAuthMode::Optional {
            builder = builder.allow_unauthenticated();
        }
        let webpki = builder.build().map_err(|error| match (&error, &spec.crl) {
            (VerifierBuilderError::InvalidCrl(_), Some(source)) => fault(source, Cause::Crl(error)),
            _ => fault(&spec.ca, Cause::Verifier(error)),
        })?;
        Ok(Self {
            webpki,
            spec: spec.clone(),
            ca,
            crl,
            allow: format!("{:?}", spec.allow).into_bytes(),
        })
    }

    /// Whether sessions may resume.
    pub(super) const fn resumes(&self) -> bool {
        self.spec.resumption
    }

    /// Whether both accept the same clients, whatever files that is written in.
    pub(super) fn accepts_the_same(&self, other: &Self) -> bool {
        self.settings() == other.settings()
    }

    /// All that decides which clients are accepted, by name. Sessions must not outlive a change of
    /// it.
    pub(super) fn settings(&self) -> [(&'static str, &[u8]); 4] {
        let mode: &[u8] = match self.spec.mode {
            ClientAuthMode::Optional => b"optional",
            ClientAuthMode::Required => b"required",
        };
        [
            ("mode", mode),
            ("ca", &self.ca),
            ("crl", self.crl.as_deref().unwrap_or_default()),
            ("allow", &self.allow),
        ]
    }

    /// Verifies the certificate of a session that was resumed: rustls takes it over unseen, and
    /// it can have expired or been revoked since.
    ///
    /// # Errors
    /// As in a full handshake.
    pub(super) fn verify_resumed(&self, connection: &ServerConnection) -> Result<(), Error> {
        if connection.handshake_kind() != Some(HandshakeKind::Resumed) {
            return Ok(());
        }
        match connection.peer_certificates().and_then(<[_]>::split_first) {
            Some((leaf, intermediates)) => self
                .verify_client_cert(leaf, intermediates, UnixTime::now())
                .map(drop),
            None if self.client_auth_mandatory() => Err(Error::NoCertificatesPresented),
            None => Ok(()),
        }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .webpki
            .verify_client_cert(leaf, intermediates, now)
            .map_err(|error| match error {
                // A CA of ours has the issuer's name and not its key: another CA.
                Error::InvalidCertificate(CertificateError::BadSignature) => {
                    CertificateError::UnknownIssuer.into()
                }
                error => error,
            })?;
        // Upstreams are told these names. The control characters in them can only be meant for
        // whoever reads them there.
        let identity = Identity::read(leaf).map_err(|_| CertificateError::BadEncoding)?;
        if !allows(&self.spec.allow, &identity) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(verified)
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.webpki.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.webpki.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let result = timed(Part::Verify, || self.verify(end_entity, intermediates, now));
        remember_refused(end_entity, result)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let result = timed(Part::Verify, || {
            self.webpki.verify_tls12_signature(message, cert, dss)
        });
        remember_refused(cert, result)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let result = timed(Part::Verify, || {
            self.webpki.verify_tls13_signature(message, cert, dss)
        });
        remember_refused(cert, result)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.webpki.requires_raw_public_keys()
    }
}

thread_local! {
    /// The subject of the certificate that was refused last. rustls's error does not hold it, and
    /// comes back to the driver before anything else runs on the thread.
    static REFUSED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The subject of the certificate that made the error at hand, if it was one.
pub(super) fn take_refused() -> Option<String> {
    REFUSED.take()
}

fn remember_refused<T>(
    certificate: &CertificateDer<'_>,
    result: Result<T, Error>,
) -> Result<T, Error> {
    REFUSED.set(match result {
        Ok(_) => None,
        Err(_) => Identity::subject_of(certificate),
    });
    result
}

/// Whether a list without entries, or an entry of it, accepts the certificate.
fn allows(allow: &AllowList, identity: &Identity<'_>) -> bool {
    let listed = |list: &[Arc<str>], text: &str| list.iter().any(|entry| **entry == *text);
    allow.is_empty()
        || identity.common_names().any(|cn| listed(&allow.cn, cn))
        || identity.organizations().any(|o| listed(&allow.o, o))
        || identity
            .names()
            .any(|name| allow.san.iter().any(|entry| san_matches(entry, name)))
}

fn san_matches(entry: &SanPattern, name: &GeneralName<'_>) -> bool {
    match (entry, name) {
        (SanPattern::Dns(entry), GeneralName::DNSName(name)) => {
            host::normalize(name).is_ok_and(|name| entry.matches(&name))
                || HostPattern::parse(name).is_ok_and(|name| name == *entry)
        }
        (SanPattern::Ip(entry), GeneralName::IPAddress(bytes)) => {
            ip_of(bytes).is_some_and(|address: IpAddr| address == *entry)
        }
        (SanPattern::Uri(entry), GeneralName::URI(uri)) => **entry == **uri,
        _ => false,
    }
}

/// An expired list makes every client fail; that is an operator's fault and no reason to take the
/// other sites down.
fn warn_if_expired(source: &PemSource, list: &[u8]) {
    let Ok((_, list)) = CertificateRevocationList::from_der(list) else {
        return;
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let expired = list
        .next_update()
        .is_some_and(|next| u64::try_from(next.timestamp()).is_ok_and(|next| next < now));
    if expired {
        tracing::warn!(
            file = %name(source),
            issuer = %list.issuer(),
            "this revocation list has expired: clients of its issuer are refused"
        );
    }
}

fn read(source: &PemSource) -> Result<Vec<u8>, ClientAuthError> {
    match source {
        PemSource::File { path, .. } => {
            std::fs::read(path).map_err(|error| fault(source, Cause::Read(error)))
        }
        PemSource::Memory(text) => Ok(text.as_bytes().to_vec()),
    }
}

fn fault(source: &PemSource, cause: Cause) -> ClientAuthError {
    ClientAuthError {
        location: match source {
            PemSource::File { location, .. } => Some(*location),
            PemSource::Memory(_) => None,
        },
        path: name(source),
        cause,
    }
}

fn name(source: &PemSource) -> String {
    match source {
        PemSource::File { path, .. } => path.display().to_string(),
        PemSource::Memory(_) => "(made in memory)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
        DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
        date_time_ymd,
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::client::ResolvesClientCert;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::sign::CertifiedKey;
    use tokio_rustls::rustls::version::{TLS12, TLS13};
    use tokio_rustls::rustls::{ClientConfig, SupportedProtocolVersion};

    use super::*;
    use crate::config::{
        CertificatePair, CipherSuite, Group, Policy, ResumptionMode, SniAction, TicketKeys,
    };
    use crate::report::{
        ConnectionId, Failure, FailureClass, HandshakeKind, HandshakeReport, Outcome, Peer, Phase,
        ProtocolVersion,
    };
    use crate::tls::{Incoming, LoadedCertificate, Site, Sites, TlsPolicy, accept};

    /// A CA with one client certificate of the serial number 7.
    struct Clients {
        ca: CertifiedIssuer<'static, KeyPair>,
        certificate: CertificateDer<'static>,
        key: KeyPair,
    }

    impl Clients {
        fn new() -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "client");
            params.serial_number = Some(SerialNumber::from(7_u64));
            let certificate = params.signed_by(&key, &ca).unwrap().der().clone();
            Self {
                ca,
                certificate,
                key,
            }
        }

        fn spec(&self, revoked: u64, resumption: bool) -> ClientAuth {
            let list = CertificateRevocationListParams {
                this_update: date_time_ymd(2020, 1, 1),
                next_update: date_time_ymd(2090, 1, 1),
                crl_number: SerialNumber::from(1_u64),
                issuing_distribution_point: None,
                revoked_certs: vec![RevokedCertParams {
                    serial_number: SerialNumber::from(revoked),
                    revocation_time: date_time_ymd(2020, 1, 1),
                    reason_code: None,
                    invalidity_date: None,
                }],
                key_identifier_method: KeyIdMethod::Sha256,
            };
            let list = list.signed_by(&self.ca).unwrap().pem().unwrap();
            ClientAuth {
                mode: ClientAuthMode::Required,
                ca: PemSource::Memory(self.ca.pem().into()),
                crl: Some(PemSource::Memory(list.into())),
                allow: AllowList::default(),
                resumption,
            }
        }
    }

    struct Server {
        certificate: Arc<LoadedCertificate>,
        policy: Arc<TlsPolicy>,
        roots: RootCertStore,
    }

    impl Server {
        fn new(client_auth: ClientAuth) -> Self {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(made.cert.der().clone()).unwrap();
            let pair = CertificatePair {
                chain: PemSource::Memory(made.cert.pem().into()),
                key: PemSource::Memory(made.signing_key.serialize_pem().into()),
                ocsp: None,
            };
            let suites = [0x1301, 0xc02b].into_iter();
            let spec = Policy {
                name: "test".into(),
                versions: vec![ProtocolVersion::Tls12, ProtocolVersion::Tls13],
                cipher_suites: suites.filter_map(CipherSuite::by_code).collect(),
                groups: [29].into_iter().filter_map(Group::by_code).collect(),
                alpn: Vec::new(),
                unknown_sni: SniAction::Reject,
                missing_sni: SniAction::Reject,
                handshake_timeout: Duration::from_secs(5),
                false_start: crate::config::FalseStartMode::Allow,
                certificate_compression: true,
                resumption: crate::config::Resumption {
                    mode: ResumptionMode::Tickets(TicketKeys::rotated(Duration::from_secs(60))),
                    lifetime: Duration::from_secs(60),
                    tickets: 2,
                    cache_size: 1 << 20,
                },
                client_auth: Some(client_auth),
            };
            Self {
                certificate: Arc::new(LoadedCertificate::load(&[pair]).unwrap()),
                policy: Arc::new(TlsPolicy::new(spec, None).unwrap()),
                roots,
            }
        }

        fn client(
            &self,
            version: &'static SupportedProtocolVersion,
            shown: Arc<dyn ResolvesClientCert>,
        ) -> TlsConnector {
            let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(self.roots.clone())
                .with_client_cert_resolver(shown);
            TlsConnector::from(Arc::new(config))
        }

        async fn handshake(&self, client: &TlsConnector) -> HandshakeReport {
            let site = Arc::new(Site::new(self.certificate.clone(), self.policy.clone()).unwrap());
            let mut sites = Sites::new(site.clone(), self.policy.clone());
            for name in self.certificate.names() {
                sites.add(name, site.clone());
            }
            let incoming = Incoming {
                id: ConnectionId(1),
                time: SystemTime::now(),
                accepted: Instant::now(),
                listener: "test".into(),
                peer: Peer::Unix,
                proxy: None,
                ahead: None,
            };
            let metrics = crate::telemetry::Metrics::default().listener("test");
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let name = ServerName::try_from("localhost").unwrap();
            let (report, _) = tokio::join!(
                async {
                    let admission = crate::tls::Admission::new(1, 16);
                    match accept(ours, &incoming, &sites, &metrics, &admission).await {
                        Ok(mut established) => {
                            assert!(established.client_certificate.is_some());
                            established.stream.shutdown().await.unwrap();
                            Arc::unwrap_or_clone(established.report)
                        }
                        Err(refused) => refused.report,
                    }
                },
                async {
                    let mut stream = client.connect(name, theirs).await?;
                    stream.read_to_end(&mut Vec::new()).await
                }
            );
            let sum = u128::from(report.phases.sum());
            assert_eq!(sum, report.total.as_nanos(), "{report:?}");
            report
        }
    }

    #[derive(Debug)]
    struct Shown(Arc<CertifiedKey>);

    impl ResolvesClientCert for Shown {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    fn shown(clients: &Clients, key: &KeyPair) -> Arc<Shown> {
        let key = pem::load_key(key.serialize_pem().as_bytes()).unwrap();
        let provider = aws_lc_rs::default_provider();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let certified = CertifiedKey::new(vec![clients.certificate.clone()], key);
        Arc::new(Shown(certified.into()))
    }

    fn failure(report: HandshakeReport) -> Failure {
        match report.outcome {
            Outcome::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_certificate_of_another_key_is_invalid() {
        let clients = Clients::new();
        let server = Server::new(clients.spec(1, false));
        let other = KeyPair::generate().unwrap();
        for version in [&TLS12, &TLS13] {
            let client = server.client(version, shown(&clients, &other));
            let failure = failure(server.handshake(&client).await);
            assert_eq!(failure.class, FailureClass::ClientCertInvalid);
            assert_eq!(
                (failure.alert, failure.phase),
                (Some(51), Phase::ClientAuth)
            );
            assert!(failure.diagnosis.contains("CN=client"), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn a_flight_in_one_record_is_named_whole() {
        let clients = Clients::new();
        let server = Server::new(clients.spec(1, false));
        let client = server.client(&TLS13, shown(&clients, &clients.key));
        let report = server.handshake(&client).await;
        assert_eq!(report.outcome, Outcome::Ok);
        let last = report.messages.last().unwrap();
        assert_eq!(last.name, "Certificate CertificateVerify Finished");
        assert!(report.phases.nanos(Phase::ClientAuth) > 0);
    }

    #[tokio::test]
    async fn a_session_is_verified_again_when_it_resumes() {
        for version in [&TLS12, &TLS13] {
            let clients = Clients::new();
            let mut server = Server::new(clients.spec(1, true));
            let client = server.client(version, shown(&clients, &clients.key));
            for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let report = server.handshake(&client).await;
                assert_eq!(report.outcome, Outcome::Ok);
                assert_eq!(report.kind, Some(kind));
                assert!(report.phases.nanos(Phase::ClientAuth) > 0);
            }
            // The same ticket keys and store, and a list that has changed meanwhile.
            let verifier = ClientVerifier::load(&clients.spec(7, true)).unwrap();
            server.policy = Arc::new(server.policy.with_clients(verifier));
            let report = server.handshake(&client).await;
            assert_eq!(report.kind, Some(HandshakeKind::Resumed));
            assert!(report.phases.nanos(Phase::ClientAuth) > 0);
            let failure = failure(report);
            assert_eq!(failure.class, FailureClass::ClientCertRevoked);
            assert_eq!(failure.alert, None);
        }
    }
}
