//! One connection: handshake, ALPN, serve, drain.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use super::accept::{Held, refuse};
use super::http::{serve_h1, serve_h2};
use super::linger::linger;
use super::outbox::Outbox;
use super::per_ip::{ConnectionsPerIp, Counted, LimitReached};
use super::permits::ConnectionPermits;
use super::proxy_header;
use super::socket::ClientSocket;
use super::timer_table::End;
use crate::config::{Alpn, Limits, ListenAddress};
use crate::drain::Drain;
use crate::proxy::{ConnectionInfo, HandshakeTimes, ProxyService, TlsFacts};
use crate::report::{ConnectionId, FailureClass, Outcome, Peer};
use crate::snapshot::{ListenerState, SnapshotStore};
use crate::telemetry::{Limit, ListenerMetrics, Telemetry};
use crate::tls::{self, Admission, Established, Incoming, Refused, Sites, Transport};

/// What all connections share.
#[derive(Debug)]
pub struct ServerContext {
    /// The current generation.
    pub snapshot: Arc<SnapshotStore>,
    /// Where reports go.
    pub telemetry: Telemetry,
    /// `limits.connections`.
    pub permits: ConnectionPermits,
    /// `limits.connections_per_ip`.
    pub per_ip: Arc<ConnectionsPerIp>,
    /// Crypto slots, one a worker, for `limits.handshakes`.
    pub admission: Arc<Admission>,
    next_id: AtomicU64,
}

impl ServerContext {
    /// A context with these limits, and crypto slots for `workers`.
    #[must_use]
    pub fn new(
        snapshot: Arc<SnapshotStore>,
        telemetry: Telemetry,
        limits: &Limits,
        workers: usize,
    ) -> Self {
        // Above the low 40 bits the start time, so that numbers of two runs differ.
        let seconds = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self {
            snapshot,
            telemetry,
            permits: ConnectionPermits::new(limits.connections),
            per_ip: ConnectionsPerIp::new(limits.connections_per_ip),
            admission: Admission::new(workers, limits.handshakes),
            next_id: AtomicU64::new((seconds & 0xff_ffff) << 40),
        }
    }

    /// Changes to other limits.
    pub fn resize(&self, limits: &Limits) {
        self.permits.resize(limits.connections);
        self.per_ip.resize(limits.connections_per_ip);
        self.admission.resize(limits.handshakes);
    }

    /// The number of a new connection.
    pub(super) fn next_id(&self) -> ConnectionId {
        ConnectionId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }
}

/// Serves one accepted connection to its end, and gives back what it `held` of the limits.
///
/// The task is small and stays so: each stage has a box, which goes when the stage is over, and not
/// an `async fn`'s parameters, which would be kept beside what is made of them.
pub(super) fn serve(
    stream: ClientSocket,
    incoming: Incoming,
    listener: Arc<ListenerState>,
    address: ListenAddress,
    context: Arc<ServerContext>,
    drain: Drain,
    held: Held,
) -> impl Future<Output = ()> + Send {
    let (id, hold) = (incoming.id, drain.hold());
    let open = Open::new(listener.metrics.clone());
    let begun = Box::pin(begin(
        stream,
        incoming,
        listener.clone(),
        address,
        context.clone(),
        drain,
    ));
    async move {
        if let Some(serving) = begun.await {
            let peer = serving.peer;
            match serving.requests.await {
                End::Deadline(deadline) => {
                    tracing::debug!(connection = %id, %peer, deadline, "deadline passed");
                }
                End::Abuse(limit) => {
                    listener.metrics.http2_abuse(limit);
                    let limit = limit.name();
                    tracing::debug!(connection = %id, %peer, limit, "HTTP/2 abuse");
                }
                End::Closed | End::Broken | End::Malformed | End::Refused(_) => {}
            }
            drop(serving.counted);
        }
        drop(open);
        // A panic drops the permit all the same.
        held.release(&context);
        drop(hold);
    }
}

/// A connection that is ready for requests.
struct Serving {
    requests: Pin<Box<dyn Future<Output = End> + Send>>,
    peer: Peer,
    /// What counts for the address that a PROXY header gave.
    counted: Option<Counted>,
}

/// The PROXY header and the handshake. `None`: the connection has ended, and why has been told.
async fn begin(
    mut stream: ClientSocket,
    mut incoming: Incoming,
    listener: Arc<ListenerState>,
    address: ListenAddress,
    context: Arc<ServerContext>,
    drain: Drain,
) -> Option<Serving> {
    let local = match address {
        ListenAddress::Tcp(own) if !own.ip().is_unspecified() => Some(own),
        _ => stream.local_addr(),
    };
    let mut counted = None;
    if incoming.proxy.is_some() || listener.sites.is_none() {
        // Only a ClientHello is answered at once. What this socket has of its listener is undone.
        stream.acknowledge();
    }
    if incoming.proxy.is_some() {
        let whole = proxied(stream, &mut incoming, &listener, &context).await?;
        (stream, counted) = (whole.stream, whole.counted);
    }
    let outbox = Outbox::new(stream);
    let flusher = outbox.flusher();
    let peer = incoming.peer;
    let info = ConnectionInfo {
        id: incoming.id,
        peer,
        proxy: incoming.proxy.map(|proxied| proxied.sender),
        local,
        listener: listener.index,
        listener_name: listener.name.clone(),
        secure: listener.sites.is_some(),
        server_name: None,
        tls: None,
    };
    let metrics = listener.metrics.clone();
    let config = context.snapshot.load().config.clone();
    let requests: Pin<Box<dyn Future<Output = End> + Send>> = match &listener.sites {
        None => {
            let service = service(info, &context);
            outbox.gather();
            Box::pin(serve_h1(outbox, flusher, service, metrics, config, drain))
        }
        Some(sites) => {
            let Established {
                stream,
                alpn,
                policy,
                client_certificate,
                report,
            } = handshake(outbox, &incoming, sites, &listener, &context).await?;
            stream.get_ref().0.get_ref().gather();
            let facts = TlsFacts {
                policy,
                version: report.version,
                cipher: report.cipher,
                group: report.group,
                kind: report.kind,
                times: HandshakeTimes::new(report.total, &report.phases),
                client_certificate,
            };
            let info = ConnectionInfo {
                server_name: report.server_name.clone(),
                tls: Some(facts),
                ..info
            };
            context.telemetry.handshake(&listener.metrics, report);
            let service = service(info, &context);
            match alpn {
                Some(Alpn::H2) => {
                    Box::pin(serve_h2(stream, flusher, service, metrics, config, drain))
                }
                Some(Alpn::Http11) | None => {
                    Box::pin(serve_h1(stream, flusher, service, metrics, config, drain))
                }
            }
        }
    };
    Some(Serving {
        requests,
        peer,
        counted,
    })
}

/// A connection whose PROXY header is whole.
struct Whole {
    stream: ClientSocket,
    /// What counts for the address that it gives.
    counted: Option<Counted>,
}

/// Takes the PROXY header off `stream`: the address that it gives is the peer's from then on, and
/// counts for `limits.connections_per_ip`. `None`: the connection ends, and why has been told.
async fn proxied(
    mut stream: ClientSocket,
    incoming: &mut Incoming,
    listener: &ListenerState,
    context: &ServerContext,
) -> Option<Whole> {
    if let Some(proxied) = &mut incoming.proxy {
        proxied.since = Instant::now();
    }
    let patience = match &listener.sites {
        Some(sites) => sites.policy().spec().handshake_timeout,
        None => context.snapshot.load().config.timeouts.request_header,
    };
    let header = match proxy_header::take(&mut stream, incoming.accepted, patience).await {
        Ok(header) => header,
        Err(fault) => {
            tracing::debug!(
                connection = %incoming.id,
                peer = %incoming.peer,
                cause = std::error::Error::source(&fault),
                "{fault}"
            );
            if listener.sites.is_some() {
                listener.metrics.handshake_started();
                let report = tls::never_began(stream, incoming, fault.outcome());
                context.telemetry.handshake(&listener.metrics, report);
            }
            return None;
        }
    };
    // A sender that speaks for itself is not counted: it was named by the configuration.
    let Some(source) = header.source else {
        return Some(Whole {
            stream,
            counted: None,
        });
    };
    incoming.peer = Peer::Tcp(source);
    match context.per_ip.count(source.ip()) {
        Ok(counted) => Some(Whole { stream, counted }),
        Err(LimitReached) => {
            let is_tls = listener.sites.is_some();
            refuse(context, &listener.name, is_tls, &stream, incoming.peer);
            None
        }
    }
}

/// The handshake. `None`: it failed, and the client and the report know.
async fn handshake(
    stream: Outbox<ClientSocket>,
    incoming: &Incoming,
    sites: &Arc<Sites>,
    listener: &ListenerState,
    context: &ServerContext,
) -> Option<Established<Outbox<ClientSocket>>> {
    listener.metrics.handshake_started();
    match tls::accept(
        stream,
        incoming,
        sites,
        &listener.metrics,
        &context.admission,
    )
    .await
    {
        Ok(established) => Some(established),
        Err(refused) => {
            // Boxed: it has room for much that most connections never need.
            Box::pin(failed(*refused, sites, listener, context)).await;
            None
        }
    }
}

/// The end of a handshake that failed: the report is told, and the client has time to read why.
async fn failed(
    refused: Refused<Outbox<ClientSocket>>,
    sites: &Arc<Sites>,
    listener: &ListenerState,
    context: &ServerContext,
) {
    let Refused {
        mut report,
        linger: stream,
        ailment,
    } = refused;
    if let Outcome::Failed(failure) = &report.outcome
        && failure.class == FailureClass::RefusedOverload
    {
        context.telemetry.metrics.limit_refused(Limit::Handshakes);
    }
    let told = async {
        if let (Outcome::Failed(failure), Some(ailment)) = (&mut report.outcome, ailment) {
            tls::prescribe(failure, ailment, sites).await;
        }
        context.telemetry.handshake(&listener.metrics, report);
    };
    let closed = async {
        if let Some(stream) = stream {
            linger(stream).await;
        }
    };
    // The client has its alert; neither waits for the other.
    tokio::join!(told, closed);
}

fn service(info: ConnectionInfo, context: &ServerContext) -> ProxyService {
    ProxyService::new(
        Arc::new(info),
        context.snapshot.clone(),
        context.telemetry.clone(),
    )
}

/// Counts a connection as open while it lives.
struct Open(Arc<ListenerMetrics>);

impl Open {
    fn new(metrics: Arc<ListenerMetrics>) -> Self {
        metrics.connection_opened();
        Self(metrics)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}
