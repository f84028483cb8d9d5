//! Apache's combined log format, for tools that read nothing else.

use std::io::Write as _;

use time::OffsetDateTime;

use super::access_log::{AccessRecord, HttpProtocol};
use super::client_address;
use crate::config::ClientIp;

/// Appends `ADDRESS - - [TIME] "METHOD TARGET PROTOCOL" STATUS BYTES "REFERER" "AGENT"`.
pub(super) fn write(line: &mut Vec<u8>, record: &AccessRecord<'_>, client_ip: ClientIp) {
    let time = OffsetDateTime::from(record.time);
    let month = &time.month().to_string()[..3];
    match record.client() {
        Some(client) => {
            let client = client_address::address(client, client_ip);
            // Writing to memory does not fail, here and below.
            let _ = write!(line, "{client}");
        }
        None => line.push(b'-'),
    }
    let _ = write!(
        line,
        " - - [{:02}/{month}/{:04}:{:02}:{:02}:{:02} +0000] \"",
        time.day(),
        time.year(),
        time.hour(),
        time.minute(),
        time.second(),
    );
    if record.method.is_empty() {
        line.push(b'-');
    } else {
        escape(line, record.method.as_bytes());
        line.push(b' ');
        escape(line, record.path.as_bytes());
        line.extend_from_slice(match record.protocol {
            HttpProtocol::Http10 => b" HTTP/1.0",
            HttpProtocol::Http11 => b" HTTP/1.1",
            HttpProtocol::H2 => b" HTTP/2.0",
        });
    }
    let status = record.status.unwrap_or(499);
    let _ = write!(line, "\" {status} {} \"", record.bytes_out);
    escape(line, record.client_words.referer.unwrap_or(b"-"));
    line.extend_from_slice(b"\" \"");
    escape(line, record.client_words.user_agent.unwrap_or(b"-"));
    line.push(b'"');
}

/// Appends what a peer sent so that it stays inside its quotes, as nginx does.
fn escape(line: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        if matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\' {
            line.push(byte);
        } else {
            let _ = write!(line, "\\x{byte:02X}");
        }
    }
}
