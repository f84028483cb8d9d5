//! Sites and ClientHellos for the tests of this room.

use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::crypto::{SupportedKxGroup, aws_lc_rs};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::hello::{ClientHello, ServerName as ClientHelloName};
use super::selection;
use super::{LoadedCertificate, Site, Sites, TlsPolicy};
use crate::config::{
    Alpn, CertificatePair, CipherSuite, FalseStartMode, Group, PemSource, Policy, Resumption,
    ResumptionMode, SniAction,
};
use crate::report::ProtocolVersion;

/// Sites with one ECDSA certificate for `localhost`, under a policy with few suites, X25519 alone
/// and this change.
pub(super) fn sites(change: impl FnOnce(&mut Policy)) -> Sites {
    trusted_sites(change).0
}

/// As [`sites`], and what a client trusts.
pub(super) fn trusted_sites(change: impl FnOnce(&mut Policy)) -> (Sites, RootCertStore) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let pair = CertificatePair {
        chain: PemSource::Memory(made.cert.pem().into()),
        key: PemSource::Memory(made.signing_key.serialize_pem().into()),
        ocsp: None,
    };
    let certificate = Arc::new(LoadedCertificate::load(&[pair]).unwrap());
    let mut spec = Policy {
        name: "test".into(),
        versions: vec![ProtocolVersion::Tls12, ProtocolVersion::Tls13],
        cipher_suites: [0x1301, 0xc02b]
            .into_iter()
            .filter_map(CipherSuite::by_code)
            .collect(),
        groups: [29].into_iter().filter_map(Group::by_code).collect(),
        alpn: vec![Alpn::H2, Alpn::Http11],
        unknown_sni: SniAction::Reject,
        missing_sni: SniAction::DefaultCertificate,
        handshake_timeout: Duration::from_secs(5),
        resumption: Resumption {
            mode: ResumptionMode::Off,
            lifetime: Duration::from_secs(60),
            tickets: 2,
            cache_size: 1 << 20,
        },
        client_auth: None,
        false_start: FalseStartMode::Allow,
        certificate_compression: true,
    };
    change(&mut spec);
    let policy = Arc::new(TlsPolicy::new(spec, None).unwrap());
    let site = Arc::new(Site::new(certificate.clone(), policy.clone()).unwrap());
    let mut sites = Sites::new(site.clone(), policy);
    for name in certificate.names() {
        sites.add(name, site.clone());
    }
    (sites, roots)
}

/// The site for `localhost`.
pub(super) fn site(sites: &Sites) -> Arc<Site> {
    let hello = ClientHello {
        server_name: ClientHelloName::Name("localhost".into()),
        ..ClientHello::default()
    };
    selection::site(&hello, sites).0.unwrap()
}

/// The ClientHello of a rustls client, without its record header.
pub(super) fn hello_of(
    versions: &[&str],
    groups: &[&'static dyn SupportedKxGroup],
    name: &str,
) -> Vec<u8> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = groups.to_vec();
    let versions: Vec<_> = [("1.2", &TLS12), ("1.3", &TLS13)]
        .into_iter()
        .filter(|(name, _)| versions.contains(name))
        .map(|(_, version)| version)
        .collect();
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(config.into(), name).unwrap();
    let mut record = Vec::new();
    client.write_tls(&mut record).unwrap();
    record.split_off(5)
}

/// The ClientHello of a TLS 1.2 client with one suite and one group, which takes ECDSA and RSA.
pub(super) fn old_hello(suite: u16, group: u16, name: &str) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2]);
    body.extend(suite.to_be_bytes());
    body.extend([1, 0]);
    let length = u16::try_from(name.len()).unwrap();
    let mut name_list = (length + 3).to_be_bytes().to_vec();
    name_list.push(0);
    name_list.extend(length.to_be_bytes());
    name_list.extend(name.bytes());
    let groups = [&[0, 2], &group.to_be_bytes()[..]].concat();
    let mut extensions = Vec::new();
    for (number, content) in [
        (0u16, &*name_list),
        (10, &groups),
        (11, &[1, 0]),
        (13, &[0, 4, 4, 3, 4, 1]),
    ] {
        extensions.extend(number.to_be_bytes());
        extensions.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        extensions.extend(content);
    }
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let mut message = vec![1, 0];
    message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend(body);
    message
}

/// This ClientHello with one more extension, as its last.
pub(super) fn with_extension(message: &[u8], number: u16, content: &[u8]) -> Vec<u8> {
    let word = |at: usize| usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    // Behind header, version, random, session ID, cipher suites and compression methods.
    let mut at = 4 + 2 + 32;
    at += 1 + usize::from(message[at]);
    at += 2 + word(at);
    at += 1 + usize::from(message[at]);
    let mut longer = message.to_vec();
    longer.extend(number.to_be_bytes());
    longer.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
    longer.extend(content);
    for (at, length) in [(2, longer.len() - 4), (at, longer.len() - at - 2)] {
        longer[at..at + 2].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    }
    longer
}
