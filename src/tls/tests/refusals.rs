//! Handshakes that fail over what one side offers or shows: each is named for what it is.

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::ServerName as ClientSideName;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::peers::{Rig, assert_exact};
use crate::config::{Alpn, CipherSuite, Group};
use crate::report::{Failure, FailureClass, Outcome, Phase, ProtocolVersion, Side};

async fn refused_by(rig: &Rig, client: TlsConnector, name: &str) -> Failure {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let name = ClientSideName::try_from(name.to_owned()).unwrap();
    let (refused, _) = tokio::join!(rig.accept(ours), client.connect(name, theirs));
    let report = refused.unwrap_err().report;
    assert_exact(&report);
    match report.outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn offers_that_miss_are_named() {
    let rig = Rig::new(|policy| policy.versions = vec![ProtocolVersion::Tls13]);
    let failure = refused_by(&rig, rig.client(&TLS12, false), "localhost").await;
    assert_eq!(
        (failure.class, failure.alert),
        (FailureClass::NoSharedVersion, Some(70))
    );

    let rig = Rig::new(|_| {});
    let failure = refused_by(&rig, rig.client(&TLS13, false), "other.example").await;
    assert_eq!(
        (failure.class, failure.alert),
        (FailureClass::UnknownSni, Some(112))
    );

    let rig = Rig::new(|policy| {
        policy.groups = [24].into_iter().filter_map(Group::by_code).collect();
    });
    let failure = refused_by(&rig, rig.client(&TLS13, false), "localhost").await;
    assert_eq!(failure.class, FailureClass::NoSharedGroup);
    assert_eq!(failure.phase, Phase::ServerFlight);

    let rig = Rig::new(|policy| {
        policy.cipher_suites = [0x1301, 0xc02f]
            .into_iter()
            .filter_map(CipherSuite::by_code)
            .collect();
    });
    let failure = refused_by(&rig, rig.client(&TLS12, false), "localhost").await;
    assert_eq!(failure.class, FailureClass::CertTypeMismatch);

    let rig = Rig::new(|policy| policy.alpn = vec![Alpn::Http11]);
    let failure = refused_by(&rig, rig.client(&TLS13, false), "localhost").await;
    assert_eq!(
        (failure.class, failure.alert),
        (FailureClass::NoSharedAlpn, Some(120))
    );
}

#[tokio::test]
async fn a_client_that_rejects_the_certificate_says_so() {
    for version in [&TLS12, &TLS13] {
        let (rig, mut stranger) = (Rig::new(|_| {}), Rig::new(|_| {}));
        stranger.roots = RootCertStore::empty();
        let failure = refused_by(&rig, stranger.client(version, false), "localhost").await;
        assert_eq!(
            failure.class,
            FailureClass::ClientRejectedCert,
            "{failure:?}"
        );
        assert_eq!(failure.side, Side::Client);
    }
}
