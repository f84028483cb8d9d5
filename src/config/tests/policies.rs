//! `[tls.NAME]`: presets, versions, suites and groups, and names that can never work.

use std::time::Duration;

use super::texts::{extra, one, with};

#[test]
fn a_default_table_changes_the_built_in_policy() {
    let config = with("[tls.default]\nhandshake_timeout = \"3s\"\nalpn = []\n[tls.a]\n");
    assert_eq!(config.policies.len(), 2);
    assert_eq!(config.policies[0].handshake_timeout, Duration::from_secs(3));
    assert!(config.policies[0].alpn.is_empty());
    assert_eq!(
        config.policies[1].handshake_timeout,
        Duration::from_secs(10)
    );
}

#[test]
fn versions_narrow_a_preset() {
    let config = with("[tls.a]\nversions = [\"1.3\"]\n");
    let policy = &config.policies[1];
    assert_eq!(policy.cipher_suites.len(), 3);
    assert_eq!(
        one("[tls.a]\npreset = \"modern-5.8\"\nversions = [\"1.2\", \"1.3\"]"),
        "3:12 no cipher suite of this policy works with TLS 1.2 | add \
         `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`, say, or leave \"1.2\" out of `versions`"
    );
    assert_eq!(
        one(
            "[tls.a]\nversions = [\"1.3\"]\ncipher_suites = [\"ECDHE-RSA-AES128-GCM-SHA256\", \"TLS_AES_128_GCM_SHA256\"]"
        ),
        "3:17 `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` works with TLS 1.2 only, which this policy \
         does not offer | leave it out, or add \"1.2\" to `versions`"
    );
    assert_eq!(
        one("[tls.a]\ngroups = [\"X25519MLKEM768\"]"),
        "2:10 no group of this policy works with TLS 1.2 | add `X25519`, or leave \"1.2\" out of \
         `versions`"
    );
}

#[test]
fn custom_policies_say_everything() {
    let policy = &with(
        "[tls.a]\npreset = \"custom\"\nversions = [\"1.2\"]\n\
         cipher_suites = [\"ECDHE-ECDSA-AES256-GCM-SHA384\"]\ngroups = [\"P-384\", \"x25519\"]\n",
    )
    .policies[1];
    assert_eq!(policy.cipher_suites[0].code, 0xc02c);
    assert_eq!(policy.groups[0].name, "secp384r1");
    assert_eq!(
        extra("[tls.a]\npreset = \"custom\"\nversions = [\"1.3\"]"),
        [
            "1:1 missing key `cipher_suites` in [tls.a]: the preset `custom` sets nothing | add \
             cipher_suites = [\"TLS_AES_128_GCM_SHA256\"]",
            "1:1 missing key `groups` in [tls.a]: the preset `custom` sets nothing | add groups = \
             [\"X25519\"]",
        ]
    );
}

#[test]
fn names_that_never_work_say_why() {
    for (line, message) in [
        (
            "versions = [\"1.1\"]",
            "2:13 TLS version `1.1` can never be negotiated: TLS 1.0 and 1.1 are forbidden since \
             RFC 8996 | the nearest that works is `1.2`",
        ),
        (
            "versions = [\"TLSv1.2\"]",
            "2:13 unknown TLS version `TLSv1.2` | possible: `1.2`, `1.3`",
        ),
        (
            "versions = [1.3]",
            "2:13 expected a version such as \"1.3\", found float | write \"1.3\"",
        ),
        (
            "versions = \"1.3\"",
            "2:12 expected versions such as [\"1.2\", \"1.3\"], found string | write [\"1.3\"]",
        ),
        (
            "versions = []",
            "2:12 expected versions such as [\"1.2\", \"1.3\"], found an empty list",
        ),
        (
            "groups = [\"secp521r1\"]",
            "2:11 group `secp521r1` can never be negotiated: secp521r1 is not implemented: it is \
             slow and no browser needs it | the nearest that works is `secp384r1`",
        ),
        (
            "groups = [\"X25519\", \"x25519\"]",
            "2:21 `x25519` is given twice",
        ),
        (
            "cipher_suites = [\"ECDHE-RSA-AES128-GCM-SHA265\"]",
            "2:18 unknown cipher suite `ECDHE-RSA-AES128-GCM-SHA265` | did you mean \
             `ECDHE-RSA-AES128-GCM-SHA256`? (possible: `TLS_AES_128_GCM_SHA256`, \
             `TLS_AES_256_GCM_SHA384`, `TLS_CHACHA20_POLY1305_SHA256`, \
             `ECDHE-ECDSA-AES128-GCM-SHA256`, `ECDHE-RSA-AES128-GCM-SHA256`, \
             `ECDHE-ECDSA-AES256-GCM-SHA384`, `ECDHE-RSA-AES256-GCM-SHA384`, \
             `ECDHE-ECDSA-CHACHA20-POLY1305`, `ECDHE-RSA-CHACHA20-POLY1305`)",
        ),
        (
            "preset = \"modren-5.8\"",
            "2:10 `modren-5.8` is not possible here | did you mean `modern-5.8`? (possible: \
             `intermediate-5.8`, `modern-5.8`, `custom`)",
        ),
        (
            "alpn = [\"h3\"]",
            "2:9 `h3` is not supported yet | possible: `h2`, `http/1.1`",
        ),
    ] {
        assert_eq!(one(&format!("[tls.a]\n{line}")), message, "{line}");
    }
}
