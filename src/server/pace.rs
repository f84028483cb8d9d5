//! How a body is taken from its upstream: no faster than its client takes it.

use std::task::{Context, Poll, ready};

use super::outbox::Flusher;
use super::socket::ClientSocket;

/// What is read of a body before hyper has written it: half of the room that the kernel has, because
/// what it does not take stays with us, but no more than this, ...
const MOST: usize = 64 * 1024;
/// ... and no less than this.
const LEAST: usize = 8 * 1024;

/// The pace of one response over HTTP/1. A client that reads nothing fills what the kernel holds for
/// it; by then only a small piece of the body is in our own buffers. To ask the kernel costs two short
/// system calls for each 64 KiB of a response but the first.
#[derive(Debug)]
pub(super) struct Pace {
    flusher: Flusher<ClientSocket>,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// So much may be read before hyper writes.
    Read(usize),
    /// All that was read is written, once the outbox is empty.
    Written,
}

impl Pace {
    pub(super) const fn new(flusher: Flusher<ClientSocket>) -> Self {
        Self {
            flusher,
            step: Step::Read(MOST),
        }
    }

    /// How much may be read of the body now. Pending until what was read before has gone.
    pub(super) fn poll_most(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        ready!(self.flusher.poll_unblocked(cx));
        match self.step {
            Step::Read(left) if left > 0 => Poll::Ready(left),
            // hyper writes at the end of its turn, and what is gathered goes at the end of the
            // task's; the next one follows at once.
            Step::Read(_) => {
                self.step = Step::Written;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Step::Written if self.flusher.keeps() => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Step::Written => {
                // Where the kernel does not tell, there is no reason to wait.
                let room = self.flusher.room().unwrap_or(2 * MOST);
                let most = (room / 2).clamp(LEAST, MOST);
                self.step = Step::Read(most);
                Poll::Ready(most)
            }
        }
    }

    /// So much of the body was handed on.
    pub(super) const fn took(&mut self, bytes: usize) {
        if let Step::Read(left) = self.step {
            self.step = Step::Read(left.saturating_sub(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;

    use tokio::io::{AsyncReadExt, AsyncWrite};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::outbox::Outbox;
    use super::*;

    /// Reads and writes a body as hyper does until the client takes no more: the steps that it was
    /// read in, and how much of the last is left.
    async fn fill(outbox: &mut Outbox<ClientSocket>, pace: &mut Pace) -> (Vec<usize>, usize) {
        let bytes = vec![7; MOST];
        let flusher = outbox.flusher();
        let (mut steps, mut left) = (Vec::new(), 0);
        for _ in 0..10_000 {
            let more = poll_fn(|cx| Poll::Ready(pace.poll_most(cx))).await;
            if let Poll::Ready(most) = more {
                steps.push(most);
                pace.took(most);
                left += most;
            }
            while left > 0 {
                let written = poll_fn(|cx| {
                    let write = Pin::new(&mut *outbox).poll_write(cx, &bytes[..left]);
                    Poll::Ready(write)
                });
                match written.await {
                    Poll::Ready(written) => left -= written.unwrap(),
                    Poll::Pending => return (steps, left),
                }
            }
            let flushed = poll_fn(|cx| Poll::Ready(flusher.poll_flush(cx, true))).await;
            if flushed.is_pending() {
                return (steps, left);
            }
        }
        panic!("a client that reads nothing takes it all");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_stops_the_body_until_it_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut client, server) = (client.unwrap(), accepted.unwrap().0);
        socket2::SockRef::from(&server)
            .set_tcp_notsent_lowat(super::super::listener::UNSENT)
            .unwrap();
        let mut outbox = Outbox::new(ClientSocket::Tcp(server));
        outbox.gather();
        let mut pace = Pace::new(outbox.flusher());
        let (steps, left) = fill(&mut outbox, &mut pace).await;
        assert_eq!(steps[0], MOST);
        // Little is read where there is little room, and little is left of it.
        assert!(steps.last().unwrap() <= &(2 * LEAST), "{steps:?}");
        assert!(left <= 2 * LEAST, "{left} of {steps:?}");
        assert!(poll_fn(|cx| Poll::Ready(pace.poll_most(cx).is_pending())).await);

        let reading = tokio::spawn(async move {
            let mut space = vec![0; 1 << 16];
            while client.read(&mut space).await.is_ok_and(|got| got > 0) {}
        });
        let rest = vec![7; left];
        let mut sent = 0;
        let flusher = outbox.flusher();
        poll_fn(|cx| {
            while sent < rest.len() {
                sent += ready!(Pin::new(&mut outbox).poll_write(cx, &rest[sent..])).unwrap();
            }
            ready!(flusher.poll_flush(cx, true)).unwrap();
            pace.poll_most(cx).map(drop)
        })
        .await;
        reading.abort();
    }
}
