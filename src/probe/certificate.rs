//! A certificate in the words that people look for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS, Oid};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;

/// What a certificate of the chain says. Nothing of it is verified by being here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateFacts {
    /// The subject's distinguished name.
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// Subject alternative names: DNS names and addresses.
    pub names: Vec<String>,
    /// RFC 3339, UTC.
    pub not_before: String,
    /// RFC 3339, UTC.
    pub not_after: String,
    /// Whole days until `not_after`; negative once it is over.
    pub days_left: i64,
    /// The kind of its key: `RSA 2048`, `EC P-256`, `Ed25519`.
    pub key: String,
    /// The algorithm of its signature.
    pub signature: String,
    /// Whether subject and issuer are the same name.
    pub self_issued: bool,
    /// Where its issuer's certificate can be had, by its own word.
    pub issuer_url: Option<String>,
}

impl CertificateFacts {
    /// Reads a certificate; `None` where it does not decode.
    pub(super) fn read(certificate: &CertificateDer<'_>, now: SystemTime) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let validity = parsed.validity();
        let left = validity.not_after.timestamp().saturating_sub(now);
        Some(Self {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            names: names(&parsed),
            not_before: moment(validity.not_before),
            not_after: moment(validity.not_after),
            days_left: left.div_euclid(86_400),
            key: key(&parsed),
            signature: signature(&parsed.signature_algorithm.algorithm),
            self_issued: parsed.subject() == parsed.issuer(),
            issuer_url: issuer_url(&parsed),
        })
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        })
        .collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|it| std::net::Ipv4Addr::from(it).to_string());
    let v6 = <[u8; 16]>::try_from(bytes).map(|it| std::net::Ipv6Addr::from(it).to_string());
    v4.or(v6).ok()
}

fn key(certificate: &X509Certificate<'_>) -> String {
    let info = certificate.public_key();
    let curve = info.algorithm.parameters.as_ref();
    let curve = curve.and_then(|parameters| parameters.as_oid().ok());
    match info.parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        Ok(PublicKey::EC(key)) => {
            let curve = curve.map(|oid| oid.to_id_string());
            let name = match curve.as_deref() {
                Some("1.2.840.10045.3.1.7") => "P-256",
                Some("1.3.132.0.34") => "P-384",
                Some("1.3.132.0.35") => "P-521",
                _ => return format!("EC {} bits", key.key_size()),
            };
            format!("EC {name}")
        }
        _ => signature(&info.algorithm.algorithm),
    }
}

fn signature(oid: &Oid<'_>) -> String {
    let id = oid.to_id_string();
    let name = match id.as_str() {
        "1.2.840.113549.1.1.5" => "RSA with SHA-1",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        "1.2.840.113549.1.1.11" => "RSA with SHA-256",
        "1.2.840.113549.1.1.12" => "RSA with SHA-384",
        "1.2.840.113549.1.1.13" => "RSA with SHA-512",
        "1.2.840.10045.4.1" => "ECDSA with SHA-1",
        "1.2.840.10045.4.3.2" => "ECDSA with SHA-256",
        "1.2.840.10045.4.3.3" => "ECDSA with SHA-384",
        "1.2.840.10045.4.3.4" => "ECDSA with SHA-512",
        "1.3.101.112" => "Ed25519",
        "1.3.101.113" => "Ed448",
        _ => return id,
    };
    name.to_owned()
}

fn issuer_url(certificate: &X509Certificate<'_>) -> Option<String> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityInfoAccess(access) => {
                access.accessdescs.iter().find_map(|it| {
                    let issuers = it.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS;
                    match &it.access_location {
                        GeneralName::URI(url) if issuers => Some((*url).to_owned()),
                        _ => None,
                    }
                })
            }
            _ => None,
        })
}

fn moment(time: ASN1Time) -> String {
    let time = OffsetDateTime::from_unix_timestamp(time.timestamp());
    time.ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_told() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let names = vec!["a.example".to_owned(), "127.0.0.1".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 1, 2);
        let made = params.self_signed(&key).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_893_369_600);
        let facts = CertificateFacts::read(made.der(), now).unwrap();
        assert_eq!(facts.names, ["a.example", "127.0.0.1"]);
        assert_eq!(facts.not_after, "2030-01-02T00:00:00Z");
        assert_eq!(facts.days_left, 2);
        assert_eq!(facts.key, "EC P-384");
        assert_eq!(facts.signature, "ECDSA with SHA-384");
        assert!(facts.self_issued && facts.issuer_url.is_none());
        let later = now + Duration::from_secs(3 * 86_400);
        let facts = CertificateFacts::read(made.der(), later).unwrap();
        assert_eq!(facts.days_left, -1);
    }
}
