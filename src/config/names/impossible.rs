//! Names that exist and can never be negotiated here, each with its reason and the nearest that
//! can: what a configuration of nginx or HAProxy brings along.

use super::cipher_suite::CipherSuite;
use super::group::Group;

/// Why a name can never work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Impossible {
    /// The reason, to follow "can never be negotiated: ".
    pub(in crate::config) reason: &'static str,
    /// The nearest that works.
    pub(in crate::config) nearest: &'static str,
}

/// The reason when `name` is a cipher suite, in IANA's or OpenSSL's spelling, that is never
/// negotiated; `None` for others, misspelt ones among them.
pub(in crate::config) fn impossible_suite(name: &str) -> Option<Impossible> {
    if CipherSuite::by_name(name).is_some() {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    let words: Vec<&str> = upper.split(['_', '-']).collect();
    // A suite ends with a hash or the name of its authenticated cipher.
    let ends = [
        "SHA", "SHA256", "SHA384", "MD5", "CCM", "CCM8", "8", "POLY1305",
    ];
    if words.len() < 2 || !words.last().is_some_and(|last| ends.contains(last)) {
        return None;
    }
    let (_, reason) = SUITE_RULES.iter().find(|(rule, _)| rule.matches(&words))?;
    Some(Impossible {
        reason,
        nearest: nearest_suite(&words),
    })
}

/// The reason when `name` is a group that is never negotiated.
pub(in crate::config) fn impossible_group(name: &str) -> Option<Impossible> {
    if Group::by_name(name).is_some() {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    GROUPS
        .iter()
        .find(|(names, _, _)| {
            names.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => lower.starts_with(prefix),
                None => lower == *pattern,
            })
        })
        .map(|(_, reason, nearest)| Impossible { reason, nearest })
}

/// The reason when `name` is a protocol version that is never negotiated.
pub(in crate::config) fn impossible_version(name: &str) -> Option<Impossible> {
    let lower = name.to_ascii_lowercase();
    let number = lower
        .strip_prefix("tls")
        .map_or(lower.as_str(), |rest| rest.trim_start_matches(['v', ' ']));
    let reason = match number {
        "1" | "1.0" | "1.1" => "TLS 1.0 and 1.1 are forbidden since RFC 8996",
        "sslv2" | "sslv3" | "ssl2" | "ssl3" | "ssl" => {
            "SSL 2.0 and 3.0 are broken and forbidden (RFC 6176, RFC 7568)"
        }
        _ => return None,
    };
    Some(Impossible {
        reason,
        nearest: "1.2",
    })
}

enum Rule {
    /// One of these words is in the name.
    Any(&'static [&'static str]),
    /// None of these words is in the name, of those in TLS 1.2's form.
    Without(&'static [&'static str]),
}

impl Rule {
    fn matches(&self, words: &[&str]) -> bool {
        let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
        match self {
            Self::Any(wanted) => has(wanted),
            Self::Without(unwanted) => {
                let tls13 = words.first() == Some(&"TLS") && !words.contains(&"WITH");
                !tls13 && !has(unwanted)
            }
        }
    }
}

/// In this order: the first that matches is the gravest.
const SUITE_RULES: &[(Rule, &str)] = &[
    (
        Rule::Any(&["EXP", "EXPORT", "EXPORT40", "EXPORT1024"]),
        "export ciphers are broken by design (RFC 9325 section 4.1)",
    ),
    (
        Rule::Any(&["NULL", "ENULL"]),
        "NULL ciphers do not encrypt (RFC 9325 section 4.1)",
    ),
    (
        Rule::Any(&["ANON", "ADH", "AECDH"]),
        "anonymous key exchange does not authenticate the server",
    ),
    (
        Rule::Any(&["RC4"]),
        "RC4 is broken and forbidden (RFC 7465)",
    ),
    (
        Rule::Any(&["3DES", "DES", "CBC3"]),
        "DES and 3DES have blocks of 64 bits, which Sweet32 exploits",
    ),
    (
        Rule::Any(&["IDEA", "SEED", "RC2"]),
        "IDEA, SEED and RC2 are obsolete",
    ),
    (
        Rule::Any(&["GOSTR341112", "GOSTR341001", "GOST2012", "GOST94", "SM4"]),
        "national ciphers are not implemented",
    ),
    (
        Rule::Any(&["PSK", "SRP", "KRB5", "ECCPWD"]),
        "the server authenticates with certificates only",
    ),
    (
        Rule::Any(&["DHE", "EDH", "DH"]),
        "finite field Diffie-Hellman is slow and its groups cannot be negotiated; \
         ECDHE takes its place",
    ),
    (
        Rule::Any(&["CCM", "CCM8"]),
        "CCM is for constrained devices; GCM and ChaCha20-Poly1305 take its place",
    ),
    (
        Rule::Any(&[
            "CAMELLIA",
            "CAMELLIA128",
            "CAMELLIA256",
            "ARIA",
            "ARIA128",
            "ARIA256",
        ]),
        "Camellia and ARIA are not implemented; AES takes their place",
    ),
    (
        Rule::Without(&["ECDHE"]),
        "static RSA and static ECDH key exchange has no forward secrecy",
    ),
    (
        Rule::Any(&["CBC"]),
        "CBC ciphers are open to padding oracles (Lucky Thirteen)",
    ),
    (
        // OpenSSL leaves the word CBC out.
        Rule::Without(&["GCM", "CHACHA20", "POLY1305"]),
        "CBC ciphers are open to padding oracles (Lucky Thirteen)",
    ),
];

const GROUPS: &[(&[&str], &str, &str)] = &[
    (
        &["secp521r1", "p-521", "p521"],
        "secp521r1 is not implemented: it is slow and no browser needs it",
        "secp384r1",
    ),
    (
        &["x448", "curve448"],
        "X448 is not implemented, by browsers neither",
        "X25519",
    ),
    (
        &["ffdhe*", "dhe*", "dh-*"],
        "finite field Diffie-Hellman is not implemented; elliptic curves take its place",
        "X25519",
    ),
    (
        &["secp384r1mlkem1024", "p384mlkem1024", "p-384mlkem1024"],
        "this hybrid is not implemented",
        "secp256r1MLKEM768",
    ),
    (
        &["mlkem512", "mlkem768", "mlkem1024"],
        "pure ML-KEM has no classical key exchange to fall back on",
        "X25519MLKEM768",
    ),
    (
        &["x25519kyber768*", "secp256r1kyber768*"],
        "the Kyber drafts were replaced by ML-KEM",
        "X25519MLKEM768",
    ),
    (
        &[
            "sect*",
            "secp160*",
            "secp192*",
            "secp224*",
            "prime192*",
            "p-224",
            "p-192",
        ],
        "this curve is too weak and forbidden (RFC 8422 section 5.1.1)",
        "secp256r1",
    ),
    (
        &["secp256k1"],
        "this curve is forbidden in TLS 1.3 (RFC 8446 section 4.2.7) and never used before",
        "secp256r1",
    ),
    (
        &["brainpool*"],
        "Brainpool curves are not implemented, by browsers neither",
        "secp256r1",
    ),
];

/// The suite with the same certificate and strength.
fn nearest_suite(words: &[&str]) -> &'static str {
    let any = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    let tls13 = words.first() == Some(&"TLS") && !words.contains(&"WITH");
    let chacha = any(&["CHACHA20"]);
    let strong = any(&["256", "AES256", "CAMELLIA256", "ARIA256"]);
    let ecdsa = any(&["ECDSA"]);
    match (tls13, chacha, strong, ecdsa) {
        (true, true, _, _) => "TLS_CHACHA20_POLY1305_SHA256",
        (true, false, true, _) => "TLS_AES_256_GCM_SHA384",
        (true, false, false, _) => "TLS_AES_128_GCM_SHA256",
        (false, true, _, true) => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        (false, true, _, false) => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        (false, false, true, true) => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        (false, false, true, false) => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        (false, false, false, true) => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        (false, false, false, false) => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_suites_say_why() {
        for (name, reason, nearest) in [
            (
                "TLS_RSA_WITH_AES_128_CBC_SHA",
                "static RSA",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
            (
                "AES256-GCM-SHA384",
                "static RSA",
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            ),
            (
                "AES128-SHA",
                "static RSA",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
            (
                "ECDH-RSA-AES128-GCM-SHA256",
                "static ECDH",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
            (
                "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384",
                "CBC",
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            ),
            (
                "ECDHE-RSA-AES128-SHA256",
                "CBC",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
            (
                "TLS_RSA_WITH_RC4_128_MD5",
                "RC4",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
            (
                "ECDHE-RSA-RC4-SHA",
                "RC4",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
            (
                "DES-CBC3-SHA",
                "3DES",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
            (
                "DHE-RSA-AES256-GCM-SHA384",
                "finite field",
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            ),
            (
                "DHE-RSA-CHACHA20-POLY1305",
                "finite field",
                "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            ),
            (
                "TLS_RSA_WITH_NULL_SHA256",
                "NULL",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
            (
                "EXP-RC4-MD5",
                "export",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
            ("TLS_AES_128_CCM_8_SHA256", "CCM", "TLS_AES_128_GCM_SHA256"),
            (
                "ECDHE-ECDSA-AES256-CCM8",
                "CCM",
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            ),
            (
                "TLS_DH_anon_WITH_AES_128_GCM_SHA256",
                "anonymous",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
            (
                "PSK-AES128-GCM-SHA256",
                "certificates only",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
        ] {
            let found = impossible_suite(name).unwrap_or_else(|| panic!("{name} passes"));
            assert!(found.reason.contains(reason), "{name}: {}", found.reason);
            assert_eq!(found.nearest, nearest, "{name}");
        }
    }

    #[test]
    fn possible_and_misspelt_suites_are_not_impossible() {
        for suite in CipherSuite::ALL {
            assert_eq!(impossible_suite(suite.name), None);
            assert_eq!(impossible_suite(suite.openssl), None);
        }
        for name in [
            "TLS_AES_128_GCM_SHA265",
            "TLS_AES_129_GCM_SHA256",
            "ECDHE-RSA-AES182-GCM-SHA256",
            "TLS13_AES_128_GCM_SHA256_",
            "HIGH",
            "!aNULL",
            "nonsense",
            "",
        ] {
            assert_eq!(impossible_suite(name), None, "{name}");
        }
    }

    #[test]
    fn every_nearest_name_works() {
        for (names, _, nearest) in GROUPS {
            assert!(Group::by_name(nearest).is_some(), "{nearest}");
            for name in *names {
                assert!(impossible_group(name).is_some(), "{name}");
            }
        }
        for group in Group::ALL {
            assert_eq!(impossible_group(group.name), None);
        }
        assert_eq!(impossible_group("secp521r1").unwrap().nearest, "secp384r1");
        assert_eq!(impossible_group("FFDHE2048").unwrap().nearest, "X25519");
        assert_eq!(impossible_group("X25519X"), None);
    }

    #[test]
    fn old_versions_are_impossible() {
        for name in [
            "1.0", "1.1", "TLSv1", "TLSv1.0", "TLSv1.1", "SSLv3", "tls1.1", "SSL3",
        ] {
            assert!(impossible_version(name).is_some(), "{name}");
        }
        for name in ["1.2", "1.3", "1.4", "TLSv1.2", "", "v"] {
            assert_eq!(impossible_version(name), None, "{name}");
        }
    }
}
