//! An upstream that speaks HTTP/2, in plain or over TLS.
//!
//! | path | answer |
//! |---|---|
//! | `/head` | version, target, `Host`, `te` and `x-forwarded-proto` of the request |
//! | `/echo` | the request's body as it comes, then its trailers and `grpc-status: 0` |
//! | `/refuse` | trailers alone: `grpc-status: 5` |
//! | `/fail` | a message, then `grpc-status: 13` |
//! | `/late` | trailers alone with `grpc-status: 4`, after `grpc-timeout` in milliseconds |
//! | `/large` | 4 MiB |
//! | `/hold` | answers when the gate opens |
//! | `/events` | an event, and another when the gate opens |
//! | `/goaway` | its body, and GOAWAY |

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, pem::PemObject};

use super::certs::certs;

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

/// A running upstream; serves until the test's runtime ends.
#[derive(Clone, Debug)]
pub(crate) struct H2Origin {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    most: u32,
    gate: Notify,
    connections: AtomicUsize,
    held: AtomicUsize,
    cancelled: AtomicUsize,
    last: Mutex<String>,
}

impl H2Origin {
    /// HTTP/2 by prior knowledge, with at most `most` streams at once.
    pub(crate) async fn plain(most: u32) -> Self {
        Self::start(None, most).await
    }

    /// TLS with these application protocols.
    pub(crate) async fn tls(alpn: &[&str]) -> Self {
        Self::start(Some(tls_acceptor(alpn)), 100).await
    }

    async fn start(tls: Option<TlsAcceptor>, most: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            most,
            gate: Notify::new(),
            connections: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
            last: Mutex::default(),
        });
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (state, tls) = (shared.clone(), tls.clone());
                state.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let Some(tls) = tls else {
                        return state.serve(tcp, true).await;
                    };
                    if let Ok(stream) = tls.accept(tcp).await {
                        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        state.serve(stream, http2).await;
                    }
                });
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Requests that wait at `/hold` now.
    pub(crate) fn held(&self) -> usize {
        self.state.held.load(Ordering::SeqCst)
    }

    /// Requests at `/hold` and `/echo` that were cancelled.
    pub(crate) fn cancelled(&self) -> usize {
        self.state.cancelled.load(Ordering::SeqCst)
    }

    /// What it said of the last request at `/head`, or at a path that is not listed.
    pub(crate) fn last_seen(&self) -> String {
        self.state.last.lock().unwrap().clone()
    }

    /// Lets all that wait go on.
    pub(crate) fn open_gate(&self) {
        self.state.gate.notify_waiters();
    }
}

/// TLS with the main certificate and these application protocols.
pub(crate) fn tls_acceptor(alpn: &[&str]) -> TlsAcceptor {
    let key = PrivateKeyDer::from_pem_slice(certs().main.key.as_bytes()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certs().main.der.clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

impl State {
    async fn serve<S>(self: Arc<Self>, stream: S, is_http2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let goaway = Arc::new(Notify::new());
        let (state, goes) = (self.clone(), goaway.clone());
        let service = service_fn(move |request| {
            let (state, goes) = (state.clone(), goes.clone());
            async move { Ok::<_, Infallible>(state.answer(request, &goes).await) }
        });
        // However it ends.
        if is_http2 {
            let mut connection = pin!(
                http2::Builder::new(TokioExecutor::new())
                    .max_concurrent_streams(self.most)
                    .serve_connection(TokioIo::new(stream), service)
            );
            tokio::select! {
                _ = connection.as_mut() => return,
                () = goaway.notified() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        } else {
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = served.await;
        }
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>, goaway: &Notify) -> Answer {
        let text = |text: String| {
            let body = Full::new(Bytes::from(text)).map_err(|never| match never {});
            Response::new(body.boxed())
        };
        match request.uri().path() {
            "/echo" => Response::builder()
                .header("content-type", "application/grpc")
                .header("trailer", "grpc-status")
                .body(Echo::new(self.clone(), request.into_body()).boxed())
                .unwrap(),
            "/refuse" => Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", "5")
                .header("grpc-message", "not here")
                .body(
                    Full::new(Bytes::new())
                        .map_err(|never| match never {})
                        .boxed(),
                )
                .unwrap(),
            "/fail" => {
                let (mut sender, body) = Channel::new(2);
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "13".parse().unwrap());
                trailers.insert("grpc-message", "broken".parse().unwrap());
                // Both fit into the channel.
                sender.send_data(Bytes::from("one")).await.unwrap();
                sender.send_trailers(trailers).await.unwrap();
                Response::builder()
                    .header("content-type", "application/grpc")
                    .body(body.boxed())
                    .unwrap()
            }
            "/late" => {
                let timeout = request.headers()["grpc-timeout"].to_str().unwrap();
                let millis = timeout.strip_suffix('m').unwrap().parse().unwrap();
                tokio::time::sleep(Duration::from_millis(millis)).await;
                let mut response = text(String::new());
                let headers = response.headers_mut();
                headers.insert("content-type", "application/grpc".parse().unwrap());
                headers.insert("grpc-status", "4".parse().unwrap());
                response
            }
            "/large" => text("x".repeat(4 * 1024 * 1024)),
            "/hold" => {
                let held = Held::new(self);
                self.gate.notified().await;
                held.done();
                text("held".to_owned())
            }
            "/events" => {
                let (mut sender, body) = Channel::new(1);
                let state = self.clone();
                tokio::spawn(async move {
                    // A client that leaves is part of the script.
                    let _ = sender.send_data(Bytes::from("data: 1\n\n")).await;
                    state.gate.notified().await;
                    let _ = sender.send_data(Bytes::from("data: 2\n\n")).await;
                });
                Response::builder()
                    .header("content-type", "text/event-stream")
                    .body(body.boxed())
                    .unwrap()
            }
            "/goaway" => {
                goaway.notify_one();
                text("going".to_owned())
            }
            _ => {
                let field = |name: &str| {
                    let value = request.headers().get(name);
                    value
                        .map_or("-", |value| value.to_str().unwrap())
                        .to_owned()
                };
                let seen = format!(
                    "{:?} {} {} {} {}",
                    request.version(),
                    request.uri(),
                    field("host"),
                    field("te"),
                    field("x-forwarded-proto")
                );
                self.last.lock().unwrap().clone_from(&seen);
                text(seen)
            }
        }
    }
}

/// A request that waits at `/hold`.
struct Held<'a>(&'a State);

impl<'a> Held<'a> {
    fn new(state: &'a State) -> Self {
        state.held.fetch_add(1, Ordering::SeqCst);
        Self(state)
    }

    fn done(self) {
        self.0.held.fetch_sub(1, Ordering::SeqCst);
        std::mem::forget(self);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::SeqCst);
        self.0.cancelled.fetch_add(1, Ordering::SeqCst);
    }
}

/// A body that is sent back as it comes.
struct Echo {
    state: Arc<State>,
    /// `None` once it has ended.
    incoming: Option<Incoming>,
}

impl Echo {
    fn new(state: Arc<State>, incoming: Incoming) -> Self {
        let incoming = Some(incoming);
        Self { state, incoming }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        if self.incoming.is_some() {
            self.state.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Body for Echo {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else {
            return Poll::Ready(None);
        };
        let trailers = match std::task::ready!(Pin::new(incoming).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(trailers) => trailers,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            },
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => HeaderMap::new(),
        };
        this.incoming = None;
        let mut trailers = trailers;
        trailers.insert("grpc-status", "0".parse().unwrap());
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}
