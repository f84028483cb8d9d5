//! Certificates: loaded, checked against their keys, and chosen for each client.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{InconsistentKeys, SignatureAlgorithm, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::chain::{Chain, ChainError};
use super::hello::ClientHello as Hello;
use super::hooks::TimedKey;
use super::ocsp::{self, OcspError};
use super::provider::client_provider;
use crate::config::{CertificatePair, CertificateType, CipherSuite, PemSource};
use crate::host::HostPattern;
use crate::pem::{self, PemError};
use crate::report::ProtocolVersion;

/// A certificate of the configuration, loaded: one pair or several of different key types.
#[derive(Debug)]
pub struct LoadedCertificate {
    pairs: Vec<Arc<CertifiedKey>>,
    chains: Vec<(PathBuf, Chain)>,
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
    /// The chain is of no use to any client.
    #[error("{path}")]
    Chain {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ChainError,
    },
    /// The key belongs to another certificate.
    #[error("the key {key} does not belong to the first certificate of {chain}")]
    KeyMismatch {
        /// The chain's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The key belongs to a later certificate of the chain.
    #[error("the key {key} belongs to certificate {position} of {chain}: the leaf must come first")]
    LeafNotFirst {
        /// The chain's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Where the leaf stands, from 1.
        position: usize,
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
    /// The OCSP response must not be stapled.
    #[error("{path}")]
    Ocsp {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: OcspError,
    },
    /// A configured name that the certificate is not for.
    #[error("the certificate {path} is not for \"{name}\": it is for {own}")]
    NotForName {
        /// The chain's file.
        path: PathBuf,
        /// The configured name.
        name: HostPattern,
        /// The names that it is for.
        own: String,
    },
}

/// Something that is wrong with a certificate that is served all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateWarning {
    /// The chain's file.
    pub path: PathBuf,
    /// What is wrong, with the file's name.
    pub text: String,
}

impl CertificateError {
    /// The file that is at fault.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. }
            | Self::Pem { path, .. }
            | Self::Chain { path, .. }
            | Self::Ocsp { path, .. }
            | Self::NotForName { path, .. } => path,
            Self::LeafNotFirst { chain, .. } => chain,
            Self::KeyMismatch { key, .. } | Self::Key { key, .. } => key,
        }
    }
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
            chains: Vec::with_capacity(pairs.len()),
            names: Vec::new(),
            not_after: i64::MAX,
        };
        for pair in pairs {
            let der = load_chain(&pair.chain)?;
            let useless = |source| CertificateError::Chain {
                path: path(&pair.chain),
                source,
            };
            Chain::check_key(&der).map_err(useless)?;
            let mut certified = certified(der, pair, &provider)?;
            certified.key = Arc::new(TimedKey(certified.key));
            let chain = Chain::read(&certified.cert, SystemTime::now()).map_err(useless)?;
            certified.ocsp = load_ocsp(pair, &chain)?;
            loaded.pairs.push(Arc::new(certified));
            loaded.not_after = loaded.not_after.min(chain.not_after);
            loaded.names.extend_from_slice(&chain.names);
            loaded.chains.push((path(&pair.chain), chain));
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

    /// Checks that each of the leaves is for `name`, so that clients that ask for it accept it.
    ///
    /// # Errors
    /// The first leaf that is not.
    pub fn check_name(&self, name: &HostPattern) -> Result<(), CertificateError> {
        match self.chains.iter().find(|(_, chain)| !chain.covers(name)) {
            None => Ok(()),
            Some((path, chain)) => Err(CertificateError::NotForName {
                path: path.clone(),
                name: name.clone(),
                own: chain.listed(),
            }),
        }
    }

    /// The signature schemes that one of the keys can make, in TLS 1.3 or else in TLS 1.2.
    pub(super) fn schemes(&self, tls13: bool) -> impl Iterator<Item = SignatureScheme> + '_ {
        SCHEMES.iter().copied().filter(move |scheme| {
            (!tls13 || in_tls13(scheme))
                && self
                    .pairs
                    .iter()
                    .any(|pair| pair.key.choose_scheme(&[*scheme]).is_some())
        })
    }

    /// The chain that a client with this offer is sent under a policy with `suites`.
    pub(super) fn chain_for(
        &self,
        hello: &Hello,
        suites: &[&'static CipherSuite],
    ) -> Option<&Chain> {
        let schemes: Vec<SignatureScheme> = hello
            .signature_algorithms
            .iter()
            .flatten()
            .map(|&scheme| scheme.into())
            .collect();
        let client = Offered {
            schemes: &schemes,
            suite: |code| hello.cipher_suites.contains(&code),
            curve: |code| {
                let groups = hello.groups.as_ref();
                groups.is_none_or(|groups| groups.contains(&code))
            },
        };
        let index = self
            .pairs
            .iter()
            .enumerate()
            .position(|(index, pair)| self.fits(index, pair, suites, &client))
            .unwrap_or(0);
        self.chains.get(index).map(|(_, chain)| chain)
    }

    /// Whether the client can verify the pair at `index`: by its signature schemes, and in TLS 1.2
    /// also by a suite for the key's type (RFC 5246 section 7.4.2) and by the key's curve, which
    /// must be among the client's groups there (RFC 8422 section 5.1).
    fn fits<S, C>(
        &self,
        index: usize,
        pair: &CertifiedKey,
        suites: &[&'static CipherSuite],
        client: &Offered<'_, S, C>,
    ) -> bool
    where
        S: Fn(u16) -> bool,
        C: Fn(u16) -> bool,
    {
        let schemes = client.schemes;
        let mut shared = suites.iter().filter(|suite| (client.suite)(suite.code));
        // A client that offers suites of TLS 1.3 offers TLS 1.3, and so does a policy.
        let mut versions = shared.clone().map(|suite| suite.version);
        if versions.any(|version| version == ProtocolVersion::Tls13) {
            let schemes: Vec<_> = schemes.iter().copied().filter(in_tls13).collect();
            return pair.key.choose_scheme(&schemes).is_some();
        }
        if pair.key.choose_scheme(schemes).is_none() {
            return false;
        }
        let kind = match pair.key.algorithm() {
            SignatureAlgorithm::RSA => CertificateType::Rsa,
            _ => CertificateType::Ecdsa,
        };
        let chain = self.chains.get(index);
        let known = match chain.and_then(|(_, chain)| chain.curve) {
            Some(curve) => (client.curve)(curve),
            None => true,
        };
        known && shared.any(|suite| suite.certificate == kind)
    }

    /// What is wrong with the chains, though not so wrong that they are not served. Without
    /// configured names, the names of one pair must be those of all.
    #[must_use]
    pub fn warnings(&self, names_configured: bool) -> Vec<CertificateWarning> {
        let mut warnings = Vec::new();
        for (path, chain) in &self.chains {
            let mut warn = |text: &str| {
                warnings.push(CertificateWarning {
                    path: path.clone(),
                    text: format!("{}: {text}", path.display()),
                });
            };
            for text in &chain.warnings {
                warn(text);
            }
            let missing = self.names.iter().find(|name| !chain.covers(name));
            if let Some(name) = missing.filter(|_| !names_configured) {
                warn(&format!(
                    "it is not for \"{name}\" as another of the `pairs` is: clients that ask for \
                     that may get it and refuse it"
                ));
            }
        }
        for (index, algorithm) in self.algorithms().enumerate() {
            if self
                .algorithms()
                .take(index)
                .any(|other| other == algorithm)
                && let Some((path, _)) = self.chains.get(index)
            {
                let text = format!(
                    "{}: an earlier one of the `pairs` has the same key type, so this is hardly \
                     ever chosen",
                    path.display()
                );
                let path = path.clone();
                warnings.push(CertificateWarning { path, text });
            }
        }
        warnings
    }
}

/// What decides which pair a client can verify.
struct Offered<'a, S, C> {
    schemes: &'a [SignatureScheme],
    /// Whether a suite is offered.
    suite: S,
    /// Whether a curve is taken: without the extension every one is.
    curve: C,
}

/// Every scheme that rustls can make.
const SCHEMES: [SignatureScheme; 10] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

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
}

impl ResolvesServerCert for PairResolver {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let pairs = &self.certificate.pairs;
        let groups = client_hello.named_groups();
        let client = Offered {
            schemes: client_hello.signature_schemes(),
            suite: |code| {
                let mut offered = client_hello.cipher_suites().iter();
                offered.any(|&offered| u16::from(offered) == code)
            },
            curve: |code| {
                groups.is_none_or(|groups| groups.iter().any(|&group| u16::from(group) == code))
            },
        };
        // With no pair that fits, the first one lets rustls find the precise reason; and many
        // clients do not insist on the curve.
        pairs
            .iter()
            .enumerate()
            .find(|(index, pair)| self.certificate.fits(*index, pair, &self.suites, &client))
            .map(|(_, pair)| pair)
            .or_else(|| pairs.first())
            .cloned()
    }
}

/// TLS 1.3 has no PKCS #1 v1.5 signatures (RFC 8446 section 4.2.3).
const fn in_tls13(scheme: &SignatureScheme) -> bool {
    !matches!(
        scheme,
        SignatureScheme::RSA_PKCS1_SHA1
            | SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512
    )
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
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|source| CertificateError::Key {
            key: path(&pair.key),
            source,
        })?;
    let certified = CertifiedKey::new(chain, key);
    // A key that cannot tell its public half is taken at its word, as rustls does.
    if let Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) =
        certified.keys_match()
    {
        let (chain, key) = (path(&pair.chain), path(&pair.key));
        return Err(match owner(&certified) {
            Some(position) => CertificateError::LeafNotFirst {
                chain,
                key,
                position,
            },
            None => CertificateError::KeyMismatch { chain, key },
        });
    }
    Ok(certified)
}

/// Loads `pair`, to be shown to a server, and checks the key against the chain.
///
/// # Errors
/// Why it cannot be used.
pub fn load_client_certificate(pair: &CertificatePair) -> Result<CertifiedKey, CertificateError> {
    let der = load_chain(&pair.chain)?;
    Chain::check_key(&der).map_err(|source| CertificateError::Chain {
        path: path(&pair.chain),
        source,
    })?;
    certified(der, pair, &client_provider())
}

/// Where in its chain the certificate of a key stands, from 1.
fn owner(certified: &CertifiedKey) -> Option<usize> {
    let public = certified.key.public_key()?;
    let mut chain = certified.cert.iter();
    let index = chain.position(|der| {
        X509Certificate::from_der(der)
            .is_ok_and(|(_, certificate)| certificate.public_key().raw == public.as_ref())
    })?;
    Some(index + 1)
}

fn load_ocsp(pair: &CertificatePair, chain: &Chain) -> Result<Option<Vec<u8>>, CertificateError> {
    let Some(source) = &pair.ocsp else {
        return Ok(None);
    };
    let response = read(source)?;
    match ocsp::check(&response, &chain.serial) {
        Ok(()) => Ok(Some(response)),
        Err(error) => Err(CertificateError::Ocsp {
            path: path(source),
            source: error,
        }),
    }
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
            ocsp: None,
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
            ocsp: None,
        };
        assert!(matches!(
            LoadedCertificate::load(&[mixed]),
            Err(CertificateError::KeyMismatch { .. })
        ));
    }

    #[test]
    fn a_leaf_that_is_not_first_is_found() {
        let (first, second) = (pair(&["a.example"]), pair(&["b.example"]));
        let text = |source: &PemSource| String::from_utf8(read(source).unwrap()).unwrap();
        let chain = text(&first.chain) + &text(&second.chain);
        let swapped = CertificatePair {
            chain: PemSource::Memory(chain.into()),
            ..second
        };
        assert!(matches!(
            LoadedCertificate::load(&[swapped]),
            Err(CertificateError::LeafNotFirst { position: 2, .. })
        ));
    }

    #[test]
    fn names_are_checked_against_every_pair() {
        let pairs = [pair(&["a.example", "b.example"]), pair(&["a.example"])];
        let loaded = LoadedCertificate::load(&pairs).unwrap();
        let name = |name| HostPattern::parse(name).unwrap();
        loaded.check_name(&name("a.example")).unwrap();
        assert_eq!(
            loaded
                .check_name(&name("b.example"))
                .unwrap_err()
                .to_string(),
            "the certificate (made in memory) is not for \"b.example\": it is for a.example"
        );
        // The names differ, and so does nothing else: both keys are ECDSA.
        assert_eq!(loaded.warnings(false).len(), 2);
        assert_eq!(loaded.warnings(true).len(), 1);
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
            ocsp: None,
        }])
        .unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nonexistent/x.pem");
    }
}
