//! The one handle that the rest of the program reports to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::access_log::AccessLog;
use super::composition::Compositions;
use super::events::EventLog;
use super::history::{History, Window};
use super::listener_metrics::ListenerMetrics;
use super::metrics::Metrics;
use super::ring::HandshakeRing;
use super::settings::Settings;
use super::tracing::{self, DaemonLog};
use super::writer::{LineWriter, Output};
use crate::config::{HandshakeEvents, HandshakeLog, Log, LogLevel, LogTarget, defaults};
use crate::report::HandshakeReport;

/// Everything that reports go to; cheap to clone.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// Structured events.
    pub events: EventLog,
    /// One line per request.
    pub access: AccessLog,
    /// Recent handshakes for the admin API.
    pub ring: Arc<HandshakeRing>,
    history: Arc<History>,
}

/// Keeps the log going. Dropping it writes what waits, for two seconds at most, and closes it.
#[derive(Debug)]
#[must_use = "dropping it closes the log"]
pub struct TelemetryGuard {
    settings: Arc<ArcSwap<Settings>>,
    writer: LineWriter,
    daemon: Option<DaemonLog>,
}

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file of `log.target` cannot be opened for appending.
    #[error("cannot open the log file {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// No thread to write with.
    #[error("cannot start the thread that writes the log")]
    Thread(#[source] std::io::Error),
}

/// How long closing waits for an output that takes nothing.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

impl Telemetry {
    /// Opens the log and installs the process's `tracing` subscriber; where there is one already,
    /// it stays.
    ///
    /// # Errors
    /// The log's file cannot be opened, or its thread not started.
    pub fn start(log: &Log) -> Result<(Self, TelemetryGuard), LogError> {
        let metrics = Arc::new(Metrics::default());
        let settings = Settings::new(log);
        let writer = LineWriter::start(open(&log.target)?, metrics.dropped.clone())
            .map_err(LogError::Thread)?;
        let daemon = tracing::install(writer.clone(), log.level, settings.style);
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let telemetry = Self::new(metrics, settings.clone(), writer.clone());
        let guard = TelemetryGuard {
            settings,
            writer,
            daemon,
        };
        Ok((telemetry, guard))
    }

    /// Telemetry whose lines nobody writes: they are dropped once their queue is full. Metrics and
    /// the ring work as ever.
    #[must_use]
    pub fn for_tests() -> Self {
        let metrics = Arc::new(Metrics::default());
        let settings = Settings {
            style: super::settings::Style::Json,
            access: defaults::LOG.access,
            handshake: HandshakeLog {
                events: HandshakeEvents::All,
                sample: defaults::WHOLE_SAMPLE,
                ..defaults::LOG.handshake
            },
        };
        let writer = LineWriter::unattended(metrics.dropped.clone());
        Self::new(metrics, Arc::new(ArcSwap::from_pointee(settings)), writer)
    }

    /// Counts a finished handshake, emits its event and keeps it in the ring.
    pub fn handshake(
        &self,
        listener: &ListenerMetrics,
        report: impl Into<Arc<HandshakeReport>>,
    ) -> Arc<HandshakeReport> {
        let report = report.into();
        listener.handshake_finished(&report);
        self.events.handshake(&report);
        self.ring.push(report.clone());
        report
    }

    /// Keeps a reading of the counters; to be called once a second.
    pub fn tick(&self) {
        let now = Instant::now();
        self.history.tick(now, self.metrics.counts());
        self.history
            .tick_compositions(now, || self.metrics.compositions());
    }

    /// How the time of complete handshakes of the last quarter of an hour was made up.
    #[must_use]
    pub fn compositions(&self) -> Compositions {
        self.history.compositions(&self.metrics.compositions())
    }

    /// The last quarter of an hour in steps of 15 seconds, oldest first; the last one is shorter.
    #[must_use]
    pub fn series(&self) -> Vec<Window> {
        self.history.series(Instant::now(), &self.metrics.counts())
    }

    /// What was counted within the last 10 seconds, minute and quarter of an hour; nothing before
    /// the first [`Self::tick`].
    #[must_use]
    pub fn windows(&self) -> Vec<Window> {
        self.history.windows(Instant::now(), &self.metrics.counts())
    }

    fn new(metrics: Arc<Metrics>, settings: Arc<ArcSwap<Settings>>, writer: LineWriter) -> Self {
        Self {
            metrics,
            events: EventLog::new(settings.clone(), writer.clone()),
            access: AccessLog::new(settings, writer),
            ring: Arc::new(HandshakeRing::new()),
            history: Arc::default(),
        }
    }
}

impl TelemetryGuard {
    /// Follows another configuration; a file is opened anew even under the same path, which is how
    /// a rotated log is let go.
    ///
    /// # Errors
    /// The file cannot be opened; everything stays as it was.
    pub fn reconfigure(&self, log: &Log) -> Result<(), LogError> {
        let output = open(&log.target)?;
        let settings = Settings::new(log);
        self.writer.switch(output);
        self.settings.store(Arc::new(settings));
        if let Some(daemon) = &self.daemon {
            daemon.reconfigure(log.level, settings.style);
        }
        Ok(())
    }
}

impl TelemetryGuard {
    /// Lets the daemon's own lines through from another level on, until the next
    /// [`TelemetryGuard::reconfigure`].
    pub fn set_level(&self, level: LogLevel) {
        if let Some(daemon) = &self.daemon {
            daemon.reconfigure(level, self.settings.load().style);
        }
    }
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        self.writer.close(CLOSE_DEADLINE);
    }
}

fn open(target: &LogTarget) -> Result<Output, LogError> {
    match target {
        LogTarget::Stderr => Ok(Output::Stderr),
        LogTarget::Stdout => Ok(Output::Stdout),
        LogTarget::File(path) => Output::append_to(path).map_err(|source| LogError::Open {
            path: path.clone(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::config::LogFormat;

    #[test]
    fn a_reload_reopens_the_log_and_closing_writes_what_waits() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("handfast.log");
        let rotated = directory.path().join("handfast.log.1");
        let mut log = Log {
            level: LogLevel::Error,
            format: LogFormat::Auto,
            target: LogTarget::File(path.clone()),
            access: None,
            handshake: defaults::LOG.handshake,
        };
        let (telemetry, guard) = Telemetry::start(&log).unwrap();
        let listener = telemetry.metrics.listener("https");
        listener.handshake_started();
        telemetry.handshake(&listener, sample::complete());
        std::fs::rename(&path, &rotated).unwrap();
        log.handshake.events = HandshakeEvents::All;
        log.handshake.sample = defaults::WHOLE_SAMPLE;
        guard.reconfigure(&log).unwrap();
        listener.handshake_started();
        let report = telemetry.handshake(&listener, sample::complete());
        assert!(telemetry.ring.find(report.id).is_some());
        let bad = Log {
            target: LogTarget::File(directory.path().join("missing/handfast.log")),
            ..log
        };
        let error = guard.reconfigure(&bad).unwrap_err();
        assert!(error.to_string().starts_with("cannot open the log file "));
        drop(guard);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with("{\"event\":\"tls.handshake\""));
        assert!(std::fs::read_to_string(&rotated).unwrap().is_empty());
    }
}
