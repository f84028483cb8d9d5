//! Closing so that the last word arrives.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

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
    io: S,
    patience: Duration,
    most: usize,
) {
    linger_while(io, patience, patience, most).await;
}

/// As [`linger_for`], and until the peer has sent nothing for `quiet`.
pub(super) async fn linger_while<S: AsyncRead + AsyncWrite + Unpin>(
    mut io: S,
    quiet: Duration,
    patience: Duration,
    most: usize,
) {
    let drained = async {
        io.shutdown().await?;
        let mut left = most;
        let mut buffer = [0; 1024];
        while left > 0 {
            let got = tokio::time::timeout(quiet, io.read(&mut buffer)).await??;
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
