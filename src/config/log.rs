//! `[log]` after validation.

use std::path::PathBuf;

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `level`, default `info`
    pub level: LogLevel,
    /// `format`, default [`LogFormat::Auto`]
    pub format: LogFormat,
    /// `target`, default [`LogTarget::Stderr`]
    pub target: LogTarget,
    /// `access`, default [`AccessFormat::Json`]; `None`: `enabled = false`.
    pub access: Option<AccessFormat>,
    /// `handshake`
    pub handshake: HandshakeLog,
}

/// `handshake` of `[log]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLog {
    /// `events`, default [`HandshakeEvents::Failures`]
    pub events: HandshakeEvents,
    /// `sample`, in millionths, default 0.01: the share of complete handshakes that make an event
    /// where all do. Failed ones are never left out by it.
    pub sample: u32,
    /// `client_ip`, default [`ClientIp::Full`]
    pub client_ip: ClientIp,
    /// `failures_per_second`, default 100, of each class; `None` is unlimited. Past it: counted in
    /// `log_events_dropped_total`.
    pub failures_per_second: Option<u32>,
}

/// How much of a client's address the log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIp {
    /// `full`
    Full,
    /// `truncate`: the network, of 24 bits with IPv4 and 48 with IPv6, and no port.
    Truncate,
}

/// `level` of the log
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// `error`
    Error,
    /// `warn`
    Warn,
    /// `info`
    Info,
    /// `debug`
    Debug,
    /// `trace`
    Trace,
}

impl LogLevel {
    /// All of them, the quietest first.
    pub const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    /// As it is written in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// `format` of the log
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `auto`: human on a terminal, else JSON.
    Auto,
    /// `human`
    Human,
    /// `json`
    Json,
}

/// `target` of the log
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// `stderr`
    Stderr,
    /// `stdout`
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// `access.format` of the log
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// `json`: an object, or a sentence where the log is for people.
    Json,
    /// `combined`: Apache's combined log format, whatever the log's format is.
    Combined,
}

/// Which handshakes make an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeEvents {
    /// `all`
    All,
    /// `failures`
    Failures,
    /// `off`
    Off,
}
