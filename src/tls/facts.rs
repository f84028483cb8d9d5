//! What is known of a handshake on its way, and the report that it becomes.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio_rustls::rustls::{self, ServerConnection};
use tokio_rustls::server::TlsStream;

use super::alert;
use super::diagnosis::{self, Scene};
use super::false_start::EarlyData;
use super::handshake::{Incoming, Refused};
use super::hello::ClientHello;
use super::record::RecordIo;
use super::remedy::Ailment;
use super::sites::Site;
use super::transport::Transport;
use super::work::{SessionFacts, Verdict};
use crate::config::{Alpn, CipherSuite, Group};
use crate::report::{
    Confidence, Direction, ExtraRoundTrip, Failure, FailureClass, FalseStart, HandshakeKind,
    HandshakeReport, Ineligible, Message, Network, Outcome, Phase, ProtocolVersion, Resumption,
    ServerNameLabel, Side,
};

/// What is known so far.
pub(super) struct Facts<'a> {
    pub(super) incoming: &'a Incoming,
    /// The ClientHello with its handshake header; empty until it has decoded.
    pub(super) message: Vec<u8>,
    pub(super) hello: Option<ClientHello>,
    pub(super) ja4: Option<Arc<str>>,
    pub(super) site: Option<Arc<Site>>,
    pub(super) label: ServerNameLabel,
}

impl<'a> Facts<'a> {
    pub(super) const fn of(incoming: &'a Incoming) -> Self {
        Self {
            incoming,
            message: Vec::new(),
            hello: None,
            ja4: None,
            site: None,
            label: ServerNameLabel::None,
        }
    }

    /// The stream or rustls failed.
    pub(super) fn broken<S: Transport>(
        &mut self,
        io: RecordIo<S>,
        error: &io::Error,
    ) -> Box<Refused<S>> {
        let mut io = io;
        let wrote = io
            .handshake()
            .is_some_and(|handshake| handshake.transcript.wrote());
        let silent = io
            .handshake()
            .is_some_and(|handshake| handshake.nothing_came());
        if silent {
            return self.refused(io, Outcome::Probe, false);
        }
        let linger = wrote && error.kind() == io::ErrorKind::InvalidData;
        let report = self.report(&mut io, None, None, |scene| {
            Outcome::Failed(diagnosis::of_error(error, scene))
        });
        Box::new(Refused {
            report,
            linger: linger.then(|| io.into_inner()),
            ailment: self.ailment(),
        })
    }

    /// We refuse, with the alert of `failure`.
    pub(super) async fn refuse<S>(
        &mut self,
        mut io: RecordIo<S>,
        failure: Failure,
    ) -> Box<Refused<S>>
    where
        S: Transport,
    {
        let mut told = false;
        if let Some(code) = failure.alert {
            // The deadline still holds; a client that cannot be told is not told.
            told = io.write_all(&alert::fatal(code)).await.is_ok() && io.flush().await.is_ok();
        }
        self.refused(io, Outcome::Failed(failure), told)
    }

    /// There are too many, and refusing must cost little: a client that waits for our answer sends
    /// nothing that would make closing at once destroy the alert. So both go out together.
    pub(super) async fn refuse_overload<S>(&mut self, mut io: RecordIo<S>) -> Box<Refused<S>>
    where
        S: Transport,
    {
        let waits = self.hello.as_ref().is_some_and(|hello| !hello.early_data);
        if waits {
            io.end();
        }
        let mut refused = self.refuse(io, diagnosis::overload()).await;
        if waits {
            refused.linger = None;
        }
        refused
    }

    /// rustls has resumed a session whose certificate is not accepted any more.
    pub(super) async fn refuse_resumed<S>(
        &mut self,
        mut stream: Box<TlsStream<RecordIo<S>>>,
        error: rustls::Error,
    ) -> Box<Refused<S>>
    where
        S: Transport,
    {
        let error = io::Error::new(io::ErrorKind::InvalidData, error);
        let (io, connection) = stream.get_mut();
        let report = self.report(io, Some(connection), None, |scene| {
            let mut failure = diagnosis::of_error(&error, scene);
            // Once its handshake is done, rustls has no alert to send but close_notify.
            failure.alert = None;
            Outcome::Failed(failure)
        });
        let told = stream.shutdown().await.is_ok();
        let (io, _) = stream.into_inner();
        Box::new(Refused {
            report,
            linger: told.then(|| io.into_inner()),
            ailment: self.ailment(),
        })
    }

    pub(super) fn refused<S: Transport>(
        &mut self,
        mut io: RecordIo<S>,
        outcome: Outcome,
        linger: bool,
    ) -> Box<Refused<S>> {
        let report = self.report(&mut io, None, None, |_| outcome);
        Box::new(Refused {
            report,
            linger: linger.then(|| io.into_inner()),
            ailment: self.ailment(),
        })
    }

    /// The ClientHello, now that the report is made.
    fn ailment(&mut self) -> Option<Ailment> {
        let hello = self.hello.take()?;
        let message = std::mem::take(&mut self.message);
        Some(Ailment { message, hello })
    }

    /// Why no application protocol was negotiated, without which most clients do not start early.
    fn ineligible(&self) -> Ineligible {
        let offered = self
            .hello
            .as_ref()
            .is_some_and(|hello| hello.alpn.is_some());
        let policy = self.site.as_ref().map(|site| site.policy().spec());
        if !offered {
            Ineligible::NoAlpn
        } else if policy.is_some_and(|policy| policy.alpn.is_empty()) {
            Ineligible::AlpnOff
        } else {
            Ineligible::Discouraged
        }
    }

    pub(super) fn report<S: Transport>(
        &self,
        io: &mut RecordIo<S>,
        connection: Option<&ServerConnection>,
        alpn: Option<Alpn>,
        outcome: impl FnOnce(&Scene<'_>) -> Outcome,
    ) -> HandshakeReport {
        let facts = io.get_ref().tcp_facts().unwrap_or_default();
        let handshake = io
            .handshake()
            .expect("a handshake ends once: it is reported before that");
        let flights = handshake.flights;
        if connection.is_some() {
            handshake.end_client_flight();
        }
        let now = Instant::now();
        let phase = handshake.clock.phase();
        let (phases, parts, total) = handshake.clock.stop(now);
        let sessions = handshake.clock.sessions();
        let certificate_type = handshake.clock.signed();
        let early_data = handshake.early_data;
        let transcript = &mut handshake.transcript;
        let server = transcript.server();
        let outcome = outcome(&Scene {
            phase,
            hello: self.hello.as_ref(),
            site: self.site.as_deref(),
            alert_received: transcript.alert_received(),
            alert_sent: transcript.alert_sent(),
            elapsed: total,
        });
        let mut messages = transcript.take_messages();
        if let Outcome::Failed(failure) = &outcome {
            name_encrypted_alerts(&mut messages, failure);
        }
        let kind = match connection.and_then(|connection| connection.handshake_kind()) {
            Some(rustls::HandshakeKind::Resumed) => Some(HandshakeKind::Resumed),
            Some(_) if server.resumed => Some(HandshakeKind::Resumed),
            Some(_) => Some(HandshakeKind::Full),
            None if server.resumed => Some(HandshakeKind::Resumed),
            None => None,
        };
        let false_start = match (early_data, server.version, kind) {
            (EarlyData::Accepted | EarlyData::Refused, ..) => {
                FalseStart::Used(Confidence::Definite)
            }
            (_, Some(ProtocolVersion::Tls12), Some(HandshakeKind::Full)) => match alpn {
                Some(_) => FalseStart::EligibleUnused,
                None => FalseStart::Ineligible(self.ineligible()),
            },
            _ => FalseStart::NotApplicable,
        };
        HandshakeReport {
            id: self.incoming.id,
            time: self.incoming.time,
            listener: self.incoming.listener.clone(),
            peer: self.incoming.peer,
            proxy: self.incoming.proxy.map(|proxied| proxied.sender),
            outcome,
            version: server.version,
            kind,
            hello_retry: server.hello_retry,
            cipher: server
                .cipher_suite
                .and_then(CipherSuite::by_code)
                .map(|suite| suite.name),
            group: server
                .group
                .and_then(Group::by_code)
                .map(|group| group.name),
            server_name: self
                .hello
                .as_ref()
                .and_then(ClientHello::name)
                .map(Into::into),
            server_name_label: self.label.clone(),
            alpn: alpn.map(Alpn::name),
            certificate_type,
            resumption: resumption(self.hello.as_ref(), server.version, kind, sessions),
            session_age: sessions
                .age
                .filter(|_| kind == Some(HandshakeKind::Resumed)),
            false_start,
            ja4: self.ja4.clone(),
            extra_round_trips: extra_round_trips(&RoundTrips {
                hello_retry: server.hello_retry,
                waits_for_finished: server.version == Some(ProtocolVersion::Tls12)
                    && kind == Some(HandshakeKind::Full)
                    && !matches!(false_start, FalseStart::Used(_)),
                beyond_window: flights.window_round_trips,
                inside_client_flight: Duration::from_nanos(phases.nanos(Phase::ClientFlightRead)),
                min_rtt: facts.min_rtt,
            }),
            network: Network {
                rtt: facts.rtt,
                min_rtt: facts.min_rtt,
                segment_size: Some(facts.segment_size).filter(|&size| size > 0),
                client_flight: flights.client,
                server_flight: flights.server,
            },
            total,
            phases,
            parts,
            messages,
        }
    }
}

/// An encrypted alert looks like any other record; the failure tells that it was one, and which
/// (RFC 8446 section 5.2: inner content of two bytes, its type, and the tag).
fn name_encrypted_alerts(messages: &mut [Message], failure: &Failure) {
    const ENCRYPTED_ALERT: u32 = 5 + 2 + 1 + 16;
    let last = |messages: &mut [Message], direction, name| {
        let message = messages
            .iter_mut()
            .rev()
            .find(|message| message.direction == direction);
        if let Some(message) = message
            && message.bytes == ENCRYPTED_ALERT
        {
            message.name = name;
        }
    };
    last(messages, Direction::Out, "Alert");
    match (failure.side, failure.class) {
        (Side::Client, _) => last(messages, Direction::In, "Alert"),
        (_, FailureClass::DecryptError) => {
            let bad = messages
                .iter_mut()
                .rev()
                .find(|message| message.direction == Direction::In);
            if let Some(message) = bad {
                message.name = "(undecryptable)";
            }
        }
        _ => {}
    }
}

/// What became of the client's offer to resume, from the offer and from what was looked up.
pub(super) fn resumption(
    hello: Option<&ClientHello>,
    version: Option<ProtocolVersion>,
    kind: Option<HandshakeKind>,
    sessions: SessionFacts,
) -> Resumption {
    if kind == Some(HandshakeKind::Resumed) {
        return Resumption::Hit;
    }
    let offered = hello.is_some_and(|hello| match version {
        Some(ProtocolVersion::Tls13) => hello.pre_shared_key,
        // A client that offers TLS 1.3 sends a random session ID for middleboxes.
        _ => hello.ticket || (!hello.session_id.is_empty() && hello.supported_versions.is_none()),
    });
    match sessions.verdict {
        Some(Verdict::Opened) => Resumption::Rejected,
        Some(Verdict::Expired) => Resumption::Expired,
        Some(Verdict::Scope) => Resumption::Scope,
        Some(Verdict::Corrupt) => Resumption::Corrupt,
        Some(Verdict::UnknownKey) => Resumption::UnknownKey,
        Some(Verdict::CacheMiss) | None if offered => Resumption::CacheMiss,
        Some(Verdict::CacheMiss) | None => Resumption::NotOffered,
    }
}

/// What makes a handshake take more round trips than one.
struct RoundTrips {
    hello_retry: bool,
    waits_for_finished: bool,
    beyond_window: u8,
    inside_client_flight: Duration,
    min_rtt: Option<Duration>,
}

/// Shorter round trips cannot be told from a client, or a kernel, that was busy.
pub(super) const TELLING_RTT: Duration = Duration::from_millis(1);

/// One reason for each round trip beyond the first, until the client could send its request.
fn extra_round_trips(seen: &RoundTrips) -> Vec<ExtraRoundTrip> {
    let split = seen
        .min_rtt
        .is_some_and(|rtt| rtt >= TELLING_RTT && seen.inside_client_flight >= rtt);
    [
        (ExtraRoundTrip::Retry, u8::from(seen.hello_retry)),
        (
            ExtraRoundTrip::NoFalseStart,
            u8::from(seen.waits_for_finished),
        ),
        (ExtraRoundTrip::CongestionWindow, seen.beyond_window),
        (ExtraRoundTrip::SplitFlight, u8::from(split)),
    ]
    .into_iter()
    .flat_map(|(reason, count)| std::iter::repeat_n(reason, count.into()))
    .collect()
}
