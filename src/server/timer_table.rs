//! The timers of one connection, and the loop that polls hyper under them.
//!
//! Every wait on the client has its name and its deadline here; `server::activity` says which is
//! due. hyper's own timers are off: they see less.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::AsyncRead;
use tokio::task::unconstrained;

use super::activity::{Activity, Due};
use super::h1_guard::H1Guard;
use super::h1_refusal::Refusal;
use super::h2_guard::Waiting;
use super::outbox::Flusher;
use super::socket::ClientSocket;
use crate::config::Timeouts;
use crate::deadline::Deadline;
use crate::drain::Drain;
use crate::report::Http2Limit;
use crate::tls::Idle;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer or hyper closed it in order.
    Closed,
    /// hyper gave up: the peer broke the protocol or the connection.
    Broken,
    /// hyper has answered a head that cannot be parsed.
    Malformed,
    /// The next request is refused, and all before it are answered.
    Refused(Refusal),
    /// This deadline passed.
    Deadline(&'static str),
    /// An HTTP/2 client went past this limit.
    Abuse(Http2Limit),
}

/// Why hyper is not polled any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The connection has ended.
    End(End),
    /// Nothing has been asked for [`PARK_AFTER`], over HTTP/1.
    Idle,
}

/// What a connection that was asked to end may still take, beside its open requests: an HTTP/2
/// client acknowledges GOAWAY within its round trip time, or never.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long an HTTP/1 connection is idle before hyper, and the buffers it has for it, are put away.
/// Longer than a client that asks one thing after another pauses, so that such a one never pays for
/// it; short, so that of many clients that come and ask once few have buffers at a time.
const PARK_AFTER: Duration = Duration::from_millis(100);

/// The timers of one connection: one sleep, moved to whatever is due first.
pub(super) struct TimerTable<'a> {
    activity: Arc<Activity>,
    flusher: &'a Flusher<ClientSocket>,
    timeouts: &'a Timeouts,
    /// Whether several requests are answered at once (HTTP/2); else bytes between two begin a
    /// request's head.
    streams: bool,
    /// What was written has waited for the answers of other streams.
    waited: bool,
    sleep: Deadline,
    /// What else the client is waited for.
    pub(super) waiting: Option<&'a (dyn Waiting + Send + Sync)>,
    max_age: Instant,
    /// Set once the connection was asked to end.
    goodbye: Option<(&'static str, Instant)>,
}

impl<'a> TimerTable<'a> {
    /// The timers of a connection that begins now.
    pub(super) fn new(
        activity: Arc<Activity>,
        flusher: &'a Flusher<ClientSocket>,
        timeouts: &'a Timeouts,
        streams: bool,
    ) -> Self {
        let now = Instant::now();
        // Up to a tenth earlier, so that connections made together do not end together.
        let spread = timeouts.connection_max_age / 10;
        let jitter = spread.mul_f64(f64::from(jitter_seed()) / f64::from(u16::MAX));
        let max_age = now + timeouts.connection_max_age.saturating_sub(jitter);
        let sleep = Deadline::new("timeouts", max_age);
        Self {
            activity,
            flusher,
            timeouts,
            streams,
            waited: false,
            sleep,
            waiting: None,
            max_age,
            goodbye: None,
        }
    }

    /// Polls `connection` to its end, closing it in order (`ask`) when it is drained, idle or old,
    /// and giving it up when a peer keeps it waiting; or until it may be parked.
    pub(super) async fn drive<C>(
        &mut self,
        connection: &mut C,
        drain: &Drain,
        ask: fn(&mut C),
    ) -> Turn
    where
        C: Future<Output = hyper::Result<()>> + Unpin,
    {
        let mut draining = false;
        let mut hearing = drain.clone();
        loop {
            // A task is woken by the same waker for life, so one poll is enough to hear of it: one that
            // must not fail because the connection has used up the task's turn.
            let mut drained = std::pin::pin!(unconstrained(hearing.signaled()));
            let mut listening = false;
            let turn = poll_fn(|cx| {
                if let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
                    return Poll::Ready(Some(Turn::End(match result {
                        Ok(()) => End::Closed,
                        Err(error) => {
                            tracing::debug!(
                                error = &error as &dyn std::error::Error,
                                "connection ended"
                            );
                            if error.is_parse() {
                                End::Malformed
                            } else {
                                End::Broken
                            }
                        }
                    })));
                }
                // Where the kernel took nothing, hyper still has the end of an answer: if there is
                // room by now, it comes first, before anything is decided.
                let held = self.flusher.blocked_since().is_some();
                match self.poll_flush(cx) {
                    Poll::Ready(Ok(())) if held && self.flusher.blocked_since().is_none() => {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(())) => {
                        if self.flusher.blocked_since().is_none()
                            && let Some(refusal) = self.activity.due_refusal()
                        {
                            return Poll::Ready(Some(Turn::End(End::Refused(refusal))));
                        }
                    }
                    Poll::Ready(Err(error)) => {
                        tracing::debug!(%error, "connection broken");
                        return Poll::Ready(Some(Turn::End(End::Broken)));
                    }
                    Poll::Pending => {}
                }
                if !draining {
                    let signaled = match listening {
                        true => drain.is_signaled(),
                        false => drained.as_mut().poll(cx).is_ready(),
                    };
                    listening = true;
                    if signaled {
                        return Poll::Ready(None);
                    }
                }
                self.poll_timers(cx, connection, ask).map(Some)
            })
            .await;
            match turn {
                Some(turn @ Turn::End(End::Closed | End::Broken | End::Malformed)) => {
                    // hyper's last word, where it did not close in order.
                    let rest = poll_fn(|cx| self.flusher.poll_flush(cx, true));
                    // Whether it arrives changes nothing: the connection has ended.
                    let _ = tokio::time::timeout(GOODBYE, rest).await;
                    return turn;
                }
                Some(Turn::End(End::Deadline(name)))
                    if self.goodbye.is_some_and(|(own, _)| own == name) =>
                {
                    return Turn::End(End::Closed);
                }
                Some(turn) => return turn,
                None => {
                    draining = true;
                    if self.streams {
                        ask(connection);
                    } else {
                        // hyper would close it at once, or at the end of an answer whose head has
                        // not said so, under a request that is on its way.
                        self.activity.next_is_last();
                    }
                    // A client that asks nothing would be waited for: not for long.
                    self.goodbye = Some(("shutdown", Instant::now() + GOODBYE));
                }
            }
        }
    }

    /// Waits until there is work for hyper again, which is put away: the client sends or closes, a
    /// timer is due, or the connection is drained.
    pub(super) async fn park<S: AsyncRead + Idle + Unpin>(
        &mut self,
        guard: &mut H1Guard<S>,
        drain: &Drain,
    ) {
        guard.idle();
        let mut hearing = drain.clone();
        let mut drained = std::pin::pin!(hearing.signaled());
        let due = self.activity.due(self.timeouts, true, None);
        let due = due.map_or(self.max_age, |due| due.at().min(self.max_age));
        self.sleep.reset(due);
        poll_fn(|cx| {
            // Reading last: who sends all the time must not keep the others from their turn.
            if drained.as_mut().poll(cx).is_ready()
                || self.sleep.poll_elapsed(cx).is_ready()
                || guard.poll_readable(cx).is_ready()
            {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    /// The end of a poll: all that it wrote goes out at once. Tickets wait for the answer while
    /// there will be one.
    ///
    /// A connection with more streams to answer lets the tasks that are ready go first, once: their
    /// answers then go out together, in one write instead of one each.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let busy = self.activity.is_busy();
        if self.streams && busy && !self.waited && self.flusher.is_waited_for() {
            self.waited = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.waited = false;
        self.flusher.poll_flush(cx, !busy)
    }

    fn poll_timers<C>(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut C,
        ask: fn(&mut C),
    ) -> Poll<Turn> {
        loop {
            let blocked = self.flusher.blocked_since();
            let due = self.activity.due(self.timeouts, !self.streams, blocked);
            let next = self.next(due);
            // A timer that is armed too early is looked at again when it fires; moving it at each
            // request would cost more.
            if next < self.sleep.at() {
                self.sleep.reset(next);
            }
            if self.sleep.poll_elapsed(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if let Some(limit) = self
                .waiting
                .and_then(|waiting| waiting.late(self.timeouts, now))
            {
                return Poll::Ready(Turn::End(End::Abuse(limit)));
            }
            match due {
                Some(Due::ResponseIdle(at)) if at <= now => {
                    return Poll::Ready(Turn::End(End::Deadline("timeouts.response_idle")));
                }
                Some(Due::RequestHeader(at)) if at <= now => {
                    return Poll::Ready(Turn::End(End::Deadline("timeouts.request_header")));
                }
                _ => {}
            }
            match (self.goodbye, due) {
                (None, Some(Due::KeepAlive(at))) if at <= now => {
                    self.say_goodbye("timeouts.keep_alive", now, cx);
                    ask(connection);
                }
                (None, _) if self.max_age <= now => {
                    self.say_goodbye("timeouts.connection_max_age", now, cx);
                    ask(connection);
                }
                (None, Some(Due::KeepAlive(_))) if self.park_at().is_some_and(|at| at <= now) => {
                    return Poll::Ready(Turn::Idle);
                }
                // Open requests are let finish; their clients have deadlines of their own.
                (Some((name, at)), _) if at <= now => match due {
                    Some(Due::KeepAlive(_) | Due::RequestHeader(_)) if !self.is_answering() => {
                        return Poll::Ready(Turn::End(End::Deadline(name)));
                    }
                    _ => self.goodbye = Some((name, now + GOODBYE)),
                },
                _ => {}
            }
            self.sleep.reset(self.next(due));
        }
    }

    /// Whether the client has answers to take that nobody else has a part in any more.
    fn is_answering(&self) -> bool {
        self.waiting.is_some_and(Waiting::is_answering)
    }

    /// When there is something to look at again; after a round of `poll_timers` in the future.
    fn next(&self, due: Option<Due>) -> Instant {
        let last = self.goodbye.map_or(self.max_age, |(_, at)| at);
        let waiting = self.waiting.and_then(|waiting| waiting.due(self.timeouts));
        let last = waiting.map_or(last, |at| at.min(last));
        match due {
            Some(Due::KeepAlive(_)) if self.goodbye.is_some() => last,
            Some(Due::KeepAlive(at)) => self.park_at().map_or(at, |park| park.min(at)).min(last),
            Some(due) => due.at().min(last),
            None => last,
        }
    }

    /// When the connection is to be parked, if it is idle and can be.
    fn park_at(&self) -> Option<Instant> {
        let heads = !self.streams;
        let idle = heads.then(|| self.activity.idle_since()).flatten();
        idle.map(|since| since + PARK_AFTER)
    }

    /// hyper was asked to end the connection; it has to be polled again to do so.
    fn say_goodbye(&mut self, name: &'static str, now: Instant, cx: &mut Context<'_>) {
        self.goodbye = Some((name, now + GOODBYE));
        cx.waker().wake_by_ref();
    }
}

fn jitter_seed() -> u16 {
    // The low bits of the clock's nanoseconds are as good as random for this.
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    u16::try_from(nanos >> 4 & 0xffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use socket2::SockRef;
    use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::h1_framing::HeadLimits;
    use super::super::outbox::Outbox;
    use super::*;
    use crate::config::defaults;

    /// As hyper with an answer whose request is over: it has `left` bytes to write.
    struct Answer {
        io: Outbox<ClientSocket>,
        left: usize,
    }

    impl Future for Answer {
        type Output = hyper::Result<()>;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
            let this = &mut *self;
            while this.left > 0 {
                let piece = vec![b'x'; this.left.min(64 * 1024)];
                match Pin::new(&mut this.io).poll_write(cx, &piece) {
                    Poll::Ready(written) => this.left -= written.unwrap(),
                    Poll::Pending => break,
                }
            }
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_refusal_does_not_cut_the_answer_before_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut client, (ours, _)) = (client.unwrap(), accepted.unwrap());
        SockRef::from(&ours).set_send_buffer_size(1 << 16).unwrap();
        let io = Outbox::new(ClientSocket::Tcp(ours));
        io.gather();
        let flusher = io.flusher();
        let activity = activity();
        activity.refuse(Refusal::RequestLine);
        let mut timers = TimerTable::new(activity, &flusher, &defaults::TIMEOUTS, false);
        // More than the kernel holds for a client that does not read.
        let all = 32 << 20;
        let mut answer = Answer { io, left: all };
        let (_sender, drain) = crate::drain::channel();
        let end = {
            let mut drive = std::pin::pin!(timers.drive(&mut answer, &drain, |_| {}));
            let first = poll_fn(|cx| Poll::Ready(drive.as_mut().poll(cx))).await;
            assert_eq!(first, Poll::Pending);
            let read = async {
                let mut all = vec![0; all];
                client.read_exact(&mut all).await.unwrap();
            };
            let ((), end) = tokio::join!(read, drive);
            end
        };
        assert_eq!(end, Turn::End(End::Refused(Refusal::RequestLine)));
        assert_eq!(answer.left, 0);
    }
    fn activity() -> Arc<Activity> {
        let metrics = crate::telemetry::Metrics::default().listener("test");
        Activity::new(Instant::now(), metrics)
    }

    /// As hyper with nothing to do.
    struct Waiting;

    impl Future for Waiting {
        type Output = hyper::Result<()>;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<hyper::Result<()>> {
            Poll::Pending
        }
    }

    /// A connection's parts without a connection: what happens to it is told to `Activity`.
    async fn socket() -> (TcpStream, Outbox<ClientSocket>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (ours, _) = accepted.unwrap();
        (client.unwrap(), Outbox::new(ClientSocket::Tcp(ours)))
    }

    /// As hyper with so much to do at first that it is stopped for others to run, until it is asked
    /// to end.
    #[derive(Default)]
    struct Busy {
        polls: Arc<AtomicUsize>,
        asked: bool,
    }

    impl Future for Busy {
        type Output = hyper::Result<()>;

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
            if self.polls.fetch_add(1, Ordering::Relaxed) == 0 {
                while let Poll::Ready(turn) = tokio::task::coop::poll_proceed(cx) {
                    turn.made_progress();
                }
            }
            match self.asked {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            }
        }
    }

    #[tokio::test]
    async fn a_busy_connection_hears_of_the_drain() {
        let (_client, io) = socket().await;
        let (sender, drain) = crate::drain::channel();
        let mut busy = Busy::default();
        let polls = busy.polls.clone();
        let driven = tokio::spawn(async move {
            let flusher = io.flusher();
            let mut timers = TimerTable::new(activity(), &flusher, &defaults::TIMEOUTS, true);
            timers
                .drive(&mut busy, &drain, |busy| busy.asked = true)
                .await
        });
        while polls.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        // It has its next turn before it is drained.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        sender.drain();
        let turn = tokio::time::timeout(Duration::from_secs(5), driven).await;
        assert_eq!(turn.unwrap().unwrap(), Turn::End(End::Closed));
    }

    #[tokio::test]
    async fn only_an_idle_connection_is_parked() {
        let (_client, io) = socket().await;
        let flusher = io.flusher();
        let (_sender, drain) = crate::drain::channel();
        let activity = activity();
        let mut timers = TimerTable::new(activity.clone(), &flusher, &defaults::TIMEOUTS, false);
        let mut turn = async |patience: u32| {
            let mut waiting = Waiting;
            let drive = timers.drive(&mut waiting, &drain, |_| {});
            tokio::time::timeout(patience * PARK_AFTER, drive)
                .await
                .ok()
        };
        assert_eq!(turn(100).await, Some(Turn::Idle));
        activity.within_message(true);
        assert_eq!(turn(2).await, None, "a body is on its way");
        activity.within_message(false);
        activity.heads_whole(1);
        assert_eq!(
            turn(2).await,
            None,
            "a request is on its way to the service"
        );
        let request = activity.begin();
        assert_eq!(turn(2).await, None, "a request is being answered");
        drop(request);
        assert_eq!(turn(100).await, Some(Turn::Idle));
    }

    #[tokio::test]
    async fn a_parked_connection_wakes_for_a_byte_an_end_and_a_drain() {
        let limits = HeadLimits {
            request_line: 8192,
            fields: 8192,
            count: 100,
        };
        let (mut client, io) = socket().await;
        let flusher = io.flusher();
        let (sender, drain) = crate::drain::channel();
        let activity = activity();
        let mut timers = TimerTable::new(activity.clone(), &flusher, &defaults::TIMEOUTS, false);
        let mut guard = H1Guard::new(io, activity.clone(), limits);
        {
            let mut park = std::pin::pin!(timers.park(&mut guard, &drain));
            assert!(
                poll_fn(|cx| Poll::Ready(park.as_mut().poll(cx)))
                    .await
                    .is_pending()
            );
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            park.await;
        }
        // The byte that woke it is not lost.
        let mut head = vec![0; 27];
        guard.read_exact(&mut head).await.unwrap();
        assert_eq!(head, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(activity.idle_since().is_none());
        drop(activity.begin());
        assert!(activity.idle_since().is_some());
        client.shutdown().await.unwrap();
        timers.park(&mut guard, &drain).await;
        assert!(!guard.is_open());

        let (_client, io) = socket().await;
        let mut guard = H1Guard::new(io, activity, limits);
        sender.drain();
        timers.park(&mut guard, &drain).await;
        assert!(guard.is_open());
    }
}
