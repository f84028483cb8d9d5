//! A client's offer beside what a policy allows, by name.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_rustls::rustls::{self, NamedGroup, SignatureAlgorithm, SignatureScheme};

use super::certificates::LoadedCertificate;
use super::hello::{ClientHello, is_grease};
use super::sites::Site;
use crate::config::{CertificateType, CipherSuite, Group, Policy, nearest};
use crate::report::{Comparison, FailureDetails, Name, ProtocolVersion};

/// Suites that are signals and nothing to be negotiated: TLS_EMPTY_RENEGOTIATION_INFO_SCSV (RFC
/// 5746) and TLS_FALLBACK_SCSV (RFC 7507).
const SIGNALS: [u16; 2] = [0x00ff, 0x5600];

/// Everything that `hello` offers beside everything that `site` has.
pub(super) fn of_offer(hello: &ClientHello, site: &Site) -> FailureDetails {
    let policy = site.policy().spec();
    let certificate = site.certificate();
    let cipher_suites = suites(hello, policy);
    let types: Vec<_> = certificate.algorithms().map(type_of).collect();
    let shared = || {
        let offered = &hello.cipher_suites;
        policy
            .cipher_suites
            .iter()
            .filter(|suite| offered.contains(&suite.code))
    };
    let fits = |suite: &&&CipherSuite| fits(suite, certificate);
    let usable = (shared().filter(fits).count() < shared().count()).then(|| {
        shared()
            .filter(fits)
            .map(|suite| suite.name.into())
            .collect()
    });
    FailureDetails {
        versions: Some(versions(hello, policy)),
        cipher_suites: Some(cipher_suites),
        usable_cipher_suites: usable,
        certificate_types: types,
        groups: Some(compare(
            hello.groups.as_deref().unwrap_or_default(),
            policy.groups.iter().map(|group| group.code),
            group_name,
        )),
        signature_schemes: Some(schemes(hello, site)),
        alpn: Some(alpn(hello, policy)),
        ..FailureDetails::default()
    }
}

/// What can be compared before a site is chosen.
pub(super) fn of_versions(hello: &ClientHello, policy: &Policy) -> FailureDetails {
    FailureDetails {
        versions: Some(versions(hello, policy)),
        cipher_suites: Some(suites(hello, policy)),
        ..FailureDetails::default()
    }
}

/// The name that was sent beside those that are served, and the one of them that may be meant.
pub(super) fn of_name(
    hello: &ClientHello,
    served: &BTreeSet<Arc<str>>,
) -> (FailureDetails, Option<Name>) {
    /// More names are not looked at: a listener can have thousands, and failures come in floods.
    const MOST: usize = 32;
    let names = || served.iter().map(|name| &**name).take(MOST);
    let meant = hello
        .name()
        .filter(|_| served.len() <= MOST)
        .and_then(|name| nearest(name, names()))
        .map(|name| name.to_owned().into());
    let details = FailureDetails {
        server_names: Some(Comparison {
            offered: hello
                .name()
                .map(|name| name.to_owned().into())
                .into_iter()
                .collect(),
            allowed: names().map(|name| name.to_owned().into()).collect(),
            allowed_more: served.len().saturating_sub(MOST),
            ..Comparison::default()
        }),
        ..FailureDetails::default()
    };
    (details, meant)
}

/// Whether a certificate of these keys can be used with `suite` (RFC 5246 section 7.4.2).
pub(super) fn fits(suite: &CipherSuite, certificate: &LoadedCertificate) -> bool {
    let has = |wanted: CertificateType| {
        certificate.algorithms().any(|algorithm| {
            (algorithm == SignatureAlgorithm::RSA) == (wanted == CertificateType::Rsa)
        })
    };
    match suite.certificate {
        CertificateType::Any => true,
        wanted => has(wanted),
    }
}

/// The names in a list for people, at most sixteen.
pub(super) fn list(names: &[Name]) -> String {
    const MOST: usize = 16;
    if names.is_empty() {
        return "nothing".into();
    }
    let mut text = names[..names.len().min(MOST)].join(", ");
    if names.len() > MOST {
        text.push_str(&format!(" and {} more", names.len() - MOST));
    }
    text
}

fn versions(hello: &ClientHello, policy: &Policy) -> Comparison {
    let allowed = policy.versions.iter().map(|version| match version {
        ProtocolVersion::Tls12 => 0x0303,
        ProtocolVersion::Tls13 => 0x0304,
    });
    compare(&hello.versions(), allowed, version_name)
}

fn suites(hello: &ClientHello, policy: &Policy) -> Comparison {
    let allowed = policy.cipher_suites.iter().map(|suite| suite.code);
    compare(&hello.cipher_suites, allowed, suite_name)
}

fn schemes(hello: &ClientHello, site: &Site) -> Comparison {
    let versions = &site.policy().spec().versions;
    let tls13 = hello.offers_tls13() && versions.contains(&ProtocolVersion::Tls13);
    let certificate = site.certificate();
    let offered = hello.signature_algorithms.as_deref().unwrap_or_default();
    compare(
        offered,
        certificate.schemes(tls13).map(u16::from),
        scheme_name,
    )
}

fn alpn(hello: &ClientHello, policy: &Policy) -> Comparison {
    let offered = hello.alpn.as_deref().unwrap_or_default();
    let mut names: Vec<Name> = offered
        .iter()
        .take(Comparison::MOST)
        .map(|protocol| protocol.escape_ascii().to_string().into())
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut allowed: Vec<Name> = policy.alpn.iter().map(|own| own.name().into()).collect();
    allowed.sort_unstable();
    let shared = policy
        .alpn
        .iter()
        .filter(|own| offered.iter().any(|it| it == own.name().as_bytes()))
        .map(|own| own.name().into())
        .collect();
    Comparison {
        offered_more: offered.len().saturating_sub(Comparison::MOST),
        offered: names,
        allowed,
        allowed_more: 0,
        shared,
    }
}

fn compare(
    offered: &[u16],
    allowed: impl Iterator<Item = u16>,
    name: fn(u16) -> Name,
) -> Comparison {
    let mut theirs: Vec<u16> = offered
        .iter()
        .copied()
        .filter(|&code| !is_grease(code) && !SIGNALS.contains(&code))
        .collect();
    theirs.sort_unstable();
    theirs.dedup();
    let mut ours: Vec<u16> = allowed.collect();
    ours.sort_unstable();
    let shared = ours
        .iter()
        .filter(|code| theirs.binary_search(code).is_ok())
        .map(|&code| name(code))
        .collect();
    let listed = &theirs[..theirs.len().min(Comparison::MOST)];
    Comparison {
        offered: listed.iter().map(|&code| name(code)).collect(),
        offered_more: theirs.len() - listed.len(),
        allowed: ours.into_iter().map(name).collect(),
        allowed_more: 0,
        shared,
    }
}

/// A key type's name in details, reports and the API.
pub(super) const fn type_of(algorithm: SignatureAlgorithm) -> &'static str {
    match algorithm {
        SignatureAlgorithm::RSA => "rsa",
        SignatureAlgorithm::ECDSA => "ecdsa",
        SignatureAlgorithm::ED25519 => "ed25519",
        _ => "other",
    }
}

fn code_point(code: u16) -> Name {
    format!("0x{code:04x}").into()
}

fn version_name(version: u16) -> Name {
    match version {
        0x0300 => "SSL 3.0".into(),
        0x0301 => "TLS 1.0".into(),
        0x0302 => "TLS 1.1".into(),
        0x0303 => "TLS 1.2".into(),
        0x0304 => "TLS 1.3".into(),
        other => code_point(other),
    }
}

fn suite_name(code: u16) -> Name {
    if let Some(suite) = CipherSuite::by_code(code) {
        return suite.name.into();
    }
    match rustls::CipherSuite::from(code).as_str() {
        // rustls spells the suites of TLS 1.3 its own way.
        Some(name) => match name.strip_prefix("TLS13_") {
            Some(rest) => format!("TLS_{rest}").into(),
            None => name.into(),
        },
        None => code_point(code),
    }
}

fn group_name(code: u16) -> Name {
    if let Some(group) = Group::by_code(code) {
        return group.name.into();
    }
    match NamedGroup::from(code) {
        NamedGroup::X448 => "x448".into(),
        NamedGroup::FFDHE2048 => "ffdhe2048".into(),
        NamedGroup::FFDHE3072 => "ffdhe3072".into(),
        NamedGroup::FFDHE4096 => "ffdhe4096".into(),
        NamedGroup::FFDHE6144 => "ffdhe6144".into(),
        NamedGroup::FFDHE8192 => "ffdhe8192".into(),
        other => other.as_str().map_or_else(|| code_point(code), Into::into),
    }
}

/// IANA's names; rustls has names of its own.
fn scheme_name(code: u16) -> Name {
    match SignatureScheme::from(code) {
        SignatureScheme::RSA_PKCS1_SHA1 => "rsa_pkcs1_sha1".into(),
        SignatureScheme::ECDSA_SHA1_Legacy => "ecdsa_sha1".into(),
        SignatureScheme::RSA_PKCS1_SHA256 => "rsa_pkcs1_sha256".into(),
        SignatureScheme::RSA_PKCS1_SHA384 => "rsa_pkcs1_sha384".into(),
        SignatureScheme::RSA_PKCS1_SHA512 => "rsa_pkcs1_sha512".into(),
        SignatureScheme::ECDSA_NISTP256_SHA256 => "ecdsa_secp256r1_sha256".into(),
        SignatureScheme::ECDSA_NISTP384_SHA384 => "ecdsa_secp384r1_sha384".into(),
        SignatureScheme::ECDSA_NISTP521_SHA512 => "ecdsa_secp521r1_sha512".into(),
        SignatureScheme::RSA_PSS_SHA256 => "rsa_pss_rsae_sha256".into(),
        SignatureScheme::RSA_PSS_SHA384 => "rsa_pss_rsae_sha384".into(),
        SignatureScheme::RSA_PSS_SHA512 => "rsa_pss_rsae_sha512".into(),
        SignatureScheme::ED25519 => "ed25519".into(),
        SignatureScheme::ED448 => "ed448".into(),
        _ => match code {
            0x0809 => "rsa_pss_pss_sha256".into(),
            0x080a => "rsa_pss_pss_sha384".into(),
            0x080b => "rsa_pss_pss_sha512".into(),
            0x081a => "ecdsa_brainpoolP256r1tls13_sha256".into(),
            0x081b => "ecdsa_brainpoolP384r1tls13_sha384".into(),
            0x081c => "ecdsa_brainpoolP512r1tls13_sha512".into(),
            _ => code_point(code),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::hello::ServerName;
    use super::*;

    #[test]
    fn names_are_those_of_the_registry() {
        assert_eq!(suite_name(0x1304), "TLS_AES_128_CCM_SHA256");
        assert_eq!(suite_name(0x1301), "TLS_AES_128_GCM_SHA256");
        assert_eq!(suite_name(0x002f), "TLS_RSA_WITH_AES_128_CBC_SHA");
        assert_eq!(suite_name(0xfefe), suite_name(0xfefe));
        assert_eq!(suite_name(0x7777), "0x7777");
        assert_eq!(group_name(0x001e), "x448");
        assert_eq!(group_name(0x0019), "secp521r1");
        assert_eq!(group_name(0x6399), "0x6399");
        assert_eq!(scheme_name(0x0804), "rsa_pss_rsae_sha256");
        assert_eq!(scheme_name(0x0301), "0x0301");
        assert_eq!(version_name(0x7f1c), "0x7f1c");
    }

    #[test]
    fn the_name_that_may_be_meant_is_told() {
        let hello = ClientHello {
            server_name: ServerName::Name("exmaple.com".into()),
            ..ClientHello::default()
        };
        let mut served: BTreeSet<Arc<str>> = ["*.example.com", "example.com"]
            .into_iter()
            .map(Into::into)
            .collect();
        let (details, meant) = of_name(&hello, &served);
        assert_eq!(meant.unwrap(), "example.com");
        let names = details.server_names.unwrap();
        assert_eq!(names.offered, ["exmaple.com"]);
        assert_eq!(names.allowed, ["*.example.com", "example.com"]);
        served.extend((0..100).map(|number| format!("{number}.test").into()));
        let (details, meant) = of_name(&hello, &served);
        assert_eq!(meant, None);
        let names = details.server_names.unwrap();
        assert_eq!((names.allowed.len(), names.allowed_more), (32, 70));
    }

    #[test]
    fn lists_are_sorted_bounded_and_without_grease() {
        let sites = fixture::sites(|_| {});
        let hello = ClientHello {
            legacy_version: 0x0303,
            cipher_suites: (0x0a0a..0x0b0a).chain([0xc02b, 0x00ff, 0x5600]).collect(),
            groups: Some(vec![0x2a2a, 29, 23]),
            ..ClientHello::default()
        };
        let site = fixture::site(&sites);
        let details = of_offer(&hello, &site);
        let suites = details.cipher_suites.unwrap();
        assert_eq!(suites.offered.len(), Comparison::MOST);
        assert_eq!(suites.offered_more, 255 + 1 - Comparison::MOST);
        assert_eq!(suites.offered[0], "0x0a0b");
        assert_eq!(suites.shared, ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]);
        assert_eq!(details.groups.unwrap().offered, ["secp256r1", "X25519"]);
        assert_eq!(details.certificate_types, ["ecdsa"]);
        let schemes = details.signature_schemes.unwrap();
        assert_eq!(schemes.allowed, ["ecdsa_secp256r1_sha256"]);
        assert_eq!(
            details.versions.unwrap().offered,
            ["TLS 1.0", "TLS 1.1", "TLS 1.2"]
        );
    }
}
