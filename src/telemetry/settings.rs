//! What the log is asked for: swapped whole on reload, read at every event.

use std::io::IsTerminal;

use crate::config::{AccessFormat, HandshakeLog, Log, LogFormat, LogTarget};

/// The settings that events, the access log and the daemon's own log follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// How lines look.
    pub(super) style: Style,
    /// How requests are logged, if they are.
    pub(super) access: Option<AccessFormat>,
    /// Which handshakes make an event, and what it tells.
    pub(super) handshake: HandshakeLog,
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// For a person.
    Human {
        /// Whether colours may be used.
        colours: bool,
    },
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// The settings that `log` asks for, given where it is written.
    pub(super) fn new(log: &Log) -> Self {
        let terminal = match log.target {
            LogTarget::Stderr => std::io::stderr().is_terminal(),
            LogTarget::Stdout => std::io::stdout().is_terminal(),
            LogTarget::File(_) => false,
        };
        // https://no-color.org: set and not empty.
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let human = Style::Human {
            colours: terminal && !no_color,
        };
        Self {
            style: match log.format {
                LogFormat::Human => human,
                LogFormat::Auto if terminal => human,
                LogFormat::Auto | LogFormat::Json => Style::Json,
            },
            access: log.access,
            handshake: log.handshake,
        }
    }
}
