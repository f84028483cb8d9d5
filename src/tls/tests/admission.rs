//! Handshakes that wait for their turn to compute: refused, left, and asked for again.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::rustls::version::TLS13;

use super::peers::{Rig, assert_exact, hello, incoming};
use crate::report::{FailureClass, Outcome, Phase, Side};
use crate::tls::{Admission, Established, Refused, accept, alert};

/// What comes from a server until it closes.
async fn read_all(mut io: DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    io.read_to_end(&mut bytes).await.unwrap();
    bytes
}

fn assert_overload(result: Result<Established<DuplexStream>, Box<Refused<DuplexStream>>>) {
    let report = result.unwrap_err().report;
    let Outcome::Failed(failure) = &report.outcome else {
        panic!("{report:?}");
    };
    assert_eq!(failure.class, FailureClass::RefusedOverload);
    assert_eq!(failure.phase, Phase::Admission);
    assert_eq!((failure.side, failure.alert), (Side::Server, Some(80)));
    assert_exact(&report);
}

#[tokio::test]
async fn too_many_handshakes_are_refused() {
    let rig = Rig::new(|_| {});
    let admission = Admission::new(1, 1);
    let slot = admission.try_slot().unwrap();
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let mut bytes = Vec::new();
    hello(&rig.client(&TLS13, false))
        .write_tls(&mut bytes)
        .unwrap();
    theirs.write_all(&bytes).await.unwrap();
    let result = accept(ours, &incoming(), &rig.sites, &rig.metrics, &admission).await;
    assert_overload(result);
    assert_eq!(read_all(theirs).await, alert::REFUSAL);
    drop(slot);
    assert!(admission.try_slot().is_some());
}

#[tokio::test]
async fn who_leaves_the_queue_costs_nothing() {
    let rig = Rig::new(|_| {});
    let admission = Admission::new(1, 2);
    let slot = admission.try_slot().unwrap();
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let mut bytes = Vec::new();
    hello(&rig.client(&TLS13, false))
        .write_tls(&mut bytes)
        .unwrap();
    theirs.write_all(&bytes).await.unwrap();
    let incoming = incoming();
    let accepted = accept(ours, &incoming, &rig.sites, &rig.metrics, &admission);
    let (result, ()) = tokio::join!(accepted, async {
        tokio::task::yield_now().await;
        drop(theirs);
    });
    let report = result.unwrap_err().report;
    let Outcome::Failed(failure) = &report.outcome else {
        panic!("{report:?}");
    };
    assert_eq!(failure.class, FailureClass::ClientClosed);
    assert_eq!(failure.phase, Phase::Admission);
    assert_eq!(report.phases.nanos(Phase::ServerFlight), 0);
    drop(slot);
}

#[tokio::test]
async fn a_retried_hello_asks_again() {
    let rig = Rig::new(|_| {});
    for split in [false, true] {
        let admission = Admission::new(1, 1);
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let incoming = incoming();
        let accepted = accept(ours, &incoming, &rig.sites, &rig.metrics, &admission);
        let (result, slot) = tokio::join!(accepted, async {
            let mut client = hello(&rig.client(&TLS13, true));
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            theirs.write_all(&bytes).await.unwrap();
            let mut chunk = [0; 4096];
            while !client.wants_write() {
                let count = theirs.read(&mut chunk).await.unwrap();
                client.read_tls(&mut &chunk[..count]).unwrap();
                client.process_new_packets().unwrap();
            }
            // Nothing of ours is held while the client is awaited.
            let slot = loop {
                match admission.try_slot() {
                    Some(slot) => break slot,
                    None => tokio::task::yield_now().await,
                }
            };
            bytes.clear();
            client.write_tls(&mut bytes).unwrap();
            let first = if split { bytes.len() - 10 } else { bytes.len() };
            theirs.write_all(&bytes[..first]).await.unwrap();
            tokio::task::yield_now().await;
            theirs.write_all(&bytes[first..]).await.unwrap();
            slot
        });
        assert_overload(result);
        assert_eq!(read_all(theirs).await, alert::REFUSAL);
        drop(slot);
        assert!(admission.try_slot().is_some());
    }
}
