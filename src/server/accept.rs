//! The accept loop: a connection permit first, errors by class, never ending and never spinning.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use socket2::SockRef;
use tokio::sync::OwnedSemaphorePermit;

use super::connection::{self, ServerContext};
use super::heartbeat::{Heartbeat, Pulse};
use super::listener::ListenerSocket;
use super::per_ip::{Counted, LimitReached};
use super::socket::{AcceptedSocket, ClientSocket};
use crate::config::ListenAddress;
use crate::drain::Drain;
use crate::report::Peer;
use crate::snapshot::ListenerState;
use crate::telemetry::{AcceptFault, Limit};
use crate::tls::{self, Ahead, Incoming, Proxied};

/// One listener's accept loop.
#[derive(Debug)]
pub struct Acceptor {
    listener: Arc<ListenerSocket>,
    reception: Reception,
    pulse: Pulse,
}

/// Where accepted connections begin to be served.
#[derive(Debug)]
struct Reception {
    address: ListenAddress,
    name: Arc<str>,
    context: Arc<ServerContext>,
}

/// A connection that waits for its permit.
#[derive(Debug)]
struct Waiting {
    stream: ClientSocket,
    peer: Peer,
    /// Who sends the PROXY header that its peer is known from, if it begins with one.
    sender: Option<Peer>,
    counted: Option<Counted>,
    /// What was read of it, because there are many.
    ahead: Option<Ahead>,
}

/// So many connections a loop accepts before it lets others run: what it starts would otherwise
/// stand before them all at once.
const MOST_A_TURN: u32 = 16;
/// The longest pause after an error that leaves no descriptors or memory.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// So long without an error, and a row of them is over.
const CALM: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(10);

impl Acceptor {
    /// A loop for `listener`, which listens on `address` and which the configuration calls `name`.
    /// `heartbeat` waits for its answers from here on.
    #[must_use]
    pub fn new(
        listener: Arc<ListenerSocket>,
        address: ListenAddress,
        name: Arc<str>,
        context: Arc<ServerContext>,
        heartbeat: &Heartbeat,
    ) -> Self {
        Self {
            listener,
            reception: Reception {
                address,
                name,
                context,
            },
            pulse: heartbeat.join(),
        }
    }

    /// Accepts until `stop` is signaled. Connections go on; they hold `drain`.
    ///
    /// A loop takes its permit when it has a connection to use it for: taken before, each idle
    /// listener would keep one from the others. So one accepted connection a listener may wait
    /// for a permit; all others wait in the backlog.
    pub async fn run(self, stop: Drain, drain: Drain) {
        let Self {
            listener,
            reception,
            mut pulse,
        } = self;
        let last = reception.accept(&listener, &mut pulse, stop, &drain).await;
        pulse.leave();
        // Whoever has inherited the socket, or gave it to us, accepts as ever.
        listener.defer(false);
        // Nobody accepts here any more: what comes is another loop's, or refused.
        drop(listener);
        if let Some((waiting, state)) = last {
            reception.serve_last(waiting, drain, state).await;
        }
    }
}

impl Reception {
    /// Accepts until `stop` is signaled. Returns the connection that waited for its permit then,
    /// and the listener as it was.
    async fn accept(
        &self,
        listener: &ListenerSocket,
        pulse: &mut Pulse,
        mut stop: Drain,
        drain: &Drain,
    ) -> Option<(Waiting, Option<Arc<ListenerState>>)> {
        let context = &self.context;
        let mut trouble = Trouble::default();
        // A reload may remove the listener while a connection is in our hands: it is served as
        // of before.
        let mut state = None;
        let mut turn = Turn::default();
        let mut crowd = Crowd::default();
        loop {
            if turn.accepted >= MOST_A_TURN {
                turn = Turn::default();
                tokio::task::yield_now().await;
            }
            let accept = async {
                tokio::select! {
                    biased;
                    () = stop.signaled() => None,
                    accepted = listener.accept() => Some(accepted),
                }
            };
            let accepted = turn.of(pulse.during(accept)).await?;
            let waiting = accepted.and_then(|(socket, peer)| {
                self.refresh(&mut state);
                crowd.follow(listener, self.is_crowded(state.as_deref()));
                self.look(socket, peer, state.as_deref(), (crowd, &turn))
            });
            match waiting {
                // The client has been told.
                Ok(None) => {}
                Ok(Some(waiting)) => {
                    // Whoever comes next is judged by the place that this one will have taken.
                    turn.coming += usize::from(waiting.ahead.is_some());
                    let permit = async {
                        tokio::select! {
                            biased;
                            () = stop.signaled() => Stopped::Yes,
                            permit = context.permits.acquire() => Stopped::No(permit),
                        }
                    };
                    let permit = match pulse.during(permit).await {
                        Stopped::Yes => return Some((waiting, state)),
                        // The semaphore is never closed.
                        Stopped::No(None) => return None,
                        Stopped::No(Some(permit)) => permit,
                    };
                    self.serve(waiting, permit, drain.clone(), &mut state);
                    if let Some(errors) = trouble.over(Instant::now()) {
                        tracing::info!(listener = %self.name, errors, "accepting again");
                    }
                }
                Err(error) => {
                    let fault = fault_of(&error);
                    if let Some(listener) = context.snapshot.load().listener(&self.name) {
                        listener.metrics.accept_error(fault);
                    }
                    if fault == AcceptFault::Connection {
                        tracing::debug!(listener = %self.name, %error, "accept failed");
                        continue;
                    }
                    let (first, pause) = trouble.more(Instant::now());
                    if first {
                        tracing::error!(
                            listener = %self.name, %error, class = fault.name(),
                            "cannot accept: pausing between tries; {}", remedy(fault)
                        );
                    }
                    let stopped = tokio::time::timeout(pause, stop.signaled());
                    if pulse.during(stopped).await.is_ok() {
                        return None;
                    }
                }
            }
        }
    }

    /// Looks at a connection that was just accepted. `None`: it is refused, and told so.
    ///
    /// # Errors
    /// The system has no memory to watch it with.
    fn look(
        &self,
        socket: AcceptedSocket,
        peer: Peer,
        listener: Option<&ListenerState>,
        (crowd, turn): (Crowd, &Turn),
    ) -> io::Result<Option<Waiting>> {
        let context = &self.context;
        let proxied = listener.is_some_and(|listener| listener.proxied.contains(peer));
        // Before the permit, which others wait for. Who sends a PROXY header is not whom it is
        // sent for: that one is counted later.
        let counted = match peer {
            Peer::Tcp(address) if !proxied => context.per_ip.count(address.ip()),
            Peer::Tcp(_) | Peer::Unix => Ok(None),
        };
        let counted = match counted {
            Ok(counted) => counted,
            Err(LimitReached) => {
                let tls = listener.is_some_and(|it| it.sites.is_some());
                refuse(context, &self.name, tls, &socket, peer);
                return Ok(None);
            }
        };
        let ahead = match listener {
            Some(listener) if crowd == Crowd::Many && !proxied => {
                match self.turn_away(&socket, peer, turn, listener) {
                    TurnedAway::Yes => return Ok(None),
                    TurnedAway::No(ahead) => ahead,
                }
            }
            _ => None,
        };
        Ok(Some(Waiting {
            stream: socket.watch()?,
            peer,
            sender: proxied.then_some(peer),
            counted,
            ahead,
        }))
    }

    /// Whether ClientHellos are worth looking at before anything else is done for them. Past
    /// `limits.connections` all wait for their permits first.
    fn is_crowded(&self, listener: Option<&ListenerState>) -> bool {
        let context = &self.context;
        listener.is_some_and(|listener| listener.sites.is_some())
            && context.admission.is_crowded()
            && context.permits.any()
    }

    /// Refuses a handshake that finds no place, while it costs least: see [`tls::turn_away`].
    fn turn_away(
        &self,
        socket: &AcceptedSocket,
        peer: Peer,
        turn: &Turn,
        listener: &ListenerState,
    ) -> TurnedAway {
        let context = &self.context;
        let Some(sites) = &listener.sites else {
            return TurnedAway::No(None);
        };
        let mut incoming = self.incoming(peer);
        match tls::turn_away(
            socket,
            &mut incoming,
            sites,
            &context.admission,
            turn.coming,
        ) {
            Some(report) => {
                listener.metrics.connection_opened();
                listener.metrics.handshake_started();
                context.telemetry.metrics.limit_refused(Limit::Handshakes);
                context.telemetry.handshake(&listener.metrics, report);
                listener.metrics.connection_closed();
                TurnedAway::Yes
            }
            None => TurnedAway::No(incoming.ahead),
        }
    }

    /// A connection that was accepted now.
    fn incoming(&self, peer: Peer) -> Incoming {
        Incoming {
            id: self.context.next_id(),
            time: SystemTime::now(),
            accepted: Instant::now(),
            listener: self.name.clone(),
            peer,
            proxy: None,
            ahead: None,
        }
    }

    /// Serves the connection that waited for its permit when a reload ended the loop. At the end
    /// of the daemon it is closed, as those in the backlog are.
    async fn serve_last(
        self,
        waiting: Waiting,
        mut drain: Drain,
        mut state: Option<Arc<ListenerState>>,
    ) {
        let permit = tokio::select! {
            biased;
            () = drain.signaled() => return,
            permit = self.context.permits.acquire() => permit,
        };
        if let Some(permit) = permit {
            self.serve(waiting, permit, drain, &mut state);
        }
    }

    /// The listener as it is now; as it was while a reload has removed it.
    fn refresh(&self, state: &mut Option<Arc<ListenerState>>) {
        if let Some(current) = self.context.snapshot.load().listener(&self.name) {
            *state = Some(current.clone());
        }
    }

    fn serve(
        &self,
        waiting: Waiting,
        permit: OwnedSemaphorePermit,
        drain: Drain,
        state: &mut Option<Arc<ListenerState>>,
    ) {
        self.refresh(state);
        let Some(listener) = state.clone() else {
            return;
        };
        let Waiting {
            stream,
            peer,
            sender,
            counted,
            ahead,
        } = waiting;
        let mut incoming = self.incoming(peer);
        if let Some(ahead) = &ahead {
            incoming.accepted = ahead.accepted();
        }
        incoming.ahead = ahead;
        incoming.proxy = sender.map(|sender| Proxied {
            sender,
            since: incoming.accepted,
        });
        let held = Held { permit, counted };
        tokio::spawn(connection::serve(
            stream,
            incoming,
            listener,
            self.address.clone(),
            self.context.clone(),
            drain,
            held,
        ));
    }
}

/// Tells a client of an address with too many connections as much as costs one call: a TLS alert
/// is read as such where TLS is spoken, and is not worth waiting for.
pub(super) fn refuse(
    context: &ServerContext,
    listener: &str,
    is_tls: bool,
    stream: &impl AsFd,
    peer: Peer,
) {
    let metrics = &context.telemetry.metrics;
    metrics.limit_refused(Limit::ConnectionsPerIp);
    tracing::debug!(%listener, %peer, limit = "connections_per_ip", "refused");
    if is_tls && let Err(error) = SockRef::from(stream).send(&tls::REFUSAL) {
        tracing::debug!(%listener, %peer, %error, "cannot tell so");
    }
}

/// What a connection has of the limits.
#[derive(Debug)]
pub(super) struct Held {
    permit: OwnedSemaphorePermit,
    counted: Option<Counted>,
}

impl Held {
    /// Gives it back.
    pub(super) fn release(self, context: &ServerContext) {
        let Self { permit, counted } = self;
        context.permits.release(permit);
        drop(counted);
    }
}

/// How many handshakes there are already when a connection is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Crowd {
    #[default]
    Few,
    /// See [`tls::Admission::is_crowded`]. Connections are accepted with their first bytes, so
    /// that those which are refused need not be awaited.
    Many,
}

impl Crowd {
    /// Changes to what it is now.
    fn follow(&mut self, listener: &ListenerSocket, crowded: bool) {
        let now = match crowded {
            true => Self::Many,
            false => Self::Few,
        };
        if std::mem::replace(self, now) != now {
            listener.defer(crowded);
        }
    }
}

/// What a loop has done since other tasks ran.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    accepted: u32,
    /// Connections that were let in with their ClientHello, which have not asked for admission yet.
    coming: usize,
}

impl Turn {
    /// Waits for `accept`; having to is the end of the turn.
    async fn of<T>(&mut self, accept: impl Future<Output = T>) -> T {
        let mut accept = pin!(accept);
        poll_fn(|cx| {
            let polled = accept.as_mut().poll(cx);
            match polled.is_ready() {
                true => self.accepted += 1,
                false => *self = Self::default(),
            }
            polled
        })
        .await
    }
}

/// Whether a connection was refused at the door.
enum TurnedAway {
    Yes,
    /// What was read of it.
    No(Option<Ahead>),
}

/// Whether the loop is to end.
enum Stopped {
    Yes,
    /// `None`: there will never be one.
    No(Option<OwnedSemaphorePermit>),
}

/// A row of errors: told once at its start and once when it is over.
#[derive(Debug, Default)]
struct Trouble {
    errors: u64,
    last: Option<Instant>,
}

impl Trouble {
    /// One more error: whether it is the first of a row, and how long to pause.
    fn more(&mut self, now: Instant) -> (bool, Duration) {
        let first = self.errors == 0;
        self.errors += 1;
        self.last = Some(now);
        let doublings = u32::try_from(self.errors.min(8)).unwrap_or(8) - 1;
        (
            first,
            (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE),
        )
    }

    /// A connection was accepted: how many errors there were, if the row is over. While
    /// descriptors come and go one by one, it is not.
    fn over(&mut self, now: Instant) -> Option<u64> {
        let last = self.last?;
        if now.saturating_duration_since(last) < CALM {
            return None;
        }
        self.last = None;
        Some(std::mem::take(&mut self.errors))
    }
}

const fn remedy(fault: AcceptFault) -> &'static str {
    match fault {
        AcceptFault::Exhausted => "raise LimitNOFILE or lower limits.connections",
        AcceptFault::Connection | AcceptFault::Unexpected => "the listener is kept",
    }
}

fn fault_of(error: &io::Error) -> AcceptFault {
    // EMFILE 24, ENFILE 23, ENOMEM 12, ENOBUFS 105 have no kinds of their own.
    match error.raw_os_error() {
        Some(12 | 23 | 24 | 105) => return AcceptFault::Exhausted,
        // EPERM 1 is a firewall's, EPROTO 71 and EOPNOTSUPP 95 and the rest are network errors
        // of the new connection (accept(2)).
        Some(1 | 71 | 92 | 95 | 100 | 101 | 112 | 113) => return AcceptFault::Connection,
        _ => {}
    }
    match error.kind() {
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::Interrupted
        | io::ErrorKind::TimedOut
        | io::ErrorKind::WouldBlock => AcceptFault::Connection,
        _ => AcceptFault::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_class() {
        let of = |code| fault_of(&io::Error::from_raw_os_error(code));
        assert_eq!(of(24), AcceptFault::Exhausted);
        assert_eq!(of(105), AcceptFault::Exhausted);
        assert_eq!(of(103), AcceptFault::Connection);
        assert_eq!(of(113), AcceptFault::Connection);
        assert_eq!(of(22), AcceptFault::Unexpected);
    }

    #[test]
    fn a_row_of_errors_is_told_once() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut trouble = Trouble::default();
        assert_eq!(trouble.over(at(0)), None);
        assert_eq!(trouble.more(at(0)), (true, FIRST_PAUSE));
        assert_eq!(trouble.over(at(5)), None);
        assert_eq!(trouble.more(at(10)), (false, FIRST_PAUSE * 2));
        for _ in 0..100 {
            assert!(trouble.more(at(20)).1 <= LONGEST_PAUSE);
        }
        assert_eq!(trouble.over(at(9_000)), None);
        assert_eq!(trouble.over(at(10_020)), Some(102));
        assert_eq!(trouble.over(at(10_021)), None);
    }
}
