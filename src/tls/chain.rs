//! A certificate chain as X.509: what it is for, and what is wrong with it.
//!
//! Only what makes a chain useless is an error. What clients may still accept (an expired leaf,
//! an intermediate that they have from elsewhere) is served with a loud warning: a server that
//! does not start is worse than one that some clients refuse.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::Oid;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_KEY_TYPE_DSA, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_PKCS1_RSASSAPSS,
    OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS, OID_SIG_ED448,
};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::host::HostPattern;
use crate::report::ChainLink;

/// What a chain says of itself.
#[derive(Debug)]
pub(super) struct Chain {
    /// The DNS names of the leaf that can be asked for, wildcards included.
    pub(super) names: Vec<HostPattern>,
    /// The IP addresses of the leaf.
    pub(super) addresses: Vec<IpAddr>,
    /// When the leaf expires, in seconds since 1970.
    pub(super) not_after: i64,
    /// The curve of the leaf's ECDSA key, as a group's code point.
    pub(super) curve: Option<u16>,
    /// The leaf's serial number, as DER has it.
    pub(super) serial: Vec<u8>,
    /// What is wrong, but not so wrong that no client could accept it.
    pub(super) warnings: Vec<String>,
    /// Its certificates, leaf first.
    pub(super) links: Arc<[ChainLink]>,
    /// What is wrong with their order, or which one is missing.
    pub(super) fault: Option<Arc<str>>,
}

/// Why a chain is of no use. Positions count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// One of its certificates does not decode.
    #[error("certificate {0} is not valid X.509")]
    X509(usize),
    /// Nothing that a client could verify.
    #[error("the certificate has no DNS name and no IP address in its subjectAltName{0}")]
    NoName(String),
    /// A key that rustls cannot sign with.
    #[error("the certificate has {0}, which cannot be used: {1}")]
    Key(String, &'static str),
}

const USABLE_KEYS: &str = "usable are RSA with 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, \
                           and Ed25519";

impl Chain {
    /// Looks at `chain`, leaf first, at the time `now`.
    ///
    /// # Errors
    /// Why no client could use it.
    pub(super) fn read(
        chain: &[CertificateDer<'static>],
        now: SystemTime,
    ) -> Result<Self, ChainError> {
        let parsed = chain
            .iter()
            .enumerate()
            .map(|(index, der)| match X509Certificate::from_der(der) {
                Ok((_, certificate)) => Ok(certificate),
                Err(_) => Err(ChainError::X509(index + 1)),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let leaf = parsed.first().ok_or(ChainError::X509(1))?;
        let mut read = Self {
            names: Vec::new(),
            addresses: Vec::new(),
            not_after: leaf.validity().not_after.timestamp(),
            curve: curve(leaf.public_key()),
            serial: leaf.raw_serial().to_vec(),
            warnings: Vec::new(),
            links: parsed.iter().map(link).collect(),
            fault: disorder(&parsed).map(Into::into),
        };
        read.read_names(leaf)?;
        read.read_validity(&parsed, now);
        read.read_purpose(leaf);
        let fault = read.fault.as_deref().map(ToOwned::to_owned);
        read.warnings.extend(fault);
        Ok(read)
    }

    /// Checks that rustls can sign with a key like that of the leaf: said of the certificate, the
    /// reason is clearer than what becomes of loading the key.
    ///
    /// # Errors
    /// The kind of key that it has.
    pub(super) fn check_key(chain: &[CertificateDer<'static>]) -> Result<(), ChainError> {
        let leaf = chain
            .first()
            .and_then(|der| X509Certificate::from_der(der).ok());
        let (_, leaf) = leaf.ok_or(ChainError::X509(1))?;
        usable_key(leaf.public_key())
    }

    /// Whether a client that asks for `name` can accept the leaf. A wildcard is covered by the
    /// same wildcard alone.
    pub(super) fn covers(&self, name: &HostPattern) -> bool {
        match name {
            HostPattern::Exact(exact) => {
                self.names.iter().any(|own| own.matches(exact))
                    || exact
                        .parse()
                        .is_ok_and(|address: IpAddr| self.addresses.contains(&address))
            }
            HostPattern::Wildcard(_) => self.names.contains(name),
        }
    }

    /// Its names as a list for people.
    pub(super) fn listed(&self) -> String {
        let names = self.names.iter().map(ToString::to_string);
        let addresses = self.addresses.iter().map(ToString::to_string);
        names.chain(addresses).collect::<Vec<_>>().join(", ")
    }

    fn read_names(&mut self, leaf: &X509Certificate<'_>) -> Result<(), ChainError> {
        let alternatives = leaf.subject_alternative_name().ok().flatten();
        let mut useless = Vec::new();
        for name in alternatives
            .iter()
            .flat_map(|names| &names.value.general_names)
        {
            match name {
                GeneralName::DNSName(name) => match HostPattern::parse(name) {
                    Ok(pattern) => self.names.push(pattern),
                    Err(error) => useless.push(format!("\"{}\" ({error})", name.escape_debug())),
                },
                GeneralName::IPAddress(bytes) => self.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        if self.names.is_empty() && self.addresses.is_empty() {
            let common_name = leaf.subject().iter_common_name().next().is_some();
            return Err(ChainError::NoName(if !useless.is_empty() {
                format!(" that can be asked for, only {}", useless.join(", "))
            } else if common_name {
                ": clients ignore the common name".to_owned()
            } else {
                String::new()
            }));
        }
        for name in useless {
            self.warnings
                .push(format!("nobody can ask for its name {name}"));
        }
        Ok(())
    }

    fn read_validity(&mut self, chain: &[X509Certificate<'_>], now: SystemTime) {
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_secs()).ok())
            .and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
        let Some(now) = now else {
            return;
        };
        for (index, certificate) in chain.iter().enumerate() {
            let validity = certificate.validity();
            let position = index + 1;
            if now > validity.not_after {
                self.warnings.push(format!(
                    "certificate {position} expired at {}",
                    validity.not_after
                ));
            } else if now < validity.not_before {
                self.warnings.push(format!(
                    "certificate {position} is not valid before {}",
                    validity.not_before
                ));
            }
        }
    }

    fn read_purpose(&mut self, leaf: &X509Certificate<'_>) {
        if let Ok(Some(purposes)) = leaf.extended_key_usage()
            && !(purposes.value.server_auth || purposes.value.any)
        {
            self.warnings
                .push("its extended key usage does not allow TLS servers".to_owned());
        }
    }
}

fn link(certificate: &X509Certificate<'_>) -> ChainLink {
    let not_after = certificate.validity().not_after;
    ChainLink {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        not_after: OffsetDateTime::from_unix_timestamp(not_after.timestamp())
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok())
            .unwrap_or_else(|| not_after.to_string()),
    }
}

/// The first place where a certificate does not certify the one before it (RFC 5246 section
/// 7.4.2), or where the chain ends too early.
fn disorder(chain: &[X509Certificate<'_>]) -> Option<String> {
    let issued = |issuer: &X509Certificate<'_>, subject: &X509Certificate<'_>| {
        issuer.subject().as_raw() == subject.issuer().as_raw()
    };
    for (index, pair) in chain.windows(2).enumerate() {
        let [subject, next] = pair else { continue };
        if issued(next, subject) {
            continue;
        }
        let position = index + 1;
        let elsewhere = chain
            .iter()
            .enumerate()
            .find(|(other, issuer)| *other > index + 1 && issued(issuer, subject));
        return Some(if let Some((other, _)) = elsewhere {
            format!(
                "the chain is out of order: certificate {} issued certificate {position} and must \
                 follow it",
                other + 1
            )
        } else if issued(subject, subject) {
            format!("certificate {} is not part of the chain", position + 1)
        } else {
            format!(
                "the chain has a gap after certificate {position}: the certificate of its issuer \
                 \"{}\" is missing",
                subject.issuer()
            )
        });
    }
    // A chain ends below its root. That a leaf alone lacks an intermediate is certain only where
    // it says that its issuer is to be fetched; a private root may well issue leaves itself.
    match chain {
        [leaf] if !issued(leaf, leaf) && names_issuer(leaf) => Some(format!(
            "the intermediate certificate of its issuer \"{}\" is missing: clients that do not \
             have it from elsewhere will refuse the leaf",
            leaf.issuer()
        )),
        _ => None,
    }
}

/// Whether the certificate says where its issuer's can be had (RFC 5280 section 4.2.2.1).
fn names_issuer(certificate: &X509Certificate<'_>) -> bool {
    certificate
        .iter_extensions()
        .any(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityInfoAccess(access) => access
                .iter()
                .any(|one| one.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS),
            _ => false,
        })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// secp256r1, secp384r1 and secp521r1: object identifiers (RFC 5480 section 2.1.1.1) and code
/// points (RFC 8422 section 5.1.1).
const CURVES: [(&str, u16); 3] = [
    ("1.2.840.10045.3.1.7", 23),
    ("1.3.132.0.34", 24),
    ("1.3.132.0.35", 25),
];

fn curve(key: &SubjectPublicKeyInfo<'_>) -> Option<u16> {
    if key.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
        return None;
    }
    let id = key
        .algorithm
        .parameters
        .as_ref()?
        .as_oid()
        .ok()?
        .to_id_string();
    let found = CURVES.iter().find(|(own, _)| *own == id);
    found.map(|(_, code)| *code)
}

/// Whether rustls can sign with a key of this kind.
fn usable_key(key: &SubjectPublicKeyInfo<'_>) -> Result<(), ChainError> {
    let kind = &key.algorithm.algorithm;
    let named = |kind: &str| Err(ChainError::Key(kind.to_owned(), USABLE_KEYS));
    if *kind == OID_PKCS1_RSAENCRYPTION {
        let bits = key.parsed().map_or(0, |key| key.key_size());
        return match bits {
            2048..=8192 => Ok(()),
            _ => named(&format!("an RSA key of {bits} bits")),
        };
    }
    if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
        if curve(key).is_some() {
            return Ok(());
        }
        let parameters = key.algorithm.parameters.as_ref();
        return match parameters.and_then(|parameters| parameters.as_oid().ok()) {
            Some(curve) => named(&format!("an ECDSA key on the curve {}", known(&curve))),
            None => named("an ECDSA key with a curve of its own"),
        };
    }
    if *kind == OID_SIG_ED448 {
        named("an Ed448 key")
    } else if *kind == OID_KEY_TYPE_DSA {
        named("a DSA key")
    } else if *kind == OID_PKCS1_RSASSAPSS {
        named("an RSA key for RSASSA-PSS alone")
    } else {
        // Ed25519, and what rustls may learn: it decides when the key is loaded.
        Ok(())
    }
}

/// The curves that may be met, by name.
fn known(curve: &Oid<'_>) -> String {
    let id = curve.to_id_string();
    match id.as_str() {
        "1.3.132.0.10" => "secp256k1".to_owned(),
        "1.3.132.0.33" => "secp224r1".to_owned(),
        "1.3.36.3.3.2.8.1.1.7" => "brainpoolP256r1".to_owned(),
        "1.3.36.3.3.2.8.1.1.11" => "brainpoolP384r1".to_owned(),
        "1.3.36.3.3.2.8.1.1.13" => "brainpoolP512r1".to_owned(),
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose,
        IsCa, Issuer, KeyPair,
    };

    use super::*;

    fn named(common_name: &str, names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params
    }

    fn ca(common_name: &str) -> CertificateParams {
        let mut params = named(common_name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    /// Leaf, intermediate and root, changed by `change` before the leaf is signed.
    fn chain(change: impl FnOnce(&mut CertificateParams)) -> [CertificateDer<'static>; 3] {
        let (root_key, middle_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let (root, middle) = (ca("root"), ca("middle"));
        let root_der = root.self_signed(&root_key).unwrap().der().clone();
        let root = Issuer::new(root, root_key);
        let middle_der = middle.signed_by(&middle_key, &root).unwrap().der().clone();
        let middle = Issuer::new(middle, middle_key);
        let mut leaf = named("leaf", &["a.example"]);
        change(&mut leaf);
        let key = KeyPair::generate().unwrap();
        let leaf = leaf.signed_by(&key, &middle).unwrap();
        [leaf.der().clone(), middle_der, root_der]
    }

    fn read(chain: &[CertificateDer<'static>]) -> Result<Chain, ChainError> {
        Chain::read(chain, SystemTime::now())
    }

    #[track_caller]
    fn assert_warns(chain: &[CertificateDer<'static>], words: &str) {
        let warnings = read(chain).unwrap().warnings;
        assert!(
            warnings.len() == 1 && warnings[0].contains(words),
            "{words}: {warnings:?}"
        );
    }

    #[test]
    fn a_whole_chain_has_nothing_wrong() {
        let [leaf, middle, root] = chain(|_| ());
        for good in [
            &[leaf.clone(), middle.clone(), root.clone()][..],
            &[leaf.clone(), middle.clone()],
            // A private root may have issued it.
            &[leaf],
        ] {
            assert_eq!(read(good).unwrap().warnings, Vec::<String>::new());
        }
    }

    #[test]
    fn gaps_and_disorder_are_told() {
        let [leaf, middle, root] = chain(|_| ());
        assert_warns(
            &[leaf.clone(), root.clone(), middle],
            "certificate 3 issued certificate 1",
        );
        assert_warns(&[leaf, root], "its issuer \"CN=middle\" is missing");
        // caIssuers at http://a/
        let access = b"\x30\x17\x30\x15\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x02\x86\x09http://a/";
        let [leaf, ..] = chain(|leaf| {
            leaf.custom_extensions
                .push(CustomExtension::from_oid_content(
                    &[1, 3, 6, 1, 5, 5, 7, 1, 1],
                    access.to_vec(),
                ));
        });
        assert_warns(
            &[leaf],
            "intermediate certificate of its issuer \"CN=middle\"",
        );
    }

    #[test]
    fn time_and_purpose_are_told() {
        let [leaf, middle, _] = chain(|leaf| leaf.not_after = rcgen::date_time_ymd(2020, 1, 1));
        assert_warns(&[leaf, middle], "certificate 1 expired at");
        let [leaf, middle, _] = chain(|leaf| leaf.not_before = rcgen::date_time_ymd(2090, 1, 1));
        assert_warns(&[leaf, middle], "certificate 1 is not valid before");
        let [leaf, middle, _] = chain(|leaf| {
            leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        assert_warns(&[leaf.clone(), middle], "does not allow TLS servers");
        let later = SystemTime::now() + Duration::from_secs(2_100 * 365 * 86_400);
        assert_eq!(Chain::read(&[leaf], later).unwrap().warnings.len(), 2);
    }

    #[test]
    fn names_are_those_that_can_be_asked_for() {
        let [leaf, ..] = chain(|leaf| {
            leaf.subject_alt_names =
                named("", &["A.example", "*.b.example", "192.0.2.1", "*.c"]).subject_alt_names;
        });
        let read_leaf = read(&[leaf]).unwrap();
        assert_eq!(read_leaf.listed(), "a.example, *.b.example, 192.0.2.1");
        assert_eq!(read_leaf.warnings.len(), 1, "{:?}", read_leaf.warnings);
        for (name, covered) in [
            ("a.example", true),
            ("x.b.example", true),
            ("*.b.example", true),
            ("192.0.2.1", true),
            ("b.example", false),
            ("*.a.example", false),
            ("192.0.2.2", false),
        ] {
            let pattern = HostPattern::parse(name).unwrap();
            assert_eq!(read_leaf.covers(&pattern), covered, "{name}");
        }

        let [leaf, ..] = chain(|leaf| leaf.subject_alt_names.clear());
        let error = read(&[leaf]).unwrap_err().to_string();
        assert!(
            error.ends_with(": clients ignore the common name"),
            "{error}"
        );
        let [leaf, ..] = chain(|leaf| leaf.subject_alt_names = named("", &["*"]).subject_alt_names);
        let error = read(&[leaf]).unwrap_err().to_string();
        assert!(error.contains("only \"*\""), "{error}");
    }

    #[test]
    fn what_is_no_certificate_is_told_by_its_position() {
        let [leaf, ..] = chain(|_| ());
        let junk = CertificateDer::from(vec![0x30, 0]);
        assert_eq!(read(&[leaf, junk]).unwrap_err(), ChainError::X509(2));
    }
}
