//! `client_auth` of a policy, and what upstreams are told of the client.

use std::path::PathBuf;
use std::sync::Arc;

use super::texts::{one, with};
use crate::config::{ClientAuthMode, ForwardingHeader, PeerSet, PemSource, SanPattern, TlsHeader};

#[test]
fn client_certificates_are_read() {
    let policy = |client_auth: &str| {
        let config = with(&format!("[tls.a]\nclient_auth = {client_auth}"));
        config.policies[1].client_auth.clone()
    };
    assert_eq!(policy("{}"), None);
    assert_eq!(policy("{ mode = \"off\" }"), None);
    let optional = policy("{ mode = \"optional\", ca = \"ca.pem\" }").unwrap();
    assert_eq!(optional.mode, ClientAuthMode::Optional);
    assert_eq!(optional.crl, None);
    assert!(optional.allow.is_empty());
    assert!(!optional.resumption);
    let PemSource::File { path, .. } = &optional.ca else {
        panic!("{optional:?}")
    };
    assert_eq!(*path, PathBuf::from("/etc/handfast/ca.pem"));
    let required = policy(
        "{ mode = \"required\", ca = \"/ca\", crl = \"/crl\", resumption = true, allow = \
         { san = [\"*.A.example\", \"192.0.2.1\", \"spiffe://x/y\"], cn = [\"a b\"], o = [\"O\"] } }",
    )
    .unwrap();
    assert_eq!(required.mode, ClientAuthMode::Required);
    assert!(required.crl.is_some() && required.resumption);
    let wildcard = crate::host::HostPattern::parse("*.a.example").unwrap();
    let names = [
        SanPattern::Dns(wildcard),
        SanPattern::Ip("192.0.2.1".parse().unwrap()),
        SanPattern::Uri("spiffe://x/y".into()),
    ];
    assert_eq!(required.allow.san, names);
    assert_eq!(required.allow.cn, [Arc::from("a b")]);
    assert_eq!(required.allow.o, [Arc::from("O")]);

    let forwarding = with("[forwarding]\ntls_headers = [\"verify\", \"client-cert\"]").forwarding;
    let headers = [TlsHeader::Verify, TlsHeader::ClientCert];
    assert_eq!(forwarding.tls_headers, headers);
    assert_eq!(forwarding.headers.len(), 3);
    assert_eq!(forwarding.trusted_proxies, PeerSet::default());
    let forwarding = with(
        "[forwarding]\ntrusted_proxies = [\"10.0.0.0/8\", \"unix\", \"::1\"]\nheaders = [\"forwarded\"]",
    )
    .forwarding;
    assert_eq!(forwarding.headers, [ForwardingHeader::Forwarded]);
    let networks = ["10.0.0.0/8", "::1/128"].map(|text| text.parse().unwrap());
    let networks = networks.to_vec();
    let proxies = PeerSet {
        networks,
        unix: true,
    };
    assert_eq!(forwarding.trusted_proxies, proxies);
}

#[test]
fn faults_of_client_certificates_are_located() {
    for (text, message) in [
        (
            "{ ca = \"c\" }",
            "2:22 `ca` has no effect while `mode` is \"off\" | \
             add mode = \"required\" or mode = \"optional\"",
        ),
        (
            "{ mode = \"required\" }",
            "2:15 missing key `ca` in [tls.a.client_auth] | \
             add ca = \"/etc/handfast/clients-ca.pem\"",
        ),
        (
            "{ mode = \"require\", ca = \"c\" }",
            "2:24 `require` is not possible here | \
             did you mean `required`? (possible: `off`, `optional`, `required`)",
        ),
        (
            "{ mode = \"required\", ca = \"c\", allow = { san = [\"a.*.b\"] } }",
            "2:63 `a.*.b` is no host name: a wildcard stands for exactly one whole label at the left \
             of a name: `*.example.com`",
        ),
        (
            "{ mode = \"required\", ca = \"c\", allow = { cn = [\"x\", \"x\"] } }",
            "2:67 `x` is given twice",
        ),
        (
            "{ mode = \"required\", ca = \"c\", allow = { o = [\"\"] } }",
            "2:61 expected a text, found an empty one",
        ),
    ] {
        let found = one(&format!("[tls.a]\nclient_auth = {text}"));
        assert_eq!(found, message, "{text}");
    }
    for (key, message) in [
        (
            "trusted_proxies = [\"10.0.0.1/8\"]",
            "2:20 `10.0.0.1/8` has bits beyond its prefix",
        ),
        (
            "trusted_proxies = [\"lan\"]",
            "2:20 expected a network such as \"10.0.0.0/8\", or \"unix\", found `lan`",
        ),
        (
            "headers = [\"x-real-ip\"]",
            "2:12 `x-real-ip` is not possible here",
        ),
        (
            "headers = [\"forwarded\", \"forwarded\"]",
            "2:25 `forwarded` is given twice",
        ),
    ] {
        let found = one(&format!("[forwarding]\n{key}"));
        assert!(found.starts_with(message), "{found}");
    }
    let found = one("[forwarding]\ntls_headers = [\"cert\"]");
    assert!(
        found.starts_with("2:16 `cert` is not possible here"),
        "{found}"
    );
}
