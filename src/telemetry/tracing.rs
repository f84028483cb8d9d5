//! The daemon's own log: `tracing` events through the line writer, at a level that can change.

use std::io;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;

use super::settings::Style;
use super::stream::Stream;
use super::writer::LineWriter;
use crate::config::LogLevel;

/// Changes what the installed subscriber lets through. Every style is installed and all but one are
/// off: a subscriber's layers cannot be exchanged later without losing the spans that are open.
#[derive(Debug)]
pub(super) struct DaemonLog {
    layers: Vec<(Style, Handle<Targets, Registry>)>,
}

#[derive(Clone, Debug)]
struct DaemonLines(LineWriter);

/// Installs the process's subscriber. `None`: there is one already, which stays.
pub(super) fn install(writer: LineWriter, level: LogLevel, style: Style) -> Option<DaemonLog> {
    let (subscriber, log) = subscriber(writer, level, style);
    subscriber.try_init().ok()?;
    Some(log)
}

fn subscriber(
    writer: LineWriter,
    level: LogLevel,
    style: Style,
) -> (impl Subscriber + Send + Sync, DaemonLog) {
    let mut handles = Vec::new();
    let mut layers = Vec::new();
    for layer_style in [
        Style::Human { colours: false },
        Style::Human { colours: true },
        Style::Json,
    ] {
        let (filter, handle) = reload::Layer::new(targets(level, layer_style == style));
        handles.push((layer_style, handle));
        let layer = tracing_subscriber::fmt::layer().with_writer(DaemonLines(writer.clone()));
        layers.push(match layer_style {
            Style::Human { colours } => layer
                .with_ansi(colours)
                .with_target(false)
                .with_filter(filter)
                .boxed(),
            Style::Json => layer
                .json()
                .with_span_list(false)
                .with_filter(filter)
                .boxed(),
        });
    }
    // In a list: joined by `and_then` right above the registry, the last one alone would decide
    // the most verbose level.
    let subscriber = tracing_subscriber::registry().with(layers);
    (subscriber, DaemonLog { layers: handles })
}

impl DaemonLog {
    /// Goes on with another level and style.
    pub(super) fn reconfigure(&self, level: LogLevel, style: Style) {
        for (layer_style, filter) in &self.layers {
            // It fails only when the subscriber is gone, and then nothing is logged.
            let _ = filter.reload(targets(level, *layer_style == style));
        }
    }
}

/// What passes at `level` through a layer that is `on`. Libraries warn about what peers do, which is no warning to whoever runs
/// the daemon: they are heard at `debug` (their warnings) and `trace` (all they say).
fn targets(level: LogLevel, on: bool) -> Targets {
    if !on {
        return Targets::new();
    }
    let (own, libraries) = match level {
        LogLevel::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
        LogLevel::Warn => (LevelFilter::WARN, LevelFilter::ERROR),
        LogLevel::Info => (LevelFilter::INFO, LevelFilter::ERROR),
        LogLevel::Debug => (LevelFilter::DEBUG, LevelFilter::WARN),
        LogLevel::Trace => (LevelFilter::TRACE, LevelFilter::TRACE),
    };
    Targets::new()
        .with_default(libraries)
        .with_target(env!("CARGO_CRATE_NAME"), own)
}

impl<'a> MakeWriter<'a> for DaemonLines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for DaemonLines {
    /// The formatter hands over each event in one piece with its newline.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.push(Stream::Daemon, event);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::*;

    #[test]
    fn level_and_style_change_while_running() {
        let lines = LineWriter::unattended(Arc::default());
        let (subscriber, log) = subscriber(lines.clone(), LogLevel::Info, Style::Json);
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("not yet");
            tracing::warn!(target: "rustls::conn", "what a peer did");
            tracing::info!(listener = "https", address = "[::1]:443", "listening");
            log.reconfigure(LogLevel::Debug, Style::Human { colours: false });
            tracing::debug!(cause = "a\nb\u{1b}", "now");
            tracing::warn!(target: "rustls::conn", "what a peer did");
            log.reconfigure(LogLevel::Error, Style::Json);
            tracing::warn!("no more");
        });
        let lines = lines.take_lines();
        assert_eq!(lines.len(), 3, "{lines:#?}");
        let event: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(event["level"], "INFO");
        assert_eq!(event["fields"]["message"], "listening");
        assert_eq!(event["fields"]["listener"], "https");
        assert_eq!(event["fields"]["address"], "[::1]:443");
        assert!(event["timestamp"].as_str().unwrap().ends_with('Z'));
        assert!(lines[1].contains("DEBUG") && lines[1].contains("now"));
        assert!(lines[1].contains("a\\nb\\u{1b}"), "{}", lines[1]);
        assert!(lines[2].contains("what a peer did"));
    }
}
