//! hyper over one connection: limits, timers, drain.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::StatusCode;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::activity::Activity;
use super::guard::Noted;
use super::h1_answer::{answer_and_close, close};
use super::h1_framing::{EMPTY_LINES, HeadLimits};
use super::h1_guard::H1Guard;
use super::h2_guard::H2Guard;
use super::h2_ledger::H2Fault;
use super::linger::linger;
use super::outbox::Flusher;
use super::socket::ClientSocket;
use super::timer_table::{End, TimerTable, Turn};
use super::tunnels::Tunnels;
use crate::config::Config;
use crate::drain::Drain;
use crate::proxy::{ProxyService, TunnelEnd};
use crate::report::Http2Limit;
use crate::telemetry::ListenerMetrics;
use crate::tls::Idle;

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
/// hyper's own least buffer.
const MIN_BUFFER: usize = 8192;
/// As many fields as hyper takes unless told otherwise. To be told costs it two tables that it fills
/// and moves for each request, some 8 KiB.
const FIELDS: usize = 100;

/// Serves HTTP/1.1 over `io` until the connection ends; `flusher` sends what is written to it.
pub(super) async fn serve_h1<S>(
    io: S,
    flusher: Flusher<ClientSocket>,
    service: ProxyService,
    metrics: Arc<ListenerMetrics>,
    config: Arc<Config>,
    drain: Drain,
) -> End
where
    S: AsyncRead + AsyncWrite + Idle + Unpin,
{
    let activity = Activity::new(Instant::now(), metrics.clone());
    let (timeouts, limits) = (&config.timeouts, &config.limits);
    // The guard is exact; hyper only has to take what it lets through.
    let head = limits.request_line + limits.request_headers + 2 * (EMPTY_LINES + 2);
    let mut builder = http1::Builder::new();
    builder
        // Our own timers see more, and cost nothing for a request in time.
        .header_read_timeout(None)
        .max_header_size(head)
        .max_buf_size(head.max(MIN_BUFFER))
        .half_close(false);
    if limits.request_header_count != FIELDS {
        builder.max_headers(limits.request_header_count);
    }
    let head = HeadLimits {
        request_line: limits.request_line,
        fields: limits.request_headers,
        count: limits.request_header_count,
    };
    let mut guard = TokioIo::new(H1Guard::new(io, activity.clone(), head));
    let tunnels = Tunnels::new(metrics);
    let mut noted = Noted::new(
        service.clone(),
        activity.clone(),
        tunnels.clone(),
        Some(flusher.clone()),
    );
    let ended = activity.clone();
    let mut timers = TimerTable::new(activity, &flusher, timeouts, false);
    let (end, parts) = loop {
        // Boxed, so that nothing of hyper is left while the connection is parked.
        let served = Box::pin(async {
            let mut connection = builder.serve_connection(guard, noted);
            let turn = timers
                .drive(&mut connection, &drain, |connection| {
                    Pin::new(connection).graceful_shutdown();
                })
                .await;
            (turn, connection.into_parts())
        });
        match served.await {
            (Turn::End(end), parts) => break (end, parts),
            (Turn::Idle, parts) => {
                (guard, noted) = (parts.io, parts.service);
                guard.inner_mut().unread(&parts.read_buf);
            }
        }
        timers.park(guard.inner_mut(), &drain).await;
    };
    drop(timers);
    // Boxed, with all that only an end needs: until then there is no room kept for it.
    Box::pin(async move {
        let guard = parts.io.into_inner();
        if let (End::Closed, Some(tunnel)) = (end, tunnels.take()) {
            // A drain does not end it: its own deadlines and `shutdown.drain_timeout` do.
            let early = BytesMut::from(parts.read_buf);
            let flush = |cx: &mut Context<'_>| flusher.poll_flush(cx, true);
            if tunnel.run(guard, early, flush).await == TunnelEnd::Upstream {
                // What is cut must not look whole.
                flusher.abort();
            }
            return End::Closed;
        }
        close_h1(guard, end, &flusher, &service, &ended).await;
        end
    })
    .await
}

/// The last words of a connection, if it needs any.
async fn close_h1<S>(
    guard: H1Guard<S>,
    end: End,
    flusher: &Flusher<ClientSocket>,
    service: &ProxyService,
    activity: &Activity,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match end {
        // To an HTTP/1.0 client the end of the connection is the end of the body: it must not look
        // like one that is complete.
        End::Broken if activity.response_broke() => flusher.abort(),
        End::Deadline("timeouts.request_header") => {
            let status = StatusCode::REQUEST_TIMEOUT;
            service.refused(status, "request_header_timeout");
            answer_and_close(guard.into_inner(), status, "request_header_timeout").await;
        }
        End::Refused(refusal) => {
            service.refused(refusal.status(), refusal.reason());
            answer_and_close(guard.into_inner(), refusal.status(), refusal.reason()).await;
        }
        End::Malformed => {
            service.refused(StatusCode::BAD_REQUEST, "malformed");
            close(guard.into_inner()).await;
        }
        // An answer that did not wait for all of its request.
        End::Closed if guard.is_unread() => close(guard.into_inner()).await,
        // Another request may be on its way, after an answer that says that none will be read.
        End::Closed if guard.is_open() => linger(guard.into_inner()).await,
        End::Closed | End::Broken | End::Deadline(_) | End::Abuse(_) => {}
    }
}

/// Serves HTTP/2 over `io` until the connection ends; `flusher` sends what is written to it.
pub(super) async fn serve_h2<S>(
    io: S,
    flusher: Flusher<ClientSocket>,
    service: ProxyService,
    metrics: Arc<ListenerMetrics>,
    config: Arc<Config>,
    drain: Drain,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _open = OpenHttp2::new(metrics.clone());
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
    let noted = Noted::new(service, activity.clone(), Tunnels::new(metrics), None);
    let mut connection = builder.serve_connection(TokioIo::new(guard.share()), noted);
    let mut timers = TimerTable::new(activity, &flusher, timeouts, true);
    timers.waiting = Some(&guard);
    let end = loop {
        let turn = timers
            .drive(&mut connection, &drain, |connection| {
                Pin::new(connection).graceful_shutdown();
            })
            .await;
        // It is never parked: its streams, windows and header tables would go too.
        if let Turn::End(end) = turn {
            break end;
        }
    };
    // With it go its requests, upstream too.
    drop(connection);
    let end = match (guard.fault(), end) {
        (Some(H2Fault::Limit(limit)), _) => End::Abuse(limit),
        (None, End::Deadline("timeouts.response_idle")) => End::Abuse(Http2Limit::ResponseIdle),
        (_, end) => end,
    };
    let fault = match end {
        End::Abuse(limit) => Some(H2Fault::Limit(limit)),
        End::Closed => guard.abandoned(),
        _ => guard.fault(),
    };
    if end == End::Closed && fault.is_none() {
        guard.close(timeouts.response_idle).await;
    } else {
        let (frames_in, frames_out) = guard.frames();
        tracing::trace!(frames_in, frames_out, ?end, "HTTP/2 connection is ended");
        guard.farewell(fault, &flusher).await;
    }
    end
}

/// Counts a connection that speaks HTTP/2 while it lives.
struct OpenHttp2(Arc<ListenerMetrics>);

impl OpenHttp2 {
    fn new(metrics: Arc<ListenerMetrics>) -> Self {
        metrics.http2_opened();
        Self(metrics)
    }
}

impl Drop for OpenHttp2 {
    fn drop(&mut self) {
        self.0.http2_closed();
    }
}
