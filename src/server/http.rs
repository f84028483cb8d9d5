//! hyper over one connection: limits, timers, drain.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::StatusCode;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::activity::{Activity, Due};
use super::guard::Noted;
use super::h1_answer::{answer_and_close, close};
use super::h1_framing::{EMPTY_LINES, HeadLimits, Refusal};
use super::h1_guard::H1Guard;
use super::h2_guard::{H2Guard, Waiting};
use super::h2_ledger::H2Fault;
use super::linger::linger;
use super::outbox::Flusher;
use super::socket::ClientSocket;
use super::tunnels::Tunnels;
use crate::config::{Config, Timeouts};
use crate::deadline::Deadline;
use crate::drain::Drain;
use crate::proxy::{ProxyService, TunnelEnd};
use crate::report::Http2Limit;
use crate::telemetry::ListenerMetrics;

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

/// What a client may send on a stream before the upstream has taken it: enough for 10 Mbit/s at
/// 100 ms. A connection has as much for each of its streams (`limits.h2_streams`), so that uploads
/// which a slow upstream holds up never take the window from others; together they bound what a
/// connection can make us hold.
const STREAM_WINDOW: u32 = 128 * 1024;
/// RFC 9113 section 6.9.1.
const MOST_WINDOW: u32 = (1 << 31) - 1;
/// The least that the protocol permits, and its default (RFC 9113 section 6.5.2).
const FRAME_SIZE: u32 = 16 * 1024;
/// What HTTP/2 counts for each field beside its octets (RFC 9113 section 6.5.2).
const FIELD_OVERHEAD: usize = 32;
/// Resets of streams over the life of a connection that h2 owes to errors of the client. Its own
/// bound, for a client that does not read them; `limits.h2_resets` is met before.
const LOCAL_ERROR_RESETS: usize = 1024;
/// What a stream's response may hold in hyper before it waits for the client.
const SEND_BUFFER: usize = 64 * 1024;
/// A peer without sign of life is asked for one, and closed without an answer. The answer stands in
/// line behind what the client is still sending or has not taken: a slow one needs its time.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(60);
/// What a connection that was asked to end may still take, beside its open requests: an HTTP/2
/// client acknowledges GOAWAY within its round trip time, or never.
const GOODBYE: Duration = Duration::from_secs(1);

/// hyper's own least buffer.
const MIN_BUFFER: usize = 8192;

/// Serves HTTP/1.1 over `io` until the connection ends; `flusher` sends what is written to it.
pub(super) async fn serve_h1<S>(
    io: S,
    flusher: Flusher<ClientSocket>,
    service: ProxyService,
    metrics: &Arc<ListenerMetrics>,
    config: &Config,
    drain: Drain,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let activity = Activity::new(Instant::now(), metrics.clone());
    let (timeouts, limits) = (&config.timeouts, &config.limits);
    // The guard is exact; hyper only has to take what it lets through.
    let head = limits.request_line + limits.request_headers + 2 * (EMPTY_LINES + 2);
    let mut builder = http1::Builder::new();
    builder
        // Our own timers see more, and cost nothing for a request in time.
        .header_read_timeout(None)
        .max_headers(limits.request_header_count)
        .max_header_size(head)
        .max_buf_size(head.max(MIN_BUFFER))
        .half_close(false);
    let head = HeadLimits {
        request_line: limits.request_line,
        fields: limits.request_headers,
        count: limits.request_header_count,
    };
    let guard = TokioIo::new(H1Guard::new(io, activity.clone(), head));
    let tunnels = Tunnels::new(metrics.clone());
    let noted = Noted::new(service.clone(), activity.clone(), tunnels.clone());
    let mut connection = builder.serve_connection(guard, noted);
    let ended = activity.clone();
    let mut timers = TimerTable::new(activity, &flusher, timeouts, false);
    let end = timers
        .drive(&mut connection, drain, |connection| {
            Pin::new(connection).graceful_shutdown()
        })
        .await;
    let parts = connection.into_parts();
    let io = parts.io.into_inner();
    if let (End::Closed, Some(tunnel)) = (end, tunnels.take()) {
        // A drain does not end it: its own deadlines and `shutdown.drain_timeout` do.
        let early = BytesMut::from(parts.read_buf);
        let flush = |cx: &mut Context<'_>| flusher.poll_flush(cx, true);
        let ended = tunnel.run(io, early, flush).await;
        if ended == TunnelEnd::Upstream {
            // What is cut must not look whole.
            flusher.abort();
        }
        return End::Closed;
    }
    match end {
        // To an HTTP/1.0 client the end of the connection is the end of the body: it must not look
        // like one that is complete.
        End::Broken if ended.response_broke() => flusher.abort(),
        End::Deadline("timeouts.request_header") => {
            let status = StatusCode::REQUEST_TIMEOUT;
            service.refused(status, "request_header_timeout");
            answer_and_close(io.into_inner(), status, "request_header_timeout").await;
        }
        End::Refused(refusal) => {
            service.refused(refusal.status(), refusal.reason());
            answer_and_close(io.into_inner(), refusal.status(), refusal.reason()).await;
        }
        End::Malformed => {
            service.refused(StatusCode::BAD_REQUEST, "malformed");
            close(io.into_inner()).await;
        }
        // An answer that did not wait for all of its request.
        End::Closed if io.is_unread() => close(io.into_inner()).await,
        // Another request may be on its way, after an answer that says that none will be read.
        End::Closed if io.is_open() => linger(io.into_inner()).await,
        End::Closed | End::Broken | End::Deadline(_) | End::Abuse(_) => {}
    }
    end
}

/// Serves HTTP/2 over `io` until the connection ends; `flusher` sends what is written to it.
pub(super) async fn serve_h2<S>(
    io: S,
    flusher: Flusher<ClientSocket>,
    service: ProxyService,
    metrics: &Arc<ListenerMetrics>,
    config: &Config,
    drain: Drain,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new(Instant::now(), metrics.clone());
    let (timeouts, limits) = (&config.timeouts, &config.limits);
    // What comes near the limits is answered with 431; h2 refuses a list that is larger still.
    let list = limits.request_headers + FIELD_OVERHEAD * limits.request_header_count;
    let resets = usize::try_from(limits.h2_resets.count).unwrap_or(usize::MAX);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(
            STREAM_WINDOW
                .saturating_mul(limits.h2_streams)
                .min(MOST_WINDOW),
        )
        .max_frame_size(FRAME_SIZE)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        // The guard counts first.
        .max_pending_accept_reset_streams(resets)
        .max_local_error_reset_streams(resets.saturating_mul(2).max(LOCAL_ERROR_RESETS))
        .max_send_buf_size(SEND_BUFFER)
        // WebSocket (RFC 8441).
        .enable_connect_protocol()
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let guard = H2Guard::new(io, limits);
    let noted = Noted::new(service, activity.clone(), Tunnels::new(metrics.clone()));
    let mut connection = builder.serve_connection(TokioIo::new(guard.share()), noted);
    let mut timers = TimerTable::new(activity, &flusher, timeouts, true);
    timers.waiting = Some(&guard);
    let end = timers
        .drive(&mut connection, drain, |connection| {
            Pin::new(connection).graceful_shutdown()
        })
        .await;
    // With it go its requests, upstream too.
    drop(connection);
    let end = match (guard.fault(), end) {
        (Some(H2Fault::Limit(limit)), _) => End::Abuse(limit),
        (None, End::Deadline("timeouts.response_idle")) => End::Abuse(Http2Limit::ResponseIdle),
        (_, end) => end,
    };
    let fault = match end {
        End::Abuse(limit) => Some(H2Fault::Limit(limit)),
        _ => guard.fault(),
    };
    if end == End::Closed {
        guard.close(timeouts.response_idle).await;
    } else {
        let (frames_in, frames_out) = guard.frames();
        tracing::trace!(frames_in, frames_out, ?end, "HTTP/2 connection is ended");
        guard.farewell(fault, &flusher).await;
    }
    end
}

/// The timers of one connection: one sleep, moved to whatever is due first.
struct TimerTable<'a> {
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
    waiting: Option<&'a (dyn Waiting + Send + Sync)>,
    max_age: Instant,
    /// Set once the connection was asked to end.
    goodbye: Option<(&'static str, Instant)>,
}

impl<'a> TimerTable<'a> {
    fn new(
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
    /// and giving it up when a peer keeps it waiting.
    async fn drive<C>(&mut self, connection: &mut C, mut drain: Drain, ask: fn(&mut C)) -> End
    where
        C: Future<Output = hyper::Result<()>> + Unpin,
    {
        let mut draining = false;
        let heard = drain.clone();
        loop {
            let mut drained = std::pin::pin!(drain.signaled());
            // A task is woken by the same waker for life, so one poll is enough to hear of it.
            let mut listening = false;
            let end = poll_fn(|cx| {
                if let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
                    return Poll::Ready(Some(match result {
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
                    }));
                }
                match self.poll_flush(cx) {
                    Poll::Ready(Ok(())) => {
                        // Where the kernel takes nothing, hyper still has the end of an answer.
                        if self.flusher.blocked_since().is_none()
                            && let Some(refusal) = self.activity.due_refusal()
                        {
                            return Poll::Ready(Some(End::Refused(refusal)));
                        }
                    }
                    Poll::Ready(Err(error)) => {
                        tracing::debug!(%error, "connection broken");
                        return Poll::Ready(Some(End::Broken));
                    }
                    Poll::Pending => {}
                }
                if !draining {
                    let signaled = match listening {
                        true => heard.is_signaled(),
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
            match end {
                Some(end @ (End::Closed | End::Broken | End::Malformed)) => {
                    // hyper's last word, where it did not close in order.
                    let rest = poll_fn(|cx| self.flusher.poll_flush(cx, true));
                    // Whether it arrives changes nothing: the connection has ended.
                    let _ = tokio::time::timeout(GOODBYE, rest).await;
                    return end;
                }
                Some(End::Deadline(name)) if self.goodbye.is_some_and(|(own, _)| own == name) => {
                    return End::Closed;
                }
                Some(end) => return end,
                None => {
                    draining = true;
                    if self.streams || self.activity.is_busy() {
                        ask(connection);
                    } else {
                        // hyper would close it at once, under a request that is on its way.
                        self.activity.next_is_last();
                    }
                    // A client that asks nothing would be waited for: not for long.
                    self.goodbye = Some(("shutdown", Instant::now() + GOODBYE));
                }
            }
        }
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
    ) -> Poll<End> {
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
                return Poll::Ready(End::Abuse(limit));
            }
            match due {
                Some(Due::ResponseIdle(at)) if at <= now => {
                    return Poll::Ready(End::Deadline("timeouts.response_idle"));
                }
                Some(Due::RequestHeader(at)) if at <= now => {
                    return Poll::Ready(End::Deadline("timeouts.request_header"));
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
                // Open requests are let finish; their clients have deadlines of their own.
                (Some((name, at)), _) if at <= now => match due {
                    Some(Due::KeepAlive(_) | Due::RequestHeader(_)) if !self.is_answering() => {
                        return Poll::Ready(End::Deadline(name));
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
            Some(due) => due.at().min(last),
            None => last,
        }
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
    use socket2::SockRef;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

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
                let piece = vec![b'x'; this.left.min(SEND_BUFFER)];
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
        let activity = Activity::new(
            Instant::now(),
            crate::telemetry::Metrics::default().listener("test"),
        );
        activity.refuse(Refusal::RequestLine);
        let mut timers = TimerTable::new(activity, &flusher, &defaults::TIMEOUTS, false);
        // More than the kernel holds for a client that does not read.
        let all = 32 << 20;
        let mut answer = Answer { io, left: all };
        let (_sender, drain) = crate::drain::channel();
        let end = {
            let mut drive = std::pin::pin!(timers.drive(&mut answer, drain, |_| {}));
            let first = poll_fn(|cx| Poll::Ready(drive.as_mut().poll(cx))).await;
            assert_eq!(first, Poll::Pending);
            let read = async {
                let mut all = vec![0; all];
                client.read_exact(&mut all).await.unwrap();
            };
            let ((), end) = tokio::join!(read, drive);
            end
        };
        assert_eq!(end, End::Refused(Refusal::RequestLine));
        assert_eq!(answer.left, 0);
    }
}
