//! Handshakes that complete, full, resumed and retried: what the report says of each.

use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::peers::{Rig, assert_exact};
use crate::report::{
    Direction, FalseStart, HandshakeKind, HandshakeReport, Phase, ProtocolVersion, Resumption,
};

fn names(report: &HandshakeReport) -> Vec<&'static str> {
    report.messages.iter().map(|message| message.name).collect()
}

#[tokio::test]
async fn tls12_full_then_resumed() {
    let rig = Rig::new(|_| {});
    let client = rig.client(&TLS12, false);
    let full = rig.handshake(&client, "localhost").await;
    assert_exact(&full);
    assert_eq!(full.version, Some(ProtocolVersion::Tls12));
    assert_eq!(full.kind, Some(HandshakeKind::Full));
    assert_eq!(full.cipher, Some("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"));
    assert_eq!(full.group, Some("X25519"));
    assert_eq!(full.resumption, Resumption::NotOffered);
    assert_eq!(full.false_start, FalseStart::EligibleUnused);
    assert_eq!(full.server_name_label.as_str(), "localhost");
    assert_eq!(full.round_trips(), 2);
    assert_eq!(
        names(&full),
        [
            "ClientHello",
            "ServerHello",
            "Certificate",
            "ServerKeyExchange",
            "ServerHelloDone",
            "ClientKeyExchange",
            "ChangeCipherSpec",
            "Finished",
            "NewSessionTicket",
            "ChangeCipherSpec",
            "Finished",
        ]
    );
    assert!(full.phases.nanos(Phase::ClientKeyExchange) > 0);
    let resumed = rig.handshake(&client, "localhost").await;
    assert_exact(&resumed);
    assert_eq!(resumed.kind, Some(HandshakeKind::Resumed));
    assert_eq!(resumed.resumption, Resumption::Hit);
    assert_eq!(resumed.group, None);
    assert_eq!(resumed.round_trips(), 1);
    assert_eq!(resumed.phases.nanos(Phase::ClientKeyExchange), 0);
    assert_eq!(resumed.phases.nanos(Phase::ServerFinishWrite), 0);
}

#[tokio::test]
async fn tls13_full_then_resumed() {
    let rig = Rig::new(|_| {});
    let client = rig.client(&TLS13, false);
    let full = rig.handshake(&client, "localhost").await;
    assert_exact(&full);
    assert_eq!(full.version, Some(ProtocolVersion::Tls13));
    assert_eq!(full.kind, Some(HandshakeKind::Full));
    assert!(!full.hello_retry);
    assert_eq!(full.group, Some("X25519"));
    assert_eq!(full.alpn, Some("h2"));
    assert_eq!(full.phases.nanos(Phase::RetryWait), 0);
    let last = full.messages.last().unwrap();
    assert_eq!(
        (last.direction, last.name),
        (Direction::Out, "NewSessionTicket")
    );
    let resumed = rig.handshake(&client, "localhost").await;
    assert_exact(&resumed);
    assert_eq!(resumed.kind, Some(HandshakeKind::Resumed));
    assert_eq!(resumed.resumption, Resumption::Hit);
    assert!(names(&resumed).contains(&"EncryptedExtensions Finished"));
}

#[tokio::test]
async fn a_retry_is_told() {
    let rig = Rig::new(|_| {});
    let report = rig.handshake(&rig.client(&TLS13, true), "localhost").await;
    assert_exact(&report);
    assert!(report.hello_retry);
    assert_eq!(report.kind, Some(HandshakeKind::Full));
    assert_eq!(report.group, Some("X25519"));
    assert_eq!(report.round_trips(), 2);
    assert!(report.phases.nanos(Phase::RetryWait) > 0);
    assert_eq!(names(&report)[1], "HelloRetryRequest");
}
