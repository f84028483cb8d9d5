//! `tls` of an upstream.

use std::path::Path;

use super::texts::{one, with};

#[test]
fn tls_towards_upstreams_is_read() {
    let tls = |line: &str| {
        let servers = "servers = [{ address = \"a.example:1\" }]";
        let config = with(&format!("[upstreams.a]\n{servers}\n{line}"));
        config.upstreams[0].tls.clone()
    };
    assert_eq!(tls(""), None);
    assert_eq!(tls("tls = false"), None);
    let default = tls("tls = true").unwrap();
    assert_eq!(Some(default.clone()), tls("tls = {}"));
    assert!(default.verify && default.server_name.is_none() && default.ca.is_none());
    let full = tls(
        "tls = { server_name = \"B.Example.\", ca = \"ca.pem\", certificate = { chain = \"c\", \
         key = \"k\" } }",
    )
    .unwrap();
    assert_eq!(full.server_name.as_deref(), Some("b.example"));
    let ca = Path::new("/etc/handfast/ca.pem");
    assert_ne!(full.place_of(ca), full.location);
    assert_eq!(full.place_of(Path::new("other")), full.location);
    assert!(full.certificate.is_some());
    let address = tls("tls = { server_name = \"::1\", verify = false }").unwrap();
    assert_eq!(address.server_name.as_deref(), Some("::1"));
    assert!(!address.verify);
}

#[test]
fn faults_of_tls_towards_upstreams_are_located() {
    for (text, message) in [
        (
            "\"yes\"",
            "3:7 expected a table or true, found string | write tls = true",
        ),
        (
            "{ server_name = \"*.a\" }",
            "3:23 `*.a` is no host name: a wildcard stands for exactly one whole label at the left \
             of a name: `*.example.com`",
        ),
        (
            "{ ca = \"c\", verify = false }",
            "3:14 `ca` has no effect while `verify` is false | leave `verify` out, or `ca`",
        ),
        (
            "{ certificate = { chain = \"c\" } }",
            "3:23 missing key `key` in [upstreams.a.tls.certificate] | \
             add key = \"/etc/handfast/privkey.pem\"",
        ),
        (
            "{ certificate = { chain = \"c\", key = \"k\", ocsp = \"o\" } }",
            "3:49 unknown key `ocsp` in [upstreams.a.tls.certificate] | known here: `chain`, `key`",
        ),
    ] {
        let servers = "servers = [{ address = \"a.example:1\" }]";
        let found = one(&format!("[upstreams.a]\n{servers}\ntls = {text}"));
        assert_eq!(found, message, "{text}");
    }
}
