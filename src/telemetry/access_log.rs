//! The access log: one line per request.

use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde::Serialize;

use super::client_address;
use super::combined;
use super::line::{self, Printable, Timestamp};
use super::settings::{Settings, Style};
use super::stream::Stream;
use super::writer::LineWriter;
use crate::config::{AccessFormat, ClientIp};
use crate::report::{ConnectionId, HandshakeKind, Peer, ProtocolVersion};

/// The access log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    settings: Arc<ArcSwap<Settings>>,
    writer: LineWriter,
}

impl AccessLog {
    pub(super) const fn new(settings: Arc<ArcSwap<Settings>>, writer: LineWriter) -> Self {
        Self { settings, writer }
    }

    /// Whether anything is written: lets callers skip building a record.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.settings.load().access.is_some()
    }

    /// Whether lines tell [`ClientWords`].
    #[must_use]
    pub fn wants_client_words(&self) -> bool {
        self.settings.load().access == Some(AccessFormat::Combined)
    }

    /// Writes a line. Never blocks; a full queue drops the line and counts it.
    pub fn record(&self, record: &AccessRecord<'_>) {
        let settings = self.settings.load();
        let Some(format) = settings.access else {
            return;
        };
        let client_ip = settings.handshake.client_ip;
        let style = settings.style;
        self.writer
            .line(Stream::Access, |line| match (format, style) {
                (AccessFormat::Combined, _) => combined::write(line, record, client_ip),
                (AccessFormat::Json, Style::Json) => {
                    line::json(line, &Line::new(record, client_ip));
                }
                // Writing to memory does not fail.
                (AccessFormat::Json, Style::Human { .. }) => {
                    drop(human(line, record, client_ip));
                }
            });
    }
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
    /// The other end, or the client that a PROXY header gives.
    pub peer: Peer,
    /// Who sent a PROXY header; `None`: there was none.
    pub proxy: Option<Peer>,
    /// The client that the other end, a trusted proxy, speaks for; `None`: the other end itself.
    pub client: Option<IpAddr>,
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
    /// What the handshake settled, where there was one.
    pub tls: Option<AccessTls>,
    /// How long the handshake took, with the first request of its connection.
    pub handshake: Option<Duration>,
    /// What the client says of itself, where [`AccessLog::wants_client_words`].
    pub client_words: ClientWords<'a>,
    /// Body bytes received from the client.
    pub bytes_in: u64,
    /// Body bytes sent to the client.
    pub bytes_out: u64,
    /// From the request's head to the end of the response.
    pub duration: Duration,
    /// Why the answer is ours or the response was cut, where so: a name from a fixed list.
    pub error: Option<&'static str>,
}

impl AccessRecord<'_> {
    /// The address of the client: that which a trusted proxy speaks for, or the peer's.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.client.or_else(|| match self.peer {
            Peer::Tcp(peer) => Some(peer.ip().to_canonical()),
            Peer::Unix => None,
        })
    }
}

/// The TLS connection of a request.
#[derive(Clone, Copy, Debug)]
pub struct AccessTls {
    /// The version.
    pub version: Option<ProtocolVersion>,
    /// The suite, by IANA's name.
    pub cipher: Option<&'static str>,
    /// Full or resumed.
    pub kind: Option<HandshakeKind>,
}

/// Fields of a request that the combined format tells, as received.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientWords<'a> {
    /// `Referer`
    pub referer: Option<&'a [u8]>,
    /// `User-Agent`
    pub user_agent: Option<&'a [u8]>,
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

/// The fields of a JSON line in their order.
#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    connection: Shown<ConnectionId>,
    time: Timestamp,
    listener: &'a str,
    peer: Shown<Peer>,
    proxy: Option<Shown<Peer>>,
    client: Option<IpAddr>,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    protocol: &'static str,
    tls_version: Option<&'static str>,
    tls_cipher: Option<&'static str>,
    tls_resumed: Option<bool>,
    handshake_us: Option<u128>,
    status: Option<u16>,
    route: Option<&'a str>,
    upstream: Option<&'a str>,
    server: Option<&'a str>,
    bytes_in: u64,
    bytes_out: u64,
    duration_us: u128,
    error: Option<&'static str>,
}

/// Serialized as it displays, without a string in between.
struct Shown<T>(T);

impl<T: std::fmt::Display> Serialize for Shown<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'a> Line<'a> {
    fn new(record: &'a AccessRecord<'_>, client_ip: ClientIp) -> Self {
        let tls = record.tls.as_ref();
        Self {
            event: "http.request",
            connection: Shown(record.connection),
            time: Timestamp(record.time),
            listener: record.listener,
            peer: Shown(client_address::peer(record.peer, client_ip)),
            proxy: record.proxy.map(Shown),
            client: record
                .client()
                .map(|client| client_address::address(client, client_ip)),
            method: record.method,
            host: &record.host,
            path: &record.path,
            protocol: record.protocol.name(),
            tls_version: tls.and_then(|tls| tls.version).map(|it| it.name()),
            tls_cipher: tls.and_then(|tls| tls.cipher),
            tls_resumed: tls
                .and_then(|tls| tls.kind)
                .map(|kind| kind == HandshakeKind::Resumed),
            handshake_us: record.handshake.map(|time| time.as_micros()),
            status: record.status,
            route: record.route,
            upstream: record.upstream.as_ref().map(|(name, _)| *name),
            server: record.upstream.as_ref().map(|(_, server)| &**server),
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            duration_us: record.duration.as_micros(),
            error: record.error,
        }
    }
}

/// `TIME 200 GET example.com/path h2 192.0.2.1:5000 -> api 10.0.0.1:8080 12 B in 34 B out 1.234 ms`
fn human(
    line: &mut Vec<u8>,
    record: &AccessRecord<'_>,
    client_ip: ClientIp,
) -> std::io::Result<()> {
    write!(line, "{} ", Timestamp(record.time))?;
    match record.status {
        Some(status) => write!(line, "{status}")?,
        None => line.write_all(b"---")?,
    }
    write!(
        line,
        " {} {}{} {} {}",
        Printable(record.method),
        Printable(&record.host),
        Printable(&record.path),
        record.protocol.name(),
        client_address::peer(record.peer, client_ip),
    )?;
    if let Some(client) = record.client {
        let client = client_address::address(client, client_ip);
        write!(line, " for {client}")?;
    }
    if let Some((upstream, server)) = &record.upstream {
        write!(line, " -> {upstream} {server}")?;
    }
    write!(
        line,
        " {} B in {} B out {:.3} ms",
        record.bytes_in,
        record.bytes_out,
        record.duration.as_secs_f64() * 1e3,
    )?;
    match record.error {
        Some(error) => write!(line, " {error}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::json;

    use super::*;
    use crate::config::defaults;

    fn log(style: Style) -> AccessLog {
        let settings = Settings {
            style,
            access: defaults::LOG.access,
            handshake: defaults::LOG.handshake,
        };
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        AccessLog::new(settings, LineWriter::unattended(Arc::default()))
    }

    fn record() -> AccessRecord<'static> {
        AccessRecord {
            connection: ConnectionId(0x1f),
            time: UNIX_EPOCH + Duration::from_secs(1_795_407_045),
            listener: "https",
            peer: Peer::Tcp(([192, 0, 2, 1], 5000).into()),
            proxy: None,
            client: None,
            method: "GET",
            host: "example.com".into(),
            path: "/a?b=c".into(),
            protocol: HttpProtocol::H2,
            status: Some(200),
            route: Some("example.com/"),
            upstream: Some(("api", "10.0.0.1:8080".into())),
            tls: Some(AccessTls {
                version: Some(ProtocolVersion::Tls13),
                cipher: Some("TLS_AES_128_GCM_SHA256"),
                kind: Some(HandshakeKind::Resumed),
            }),
            handshake: Some(Duration::from_nanos(7_654_321)),
            client_words: ClientWords::default(),
            bytes_in: 12,
            bytes_out: 34,
            duration: Duration::from_nanos(1_234_567),
            error: None,
        }
    }

    #[test]
    fn a_line_has_every_field() {
        let log = log(Style::Json);
        log.record(&record());
        let lines = log.writer.take_lines();
        assert!(lines[0].starts_with("{\"event\":\"http.request\",\"connection\":"));
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(
            line,
            json!({
                "event": "http.request", "connection": "000000000000001f",
                "time": "2026-11-23T04:10:45Z", "listener": "https", "peer": "192.0.2.1:5000", "proxy": null,
                "client": "192.0.2.1",
                "method": "GET", "host": "example.com", "path": "/a?b=c", "protocol": "h2",
                "tls_version": "1.3", "tls_cipher": "TLS_AES_128_GCM_SHA256",
                "tls_resumed": true, "handshake_us": 7654,
                "status": 200, "route": "example.com/", "upstream": "api",
                "server": "10.0.0.1:8080", "bytes_in": 12, "bytes_out": 34, "duration_us": 1234,
                "error": null,
            })
        );
    }

    #[test]
    fn a_connection_without_tls_has_no_facts_of_it() {
        let log = log(Style::Json);
        log.record(&AccessRecord {
            tls: None,
            handshake: None,
            ..record()
        });
        let line: serde_json::Value = serde_json::from_str(&log.writer.take_lines()[0]).unwrap();
        for field in ["tls_version", "tls_cipher", "tls_resumed", "handshake_us"] {
            assert_eq!(line[field], serde_json::Value::Null, "{field}");
        }
    }

    #[test]
    fn combined_lines_are_combined_on_a_terminal_too() {
        let log = log(Style::Human { colours: true });
        let mut settings = **log.settings.load();
        settings.access = Some(AccessFormat::Combined);
        log.settings.store(Arc::new(settings));
        assert!(log.enabled() && log.wants_client_words());
        log.record(&AccessRecord {
            client_words: ClientWords {
                referer: None,
                user_agent: Some(b"curl/8 \"x\\\x1b\xff"),
            },
            ..record()
        });
        log.record(&AccessRecord {
            method: "",
            path: "".into(),
            status: None,
            ..record()
        });
        assert_eq!(
            log.writer.take_lines(),
            [
                "192.0.2.1 - - [23/Nov/2026:04:10:45 +0000] \"GET /a?b=c HTTP/2.0\" 200 34 \"-\" \
                 \"curl/8 \\x22x\\x5C\\x1B\\xFF\"",
                "192.0.2.1 - - [23/Nov/2026:04:10:45 +0000] \"-\" 499 34 \"-\" \"-\"",
            ]
        );
    }

    #[test]
    fn the_client_behind_a_trusted_proxy_is_told() {
        let record = AccessRecord {
            client: Some([203, 0, 113, 9].into()),
            ..record()
        };
        let json = log(Style::Json);
        json.record(&record);
        assert!(json.writer.take_lines()[0].contains("\"client\":\"203.0.113.9\""));
        let human = log(Style::Human { colours: false });
        human.record(&record);
        let line = &human.writer.take_lines()[0];
        assert!(
            line.contains(" 192.0.2.1:5000 for 203.0.113.9 -> "),
            "{line}"
        );
    }

    #[test]
    fn addresses_are_cut_where_that_is_asked_for() {
        let record = AccessRecord {
            client: Some([203, 0, 113, 9].into()),
            ..record()
        };
        for style in [Style::Json, Style::Human { colours: false }] {
            let log = log(style);
            let mut settings = **log.settings.load();
            settings.handshake.client_ip = ClientIp::Truncate;
            log.settings.store(Arc::new(settings));
            log.record(&record);
            let line = &log.writer.take_lines()[0];
            assert!(!line.contains("203.0.113.9"), "{line}");
            assert!(!line.contains("192.0.2.1"), "{line}");
            assert!(line.contains("203.0.113.0"), "{line}");
            assert!(line.contains("192.0.2.0:0"), "{line}");
        }
    }

    #[test]
    fn hostile_requests_stay_inside_their_line() {
        let hostile = "/\"}\r\n{\"event\":\"http.request\",\u{1b}[2J\u{9b}\u{202e}\u{0}";
        let record = AccessRecord {
            method: "G\u{7f}T",
            host: hostile.into(),
            path: hostile.into(),
            status: None,
            upstream: None,
            error: Some("client_closed"),
            ..record()
        };
        let json = log(Style::Json);
        json.record(&record);
        let lines = json.writer.take_lines();
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].chars().any(char::is_control));
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["path"], hostile);
        assert_eq!(line["host"], hostile);
        assert_eq!(line["status"], serde_json::Value::Null);

        let human = log(Style::Human { colours: true });
        human.record(&record);
        let lines = human.writer.take_lines();
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].chars().any(char::is_control), "{:?}", lines[0]);
        assert!(lines[0].starts_with("2026-11-23T04:10:45Z --- G\\u{7f}T /\"}\\r\\n{"));
        assert!(lines[0].ends_with("12 B in 34 B out 1.235 ms client_closed"));
    }

    #[test]
    fn nothing_is_written_when_off() {
        let log = log(Style::Json);
        log.settings.store(Arc::new(Settings {
            access: None,
            ..**log.settings.load()
        }));
        assert!(!log.enabled());
        log.record(&record());
        assert_eq!(log.writer.take_lines().len(), 0);
    }
}
