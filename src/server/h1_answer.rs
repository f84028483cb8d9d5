//! Answers to requests that are not read to their end, written without hyper.

use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::linger::linger_for;

/// How long a client has to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long and how much a client may go on sending after it: what it has on its way must not
/// destroy the answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 << 20;

/// Writes the answer and closes, so that it arrives.
pub(super) async fn answer_and_close<S: AsyncRead + AsyncWrite + Unpin>(
    mut io: S,
    status: StatusCode,
    reason: &str,
) {
    let text = answer(status, reason);
    let told = io.write_all(text.as_bytes());
    if matches!(tokio::time::timeout(PATIENCE, told).await, Ok(Ok(()))) {
        close(io).await;
    }
}

/// Closes after an answer that a client may meet while it is still sending.
pub(super) async fn close<S: AsyncRead + AsyncWrite + Unpin>(io: S) {
    linger_for(io, LINGER, LINGER_BYTES).await;
}

/// The same words as of requests that are refused later. Its body would be wrong for HEAD, but
/// nothing follows it.
fn answer(status: StatusCode, reason: &str) -> String {
    let code = status.as_u16();
    let phrase = status.canonical_reason().unwrap_or("Error");
    let text = format!("{code} {phrase}\n{reason}\n");
    format!(
        "HTTP/1.1 {code} {phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    )
}
