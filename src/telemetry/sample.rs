//! Reports for the tests of this room.

use std::time::{Duration, UNIX_EPOCH};

use crate::report::{
    ConnectionId, Direction, Failure, FailureClass, FalseStart, HandshakeKind, HandshakeReport,
    Message, Network, Outcome, Part, Parts, Peer, Phase, Phases, ProtocolVersion, Resumption,
    ServerNameLabel, Side,
};

/// A full TLS 1.3 handshake of 1.5 ms.
pub(crate) fn complete() -> HandshakeReport {
    let mut phases = Phases::default();
    phases.add(Phase::AcceptQueue, Duration::from_micros(20));
    phases.add(Phase::ServerFlight, Duration::from_micros(280));
    phases.add(Phase::ClientFlightWait, Duration::from_micros(1200));
    let mut parts = Parts::default();
    parts.add(Part::KeyExchange, Duration::from_nanos(80_123));
    parts.add(Part::Sign, Duration::from_micros(150));
    HandshakeReport {
        id: ConnectionId(0xabc),
        time: UNIX_EPOCH + Duration::from_secs(1_795_407_045),
        listener: "https".into(),
        peer: Peer::Tcp(([192, 0, 2, 1], 5000).into()),
        proxy: None,
        outcome: Outcome::Ok,
        version: Some(ProtocolVersion::Tls13),
        kind: Some(HandshakeKind::Full),
        hello_retry: false,
        cipher: Some("TLS13_AES_128_GCM_SHA256"),
        group: Some("X25519"),
        server_name: Some("www.example.com".into()),
        server_name_label: ServerNameLabel::Configured("*.example.com".into()),
        alpn: Some("h2"),
        certificate_type: Some("ecdsa"),
        resumption: Resumption::NotOffered,
        session_age: None,
        false_start: FalseStart::NotApplicable,
        ja4: None,
        network: Network {
            rtt: Some(Duration::from_micros(1100)),
            min_rtt: Some(Duration::from_micros(1000)),
            segment_size: Some(1448),
            client_flight: 522,
            server_flight: 3000,
        },
        extra_round_trips: Vec::new(),
        total: Duration::from_micros(1500),
        phases,
        parts,
        messages: vec![Message {
            direction: Direction::In,
            name: "ClientHello",
            bytes: 517,
            at: Duration::from_micros(20),
        }],
    }
}

/// A client that is too old, after 0.7 ms.
pub(crate) fn failed() -> HandshakeReport {
    let mut phases = Phases::default();
    phases.add(Phase::Select, Duration::from_micros(700));
    HandshakeReport {
        id: ConnectionId(0xdef),
        outcome: Outcome::Failed(Failure::new(
            FailureClass::NoSharedVersion,
            Phase::Select,
            Side::Server,
            Some(70),
            "the client offers \"1.1\" at most".into(),
        )),
        version: None,
        kind: None,
        cipher: None,
        group: None,
        alpn: None,
        certificate_type: None,
        total: Duration::from_micros(700),
        phases,
        parts: Parts::default(),
        messages: Vec::new(),
        ..complete()
    }
}
