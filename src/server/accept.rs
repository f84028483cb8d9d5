//! The accept loop: a connection permit first, errors by class, never ending and never spinning.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::{self, ServerContext};
use crate::drain::Drain;
use crate::report::Peer;
use crate::tls::Incoming;

/// One listener's accept loop.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    name: Arc<str>,
    context: Arc<ServerContext>,
}

/// The permits for connections over all listeners (`limits.connections`). Past the limit
/// connections wait in the kernel's backlog.
#[derive(Debug)]
pub struct ConnectionPermits {
    semaphore: Arc<Semaphore>,
    limit: AtomicUsize,
    /// Permits to take back when they are returned, after the limit was lowered.
    debt: AtomicUsize,
}

/// The longest pause after an error that leaves no descriptors or memory.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// How an accept error is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptFault {
    /// The connection was gone before it was taken: the next one may be fine.
    Connection,
    /// No descriptors or memory: pause, others must end first.
    Exhausted,
    /// Nothing that should happen: pause too, a listener is never given up.
    Unexpected,
}

impl ConnectionPermits {
    /// `limit` permits.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            semaphore: Arc::new(Semaphore::new(limit)),
            limit: AtomicUsize::new(limit),
            debt: AtomicUsize::new(0),
        }
    }

    /// Changes the limit. Connections beyond a lower one end in their own time; new ones wait
    /// until enough have.
    pub fn resize(&self, limit: usize) {
        let old = self.limit.swap(limit, Ordering::AcqRel);
        if limit < old {
            let missing = old - limit - self.semaphore.forget_permits(old - limit);
            self.debt.fetch_add(missing, Ordering::AcqRel);
            return;
        }
        let mut more = limit - old;
        while more > 0 && self.forgive() {
            more -= 1;
        }
        self.semaphore.add_permits(more);
    }

    /// Gives a permit back, or keeps it where one is owed.
    fn release(&self, permit: OwnedSemaphorePermit) {
        if self.forgive() {
            permit.forget();
        }
    }

    /// Takes one off the debt; false when there is none.
    fn forgive(&self) -> bool {
        let less = |debt: usize| debt.checked_sub(1);
        self.debt
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less)
            .is_ok()
    }

    async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        self.semaphore.clone().acquire_owned().await.ok()
    }
}

impl Acceptor {
    /// A loop for `listener`, which the configuration calls `name`.
    #[must_use]
    pub const fn new(listener: TcpListener, name: Arc<str>, context: Arc<ServerContext>) -> Self {
        Self {
            listener,
            name,
            context,
        }
    }

    /// Accepts until `stop` is signaled. Connections go on; they hold `drain`.
    pub async fn run(self, mut stop: Drain, drain: Drain) {
        let mut pause = FIRST_PAUSE;
        let mut complained = false;
        loop {
            let permit = tokio::select! {
                biased;
                () = stop.signaled() => return,
                permit = self.context.permits.acquire() => permit,
            };
            // The semaphore is never closed.
            let Some(permit) = permit else { return };
            let accepted = tokio::select! {
                biased;
                () = stop.signaled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if complained {
                        tracing::info!(listener = %self.name, "accepting again");
                        complained = false;
                        pause = FIRST_PAUSE;
                    }
                    self.serve(stream, Peer::Tcp(peer), permit, drain.clone());
                }
                Err(error) => {
                    let fault = AcceptFault::of(&error);
                    if let Some(listener) = self.context.snapshot.load().listener(&self.name) {
                        listener.metrics.accept_error(fault.name());
                    }
                    if fault == AcceptFault::Connection {
                        tracing::debug!(listener = %self.name, %error, "accept failed");
                        continue;
                    }
                    if !complained {
                        tracing::error!(
                            listener = %self.name, %error, class = fault.name(),
                            "cannot accept: pausing between tries; raise LimitNOFILE or lower limits.connections"
                        );
                        complained = true;
                    }
                    tokio::select! {
                        () = stop.signaled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: Peer, permit: OwnedSemaphorePermit, drain: Drain) {
        let snapshot = self.context.snapshot.load();
        // A reload removed the listener and its loop is about to stop.
        let Some(listener) = snapshot.listener(&self.name).cloned() else {
            return;
        };
        let incoming = Incoming {
            id: self.context.next_id(),
            time: SystemTime::now(),
            accepted: Instant::now(),
            listener: self.name.clone(),
            peer,
        };
        let context = self.context.clone();
        let hold = drain.hold();
        tokio::spawn(async move {
            // A panic drops the permit all the same.
            connection::serve(stream, incoming, listener, context.clone(), drain).await;
            context.permits.release(permit);
            drop(hold);
        });
    }
}

impl AcceptFault {
    fn of(error: &io::Error) -> Self {
        // EMFILE 24, ENFILE 23, ENOMEM 12, ENOBUFS 105 have no kinds of their own.
        match error.raw_os_error() {
            Some(12 | 23 | 24 | 105) => return Self::Exhausted,
            // EPERM 1 is a firewall's, EPROTO 71 and EOPNOTSUPP 95 and the rest are network errors
            // of the new connection (accept(2)).
            Some(1 | 71 | 92 | 95 | 100 | 101 | 112 | 113) => return Self::Connection,
            _ => {}
        }
        match error.kind() {
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
            | io::ErrorKind::WouldBlock => Self::Connection,
            _ => Self::Unexpected,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Exhausted => "exhausted",
            Self::Unexpected => "unexpected",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_class() {
        let of = |code| AcceptFault::of(&io::Error::from_raw_os_error(code));
        assert_eq!(of(24), AcceptFault::Exhausted);
        assert_eq!(of(105), AcceptFault::Exhausted);
        assert_eq!(of(103), AcceptFault::Connection);
        assert_eq!(of(113), AcceptFault::Connection);
        assert_eq!(of(22), AcceptFault::Unexpected);
    }

    #[tokio::test]
    async fn permits_follow_the_limit() {
        let permits = ConnectionPermits::new(2);
        let first = permits.acquire().await.unwrap();
        let second = permits.acquire().await.unwrap();
        permits.resize(1);
        permits.release(first);
        assert_eq!(permits.semaphore.available_permits(), 0);
        permits.release(second);
        assert_eq!(permits.semaphore.available_permits(), 1);
        permits.resize(5);
        assert_eq!(permits.semaphore.available_permits(), 5);
    }
}
