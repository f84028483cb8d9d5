//! The access log: one JSON line per request.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::report::{ConnectionId, Peer};

/// The access log.
#[derive(Clone, Debug)]
pub struct AccessLog {}

impl AccessLog {
    /// Whether anything is written: lets callers skip building a record.
    #[must_use]
    pub fn enabled(&self) -> bool {
        false
    }
    /// Writes a line. Never blocks; a full queue drops the line and counts it.
    pub fn record(&self, _record: &AccessRecord<'_>) {}
}

/// One request.
#[derive(Clone, Debug)]
pub struct AccessRecord<'a> {
    /// The connection, as in its handshake event.
    pub connection: ConnectionId,
    /// When the head of the request was whole.
    pub time: SystemTime,
    /// The listener's name.
    pub listener: &'a str,
    /// The other end.
    pub peer: Peer,
    /// The request's method.
    pub method: &'a str,
    /// The effective host, as received.
    pub host: Cow<'a, str>,
    /// Path and query, as received.
    pub path: Cow<'a, str>,
    /// The protocol towards the client.
    pub protocol: HttpProtocol,
    /// The status sent, or `None` when the client was gone before there was one.
    pub status: Option<u16>,
    /// The route's name, where one matched.
    pub route: Option<&'a str>,
    /// The upstream's name and the server's address, where one was asked.
    pub upstream: Option<(&'a str, Arc<str>)>,
    /// Body bytes received from the client.
    pub bytes_in: u64,
    /// Body bytes sent to the client.
    pub bytes_out: u64,
    /// From the request's head to the end of the response.
    pub duration: Duration,
    /// Why the answer is ours or the response was cut, where so: a name from a fixed list.
    pub error: Option<&'static str>,
}

/// The HTTP version towards the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpProtocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    H2,
}

impl HttpProtocol {
    /// Every version.
    pub const ALL: [Self; 3] = [Self::Http10, Self::Http11, Self::H2];

    /// `http/1.0`, `http/1.1` or `h2`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::H2 => "h2",
        }
    }
}
