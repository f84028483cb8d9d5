//! Structured events: one line each.

use std::io::Write;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;

use super::line::{self, Printable, Timestamp};
use super::settings::{Settings, Style};
use super::stream::Stream;
use super::writer::LineWriter;
use crate::config::HandshakeEvents;
use crate::report::{HandshakeReport, Outcome};

/// The event log.
#[derive(Clone, Debug)]
pub struct EventLog {
    settings: Arc<ArcSwap<Settings>>,
    writer: LineWriter,
}

#[derive(Serialize)]
struct HandshakeEvent<'a> {
    event: &'static str,
    #[serde(flatten)]
    report: &'a HandshakeReport,
}

impl EventLog {
    pub(super) const fn new(settings: Arc<ArcSwap<Settings>>, writer: LineWriter) -> Self {
        Self { settings, writer }
    }

    /// Emits `tls.handshake` where the configuration asks for it. Never blocks; a full queue drops
    /// the event and counts it. Probes make no event.
    pub fn handshake(&self, report: &HandshakeReport) {
        let settings = self.settings.load();
        let wanted = match (&report.outcome, settings.handshakes) {
            (Outcome::Probe, _) | (_, HandshakeEvents::Off) => false,
            (Outcome::Ok, HandshakeEvents::Failures) => false,
            (Outcome::Failed(_), HandshakeEvents::Failures) | (_, HandshakeEvents::All) => true,
        };
        if !wanted {
            return;
        }
        self.writer
            .line(Stream::Handshake, |line| match settings.style {
                Style::Json => line::json(
                    line,
                    &HandshakeEvent {
                        event: "tls.handshake",
                        report,
                    },
                ),
                // Writing to memory does not fail.
                Style::Human { .. } => drop(human(line, report)),
            });
    }
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
    use super::*;

    fn log(style: Style, handshakes: HandshakeEvents) -> EventLog {
        let settings = Settings {
            style,
            access: true,
            handshakes,
        };
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        EventLog::new(settings, LineWriter::unattended(Arc::default()))
    }

    #[test]
    fn an_event_is_the_report_with_its_name_first() {
        let log = log(Style::Json, HandshakeEvents::All);
        let report = sample::failed();
        log.handshake(&report);
        let lines = log.writer.take_lines();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("{\"event\":\"tls.handshake\",\"id\":\""));
        let mut event: Value = serde_json::from_str(&lines[0]).unwrap();
        event.as_object_mut().unwrap().remove("event");
        assert_eq!(event, serde_json::to_value(&report).unwrap());
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
            log.handshake(&sample::complete());
            log.handshake(&sample::failed());
            log.handshake(&probe);
            assert_eq!(log.writer.take_lines().len(), count, "{wanted:?}");
        }
    }

    #[test]
    fn a_person_reads_one_line() {
        let log = log(Style::Human { colours: false }, HandshakeEvents::All);
        let mut failed = sample::failed();
        failed.server_name = Some("a\nb\u{1b}".into());
        log.handshake(&sample::complete());
        log.handshake(&failed);
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
