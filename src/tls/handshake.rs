//! The handshake driver: from an accepted stream to a TLS stream and a report.
//!
//! The ClientHello is read to its last byte and judged by our own parser; then rustls does the
//! handshake over [`RecordIo`], which keeps the time. Every way out makes a report.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::io::AsyncWriteExt;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{FallibleAccept, LazyConfigAcceptor, StartHandshake};

use super::admission::{self, Admission, Class, Overload, Slot};
use super::alert;
use super::diagnosis;
use super::door::Ahead;
use super::facts::{Facts, TELLING_RTT};
use super::first_flight::Assembly;
use super::first_flight::{FirstFlight, looks_like_http};
use super::hello::ClientHello;
use super::offer::Offer;
use super::policy::TlsPolicy;
use super::record::{EarlyData, Readmission, RecordIo, Sequel};
use super::remedy::Ailment;
use super::selection;
use super::sites::{Site, Sites};
use super::streaming::FirstRequest;
use super::transport::Transport;
use crate::config::{Alpn, FalseStartMode};
use crate::deadline::Deadline;
use crate::proxy_protocol::ProxyHeader;
use crate::report::{
    Confidence, ConnectionId, ExtraRoundTrip, FailureClass, FalseStart, HandshakeKind,
    HandshakeReport, Outcome, Peer, Phase, ProtocolVersion,
};
use crate::telemetry::ListenerMetrics;

/// A connection as it was accepted.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Its number.
    pub id: ConnectionId,
    /// When it was accepted, for people.
    pub time: SystemTime,
    /// When it was accepted, for the clock.
    pub accepted: Instant,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The other end, or the client that a PROXY header gives.
    pub peer: Peer,
    /// The PROXY header, where one is required.
    pub proxy: Option<Proxied>,
    /// What was read of it already.
    pub ahead: Option<Ahead>,
}

/// That a connection begins with a PROXY header.
#[derive(Clone, Copy, Debug)]
pub struct Proxied {
    /// Who sends it.
    pub sender: Peer,
    /// Since when it is waited for.
    pub since: Instant,
}

/// A complete handshake.
#[derive(Debug)]
pub struct Established<S> {
    /// The stream to read requests from. Boxed: it is handed on often, and large.
    pub stream: Box<TlsStream<RecordIo<S>>>,
    /// What was negotiated with ALPN; `None` when nothing was.
    pub alpn: Option<Alpn>,
    /// The policy that it was made under.
    pub policy: Arc<TlsPolicy>,
    /// The certificate that the client showed, verified.
    pub client_certificate: Option<CertificateDer<'static>>,
    /// Everything known of the handshake.
    pub report: Arc<HandshakeReport>,
}

/// A handshake that failed, or a probe.
#[derive(Debug)]
pub struct Refused<S> {
    /// Everything known of the handshake.
    pub report: HandshakeReport,
    /// The stream, where something was written that the client should have time to read: closing
    /// at once could destroy it with an RST.
    pub linger: Option<S>,
    /// What [`super::prescribe`] wants to know, once the client has its alert; `None` for probes
    /// and where no ClientHello was decoded.
    pub ailment: Option<Ailment>,
}

/// What rustls encrypts ahead of the kernel: two records. More of it costs memory for each client
/// that takes nothing, and leaves the processor's cache before it is sent.
const UNSENT: usize = 32 * 1024;

/// The longest that is waited for what may be False Start, whatever the client's network claims.
const LONGEST_RTT: Duration = Duration::from_secs(1);

/// Answer to HTTP on the TLS port.
const PLAIN_HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 58\r\nConnection: close\r\n\r\n\
    This port speaks HTTPS, and the request came without TLS.\n";

/// Completes the handshake of a connection, within the policy's `handshake_timeout` from accept.
///
/// # Errors
/// [`Refused`] with the report, for probes too.
pub async fn accept<S>(
    io: S,
    incoming: &Incoming,
    sites: &Sites,
    metrics: &Arc<ListenerMetrics>,
    admission: &Arc<Admission>,
) -> Result<Established<S>, Box<Refused<S>>>
where
    S: Transport,
{
    let at = incoming.accepted + sites.policy().spec().handshake_timeout;
    let deadline = Deadline::new("handshake_timeout", at);
    let mut io = RecordIo::new(io, incoming.accepted, deadline);
    if let (Some(proxied), Some(handshake)) = (incoming.proxy, io.handshake()) {
        handshake.clock.enter(Phase::ProxyHeaderWait, proxied.since);
    }
    if let Some(ahead) = incoming.ahead.clone() {
        io.begin_with(ahead);
    }
    let mut facts = Facts::of(incoming);

    let first = match io.read_client_hello().await {
        Ok(first) => first,
        Err(error) => return Err(facts.broken(io, &error)),
    };
    let message = match first {
        FirstFlight::ClientHello(message) => message,
        FirstFlight::Closed { bytes: 0 } => return Err(facts.refused(io, Outcome::Probe, false)),
        FirstFlight::Closed { .. } => {
            return Err(facts.broken(io, &io::ErrorKind::UnexpectedEof.into()));
        }
        FirstFlight::NotTls(bytes) => return Err(not_tls(&mut facts, io, &bytes).await),
        FirstFlight::WrongRecord(kind) => {
            let text = format!("the first record is of type {kind}, not a handshake record");
            let class = FailureClass::ProtocolViolation;
            let failure = diagnosis::of_first_bytes(class, Some(alert::UNEXPECTED_MESSAGE), text);
            return Err(facts.refuse(io, failure).await);
        }
        FirstFlight::Malformed(what) => {
            let code = Some(alert::DECODE_ERROR);
            let failure = diagnosis::of_first_bytes(FailureClass::Malformed, code, what.into());
            return Err(facts.refuse(io, failure).await);
        }
    };
    let hello = match ClientHello::parse(&message) {
        Ok(hello) => hello,
        Err(error) => return Err(facts.refuse(io, diagnosis::of_hello_error(error)).await),
    };
    let (site, label) = selection::site(&hello, sites);
    let hellos = sites.hellos();
    facts.ja4 = Some(hellos.saw(&message, &hello, &incoming.listener, &label));
    facts.label = label;
    facts.message = message;
    let hello = facts.hello.insert(hello);
    let selected = site.and_then(|site| {
        let version = selection::version(hello, site.policy().spec())?;
        Ok((site, version))
    });
    let (site, version) = match selected {
        Ok(selected) => selected,
        Err(failure) => return Err(facts.refuse(io, failure).await),
    };
    let policy = site.policy().spec();
    if let Some(handshake) = io.handshake() {
        handshake
            .deadline
            .reset(incoming.accepted + policy.handshake_timeout);
        if policy.false_start == FalseStartMode::Refuse {
            handshake.early_data = EarlyData::Refuse;
        }
    }
    let site = facts.site.insert(site);
    // A session is opened once, however often it is asked for.
    let mut known = None;
    let refuses = admission.refuses(0, || {
        *known.get_or_insert_with(|| class_of(site, version, &facts.message))
    });
    if refuses {
        if let Some(handshake) = io.handshake() {
            handshake.clock.enter(Phase::Admission, Instant::now());
        }
        return Err(facts.refuse_overload(io).await);
    }
    // In a box of its own, because it is large: a refusal neither moves nor touches it.
    Box::pin(compute(io, facts, (version, known), metrics, admission)).await
}

/// The handshake from the ClientHello on, which rustls now reads as well. Its version is known, and
/// its class where that was asked for.
async fn compute<S>(
    io: RecordIo<S>,
    mut facts: Facts<'_>,
    (version, known): (ProtocolVersion, Option<Class>),
    metrics: &Arc<ListenerMetrics>,
    admission: &Arc<Admission>,
) -> Result<Established<S>, Box<Refused<S>>>
where
    S: Transport,
{
    let site = facts
        .site
        .clone()
        .expect("the site is chosen before anything is computed");
    let (slot, accept) = begin(io, &mut facts, &site, (version, known), admission).await?;
    // Where it is polled it is complete: the stream goes into its box from there.
    let established = pin!(async { accept.await.map(Box::new) });
    match admission::drive(slot, established).await {
        Ok(mut stream) => {
            if let Err(error) = verify_resumed(&mut stream, &site) {
                return Err(Box::pin(facts.refuse_resumed(stream, error)).await);
            }
            let (io, connection) = stream.get_mut();
            let presented = connection.peer_certificates().and_then(<[_]>::first);
            let client_certificate = presented.map(|leaf| leaf.clone().into_owned());
            if let Some(handshake) = io.handshake() {
                handshake.transcript.name_client_flight(presented.is_some());
            }
            let alpn = match connection.alpn_protocol() {
                Some(b"h2") => Some(Alpn::H2),
                Some(_) => Some(Alpn::Http11),
                None => None,
            };
            let mut report = Arc::new(facts.report(io, Some(connection), alpn, |_| Outcome::Ok));
            let first = FirstRequest {
                since: Instant::now(),
                kind: report.kind.unwrap_or(HandshakeKind::Full),
                metrics: metrics.clone(),
            };
            connection.set_buffer_limit(Some(UNSENT));
            if connection.wants_read() {
                if watch_for_false_start(io, &mut report).await == Sequel::Other {
                    first.came(first.since.elapsed());
                    io.finish(None);
                } else {
                    io.finish(Some(first));
                }
            } else {
                // rustls holds plaintext already: it came with the client's last flight.
                first.came(Duration::ZERO);
                io.finish(None);
            }
            Ok(Established {
                stream,
                alpn,
                policy: site.policy().clone(),
                client_certificate,
                report,
            })
        }
        Err((error, mut io)) => {
            let refused = io
                .handshake()
                .is_some_and(|handshake| handshake.early_data == EarlyData::Refused);
            if refused {
                // Nothing of ours is encrypted yet, so neither is the alert.
                return Err(facts.refuse(io, diagnosis::false_start()).await);
            }
            if is_overload(&error) {
                return Err(facts.refuse_overload(io).await);
            }
            Err(facts.broken(io, &error))
        }
    }
}

/// What is done until rustls computes: it reads the ClientHello, which is whole, and a slot is
/// waited for.
async fn begin<S>(
    io: RecordIo<S>,
    facts: &mut Facts<'_>,
    site: &Site,
    (version, known): (ProtocolVersion, Option<Class>),
    admission: &Arc<Admission>,
) -> Result<(Slot, Pin<Box<FallibleAccept<RecordIo<S>>>>), Box<Refused<S>>>
where
    S: Transport,
{
    let mut start = start(io)
        .await
        .map_err(|(io, error)| facts.broken(io, &error))?;
    if let Some(handshake) = start.io.handshake() {
        let takes_tickets = facts
            .hello
            .as_ref()
            .is_some_and(|hello| hello.takes_tickets);
        handshake.clock.client_takes_tickets(takes_tickets);
        let capture = site.policy().key_log().capture_of(facts.incoming.peer);
        handshake.clock.log_keys(capture);
        handshake
            .transcript
            .expect_client_certificate(site.policy().clients().is_some());
    }
    let class = || known.unwrap_or_else(|| class_of(site, version, &facts.message));
    let slot = match slot(&mut start.io, admission, class).await {
        Ok(slot) => slot,
        Err(Unadmitted::Overload) => {
            return Err(facts.refuse_overload(start.io).await);
        }
        Err(Unadmitted::Broken(error)) => return Err(facts.broken(start.io, &error)),
    };
    if let Some(handshake) = start.io.handshake() {
        handshake.begin_server_flight();
    }
    let accept = start.into_stream(site.config(version).clone());
    Ok((slot, Box::pin(accept.into_fallible())))
}

/// Has rustls read the ClientHello of `io`.
async fn start<S: Transport>(
    io: RecordIo<S>,
) -> Result<Box<StartHandshake<RecordIo<S>>>, (RecordIo<S>, io::Error)> {
    let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), io);
    (&mut acceptor).await.map(Box::new).map_err(|error| {
        let io = acceptor
            .take_io()
            .expect("an acceptor gives its stream away only in success");
        (io, error)
    })
}

/// The report of a connection that ended before its ClientHello was waited for, in its PROXY
/// header.
#[must_use]
pub fn never_began<S: Transport>(io: S, incoming: &Incoming, outcome: Outcome) -> HandshakeReport {
    let deadline = Deadline::new("handshake_timeout", incoming.accepted);
    let mut io = RecordIo::new(io, incoming.accepted, deadline);
    if let (Some(proxied), Some(handshake)) = (incoming.proxy, io.handshake()) {
        handshake.clock.enter(Phase::ProxyHeaderWait, proxied.since);
    }
    Facts::of(incoming).report(&mut io, None, None, |_| outcome)
}

/// Whether a client is about to resume a session, genuinely.
pub(super) fn class_of(site: &Site, version: ProtocolVersion, message: &[u8]) -> Class {
    match site.policy().resumes(version, Offer::read(message)) {
        true => Class::Resumption,
        false => Class::Full,
    }
}

/// Where the client can have used False Start without our seeing it before our Finished went:
/// looks whether its data came sooner than an answer can.
async fn watch_for_false_start<S: Transport>(
    io: &mut RecordIo<S>,
    report: &mut Arc<HandshakeReport>,
) -> Sequel {
    let unseen = matches!(
        report.false_start,
        FalseStart::EligibleUnused | FalseStart::Ineligible(_)
    );
    let rtt = report.network.min_rtt.filter(|&rtt| rtt >= TELLING_RTT);
    let Some(rtt) = rtt.filter(|_| unseen) else {
        return Sequel::Nothing;
    };
    let sequel = io.sequel(rtt.min(LONGEST_RTT)).await;
    if sequel == Sequel::TooSoon {
        let report = Arc::make_mut(report);
        report.false_start = FalseStart::Used(Confidence::Probable);
        report
            .extra_round_trips
            .retain(|&reason| reason != ExtraRoundTrip::NoFalseStart);
    }
    sequel
}

/// Why a handshake does not get to computing.
enum Unadmitted {
    /// Too many do or wait already.
    Overload,
    /// The deadline passed, or the client left.
    Broken(io::Error),
}

/// Waits for a crypto slot. Whoever is retried asks again, in the same class.
async fn slot<S: Transport>(
    io: &mut RecordIo<S>,
    admission: &Arc<Admission>,
    class: impl FnOnce() -> Class,
) -> Result<Slot, Unadmitted> {
    let mut asked = Class::Full;
    let place = admission.enter(|| {
        asked = class();
        asked
    });
    if let Some(handshake) = io.handshake() {
        handshake.clock.enter(Phase::Admission, Instant::now());
    }
    let mut place = place.map_err(|Overload| Unadmitted::Overload)?;
    let admitted = poll_fn(|cx| io.poll_admitted(&mut place, cx)).await;
    if let Some(handshake) = io.handshake() {
        let again = Readmission::Ask(admission.clone(), asked, Assembly::default());
        handshake.readmission = again;
    }
    admitted.map_err(|error| match is_overload(&error) {
        true => Unadmitted::Overload,
        false => Unadmitted::Broken(error),
    })
}

fn is_overload(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Overload>())
}

/// Verifies the client certificate that a resumed session brought along.
fn verify_resumed<S>(
    stream: &mut TlsStream<RecordIo<S>>,
    site: &Site,
) -> Result<(), rustls::Error> {
    let Some(clients) = site.policy().clients() else {
        return Ok(());
    };
    let (io, connection) = stream.get_mut();
    if let Some(handshake) = io.handshake() {
        handshake.begin_check();
    }
    clients.verify_resumed(connection)
}

/// Says what the client sent instead of TLS.
async fn not_tls<S>(facts: &mut Facts<'_>, mut io: RecordIo<S>, bytes: &[u8]) -> Box<Refused<S>>
where
    S: Transport,
{
    if ProxyHeader::begins(bytes) == Some(true) {
        let text = "a PROXY header came from a peer that proxy_protocol_from does not name".into();
        let failure = diagnosis::of_first_bytes(FailureClass::ProxyHeader, None, text);
        return facts.refused(io, Outcome::Failed(failure), false);
    }
    if looks_like_http(bytes) {
        let text = "an HTTP request without TLS came to the TLS port".into();
        let failure = diagnosis::of_first_bytes(FailureClass::PlainHttp, None, text);
        let told = io.write_all(PLAIN_HTTP_ANSWER).await.is_ok() && io.flush().await.is_ok();
        return facts.refused(io, Outcome::Failed(failure), told);
    }
    let shown = bytes.get(..bytes.len().min(16)).unwrap_or_default();
    let text = format!("the first bytes are no TLS: \"{}\"", shown.escape_ascii());
    let failure = diagnosis::of_first_bytes(FailureClass::NotTls, None, text);
    facts.refused(io, Outcome::Failed(failure), false)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::crypto::aws_lc_rs::{self, kx_group};
    use tokio_rustls::rustls::pki_types::ServerName as ClientSideName;
    use tokio_rustls::rustls::version::{TLS12, TLS13};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

    use super::*;
    use crate::config::{CipherSuite, Group, Policy, ResumptionMode, TicketKeys};
    use crate::report::{Direction, Failure, Resumption, Side};
    use crate::tls::{TcpFacts, fixture};

    struct Rig {
        sites: Sites,
        roots: RootCertStore,
        metrics: Arc<ListenerMetrics>,
    }

    impl Rig {
        fn new(change: impl FnOnce(&mut Policy)) -> Self {
            let (sites, roots) = fixture::trusted_sites(|policy| {
                let rotated = TicketKeys::rotated(Duration::from_secs(60));
                policy.resumption.mode = ResumptionMode::Tickets(rotated);
                change(policy);
            });
            Self {
                sites,
                roots,
                metrics: crate::telemetry::Metrics::default().listener("test"),
            }
        }

        fn client(&self, version: &'static SupportedProtocolVersion, retry: bool) -> TlsConnector {
            let mut provider = aws_lc_rs::default_provider();
            provider.kx_groups = match retry {
                true => vec![kx_group::SECP384R1, kx_group::X25519],
                false => vec![kx_group::X25519],
            };
            let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(self.roots.clone())
                .with_no_client_auth();
            config.alpn_protocols = vec![b"h2".to_vec()];
            TlsConnector::from(Arc::new(config))
        }

        async fn accept<S: Transport>(&self, io: S) -> Result<HandshakeReport, Box<Refused<S>>> {
            let mut established = accept(
                io,
                &incoming(),
                &self.sites,
                &self.metrics,
                &Admission::new(1, 16),
            )
            .await?;
            established.stream.write_all(b"hello").await.unwrap();
            established.stream.shutdown().await.unwrap();
            Ok(Arc::unwrap_or_clone(established.report))
        }

        /// One handshake; the client reads to the end, so that it has the tickets.
        async fn handshake(&self, client: &TlsConnector, name: &str) -> HandshakeReport {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let name = ClientSideName::try_from(name.to_owned()).unwrap();
            let (report, got) = tokio::join!(self.accept(ours), async {
                let mut stream = client.connect(name, theirs).await.unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).await.map(|_| text)
            });
            assert_eq!(got.unwrap(), "hello");
            report.map_err(|refused| refused.report).unwrap()
        }
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

    fn assert_exact(report: &HandshakeReport) {
        assert_eq!(
            u128::from(report.phases.sum()),
            report.total.as_nanos(),
            "{report:?}"
        );
        let computed: u64 = report
            .phases
            .iter()
            .filter(|(phase, _)| phase.kind() == crate::report::PhaseKind::Cpu)
            .map(|(_, nanos)| nanos)
            .sum();
        assert_eq!(report.parts.sum(), computed, "{report:?}");
    }

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

    #[tokio::test]
    async fn sessions_do_not_leave_their_policy() {
        let (one, other) = (Rig::new(|_| {}), Rig::new(|_| {}));
        let mut roots = one.roots.clone();
        roots.extend(other.roots.roots.iter().cloned());
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
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
    }

    /// What comes from a server until it closes.
    async fn read_all(mut io: DuplexStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    fn hello(client: &TlsConnector) -> rustls::ClientConnection {
        let name = ClientSideName::try_from("localhost").unwrap();
        rustls::ClientConnection::new(client.config().clone(), name).unwrap()
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

    /// A client that sends its ClientHello in pieces may wait for an acknowledgement of the first.
    #[tokio::test]
    async fn a_piece_of_a_hello_is_acknowledged_at_once() {
        let rig = Rig::new(|_| ());
        for (pieces, expected) in [(1, 0), (2, 1), (4, 1)] {
            let mut bytes = Vec::new();
            hello(&rig.client(&TLS13, false))
                .write_tls(&mut bytes)
                .unwrap();
            let piece = bytes.len().div_ceil(pieces);
            // There is no room for the next one before the last is read.
            let (ours, mut theirs) = tokio::io::duplex(piece);
            let io = Far::new(ours, Duration::ZERO);
            let acknowledged = io.acknowledged.clone();
            let incoming = incoming();
            let admission = Admission::new(1, 16);
            let accepted = accept(io, &incoming, &rig.sites, &rig.metrics, &admission);
            let (_, ()) = tokio::join!(accepted, async {
                theirs.write_all(&bytes).await.unwrap();
                // The server's flight is here: the ClientHello was whole.
                theirs.read_exact(&mut [0; 5]).await.unwrap();
                drop(theirs);
            });
            assert_eq!(acknowledged.load(Ordering::Relaxed), expected, "{pieces}");
        }
    }

    /// A pipe that says it is a far connection.
    #[derive(Debug)]
    struct Far {
        io: DuplexStream,
        min_rtt: Duration,
        acknowledged: Arc<AtomicUsize>,
    }

    impl Far {
        fn new(io: DuplexStream, min_rtt: Duration) -> Self {
            Self {
                io,
                min_rtt,
                acknowledged: Arc::default(),
            }
        }
    }

    impl Transport for Far {
        fn acknowledge(&self) {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }

        fn tcp_facts(&self) -> Option<TcpFacts> {
            Some(TcpFacts {
                min_rtt: Some(self.min_rtt),
                ..TcpFacts::default()
            })
        }
    }

    impl AsyncRead for Far {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Far {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.io).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_shutdown(cx)
        }
    }

    /// A request that comes at once after our Finished: too soon for where the client says it is,
    /// or not.
    #[tokio::test]
    async fn data_sooner_than_a_round_trip_is_probably_false_start() {
        const PROBABLE: FalseStart = FalseStart::Used(Confidence::Probable);
        let rig = Rig::new(|_| ());
        for (version, min_rtt, late, expected) in [
            (&TLS12, 5000, 0, PROBABLE),
            (&TLS12, 0, 0, FalseStart::EligibleUnused),
            (&TLS12, 20, 200, FalseStart::EligibleUnused),
            (&TLS13, 5000, 0, FalseStart::NotApplicable),
        ] {
            let (io, theirs) = tokio::io::duplex(1 << 16);
            let min_rtt = Duration::from_millis(min_rtt);
            let client = rig.client(version, false);
            let name = ClientSideName::try_from("localhost").unwrap();
            let admission = Admission::new(1, 16);
            let incoming = incoming();
            let (established, ()) = tokio::join!(
                async {
                    let io = Far::new(io, min_rtt);
                    let accepted = accept(io, &incoming, &rig.sites, &rig.metrics, &admission);
                    let mut established = accepted.await.unwrap();
                    let mut request = [0; 7];
                    established.stream.read_exact(&mut request).await.unwrap();
                    assert_eq!(&request, b"request");
                    established
                },
                async {
                    let mut stream = client.connect(name, theirs).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(late)).await;
                    stream.write_all(b"request").await.unwrap();
                    stream.flush().await.unwrap();
                }
            );
            let report = established.report;
            assert_eq!(report.false_start, expected, "{min_rtt:?}");
            let waited = expected == FalseStart::EligibleUnused;
            assert_eq!(
                report.round_trips(),
                1 + usize::from(waited),
                "{expected:?}"
            );
            assert_eq!(u128::from(report.phases.sum()), report.total.as_nanos());
        }
    }
}
