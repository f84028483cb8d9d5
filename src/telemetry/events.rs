//! Structured events: one line each.

use std::io::Write;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;

use super::client_address;
use super::failure_rate::FailureRate;
use super::line::{self, Printable, Timestamp};
use super::settings::{Settings, Style};
use super::stream::Stream;
use super::writer::LineWriter;
use crate::config::defaults::WHOLE_SAMPLE;
use crate::config::{ClientIp, HandshakeEvents};
use crate::report::{ConnectionId, HandshakeReport, Outcome};

/// What an event is counted with until the log's thread has made its line: about what that has,
/// and what the report takes.
const ABOUT: usize = 2048;

/// The event log.
#[derive(Clone, Debug)]
pub struct EventLog {
    settings: Arc<ArcSwap<Settings>>,
    rate: Arc<FailureRate>,
    writer: LineWriter,
}

#[derive(Serialize)]
struct HandshakeEvent<'a> {
    event: &'static str,
    #[serde(flatten)]
    report: &'a HandshakeReport,
}

impl EventLog {
    pub(super) fn new(settings: Arc<ArcSwap<Settings>>, writer: LineWriter) -> Self {
        Self {
            settings,
            rate: Arc::default(),
            writer,
        }
    }

    /// Emits `tls.handshake` where the configuration asks for it. Never blocks; a full queue drops
    /// the event and counts it. Probes make no event.
    ///
    /// Complete handshakes are sampled by their connection's number, so that the choice needs no
    /// state and is the same wherever it is made. Failed ones are not, but each class has a rate,
    /// past which they are counted only.
    pub fn handshake(&self, report: &Arc<HandshakeReport>) {
        let settings = self.settings.load();
        let wanted = &settings.handshake;
        match (&report.outcome, wanted.events) {
            (Outcome::Ok, HandshakeEvents::All) if in_sample(report.id, wanted.sample) => {}
            (Outcome::Failed(failure), HandshakeEvents::Failures | HandshakeEvents::All) => {
                if !self.rate.admits(failure.class, wanted.failures_per_second) {
                    self.writer.past_rate();
                    return;
                }
            }
            _ => return,
        }
        let (style, client_ip) = (settings.style, wanted.client_ip);
        let report = report.clone();
        self.writer
            .line_later(Stream::Handshake, ABOUT, move |line| match client_ip {
                ClientIp::Full => write(line, style, &report),
                ClientIp::Truncate => {
                    let truncated = HandshakeReport {
                        peer: client_address::peer(report.peer, client_ip),
                        ..HandshakeReport::clone(&report)
                    };
                    write(line, style, &truncated);
                }
            });
    }
}

fn write(line: &mut Vec<u8>, style: Style, report: &HandshakeReport) {
    match style {
        Style::Json => line::json(
            line,
            &HandshakeEvent {
                event: "tls.handshake",
                report,
            },
        ),
        // Writing to memory does not fail.
        Style::Human { .. } => drop(human(line, report)),
    }
}

/// Whether a connection is in the sample of so many millionths.
fn in_sample(id: ConnectionId, millionths: u32) -> bool {
    // The finalizer of SplitMix64: numbers that follow each other are spread evenly.
    let mut hash = id.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    hash % u64::from(WHOLE_SAMPLE) < u64::from(millionths)
}

/// `TIME handshake ok https 192.0.2.1:5000 example.com 1.3 full 1.234 ms …`
fn human(line: &mut Vec<u8>, report: &HandshakeReport) -> std::io::Result<()> {
    let outcome = match report.outcome {
        Outcome::Ok => "ok",
        Outcome::Failed(_) => "FAILED",
        Outcome::Probe => "probe",
    };
    write!(
        line,
        "{} handshake {outcome} {} {} {}",
        Timestamp(report.time),
        report.listener,
        report.peer,
        Printable(report.server_name.as_deref().unwrap_or("-")),
    )?;
    let facts = [
        report.version.map(|version| version.name()),
        report.kind.map(|kind| kind.name()),
        report.hello_retry.then_some("hello_retry"),
        report.cipher,
        report.group,
        report.alpn,
    ];
    for fact in facts.into_iter().flatten() {
        write!(line, " {fact}")?;
    }
    write!(line, " {:.3} ms", report.total.as_secs_f64() * 1e3)?;
    let slowest = report.phases.iter().max_by_key(|&(_, nanos)| nanos);
    match (&report.outcome, slowest) {
        (Outcome::Failed(failure), _) => write!(
            line,
            " {} in {} by {}: {}",
            failure.class,
            failure.phase.name(),
            failure.side.name(),
            Printable(&failure.diagnosis),
        ),
        (_, Some((phase, nanos))) if nanos > 0 => {
            let share = nanos.saturating_mul(100) / report.phases.sum().max(1);
            write!(line, " ({share}% {})", phase.name())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::sample;
    use super::super::stream::Dropped;
    use super::*;
    use crate::config::HandshakeLog;
    use crate::config::defaults::LOG;

    fn log(style: Style, events: HandshakeEvents) -> EventLog {
        let handshake = HandshakeLog {
            events,
            sample: WHOLE_SAMPLE,
            ..LOG.handshake
        };
        log_with(style, handshake, Arc::default())
    }

    fn log_with(style: Style, handshake: HandshakeLog, dropped: Arc<Dropped>) -> EventLog {
        let settings = Settings {
            style,
            access: LOG.access,
            handshake,
        };
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        EventLog::new(settings, LineWriter::unattended(dropped))
    }

    #[test]
    fn a_sample_has_its_share_and_every_failure() {
        let handshake = HandshakeLog {
            events: HandshakeEvents::All,
            sample: WHOLE_SAMPLE / 10,
            failures_per_second: None,
            ..LOG.handshake
        };
        let log = log_with(Style::Json, handshake, Arc::default());
        for id in 0..1000 {
            log.handshake(&Arc::new(HandshakeReport {
                id: ConnectionId(id | 0x1234 << 40),
                messages: Vec::new(),
                ..sample::complete()
            }));
        }
        let complete = log.writer.take_lines().len();
        assert!((70..130).contains(&complete), "{complete}");
        for _ in 0..200 {
            log.handshake(&Arc::new(sample::failed()));
        }
        assert_eq!(log.writer.take_lines().len(), 200);
        assert!(in_sample(ConnectionId(7), WHOLE_SAMPLE));
        assert!((0..1000).all(|id| !in_sample(ConnectionId(id), 0)));
    }

    #[test]
    fn past_the_rate_of_a_class_failures_are_counted() {
        let handshake = HandshakeLog {
            failures_per_second: Some(3),
            ..LOG.handshake
        };
        let dropped = Arc::new(Dropped::default());
        let log = log_with(Style::Json, handshake, dropped.clone());
        for _ in 0..50 {
            log.handshake(&Arc::new(sample::failed()));
        }
        let lines = log.writer.take_lines().len();
        // A second may have passed.
        assert!((3..=6).contains(&lines), "{lines}");
        let counted: u64 = dropped.iter().map(|(.., count)| count).sum();
        assert_eq!(counted, 50 - lines as u64);
    }

    #[test]
    fn addresses_are_cut_where_that_is_asked_for() {
        let handshake = HandshakeLog {
            client_ip: ClientIp::Truncate,
            ..LOG.handshake
        };
        for style in [Style::Json, Style::Human { colours: false }] {
            let log = log_with(style, handshake, Arc::default());
            log.handshake(&Arc::new(sample::failed()));
            let line = &log.writer.take_lines()[0];
            assert!(line.contains("192.0.2.0:0"), "{line}");
            assert!(!line.contains("192.0.2.1"), "{line}");
        }
    }

    #[test]
    fn an_event_is_the_report_with_its_name_first() {
        let log = log(Style::Json, HandshakeEvents::All);
        let report = Arc::new(sample::failed());
        log.handshake(&report);
        let lines = log.writer.take_lines();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("{\"event\":\"tls.handshake\",\"id\":\""));
        let mut event: Value = serde_json::from_str(&lines[0]).unwrap();
        event.as_object_mut().unwrap().remove("event");
        assert_eq!(event, serde_json::to_value(&*report).unwrap());
    }

    #[test]
    fn only_wanted_handshakes_make_events() {
        let probe = HandshakeReport {
            outcome: Outcome::Probe,
            ..sample::complete()
        };
        for (wanted, count) in [
            (HandshakeEvents::All, 2),
            (HandshakeEvents::Failures, 1),
            (HandshakeEvents::Off, 0),
        ] {
            let log = log(Style::Json, wanted);
            log.handshake(&Arc::new(sample::complete()));
            log.handshake(&Arc::new(sample::failed()));
            log.handshake(&Arc::new(probe.clone()));
            assert_eq!(log.writer.take_lines().len(), count, "{wanted:?}");
        }
    }

    #[test]
    fn a_person_reads_one_line() {
        let log = log(Style::Human { colours: false }, HandshakeEvents::All);
        let mut failed = sample::failed();
        failed.server_name = Some("a\nb\u{1b}".into());
        log.handshake(&Arc::new(sample::complete()));
        log.handshake(&Arc::new(failed));
        let lines = log.writer.take_lines();
        assert_eq!(
            lines,
            [
                "2026-11-23T04:10:45Z handshake ok https 192.0.2.1:5000 www.example.com 1.3 full \
                 TLS13_AES_128_GCM_SHA256 X25519 h2 1.500 ms (80% client_flight_wait)",
                "2026-11-23T04:10:45Z handshake FAILED https 192.0.2.1:5000 a\\nb\\u{1b} 0.700 ms \
                 no_shared_version in select by server: the client offers \"1.1\" at most",
            ]
        );
    }
}
