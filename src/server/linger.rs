//! Closing so that the last word arrives.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::deadline::Deadline;

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
    let last = Instant::now() + patience;
    let mut deadline = Deadline::new("linger", last);
    let shut = poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx));
    // Neither an error nor the deadline changes anything: the connection ends now.
    let Some(Ok(())) = within(&mut deadline, shut).await else {
        return;
    };
    let mut left = most;
    while left > 0 {
        if quiet < patience {
            deadline.reset(last.min(Instant::now() + quiet));
        }
        let read = poll_fn(|cx| {
            // Not kept while nothing comes.
            let mut space = [const { MaybeUninit::uninit() }; 1024];
            let mut buffer = ReadBuf::uninit(&mut space);
            let read = Pin::new(&mut io).poll_read(cx, &mut buffer);
            read.map_ok(|()| buffer.filled().len())
        });
        match within(&mut deadline, read).await {
            Some(Ok(got)) if got > 0 => left = left.saturating_sub(got),
            _ => return,
        }
    }
}

/// What `step` gives; `None` once the deadline has passed.
async fn within<T>(
    deadline: &mut Deadline,
    mut step: impl Future<Output = T> + Unpin,
) -> Option<T> {
    poll_fn(|cx| match Pin::new(&mut step).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => deadline.poll_elapsed(cx).map(|()| None),
    })
    .await
}
