//! Connections that never come to a whole ClientHello: silent, cut short, or no TLS at all.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::peers::Rig;
use crate::report::{FailureClass, Outcome, Phase};
use crate::tls::alert;

#[tokio::test(start_paused = true)]
async fn silence_is_a_probe_and_half_a_hello_a_timeout() {
    let rig = Rig::new(|_| {});
    let (ours, theirs) = tokio::io::duplex(64);
    let report = rig.accept(ours).await.unwrap_err().report;
    assert_eq!(report.outcome, Outcome::Probe);
    drop(theirs);

    let (ours, mut theirs) = tokio::io::duplex(64);
    theirs.write_all(&[22, 3, 1, 0, 9, 1]).await.unwrap();
    let report = rig.accept(ours).await.unwrap_err().report;
    let Outcome::Failed(failure) = report.outcome else {
        panic!()
    };
    assert_eq!(failure.class, FailureClass::Timeout);
    assert_eq!(failure.phase, Phase::ClientHelloRead);
}

async fn answer_to(bytes: &[u8]) -> (FailureClass, Vec<u8>) {
    let rig = Rig::new(|_| {});
    let (ours, mut theirs) = tokio::io::duplex(4096);
    theirs.write_all(bytes).await.unwrap();
    let refused = rig.accept(ours).await.unwrap_err();
    let Outcome::Failed(failure) = refused.report.outcome else {
        panic!()
    };
    drop(refused.linger);
    let mut answer = Vec::new();
    theirs.read_to_end(&mut answer).await.unwrap();
    (failure.class, answer)
}

#[tokio::test]
async fn what_is_no_tls_is_told_apart() {
    let (class, answer) = answer_to(b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(class, FailureClass::PlainHttp);
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 "));
    assert!(head.contains(&format!("Content-Length: {}", body.len())));

    assert_eq!(answer_to(b"SSH-2.0-x\r\n").await.0, FailureClass::NotTls);
    assert_eq!(
        answer_to(&[0x80, 0x2e, 1, 3, 1]).await.0,
        FailureClass::NotTls
    );
    let (class, answer) = answer_to(&[23, 3, 3, 0, 1, 0]).await;
    assert_eq!(class, FailureClass::ProtocolViolation);
    assert_eq!(answer, alert::fatal(10));
    let (class, answer) = answer_to(&[22, 3, 1, 0, 5, 1, 0, 0, 1, 3]).await;
    assert_eq!(class, FailureClass::Malformed);
    assert_eq!(answer, alert::fatal(50));
    // RFC 8446 section 5.1: 16,384 octets are as many as there may be.
    let (class, answer) = answer_to(&[22, 3, 1, 0x40, 1]).await;
    assert_eq!(class, FailureClass::Malformed);
    assert_eq!(answer, alert::fatal(22));
}
