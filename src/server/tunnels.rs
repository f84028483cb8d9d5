//! The requests of one connection that become tunnels.
//!
//! Over HTTP/1.1 the connection itself becomes one, and its own task serves it. Over HTTP/2 a
//! stream does (RFC 8441): a task of its own serves it, and its request is in progress until it
//! ends, so the connection's timers and drain wait for it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::BytesMut;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::activity::InFlight;
use crate::proxy::{Tunnel, TunnelEnd};
use crate::telemetry::ListenerMetrics;

/// Tunnels of one connection.
#[derive(Debug)]
pub(super) struct Tunnels {
    metrics: Arc<ListenerMetrics>,
    /// What an HTTP/1 connection is to become.
    next: Mutex<Option<Open>>,
}

/// A tunnel, counted while it lives.
#[derive(Debug)]
pub(super) struct Open {
    tunnel: Box<Tunnel>,
    count: Count,
}

#[derive(Debug)]
struct Count {
    metrics: Arc<ListenerMetrics>,
    websocket: bool,
}

impl Tunnels {
    pub(super) fn new(metrics: Arc<ListenerMetrics>) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            next: Mutex::default(),
        })
    }

    /// A request has become `tunnel`: on `stream`, or else on the connection.
    pub(super) fn open(
        &self,
        tunnel: Box<Tunnel>,
        stream: Option<OnUpgrade>,
        request: Option<InFlight>,
    ) {
        let websocket = tunnel.is_websocket();
        self.metrics.tunnel_opened(websocket);
        let count = Count {
            metrics: self.metrics.clone(),
            websocket,
        };
        let open = Open { tunnel, count };
        let Some(stream) = stream else {
            if let Some(request) = request {
                request.switches();
            }
            *self.next() = Some(open);
            return;
        };
        let request = request.map(InFlight::tunnelled);
        // Ends with the stream: `limits.h2_streams` bounds them.
        tokio::spawn(async move {
            match stream.await {
                Ok(stream) => {
                    let stream = TokioIo::new(stream);
                    open.run(stream, BytesMut::new(), |_| Poll::Ready(Ok(())))
                        .await;
                }
                Err(error) => tracing::debug!(%error, "no tunnel: the stream has ended"),
            }
            drop(request);
        });
    }

    /// What the connection is to become, once hyper has let go of it.
    pub(super) fn take(&self) -> Option<Open> {
        self.next().take()
    }

    fn next(&self) -> std::sync::MutexGuard<'_, Option<Open>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// See [`Tunnel::run`].
    pub(super) async fn run<S>(
        self,
        client: S,
        early: BytesMut,
        flush: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> TunnelEnd
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { tunnel, count } = self;
        let end = tunnel.run(client, early, flush).await;
        drop(count);
        end
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.metrics.tunnel_closed(self.websocket);
    }
}
