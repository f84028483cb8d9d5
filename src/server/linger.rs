//! Closing so that the last word arrives, or so that nobody takes the end for a good one.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::tls::RecordIo;

/// How long the peer has to read and close.
const PATIENCE: Duration = Duration::from_millis(500);
/// How much it may still send.
const MOST: usize = 64 * 1024;

/// Closes our side and drains the peer's for at most 500 ms and 64 KiB: closing a socket with
/// unread bytes makes the kernel send an RST, which can destroy an alert on its way.
pub(super) async fn linger<S: AsyncRead + AsyncWrite + Unpin>(io: S) {
    linger_for(io, PATIENCE, MOST).await;
}

/// As [`linger`], for at most `patience` and `most` bytes.
pub(super) async fn linger_for<S: AsyncRead + AsyncWrite + Unpin>(
    mut io: S,
    patience: Duration,
    most: usize,
) {
    let drained = async {
        io.shutdown().await?;
        let mut left = most;
        let mut buffer = [0; 1024];
        while left > 0 {
            let got = io.read(&mut buffer).await?;
            if got == 0 {
                break;
            }
            left = left.saturating_sub(got);
        }
        Ok::<_, std::io::Error>(())
    };
    // Neither an error nor the deadline changes anything: the connection ends now.
    let _ = tokio::time::timeout(patience, drained).await;
}

/// A stream whose connection can be made to end with an RST.
pub(super) trait Abort {
    /// Closing it from now on throws away what is not sent and sends an RST.
    fn abort(&self);
}

impl Abort for TcpStream {
    fn abort(&self) {
        if let Err(error) = SockRef::from(self).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "SO_LINGER failed");
        }
    }
}

impl Abort for TlsStream<RecordIo<TcpStream>> {
    fn abort(&self) {
        self.get_ref().0.get_ref().abort();
    }
}
