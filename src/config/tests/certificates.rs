//! `[certificates.NAME]`, and certificates in memory.

use std::path::Path;

use super::texts::{extra, heads, one};
use crate::config::{MemoryCertificate, PemSource, parse_with};

#[test]
fn certificates_are_checked() {
    let certificate =
        "[certificates.NAME]\nnames = [\"example.com\"]\nchain = \"c\"\nkey = \"k\"\n";
    let two = format!(
        "[[listeners]]\naddress = \"[::]:443\"\ncertificates = [\"a\", \"b\", \"a\"]\n{}{}",
        certificate.replace("NAME", "a"),
        certificate.replace("NAME", "b")
    );
    assert_eq!(
        extra(&two),
        [
            "3:27 the certificate `a` is given twice",
            "9:10 `example.com` is a name of the certificate `a` already, at the same listener | \
             chains of several key types for one name belong into `pairs` of one certificate",
        ]
    );
    assert_eq!(
        extra(
            "[certificates.a]\nnames = [\"https://example.com/\", \"*.b.c\", \"*.B.c.\"]\nchain = \"\"\nkey = \"k\"\npairs = []"
        ),
        [
            "2:10 `https://example.com/` is no host name: a host name has letters, digits, \
             hyphens, underscores and dots only (other scripts as xn-- labels) | write \
             \"example.com\"",
            "2:43 `*.b.c` is given twice",
            "3:9 `chain` and `pairs` exclude each other | one chain with its key: `chain` and \
             `key`; several: `pairs`",
            "4:7 `key` and `pairs` exclude each other | one chain with its key: `chain` and \
             `key`; several: `pairs`",
            "5:9 a certificate needs a chain and a key, found an empty list",
        ]
    );
    assert_eq!(
        one("[certificates.a]\nchain = \"c\""),
        "1:1 missing key `key` in [certificates.a] | add key = \"/etc/handfast/privkey.pem\""
    );
    assert_eq!(
        one("[certificates.\"127.0.0.1\"]\nchain = \"c\"\nkey = \"k\"\ntls = \"x\""),
        "4:7 tls policy `x` is not defined | defined: `default`"
    );
}

#[test]
fn certificates_in_memory_are_referred_to_by_name() {
    let text = "[[listeners]]\naddress = \"127.0.0.1:0\"\ncertificates = [\"dev\"]\n\
                [[routes]]\nupstream = \"http://127.0.0.1:1\"\n";
    let made = MemoryCertificate {
        name: "dev".into(),
        chain: "CHAIN".into(),
        key: "SECRET".into(),
    };
    let memory = [made];
    let config = parse_with(text, Path::new("dev"), &memory).unwrap().config;
    let pair = &config.certificates[0].pairs[0];
    assert_eq!(pair.key, PemSource::Memory("SECRET".into()));
    assert!(!format!("{config:?}").contains("SECRET"));
    assert!(heads(text)[0].contains("certificate `dev` is not defined"));
    let twice = format!("{text}[certificates.dev]\nchain = \"a\"\nkey = \"b\"\n");
    let faults = parse_with(&twice, Path::new("dev"), &memory).unwrap_err();
    assert!(faults.to_string().contains("exists already"), "{faults}");
}
