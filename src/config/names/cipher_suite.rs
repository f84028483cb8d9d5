//! The nine cipher suites: authenticated encryption and, in TLS 1.2, ephemeral ECDH only.

use crate::report::ProtocolVersion;

/// A cipher suite that can be negotiated.
#[derive(Debug, PartialEq, Eq)]
pub struct CipherSuite {
    /// The name in the IANA registry.
    pub name: &'static str,
    /// OpenSSL's name, the same for TLS 1.3.
    pub openssl: &'static str,
    /// The code point.
    pub code: u16,
    /// The version it belongs to; none belongs to two.
    pub version: ProtocolVersion,
    /// The certificate it needs.
    pub certificate: CertificateType,
}

/// The kind of certificate that a cipher suite needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CertificateType {
    /// Any: in TLS 1.3 the suite does not say (RFC 8446 section 4.2.3 does).
    Any,
    /// ECDSA, or EdDSA (RFC 8422 section 5.1.1).
    Ecdsa,
    /// RSA.
    Rsa,
}

impl CipherSuite {
    /// Every suite, best first: TLS 1.3 before 1.2, AES-128 before AES-256 before ChaCha20.
    pub const ALL: &'static [Self] = &[
        tls13("TLS_AES_128_GCM_SHA256", 0x1301),
        tls13("TLS_AES_256_GCM_SHA384", 0x1302),
        tls13("TLS_CHACHA20_POLY1305_SHA256", 0x1303),
        tls12(
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            0xc02b,
            CertificateType::Ecdsa,
        ),
        tls12(
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256",
            0xc02f,
            CertificateType::Rsa,
        ),
        tls12(
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            0xc02c,
            CertificateType::Ecdsa,
        ),
        tls12(
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            "ECDHE-RSA-AES256-GCM-SHA384",
            0xc030,
            CertificateType::Rsa,
        ),
        tls12(
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            0xcca9,
            CertificateType::Ecdsa,
        ),
        tls12(
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            "ECDHE-RSA-CHACHA20-POLY1305",
            0xcca8,
            CertificateType::Rsa,
        ),
    ];

    /// The suite of that IANA or OpenSSL name, in any case.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|suite| {
            suite.name.eq_ignore_ascii_case(name) || suite.openssl.eq_ignore_ascii_case(name)
        })
    }

    /// The suite of that code point.
    #[must_use]
    pub fn by_code(code: u16) -> Option<&'static Self> {
        Self::ALL.iter().find(|suite| suite.code == code)
    }
}

const fn tls13(name: &'static str, code: u16) -> CipherSuite {
    CipherSuite {
        name,
        openssl: name,
        code,
        version: ProtocolVersion::Tls13,
        certificate: CertificateType::Any,
    }
}

const fn tls12(
    name: &'static str,
    openssl: &'static str,
    code: u16,
    certificate: CertificateType,
) -> CipherSuite {
    CipherSuite {
        name,
        openssl,
        code,
        version: ProtocolVersion::Tls12,
        certificate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_rustls::rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;

    #[test]
    fn every_suite_is_found_by_each_of_its_names() {
        assert_eq!(CipherSuite::ALL.len(), 9);
        for suite in CipherSuite::ALL {
            assert_eq!(CipherSuite::by_name(suite.name), Some(suite));
            assert_eq!(CipherSuite::by_name(suite.openssl), Some(suite));
            assert_eq!(CipherSuite::by_code(suite.code), Some(suite));
        }
        assert_eq!(
            CipherSuite::by_name("ecdhe-rsa-aes128-gcm-sha256").map(|suite| suite.code),
            Some(0xc02f)
        );
        assert_eq!(CipherSuite::by_name("AES128-SHA"), None);
        assert_eq!(CipherSuite::by_code(0x002f), None);
    }

    #[test]
    fn the_table_agrees_with_rustls() {
        assert_eq!(ALL_CIPHER_SUITES.len(), CipherSuite::ALL.len());
        for theirs in ALL_CIPHER_SUITES {
            let suite = CipherSuite::by_code(theirs.suite().into()).unwrap();
            let their_name = theirs.suite().as_str().unwrap().replace("TLS13_", "TLS_");
            assert_eq!(suite.name, their_name);
            let tls13 = suite.version == ProtocolVersion::Tls13;
            assert_eq!(theirs.tls13().is_some(), tls13, "{}", suite.name);
            let ecdsa = suite.name.contains("_ECDSA_");
            assert_eq!(suite.certificate == CertificateType::Ecdsa, ecdsa);
            assert_eq!(suite.certificate == CertificateType::Any, tls13);
        }
    }
}
