//! The stream below rustls after the handshake: what was read ahead first, then bytes as they come.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};

use crate::report::HandshakeKind;
use crate::telemetry::ListenerMetrics;

/// What is left of a handshake when it is complete.
#[derive(Debug)]
pub(super) struct Streaming {
    /// What was read ahead during the handshake, and how much of it is served.
    ahead: Vec<u8>,
    served: usize,
    /// Told of the first bytes after the handshake.
    first: Option<FirstRequest>,
}

/// Who is told of the first plaintext after the handshake.
#[derive(Debug)]
pub(super) struct FirstRequest {
    /// When the handshake was complete.
    pub(super) since: Instant,
    /// What kind of handshake it was.
    pub(super) kind: HandshakeKind,
    /// Whom to tell.
    pub(super) metrics: Arc<ListenerMetrics>,
}

impl FirstRequest {
    /// The first bytes are here, after `wait`.
    pub(super) fn came(&self, wait: Duration) {
        self.metrics.first_request_wait_of(self.kind, wait);
    }
}

impl Streaming {
    /// Serves `ahead` first. `first` is told of the first bytes.
    pub(super) const fn new(ahead: Vec<u8>, first: Option<FirstRequest>) -> Self {
        Self {
            ahead,
            served: 0,
            first,
        }
    }

    /// Reads what was read ahead, then `io`.
    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let ahead = self.ahead.get(self.served..).unwrap_or_default();
        if !ahead.is_empty() {
            let length = ahead.len().min(out.remaining());
            out.put_slice(&ahead[..length]);
            self.served += length;
            if self.served == self.ahead.len() {
                self.ahead = Vec::new();
                self.served = 0;
            }
            if let Some(first) = self.first.take() {
                first.came(Duration::ZERO);
            }
            return Poll::Ready(Ok(()));
        }
        let before = out.filled().len();
        ready!(Pin::new(io).poll_read(cx, out))?;
        if out.filled().len() > before
            && let Some(first) = self.first.take()
        {
            first.came(first.since.elapsed());
        }
        Poll::Ready(Ok(()))
    }
}
