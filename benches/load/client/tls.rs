//! What the load client offers in TLS.

use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, CipherSuite, ClientConfig, DigitallySignedStruct, NamedGroup, SignatureScheme, version,
};

use crate::arguments::Version;

/// A connector with [`config`].
pub(super) fn connector(version: Version, resume: bool) -> Result<TlsConnector, rustls::Error> {
    Ok(TlsConnector::from(Arc::new(config(version, resume)?)))
}

/// A client that speaks one version. With `resume` it offers the newest ticket it has; else it
/// takes tickets and offers none.
///
/// It offers AES-128-GCM alone and X25519 first, so that every peer does the same work, and checks
/// neither chain nor signature: that is the client's time, which must not be the limit.
pub(crate) fn config(version: Version, resume: bool) -> Result<ClientConfig, rustls::Error> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| {
        matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    });
    // X25519 comes first, and gets the key share; P-256 is there for its certificates, which
    // OpenSSL holds against the groups in TLS 1.2 (RFC 8422 section 5.1.1).
    provider
        .kx_groups
        .retain(|group| matches!(group.name(), NamedGroup::X25519 | NamedGroup::secp256r1));
    provider
        .kx_groups
        .sort_by_key(|group| group.name() != NamedGroup::X25519);
    let unverified = Arc::new(Unverified(provider.clone()));
    let version = match version {
        Version::Tls12 => &version::TLS12,
        Version::Tls13 => &version::TLS13,
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])?
        .dangerous()
        .with_custom_certificate_verifier(unverified)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = if resume {
        Resumption::in_memory_sessions(8)
    } else {
        Resumption::disabled()
    };
    Ok(config)
}

/// Takes every certificate.
#[derive(Debug)]
struct Unverified(CryptoProvider);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
