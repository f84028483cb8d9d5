//! Sessions: who may resume one, and how that is known before it counts.

use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::peers::{Rig, hello};
use crate::config::{ResumptionMode, TicketKeys};
use crate::report::{HandshakeKind, ProtocolVersion, Resumption};
use crate::tls::offer::Offer;

#[tokio::test]
async fn sessions_do_not_leave_their_policy() {
    let (one, other) = (Rig::new(|_| {}), Rig::new(|_| {}));
    let mut roots = one.roots.clone();
    roots.extend(other.roots.roots.iter().cloned());
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let client = TlsConnector::from(Arc::new(config));
    one.handshake(&client, "localhost").await;
    let report = other.handshake(&client, "localhost").await;
    assert_eq!(report.kind, Some(HandshakeKind::Full));
    assert_eq!(report.resumption, Resumption::UnknownKey);
}

#[tokio::test]
async fn sessions_are_opened_before_they_count() {
    for mode in [
        ResumptionMode::Tickets(TicketKeys::rotated(Duration::from_secs(60))),
        ResumptionMode::Cache,
    ] {
        let rig = Rig::new(|policy| policy.resumption.mode = mode.clone());
        let policy = rig.sites.policy();
        for (version, number) in [
            (&TLS12, ProtocolVersion::Tls12),
            (&TLS13, ProtocolVersion::Tls13),
        ] {
            let client = rig.client(version, false);
            rig.handshake(&client, "localhost").await;
            // The client's own copy of a ticket of TLS 1.3 goes with this offer.
            let mut record = Vec::new();
            hello(&client).write_tls(&mut record).unwrap();
            let message = &record[5..];
            let offer = Offer::read(message).unwrap();
            for _ in 0..2 {
                assert!(policy.resumes(number, Some(offer)), "{mode:?} {number:?}");
            }
            let mut forged = message.to_vec();
            for secret in [offer.id()]
                .into_iter()
                .chain(offer.ticket())
                .chain(offer.identities())
            {
                if let Some(last) = secret.len().checked_sub(1) {
                    let start = secret.as_ptr().addr() - message.as_ptr().addr();
                    forged[start + last] ^= 1;
                }
            }
            assert!(
                !policy.resumes(number, Offer::read(&forged)),
                "{mode:?} {number:?}"
            );
            let resumed = rig.handshake(&client, "localhost").await;
            assert_eq!(resumed.resumption, Resumption::Hit, "{mode:?} {number:?}");
        }
    }
}
