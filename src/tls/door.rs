//! What is decided at the door, before a connection has a task, a timer or a place in an event loop.
//!
//! When too many handshakes come, most of them are refused, and what a refusal costs is missing to
//! those that are served. The ClientHello mostly is there when its connection is accepted: so it is
//! read and judged then, and a refusal costs four system calls. Whoever is not refused takes along
//! what was read.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::net::{SendFlags, send};
use tokio::io::ReadBuf;

use super::admission::Admission;
use super::alert;
use super::clock::Clock;
use super::diagnosis;
use super::facts::resumption;
use super::first_flight::{Assembly, FirstFlight};
use super::handshake::{Incoming, class_of};
use super::hello::ClientHello;
use super::kernel;
use super::selection;
use super::sites::Sites;
use super::work::SessionFacts;
use crate::report::{
    Direction, FalseStart, HandshakeReport, Message, Network, Outcome, Phase, ServerNameLabel,
};

/// What was read of a connection before its handshake began.
#[derive(Clone, Debug)]
pub struct Ahead {
    pub(super) accepted: Instant,
    pub(super) bytes: Vec<u8>,
    /// When the kernel had it, where it tells.
    pub(super) came: Option<Instant>,
    /// When it was read.
    pub(super) read: Instant,
}

impl Ahead {
    /// When the connection was accepted: only then its phases have no gap.
    #[must_use]
    pub const fn accepted(&self) -> Instant {
        self.accepted
    }
}

/// Most ClientHellos fit; longer ones are refused once they are whole, if at all.
const READ_SIZE: usize = 4096;

/// Refuses the handshake of a connection that was just accepted, if its ClientHello is here and
/// `limits.handshakes` leaves no place for it beside the `coming` that were let in and have not asked
/// for theirs yet: the report, after which the socket is to be closed,
/// which sends the alert. It has no facts of the network, which cost a system call more.
///
/// `None`: nothing was written, and the connection is to be served; [`Incoming::ahead`] has what
/// was read. So it is with everything else that could be refused, and with what cannot be read:
/// whoever reads next finds the same.
pub fn turn_away(
    socket: &impl AsFd,
    incoming: &mut Incoming,
    sites: &Sites,
    admission: &Admission,
    coming: usize,
) -> Option<HandshakeReport> {
    let mut chunk = [const { MaybeUninit::uninit() }; READ_SIZE];
    let mut buffer = ReadBuf::uninit(&mut chunk);
    let (count, came) = kernel::receive(socket, &mut buffer).ok()?;
    let read = Instant::now();
    let bytes = Some(buffer.filled()).filter(|bytes| !bytes.is_empty())?;
    let report = match Assembly::default().advance(bytes) {
        Some(FirstFlight::ClientHello(message)) => {
            let refused = refused(&message, incoming, sites, admission, coming);
            refused.map(|(hello, label)| {
                let mut clock = Clock::start(incoming.accepted);
                clock.enter(Phase::ClientHelloWait, incoming.accepted);
                if let Some(came) = came {
                    clock.received(came, read);
                }
                clock.enter(Phase::Select, read);
                let ja4 = sites
                    .hellos()
                    .saw(&message, &hello, &incoming.listener, &label);
                clock.enter(Phase::Admission, Instant::now());
                let told = say_no(socket);
                Refusal {
                    incoming,
                    hello: &hello,
                    label,
                    ja4,
                    client_flight: u32::try_from(count).unwrap_or(u32::MAX),
                    told: told.is_ok(),
                }
                .report(clock)
            })
        }
        _ => None,
    };
    if report.is_none() {
        incoming.ahead = Some(Ahead {
            accepted: incoming.accepted,
            bytes: bytes.to_vec(),
            came,
            read,
        });
    }
    report
}

/// The ClientHello and its label, if it finds no place.
fn refused(
    message: &[u8],
    incoming: &Incoming,
    sites: &Sites,
    admission: &Admission,
    coming: usize,
) -> Option<(ClientHello, ServerNameLabel)> {
    debug_assert!(incoming.proxy.is_none(), "a PROXY header comes first");
    let hello = ClientHello::parse(message).ok()?;
    // More may be coming, which would make closing destroy the alert.
    if hello.early_data {
        return None;
    }
    let (site, label) = selection::site(&hello, sites);
    let site = site.ok()?;
    let version = selection::version(&hello, site.policy().spec()).ok()?;
    admission
        .refuses(coming, || class_of(&site, version, message))
        .then_some((hello, label))
}

/// The alert waits for the end of the connection and goes out with it: one packet, and the client
/// wakes once.
fn say_no(socket: &impl AsFd) -> io::Result<()> {
    let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
    send(socket, &alert::REFUSAL, flags)?;
    Ok(())
}

/// What is known of a refused handshake.
struct Refusal<'a> {
    incoming: &'a Incoming,
    hello: &'a ClientHello,
    label: ServerNameLabel,
    ja4: Arc<str>,
    client_flight: u32,
    /// The kernel took the alert.
    told: bool,
}

impl Refusal<'_> {
    fn report(self, mut clock: Clock) -> HandshakeReport {
        let (phases, parts, total) = clock.stop(Instant::now());
        let alert = Message {
            direction: Direction::Out,
            name: "Alert",
            bytes: 2,
            at: total,
        };
        HandshakeReport {
            id: self.incoming.id,
            time: self.incoming.time,
            listener: self.incoming.listener.clone(),
            peer: self.incoming.peer,
            proxy: None,
            outcome: Outcome::Failed(diagnosis::overload()),
            version: None,
            kind: None,
            hello_retry: false,
            cipher: None,
            group: None,
            server_name: self.hello.name().map(Into::into),
            server_name_label: self.label,
            alpn: None,
            certificate_type: None,
            resumption: resumption(Some(self.hello), None, None, SessionFacts::default()),
            session_age: None,
            false_start: FalseStart::NotApplicable,
            ja4: Some(self.ja4),
            extra_round_trips: Vec::new(),
            network: Network {
                client_flight: self.client_flight,
                ..Network::default()
            },
            total,
            phases,
            parts,
            messages: if self.told { vec![alert] } else { Vec::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::SystemTime;

    use tokio::io::AsyncWriteExt;
    use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
    use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::super::{accept, fixture, stamp_arrivals};
    use super::*;
    use crate::report::{ConnectionId, FailureClass, HandshakeKind, Peer, PhaseKind};

    /// Both ends of a connection, ours as it is accepted.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        stamp_arrivals(&listener).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        server.set_nonblocking(true).unwrap();
        (client, server)
    }

    fn client(roots: RootCertStore) -> (ClientConnection, Vec<u8>) {
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        (client, hello)
    }

    fn incoming() -> Incoming {
        Incoming {
            id: ConnectionId(1),
            time: SystemTime::now(),
            accepted: Instant::now(),
            listener: "test".into(),
            peer: Peer::Unix,
            proxy: None,
            ahead: None,
        }
    }

    #[test]
    fn who_finds_no_place_is_told_and_reported() {
        let (sites, roots) = fixture::trusted_sites(|_| {});
        let admission = Admission::new(1, 1);
        let _slot = admission.try_slot().unwrap();
        let (mut theirs, ours) = pair();
        let mut incoming = incoming();
        let look = |incoming: &mut Incoming| turn_away(&ours, incoming, &sites, &admission, 0);
        assert!(look(&mut incoming).is_none(), "it has said nothing");
        assert!(incoming.ahead.is_none());
        let (_, hello) = client(roots);
        theirs.write_all(&hello).unwrap();
        let report = look(&mut incoming).unwrap();
        assert!(incoming.ahead.is_none());
        drop(ours);
        let mut answer = Vec::new();
        theirs.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, alert::REFUSAL);

        let Outcome::Failed(failure) = &report.outcome else {
            panic!("{report:?}");
        };
        assert_eq!(failure.class, FailureClass::RefusedOverload);
        assert_eq!(failure.phase, Phase::Admission);
        assert_eq!(report.server_name_label.as_str(), "localhost");
        assert_eq!(sites.hellos().census().kinds[0].1, 1);
        assert_eq!(
            report.ja4,
            Some(sites.hellos().census().kinds[0].0.ja4.clone())
        );
        assert_eq!(report.messages.len(), 1, "{report:?}");
        assert_eq!(
            usize::try_from(report.network.client_flight),
            Ok(hello.len())
        );
        assert_eq!(u128::from(report.phases.sum()), report.total.as_nanos());
    }

    #[test]
    fn those_who_are_on_their_way_count() {
        let (sites, roots) = fixture::trusted_sites(|_| {});
        let admission = Admission::new(1, 2);
        let _slot = admission.try_slot().unwrap();
        for (coming, refused) in [(0, false), (1, true)] {
            let (mut theirs, ours) = pair();
            theirs.write_all(&client(roots.clone()).1).unwrap();
            let report = turn_away(&ours, &mut incoming(), &sites, &admission, coming);
            assert_eq!(report.is_some(), refused, "{coming}");
        }
    }

    #[tokio::test]
    async fn who_finds_a_place_takes_along_what_was_read() {
        let (sites, roots) = fixture::trusted_sites(|_| {});
        let admission = Admission::new(1, 1);
        let metrics = crate::telemetry::Metrics::default().listener("test");
        for whole in [true, false] {
            let (mut theirs, ours) = pair();
            let (mut client, hello) = client(roots.clone());
            let first = if whole { hello.len() } else { hello.len() / 2 };
            theirs.write_all(&hello[..first]).unwrap();
            let mut incoming = incoming();
            let report = turn_away(&ours, &mut incoming, &sites, &admission, 0);
            assert!(report.is_none(), "{report:?}");
            assert_eq!(incoming.ahead.as_ref().unwrap().bytes, hello[..first]);
            let client = tokio::task::spawn_blocking(move || {
                theirs.write_all(&hello[first..]).unwrap();
                client.complete_io(&mut theirs).unwrap();
                let mut text = String::new();
                let mut stream = tokio_rustls::rustls::Stream::new(&mut client, &mut theirs);
                stream.read_to_string(&mut text).unwrap();
                text
            });
            let ours = tokio::net::TcpStream::from_std(ours).unwrap();
            let established = accept(ours, &incoming, &sites, &metrics, &admission).await;
            let mut established = established.map_err(|refused| refused.report).unwrap();
            established.stream.write_all(b"hello").await.unwrap();
            established.stream.shutdown().await.unwrap();
            assert_eq!(client.await.unwrap(), "hello");
            let report = established.report;
            assert_eq!(report.kind, Some(HandshakeKind::Full));
            assert_eq!(u128::from(report.phases.sum()), report.total.as_nanos());
            // From the reading to the task is ours.
            assert!(report.phases.nanos(Phase::ReadQueue) > 0, "{report:?}");
            assert_eq!(Phase::ReadQueue.kind(), PhaseKind::Queue);
            let waited = report.phases.nanos(Phase::ClientHelloRead) > 0;
            assert!(whole || waited, "{report:?}");
        }
    }
}
