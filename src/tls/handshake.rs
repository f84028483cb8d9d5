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
use super::facts::Facts;
use super::false_start::{EarlyData, Sequel, watch_for_false_start};
use super::first_flight::{Assembly, FirstFlight, looks_like_http};
use super::hello::ClientHello;
use super::offer::Offer;
use super::policy::TlsPolicy;
use super::record::RecordIo;
use super::remedy::Ailment;
use super::selection;
use super::sites::{Site, Sites};
use super::slot_wait::Readmission;
use super::streaming::FirstRequest;
use super::transport::Transport;
use crate::config::{Alpn, FalseStartMode};
use crate::deadline::Deadline;
use crate::proxy_protocol::ProxyHeader;
use crate::report::{
    ConnectionId, FailureClass, HandshakeKind, HandshakeReport, Outcome, Peer, Phase,
    ProtocolVersion,
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
        FirstFlight::LongRecord => {
            let text = "a record longer than TLS allows".into();
            let (class, code) = (FailureClass::Malformed, Some(alert::RECORD_OVERFLOW));
            let failure = diagnosis::of_first_bytes(class, code, text);
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
