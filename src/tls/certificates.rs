//! Certificates: loaded, checked against their keys, and chosen for each client.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{InconsistentKeys, SignatureAlgorithm, SignatureScheme};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::hooks::TimedKey;
use crate::config::{CertificatePair, CipherSuite, PemSource};
use crate::host::HostPattern;
use crate::pem::{self, PemError};

/// A certificate of the configuration, loaded: one pair or several of different key types.
#[derive(Debug)]
pub struct LoadedCertificate {
    pairs: Vec<Arc<CertifiedKey>>,
    names: Vec<HostPattern>,
    not_after: i64,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
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
    /// The leaf is no X.509 certificate.
    #[error("the first certificate of {path} is not valid X.509")]
    X509 {
        /// The file.
        path: PathBuf,
    },
    /// The key belongs to another certificate.
    #[error("the key {key} does not belong to the first certificate of {chain}")]
    KeyMismatch {
        /// The chain's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// rustls does not take the key.
    #[error("the key {key} cannot be used")]
    Key {
        /// The key's file.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

impl LoadedCertificate {
    /// Loads `pairs` and checks each key against its chain.
    ///
    /// # Errors
    /// The first pair that cannot be used, and why.
    pub fn load(pairs: &[CertificatePair]) -> Result<Self, CertificateError> {
        let provider = aws_lc_rs::default_provider();
        let mut loaded = Self {
            pairs: Vec::with_capacity(pairs.len()),
            names: Vec::new(),
            not_after: i64::MAX,
        };
        for pair in pairs {
            let chain = load_chain(&pair.chain)?;
            loaded.read_leaf(&chain, &pair.chain)?;
            loaded
                .pairs
                .push(Arc::new(certified(chain, pair, &provider)?));
        }
        loaded.names.sort();
        loaded.names.dedup();
        Ok(loaded)
    }

    /// The DNS names of the leaves, wildcards included; other kinds of names are left out.
    #[must_use]
    pub fn names(&self) -> &[HostPattern] {
        &self.names
    }

    /// When the first of the leaves expires, in seconds since 1970.
    #[must_use]
    pub const fn not_after(&self) -> i64 {
        self.not_after
    }

    /// The signature algorithms of the keys, in order of the pairs.
    pub fn algorithms(&self) -> impl Iterator<Item = SignatureAlgorithm> + '_ {
        self.pairs.iter().map(|pair| pair.key.algorithm())
    }

    fn read_leaf(
        &mut self,
        chain: &[CertificateDer<'static>],
        source: &PemSource,
    ) -> Result<(), CertificateError> {
        let leaf = chain
            .first()
            .and_then(|leaf| X509Certificate::from_der(leaf).ok());
        let Some((_, leaf)) = leaf else {
            return Err(CertificateError::X509 { path: path(source) });
        };
        self.not_after = self.not_after.min(leaf.validity().not_after.timestamp());
        if let Ok(Some(names)) = leaf.subject_alternative_name() {
            // A name that the matcher does not take can never be asked for.
            self.names.extend(
                names
                    .value
                    .general_names
                    .iter()
                    .filter_map(|name| match name {
                        GeneralName::DNSName(name) => HostPattern::parse(name).ok(),
                        _ => None,
                    }),
            );
        }
        Ok(())
    }
}

/// Answers rustls with the pair that a client can verify.
#[derive(Debug)]
pub(super) struct PairResolver {
    certificate: Arc<LoadedCertificate>,
    suites: Vec<&'static CipherSuite>,
}

impl PairResolver {
    /// A resolver for `certificate` under a policy with `suites`.
    pub(super) const fn new(
        certificate: Arc<LoadedCertificate>,
        suites: Vec<&'static CipherSuite>,
    ) -> Self {
        Self {
            certificate,
            suites,
        }
    }

    /// Whether the client can verify `pair`: by its signature schemes, and in TLS 1.2 also by a
    /// suite for the key's type (RFC 5246 section 7.4.2).
    fn fits(&self, pair: &CertifiedKey, client: &ClientHello<'_>) -> bool {
        if pair.key.choose_scheme(client.signature_schemes()).is_none() {
            return false;
        }
        let algorithm = pair.key.algorithm();
        self.suites.iter().any(|suite| {
            client
                .cipher_suites()
                .iter()
                .any(|&offered| u16::from(offered) == suite.code)
                && suite_serves(suite, algorithm, client.signature_schemes())
        })
    }
}

impl ResolvesServerCert for PairResolver {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let pairs = &self.certificate.pairs;
        // With no pair that fits, the first one lets rustls find the precise reason.
        pairs
            .iter()
            .find(|pair| self.fits(pair, &client_hello))
            .or_else(|| pairs.first())
            .cloned()
    }
}

/// Whether `suite` works with a key of `algorithm`.
fn suite_serves(
    suite: &CipherSuite,
    algorithm: SignatureAlgorithm,
    schemes: &[SignatureScheme],
) -> bool {
    if suite.code >> 8 == 0x13 {
        // TLS 1.3 has no PKCS #1 v1.5 signatures (RFC 8446 section 4.2.3).
        return algorithm != SignatureAlgorithm::RSA
            || schemes.iter().any(|scheme| {
                matches!(
                    scheme,
                    SignatureScheme::RSA_PSS_SHA256
                        | SignatureScheme::RSA_PSS_SHA384
                        | SignatureScheme::RSA_PSS_SHA512
                )
            });
    }
    match algorithm {
        SignatureAlgorithm::RSA => suite.name.contains("_RSA_"),
        _ => suite.name.contains("_ECDSA_"),
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    pair: &CertificatePair,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let text = read(&pair.key)?;
    let key = pem::load_key(&text).map_err(|source| CertificateError::Pem {
        path: path(&pair.key),
        source,
    })?;
    let mut certified =
        CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                CertificateError::KeyMismatch {
                    chain: path(&pair.chain),
                    key: path(&pair.key),
                }
            }
            source => CertificateError::Key {
                key: path(&pair.key),
                source,
            },
        })?;
    certified.key = Arc::new(TimedKey(certified.key));
    Ok(certified)
}

fn load_chain(source: &PemSource) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    pem::load_chain(&read(source)?).map_err(|error| CertificateError::Pem {
        path: path(source),
        source: error,
    })
}

fn read(source: &PemSource) -> Result<Vec<u8>, CertificateError> {
    match source {
        PemSource::File { path, .. } => {
            std::fs::read(path).map_err(|source| CertificateError::Read {
                path: path.clone(),
                source,
            })
        }
        PemSource::Memory(text) => Ok(text.as_bytes().to_vec()),
    }
}

fn path(source: &PemSource) -> PathBuf {
    match source {
        PemSource::File { path, .. } => path.clone(),
        PemSource::Memory(_) => "(made in memory)".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(names: &[&str]) -> CertificatePair {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        CertificatePair {
            chain: PemSource::Memory(made.cert.pem().into()),
            key: PemSource::Memory(made.signing_key.serialize_pem().into()),
        }
    }

    #[test]
    fn names_come_from_the_certificate() {
        let loaded =
            LoadedCertificate::load(&[pair(&["Example.com", "*.example.org", "127.0.0.1"])])
                .unwrap();
        let names: Vec<String> = loaded.names().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["example.com", "*.example.org"]);
        assert!(loaded.not_after() > 1_700_000_000);
    }

    #[test]
    fn a_foreign_key_is_refused() {
        let mixed = CertificatePair {
            chain: pair(&["a.example"]).chain,
            key: pair(&["b.example"]).key,
        };
        assert!(matches!(
            LoadedCertificate::load(&[mixed]),
            Err(CertificateError::KeyMismatch { .. })
        ));
    }

    #[test]
    fn a_missing_file_is_named() {
        let missing = PemSource::File {
            path: "/nonexistent/x.pem".into(),
            location: Default::default(),
        };
        let error = LoadedCertificate::load(&[CertificatePair {
            chain: missing.clone(),
            key: missing,
        }])
        .unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nonexistent/x.pem");
    }
}
