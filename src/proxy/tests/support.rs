//! A proxy in front of one origin, spoken to in raw HTTP/1.1 or by hyper's HTTP/2 client.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::client::conn::http2::SendRequest;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use crate::config;
use crate::config::{
    Admin, Budget, Config, FieldEdits, Forwarding, Limits, ListenAddress, Listener, ListenerMode,
    Location, Log, LogFormat, LogLevel, LogTarget, PathPattern, PeerSet, Pool, Reload,
    RequestRules, Route, RouteAction, RouteId, Runtime, ServerAddress, Shutdown, Timeouts,
    Upstream, UpstreamId, UpstreamServer, UpstreamTimeouts,
};
use crate::proxy::{ConnectionInfo, ProxyService};
use crate::report::{ConnectionId, Peer};
use crate::route::RouteTable;
use crate::snapshot::{Snapshot, SnapshotStore};
use crate::telemetry::Telemetry;
use crate::upstream::Cluster;

/// Never spent.
const BUDGET: Budget = Budget {
    count: 1000,
    per: LONG,
};
/// Never reached.
pub(super) const LONG: Duration = Duration::from_secs(20);
/// Waited for.
pub(super) const SHORT: Duration = Duration::from_millis(50);
/// How much a pipe between client and proxy holds.
pub(super) const PIPE: usize = 64 * 1024;

/// A configuration with one route for everything to `address`.
pub(super) fn config(address: ServerAddress) -> Config {
    let any = Location::default();
    Config {
        runtime: Runtime { workers: 0 },
        listeners: vec![Listener {
            name: "https".into(),
            address: ListenAddress::Tcp(([127, 0, 0, 1], 0).into()),
            location: any,
            mode: ListenerMode::Plain,
            redirect: None,
            proxy_protocol_from: PeerSet::default(),
            backlog: 16,
        }],
        policies: Vec::new(),
        certificates: Vec::new(),
        routes: vec![Route {
            name: "*/".into(),
            host: None,
            path: PathPattern::Prefix("/".into()),
            action: RouteAction::Upstream(UpstreamId(0)),
            request: RequestRules::default(),
            response_fields: FieldEdits::default(),
            location: any,
        }],
        upstreams: vec![Upstream {
            timeouts: UpstreamTimeouts {
                connect: LONG,
                first_byte: LONG,
                idle: LONG,
            },
            pool: Pool {
                max_connections: 16,
                max_idle: 16,
                idle_timeout: LONG,
                wait: LONG,
                max_waiting: 64,
            },
            ..Upstream::of("origin", vec![UpstreamServer { address, weight: 1 }])
        }],
        timeouts: Timeouts {
            request_header: LONG,
            request_body_idle: LONG,
            response_idle: LONG,
            keep_alive: LONG,
            tunnel_idle: LONG,
            connection_max_age: LONG,
        },
        limits: Limits {
            connections: 100,
            connections_per_ip: None,
            handshakes: 256,
            request_line: 8192,
            request_headers: 32768,
            request_header_count: 100,
            request_body: None,
            h2_streams: 128,
            h2_resets: BUDGET,
            h2_control_frames: BUDGET,
        },
        forwarding: Forwarding::default(),
        reload: Reload {
            watch: false,
            max_broken_clients: None,
        },
        shutdown: Shutdown {
            drain_delay: None,
            drain_timeout: LONG,
        },
        log: Log {
            level: LogLevel::Info,
            format: LogFormat::Auto,
            target: LogTarget::Stderr,
            access: config::defaults::LOG.access,
            handshake: config::defaults::LOG.handshake,
        },
        metrics: config::defaults::METRICS,
        admin: Admin::default(),
        health: config::Health::default(),
    }
}

/// Everything a connection is served with.
pub(super) struct Proxy {
    snapshots: Arc<SnapshotStore>,
    telemetry: Telemetry,
}

impl Proxy {
    pub(super) fn new(config: Config) -> Self {
        let telemetry = Telemetry::for_tests();
        let metrics = &telemetry.metrics;
        let clusters = config
            .upstreams
            .iter()
            .map(|spec| Arc::new(Cluster::new(spec, None, metrics.upstream(&spec.name))))
            .collect();
        let requests = config
            .listeners
            .iter()
            .map(|listener| {
                let names = config.routes.iter().map(|route| &*route.name);
                names
                    .chain(["none"])
                    .map(|route| metrics.requests(&listener.name, route))
                    .collect()
            })
            .collect();
        let routes = RouteTable::new(&config.routes);
        let snapshot = Snapshot::assemble(Arc::new(config), routes, clusters, requests);
        Self {
            snapshots: Arc::new(ArcSwap::from_pointee(snapshot)),
            telemetry,
        }
    }

    /// A proxy in front of the server at `address`.
    pub(super) fn to(address: ServerAddress) -> Self {
        Self::new(config(address))
    }

    fn service(&self) -> ProxyService {
        let connection = ConnectionInfo {
            id: ConnectionId(7),
            peer: Peer::Tcp("[::ffff:192.0.2.1]:1234".parse().unwrap()),
            proxy: None,
            local: Some("198.51.100.1:443".parse().unwrap()),
            listener: 0,
            listener_name: "https".into(),
            secure: true,
            server_name: Some("sni.test".into()),
            tls: None,
        };
        ProxyService::new(
            Arc::new(connection),
            self.snapshots.clone(),
            self.telemetry.clone(),
        )
    }

    /// A client's end of an HTTP/1.1 connection.
    pub(super) fn http1(&self) -> Client {
        let (near, far) = duplex(PIPE);
        let service = self.service();
        let served = tokio::spawn(async move {
            http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(far), service)
                .await
        });
        Client { pipe: near, served }
    }

    /// A client on an HTTP/2 connection.
    pub(super) async fn http2(&self) -> SendRequest<BoxBody<Bytes, std::io::Error>> {
        let (near, far) = duplex(PIPE);
        let service = self.service();
        tokio::spawn(async move {
            let _ = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(far), service)
                .await;
        });
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(near))
                .await
                .unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        sender
    }
}

/// A client that speaks raw HTTP/1.1.
pub(super) struct Client {
    pub(super) pipe: DuplexStream,
    served: JoinHandle<hyper::Result<()>>,
}

impl Client {
    pub(super) async fn send(&mut self, text: &str) {
        self.pipe.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next response's head.
    pub(super) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.pipe.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        String::from_utf8(head).unwrap()
    }

    /// Exactly so many bytes.
    pub(super) async fn read(&mut self, length: usize) -> String {
        let mut bytes = vec![0; length];
        self.pipe.read_exact(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// All that comes until the proxy closes.
    pub(super) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        self.pipe.read_to_end(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Sends one request and reads what comes until the proxy closes.
    pub(super) async fn only(mut self, text: &str) -> String {
        self.send(text).await;
        self.rest().await
    }

    /// How hyper ended the connection.
    pub(super) async fn end(self) -> hyper::Result<()> {
        drop(self.pipe);
        self.served.await.unwrap()
    }
}

/// The routes of `config`, replaced by these hosts and paths.
pub(super) fn routes(config: &mut Config, routes: &[(Option<&str>, &str)]) -> Vec<RouteId> {
    config.routes = routes
        .iter()
        .map(|(host, path)| Route {
            name: format!("{}{path}", host.unwrap_or("*")).into(),
            host: host.map(|host| crate::host::HostPattern::parse(host).unwrap()),
            path: PathPattern::Prefix((*path).into()),
            action: RouteAction::Upstream(UpstreamId(0)),
            request: RequestRules::default(),
            response_fields: FieldEdits::default(),
            location: Location::default(),
        })
        .collect();
    (0..routes.len()).map(RouteId).collect()
}
