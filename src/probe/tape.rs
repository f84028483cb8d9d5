//! Every TLS record of a connection, both ways, with the time at which it passed.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::report::Direction;

/// What has passed.
#[derive(Debug)]
pub(super) struct Tape {
    began: Instant,
    records: Vec<Record>,
    kept: usize,
    client: Vec<u8>,
    server: Vec<u8>,
    /// The first bytes of the server, where they are no TLS record.
    alien: Option<Vec<u8>>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Who sent it.
    pub(super) direction: Direction,
    /// When its last byte passed, since the connection was there.
    pub(super) at: Duration,
    /// All of it, with its header.
    pub(super) bytes: Vec<u8>,
}

/// A stream whose records are kept.
#[derive(Debug)]
pub(super) struct TapedIo<S> {
    io: S,
    tape: Arc<Mutex<Tape>>,
}

/// Handshakes are far smaller; what comes later is not kept.
const MAX_KEPT: usize = 1 << 20;
/// What is kept of something that is not TLS.
const MAX_ALIEN: usize = 64;

impl Tape {
    /// An empty tape of a connection that is there since `began`.
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            records: Vec::new(),
            kept: 0,
            client: Vec::new(),
            server: Vec::new(),
            alien: None,
        }
    }

    /// The records so far.
    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The server's first bytes, where they are no TLS record.
    pub(super) fn alien(&self) -> Option<&[u8]> {
        self.alien.as_deref()
    }

    /// Whether the server has sent anything.
    pub(super) fn heard(&self) -> bool {
        let server = |record: &Record| record.direction == Direction::Out;
        self.alien.is_some() || !self.server.is_empty() || self.records.iter().any(server)
    }

    /// Bytes that passed `now`, in whatever pieces.
    pub(super) fn passed(&mut self, direction: Direction, bytes: &[u8], now: Instant) {
        if self.kept >= MAX_KEPT {
            return;
        }
        self.kept += bytes.len();
        if let Some(alien) = &mut self.alien {
            if direction == Direction::Out {
                let room = MAX_ALIEN - alien.len();
                alien.extend(bytes.iter().take(room));
            }
            return;
        }
        let lane = match direction {
            Direction::In => &mut self.client,
            Direction::Out => &mut self.server,
        };
        lane.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(&[kind, major, _, high, low]) = lane.get(at..at + 5) {
            // Types and versions of records (RFC 8446 section 5.1).
            if !(20..=24).contains(&kind) || major != 3 {
                break;
            }
            let length = 5 + usize::from(u16::from_be_bytes([high, low]));
            let Some(record) = lane.get(at..at + length) else {
                break;
            };
            self.records.push(Record {
                direction,
                at: now.saturating_duration_since(self.began),
                bytes: record.to_vec(),
            });
            at += length;
        }
        lane.drain(..at);
        let strange = match *lane.as_slice() {
            [kind, major, ..] => !(20..=24).contains(&kind) || major != 3,
            [kind] => !(20..=24).contains(&kind),
            [] => false,
        };
        if strange && direction == Direction::Out {
            let mut alien = std::mem::take(lane);
            alien.truncate(MAX_ALIEN);
            self.alien = Some(alien);
        }
    }
}

impl<S> TapedIo<S> {
    /// `io`, kept on `tape`.
    pub(super) const fn new(io: S, tape: Arc<Mutex<Tape>>) -> Self {
        Self { io, tape }
    }

    fn passed(&self, direction: Direction, bytes: &[u8]) {
        let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
        tape.passed(direction, bytes, Instant::now());
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TapedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        let new = buffer.filled().get(before..).unwrap_or_default();
        self.passed(Direction::Out, new);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TapedIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.passed(Direction::In, bytes.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, pieces))?;
        let mut left = count;
        for piece in pieces {
            let taken = left.min(piece.len());
            self.passed(Direction::In, piece.get(..taken).unwrap_or_default());
            left -= taken;
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_whole_whatever_the_pieces() {
        let began = Instant::now();
        let bytes = [22, 3, 3, 0, 2, 7, 8, 21, 3, 3, 0, 1, 9];
        for piece in 1..bytes.len() {
            let mut tape = Tape::new(began);
            for chunk in bytes.chunks(piece) {
                tape.passed(Direction::Out, chunk, began);
            }
            let records: Vec<_> = tape.records().iter().map(|it| it.bytes.len()).collect();
            assert_eq!((records, tape.alien()), (vec![7, 6], None), "{piece}");
        }
    }

    #[test]
    fn what_is_not_tls_is_kept_apart() {
        let began = Instant::now();
        let mut tape = Tape::new(began);
        tape.passed(Direction::Out, b"HT", began);
        tape.passed(Direction::Out, b"TP/1.1 400", began);
        assert_eq!(tape.alien(), Some(&b"HTTP/1.1 400"[..]));
        tape.passed(Direction::Out, &[b'x'; 1000], began);
        assert_eq!(tape.alien().map(<[u8]>::len), Some(MAX_ALIEN));
        assert!(tape.records().is_empty() && tape.heard());
    }
}
