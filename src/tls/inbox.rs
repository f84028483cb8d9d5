//! What was read of the client during a handshake and is not with rustls yet: records, cut.

use std::time::Instant;

use super::first_flight::MAX_RECORD;

/// Bytes of the client that rustls does not have yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// What was read and is not all handed out.
    pub(super) bytes: Vec<u8>,
    /// Where the first byte is that was not handed out.
    pub(super) head: usize,
    /// How much of the record at `head` is still to be handed out.
    pub(super) record_left: usize,
    /// The peer has closed its side.
    pub(super) eof: bool,
    /// Something came while the handshake waited for admission.
    pub(super) watched: bool,
    /// When the kernel had what was read last, where it tells.
    pub(super) came: Option<Instant>,
}

impl Inbox {
    /// Takes what was not handed out.
    pub(super) fn take_rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.bytes);
        rest.drain(..self.head);
        self.head = 0;
        rest
    }
}

/// What follows the record that clients send for middleboxes (RFC 8446 appendix D.4).
pub(super) fn skip_change_cipher_spec(bytes: &[u8]) -> &[u8] {
    match bytes {
        [20, 3, _, 0, 1, 1, rest @ ..] => rest,
        // It may be on its way.
        [20, 3, ..] if bytes.len() < 6 => &[],
        _ => bytes,
    }
}

/// The length of the record at the start of `bytes`, once it is whole. Bytes that are no record
/// count as one, for rustls to refuse.
pub(super) fn record_length(bytes: &[u8]) -> Option<usize> {
    let header = match bytes {
        [] => return None,
        [kind, ..] if !(20..=24).contains(kind) => return Some(bytes.len()),
        _ => bytes.get(..5)?,
    };
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    if length > MAX_RECORD || header[1] != 3 {
        return Some(bytes.len());
    }
    (bytes.len() >= 5 + length).then_some(5 + length)
}
