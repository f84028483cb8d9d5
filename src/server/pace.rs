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
