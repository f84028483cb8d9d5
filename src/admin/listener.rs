//! The admin listeners' connections: HTTP/1.1, few and short.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::access::Access;
use super::service;
use super::state::AdminState;
use crate::drain::Drain;

/// Connections at once; more wait in the backlog.
const MAX_CONNECTIONS: usize = 64;
/// For a request's head, and for the next one on a kept connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection is asked to end after this time…
const MAX_AGE: Duration = Duration::from_secs(60);
/// …or by the drain, and dropped this much later.
const LINGER: Duration = Duration::from_secs(5);
/// After an accept error that does not pass by itself, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The largest head taken.
const MAX_HEAD: usize = 16 * 1024;

/// Where the admin endpoints are served.
#[derive(Debug)]
pub enum AdminListener {
    /// `health.address`: health and metrics, for everybody.
    Health(TcpListener),
    /// `admin.address`: read-only, for whoever reaches it under a name of its own, and has the
    /// token where there is one.
    Tcp(TcpListener),
    /// `admin.socket`: everything, for whoever may open it.
    Unix(UnixListener),
}

/// One accepted connection.
enum Accepted {
    Tcp(TcpStream, Access),
    Unix(UnixStream, Access),
}

impl AdminListener {
    /// The name in the log.
    const fn name(&self) -> &'static str {
        match self {
            Self::Health(_) => "health",
            Self::Tcp(_) => "admin",
            Self::Unix(_) => "admin socket",
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Health(listener) => {
                let (stream, _) = listener.accept().await?;
                // It only costs time where it fails, here and below.
                let _ = stream.set_nodelay(true);
                Ok(Accepted::Tcp(stream, Access::Health))
            }
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                // Of the connection: the listener's may be no address at all.
                let access = Access::ReadOnly {
                    local: stream.local_addr()?.ip(),
                };
                Ok(Accepted::Tcp(stream, access))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                Ok(Accepted::Unix(stream, Access::Full { uid }))
            }
        }
    }
}

/// Serves the admin endpoints on `listener` until `drain` is signaled. An accept error is no end.
/// Connections that are open then may finish within five seconds.
pub async fn serve(listener: AdminListener, state: Arc<AdminState>, mut drain: Drain) {
    let name = listener.name();
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut accepts = Accepts::Fine;
    loop {
        let accepted = tokio::select! {
            () = drain.signaled() => return,
            accepted = async {
                let permit = permits.clone().acquire_owned().await;
                (permit, listener.accept().await)
            } => accepted,
        };
        match accepted {
            (permit, Ok(accepted)) => {
                accepts = Accepts::Fine;
                let (state, drain) = (state.clone(), drain.clone());
                tokio::spawn(async move {
                    match accepted {
                        Accepted::Tcp(io, access) => connection(io, access, &state, drain).await,
                        Accepted::Unix(io, access) => connection(io, access, &state, drain).await,
                    }
                    drop(permit);
                });
            }
            (_, Err(error)) if concerns_one_peer(&error) => {
                tracing::debug!(listener = name, %error, "accept failed");
            }
            (_, Err(error)) => {
                if accepts == Accepts::Fine {
                    tracing::warn!(listener = name, %error, "accept fails; trying on");
                }
                accepts = Accepts::Failing;
                tokio::select! {
                    () = drain.signaled() => return,
                    () = sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
}

/// Whether a run of accept errors was told already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepts {
    Fine,
    Failing,
}

async fn connection<S>(stream: S, access: Access, state: &AdminState, mut drain: Drain)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let _hold = drain.hold();
    let service = service_fn(|request| async move {
        Ok::<_, Infallible>(service::answer(state, access, request).await)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = drain.signaled() => None,
        () = sleep(MAX_AGE) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            match timeout(LINGER, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(listener = "admin", %error, "connection failed");
    }
}

/// Errors of the connection that was to be accepted (accept(2)): the next one may be fine.
fn concerns_one_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;

    use serde_json::Value;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::admin::{DaemonStatus, Readiness, command};
    use crate::bearer::BearerToken;
    use crate::config;
    use crate::drain::{self, DrainSender};
    use crate::report::{ConnectionId, HandshakeReport, Outcome, Remedy};
    use crate::route::RouteTable;
    use crate::snapshot::{Snapshot, SnapshotStore};
    use crate::telemetry::{Format, Telemetry, sample};

    /// A generation without anything.
    fn snapshots() -> Arc<SnapshotStore> {
        let text = "[[listeners]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\ntls = false\n\
                    [[routes]]\nupstream = \"http://127.0.0.1:2\"\n";
        let loaded = config::parse(text, Path::new("a")).unwrap();
        let routes = RouteTable::new(&[]);
        let config = Arc::new(loaded.config);
        let snapshot = Snapshot::assemble(config, routes, Vec::new(), Vec::new());
        Arc::new(SnapshotStore::from_pointee(snapshot))
    }

    struct Admin {
        address: SocketAddr,
        telemetry: Telemetry,
        readiness: Readiness,
        drain: DrainSender,
        serving: JoinHandle<()>,
    }

    impl Admin {
        async fn start() -> Self {
            Self::serve(AdminListener::Tcp, Arc::default()).await
        }

        async fn serve(kind: fn(TcpListener) -> AdminListener, status: Arc<DaemonStatus>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let telemetry = Telemetry::for_tests();
            let readiness = Readiness::new();
            let (sender, drain) = drain::channel();
            // Nobody answers commands: the admin room has no other way to the daemon.
            let (commands, _) = command::commands();
            let state = AdminState::new(
                telemetry.clone(),
                readiness.clone(),
                status,
                Arc::default(),
                snapshots(),
                commands,
                Some("/run/x/admin.sock".into()),
            );
            let listener = kind(listener);
            Self {
                address,
                telemetry,
                readiness,
                drain: sender,
                serving: tokio::spawn(serve(listener, Arc::new(state), drain)),
            }
        }

        /// The status of a request for `path` with these fields besides.
        async fn status_with(&self, path: &str, fields: &str) -> u16 {
            self.ask(&format!("GET {path}"), &format!("localhost{fields}"))
                .await
                .0
        }

        /// The whole answer to a request line on a connection of its own.
        async fn ask(&self, line: &str, host: &str) -> (u16, String, String) {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let head = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            (status, head.to_ascii_lowercase(), body.to_owned())
        }

        async fn get(&self, path: &str) -> (u16, String) {
            let (status, _, body) = self.ask(&format!("GET {path}"), "localhost").await;
            (status, body)
        }

        async fn ids(&self, query: &str) -> Vec<String> {
            let (status, body) = self.get(&format!("/api/handshakes{query}")).await;
            assert_eq!(status, 200, "{body}");
            let body: Value = serde_json::from_str(&body).unwrap();
            let handshakes = body["handshakes"].as_array().unwrap();
            let id = |handshake: &Value| handshake["id"].as_str().unwrap().trim_matches('0').into();
            handshakes.iter().map(id).collect()
        }
    }

    #[tokio::test]
    async fn readiness_follows_the_daemon() {
        let admin = Admin::start().await;
        assert_eq!(admin.get("/healthz").await, (200, "ok\n".into()));
        let (status, why) = admin.get("/readyz").await;
        assert_eq!((status, why.starts_with("starting:")), (503, true));
        admin.readiness.ready();
        assert_eq!(admin.get("/readyz").await, (200, "ready\n".into()));
        admin.readiness.draining();
        let (status, why) = admin.get("/readyz").await;
        assert_eq!((status, why.starts_with("draining:")), (503, true));
        assert_eq!(admin.get("/healthz").await.0, 200);
    }

    #[tokio::test]
    async fn the_page_escapes_what_comes_from_the_wire() {
        let admin = Admin::start().await;
        let hostile = "\"'><script>alert(1)</script>";
        let mut report = sample::failed();
        report.server_name = Some(hostile.into());
        report.ja4 = Some(hostile.into());
        report.time = std::time::SystemTime::now();
        if let Outcome::Failed(failure) = &mut report.outcome {
            failure.diagnosis = hostile.to_owned();
            failure.remedy = Remedy::Proven(hostile.into());
        }
        let id = report.id;
        let listener = admin.telemetry.metrics.listener("https");
        admin.telemetry.tick();
        listener.handshake_started();
        admin.telemetry.handshake(&listener, report);
        for path in ["/".to_owned(), format!("/handshakes/{id}")] {
            let (status, head, body) = admin.ask(&format!("GET {path}"), "localhost").await;
            assert_eq!(status, 200);
            assert!(
                head.contains("content-security-policy: default-src 'none'; script-src 'self';")
            );
            let escaped = "&quot;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;";
            assert!(body.matches(escaped).count() >= 4, "{body}");
            assert!(!body.contains("<script>"), "{body}");
        }
        for path in ["/page/page.js", "/page/style.css", "/page/icon.svg"] {
            assert_eq!(admin.get(path).await.0, 200, "{path}");
        }
        assert_eq!(admin.get("/handshakes/0000000000000001").await.0, 404);
    }

    #[tokio::test]
    async fn paths_methods_and_hosts_are_checked() {
        let admin = Admin::start().await;
        let (status, _, body) = admin.ask("GET /nothing", "localhost").await;
        assert_eq!(status, 404);
        assert!(body.contains("/api/handshakes"), "{body}");
        for write in [
            "POST /api/reload",
            "PUT /api/log-level",
            "DELETE /api/key-log",
        ] {
            let (status, _, body) = admin.ask(write, "localhost").await;
            assert_eq!(status, 403, "{write}");
            assert!(body.contains("/run/x/admin.sock"), "{body}");
        }
        let (status, head, _) = admin.ask("GET /api/key-log", "localhost").await;
        assert_eq!(status, 405);
        assert!(head.contains("\r\nallow: post, delete"), "{head}");
        let (status, head, _) = admin.ask("POST /metrics", "localhost").await;
        assert_eq!(status, 405);
        assert!(head.contains("\r\nallow: get, head"), "{head}");
        let (status, head, body) = admin.ask("HEAD /healthz", "localhost").await;
        assert_eq!((status, body.as_str()), (200, ""));
        assert!(head.contains("\r\ncontent-length: 3"), "{head}");
        for header in ["cache-control: no-store", "x-content-type-options: nosniff"] {
            assert!(head.contains(header), "{head}");
        }
        let bound = admin.address.to_string();
        assert_eq!(admin.ask("GET /healthz", &bound).await.0, 200);
        assert_eq!(admin.ask("GET /metrics", "evil.example").await.0, 421);
        let (status, _, _) = admin
            .ask("GET http://evil.example/metrics", "localhost")
            .await;
        assert_eq!(status, 421);
    }

    #[tokio::test]
    async fn the_health_listener_has_three_pages_for_everybody() {
        let health = Admin::serve(AdminListener::Health, Arc::default()).await;
        assert_eq!(health.ask("GET /healthz", "10.1.2.3:9181").await.0, 200);
        assert_eq!(health.ask("GET /readyz", "any.example").await.0, 503);
        assert_eq!(health.ask("GET /metrics", "any.example").await.0, 200);
        for line in [
            "GET /api/summary",
            "GET /api/handshakes",
            "POST /api/drain",
            "PUT /api/log-level",
        ] {
            let (status, _, body) = health.ask(line, "localhost").await;
            assert_eq!(status, 404, "{line}");
            assert_eq!(
                body,
                "{\"error\":\"there are: /healthz /metrics /readyz\"}\n"
            );
        }
    }

    #[tokio::test]
    async fn a_token_is_asked_for_at_every_page() {
        const TOKEN: &str = "0123456789abcdef";
        let status = Arc::new(DaemonStatus::default());
        status.admin_token(Arc::new(BearerToken::new(TOKEN).unwrap()));
        let admin = Admin::serve(AdminListener::Tcp, status.clone()).await;
        let (code, head, _) = admin.ask("GET /healthz", "localhost").await;
        assert_eq!(code, 401);
        assert!(head.contains("\r\nwww-authenticate: bearer"), "{head}");
        let bearer = |token: &str| format!("\r\nAuthorization: Bearer {token}");
        for wrong in [
            "\r\nAuthorization: Basic Og==".to_owned(),
            bearer("0123456789abcdee"),
            bearer(""),
            bearer(TOKEN) + &bearer(TOKEN),
        ] {
            assert_eq!(admin.status_with("/metrics", &wrong).await, 401, "{wrong}");
        }
        let right = bearer(TOKEN);
        assert_eq!(admin.status_with("/metrics", &right).await, 200);
        let lower = right.replace("Bearer", "bearer");
        assert_eq!(admin.status_with("/api/summary", &lower).await, 200);
        let foreign = format!("evil.example{right}");
        assert_eq!(admin.ask("GET /metrics", &foreign).await.0, 421);
        let text = admin.telemetry.metrics.render(Format::Prometheus);
        assert!(
            text.contains("\nhandfast_admin_unauthorized_total 5\n"),
            "{text}"
        );
        status.admin_token(Arc::new(BearerToken::new("another-token-of-16").unwrap()));
        assert_eq!(admin.status_with("/metrics", &right).await, 401);
    }

    #[tokio::test]
    async fn metrics_and_summary_show_what_was_counted() {
        let admin = Admin::start().await;
        let listener = admin.telemetry.metrics.listener("https");
        listener.connection_opened();
        listener.handshake_started();
        admin.telemetry.handshake(&listener, sample::failed());
        admin
            .telemetry
            .metrics
            .config_reload(crate::telemetry::ReloadOutcome::Ok);
        let (status, head, body) = admin.ask("GET /metrics", "localhost").await;
        assert_eq!(status, 200);
        assert!(
            head.contains("content-type: text/plain; version=0.0.4"),
            "{head}"
        );
        assert!(body.contains("\nhandfast_connections_open{listener=\"https\"} 1\n"));
        let (status, body) = admin.get("/api/summary").await;
        assert_eq!(status, 200);
        let mut summary: Value = serde_json::from_str(&body).unwrap();
        assert!(summary["uptime_seconds"].take().as_f64().unwrap() >= 0.0);
        assert_eq!(
            summary,
            serde_json::json!({
                "version": env!("CARGO_PKG_VERSION"), "uptime_seconds": null, "generation": 2,
                "readiness": "starting", "connections_open": 1,
                "handshakes": {"in_flight": 0, "ok": 0, "failed": 1, "probes": 0},
                "requests": 0, "listeners": [],
                "upstreams": [], "last_reload": null, "kept_certificates": [], "drain": null,
                "key_log": null,
                "ring": {"handshakes": 2, "bytes": summary["ring"]["bytes"], "max_bytes": 4 << 20},
                "windows": [],
            })
        );
    }

    #[tokio::test]
    async fn handshakes_are_filtered_and_sorted() {
        let admin = Admin::start().await;
        let listener = admin.telemetry.metrics.listener("https");
        for (id, millis) in [(1, 30), (2, 10), (3, 20)] {
            let report = HandshakeReport {
                id: ConnectionId(id),
                total: Duration::from_millis(millis),
                ..sample::complete()
            };
            admin.telemetry.handshake(&listener, report);
        }
        admin.telemetry.handshake(&listener, sample::failed());
        assert_eq!(admin.ids("").await, ["def", "3", "2", "1"]);
        assert_eq!(admin.ids("?limit=2").await, ["def", "3"]);
        assert_eq!(admin.ids("?sort=slowest&outcome=ok").await, ["1", "3", "2"]);
        assert_eq!(admin.ids("?outcome=failed").await, ["def"]);
        assert_eq!(admin.ids("?kind=full&limit=1").await, ["3"]);
        assert_eq!(admin.ids("?kind=resumed").await, [""; 0]);
        assert_eq!(admin.ids("?ja4=t13d").await, [""; 0]);
        assert_eq!(
            admin.ids("?since=2026-11-23T04:10:45Z&limit=1").await,
            ["def"]
        );
        assert_eq!(admin.ids("?since=2026-11-23T04:10:45.1Z").await, [""; 0]);
        assert_eq!(admin.ids("?class=no_shared_version").await, ["def"]);
        assert_eq!(admin.ids("?class=timeout").await, [""; 0]);
        assert_eq!(
            admin.ids("?server_name=WWW.example.com.&limit=1").await,
            ["def"]
        );
        assert_eq!(admin.ids("?server_name=example.com").await, [""; 0]);
    }

    #[tokio::test]
    async fn a_bad_query_names_what_is_valid() {
        let admin = Admin::start().await;
        for (query, words) in [
            ("outcome=bad", "ok, failed"),
            ("sort=fastest", "newest, slowest"),
            ("limit=0", "1 to 1000"),
            ("limit=1001", "1 to 1000"),
            ("limit=ten", "1 to 1000"),
            ("class=nothing", "no_shared_version, no_shared_cipher"),
            ("server_name=a%20b", "server_name"),
            (
                "klass=timeout",
                "class, ja4, kind, limit, outcome, server_name, since, sort",
            ),
            ("kind=half", "full, resumed"),
            ("since=noon", "such as 10m"),
            ("limit=1&limit=2", "twice"),
            ("limit=%zz", "percent-encoded"),
        ] {
            let (status, body) = admin.get(&format!("/api/handshakes?{query}")).await;
            assert_eq!(status, 400, "{query}");
            let body: Value = serde_json::from_str(&body).unwrap();
            let error = body["error"].as_str().unwrap();
            assert!(error.contains(words), "{query}: {error}");
        }
    }

    /// One request on a connection that is kept.
    async fn health(stream: &mut TcpStream) {
        let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok\n") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn a_full_house_makes_others_wait_and_a_drain_ends_it() {
        let admin = Admin::start().await;
        let mut held = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut stream = TcpStream::connect(admin.address).await.unwrap();
            health(&mut stream).await;
            held.push(stream);
        }
        let mut waiting = TcpStream::connect(admin.address).await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        waiting.write_all(request).await.unwrap();
        // Time enough for the accept loop, were it willing.
        for stream in held.iter_mut().take(10) {
            health(stream).await;
        }
        assert_eq!(admin.drain.held(), MAX_CONNECTIONS);
        let nothing = waiting.try_read(&mut [0; 1]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        held.pop();
        let mut answer = [0; 12];
        waiting.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");

        admin.drain.drain();
        admin.drain.finished().await;
        admin.serving.await.unwrap();
        assert!(TcpStream::connect(admin.address).await.is_err());
    }

    #[tokio::test]
    async fn a_peer_that_stalls_is_cut_off() {
        let admin = Admin::start().await;
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        let start = tokio::time::Instant::now();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHo")
            .await
            .unwrap();
        let mut answer = String::new();
        let ended = timeout(Duration::from_secs(30), stream.read_to_string(&mut answer));
        ended.await.unwrap().unwrap();
        assert!(!answer.contains("200"), "{answer}");
        assert!(start.elapsed() >= HEADER_TIMEOUT);
        assert_eq!(admin.get("/healthz").await.0, 200);
    }
}
