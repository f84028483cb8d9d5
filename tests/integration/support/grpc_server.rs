//! A server of gRPC by tonic, over HTTP/2 in the clear or over TLS. Its messages are bytes.
//!
//! | method | |
//! |---|---|
//! | `/test.Words/Upper` | unary: the message in capitals, and what it saw of the request as metadata |
//! | `/test.Words/Missing` | unary: `NOT_FOUND` with a message, as trailers alone |
//! | `/test.Words/Slow` | unary: never answers |
//! | `/test.Words/Count` | server streaming: 1 to the number in the message |
//! | `/test.Words/Broken` | server streaming: two messages, then `DATA_LOSS` |
//! | `/test.Words/Endless` | server streaming: messages without end |
//! | `/test.Words/Join` | client streaming: all messages as one |
//! | `/test.Words/Echo` | both: each message at once |

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::Grpc;
use tonic::{Request, Response, Status, Streaming};

use super::h2_origin::tls_acceptor;

/// A running server; ends with its runtime.
#[derive(Clone, Debug)]
pub(crate) struct GrpcServer {
    address: SocketAddr,
    cancelled: Arc<AtomicUsize>,
}

/// Messages as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

impl GrpcServer {
    /// By prior knowledge.
    pub(crate) async fn plain() -> Self {
        Self::start(None).await
    }

    /// Over TLS, by ALPN.
    pub(crate) async fn tls() -> Self {
        Self::start(Some(tls_acceptor(&["h2"]))).await
    }

    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            cancelled: Arc::default(),
        };
        let shared = server.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (server, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => server.serve(tcp).await,
                        Some(tls) => server.serve(tls.accept(tcp).await.unwrap()).await,
                    }
                });
            }
        });
        server
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls of `Slow` and `Endless` that were cancelled.
    pub(crate) fn cancelled(&self) -> usize {
        self.cancelled.load(Ordering::SeqCst)
    }

    async fn serve<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        // However it ends.
        let _ = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn answer(
        &self,
        request: hyper::Request<Incoming>,
    ) -> hyper::Response<tonic::body::Body> {
        let mut grpc = Grpc::new(Raw);
        let cancelled = self.cancelled.clone();
        let method = request.uri().path().strip_prefix("/test.Words/");
        match method.unwrap_or_default() {
            "Upper" => {
                let upper = tower::service_fn(|request| async { upper(request) });
                grpc.unary(upper, request).await
            }
            "Missing" => {
                let missing = tower::service_fn(|_: Request<Bytes>| async {
                    let mut status = Status::with_details(
                        tonic::Code::NotFound,
                        "no such wörd: 100%",
                        Bytes::from_static(b"\0details"),
                    );
                    let hint = "elsewhere".parse().unwrap();
                    status.metadata_mut().insert("x-hint", hint);
                    Err::<Response<Bytes>, _>(status)
                });
                grpc.unary(missing, request).await
            }
            "Slow" => {
                let slow = tower::service_fn(move |_: Request<Bytes>| {
                    let guard = Cancelled(cancelled.clone());
                    async move {
                        let _guard = guard;
                        std::future::pending::<Result<Response<Bytes>, Status>>().await
                    }
                });
                grpc.unary(slow, request).await
            }
            "Count" => {
                let count = tower::service_fn(|request: Request<Bytes>| async move {
                    let most: u32 = text(&request.into_inner()).parse().unwrap();
                    let messages = (1..=most).map(|number| Ok(Bytes::from(number.to_string())));
                    Ok(Response::new(stream::iter(messages)))
                });
                grpc.server_streaming(count, request).await
            }
            "Broken" => {
                let broken = tower::service_fn(|_: Request<Bytes>| async {
                    let messages = ["one", "two"].map(|word| Ok(Bytes::from(word)));
                    let end = Err(Status::data_loss("the rest is lost"));
                    Ok(Response::new(stream::iter(
                        messages.into_iter().chain([end]),
                    )))
                });
                grpc.server_streaming(broken, request).await
            }
            "Endless" => {
                let endless = tower::service_fn(move |_: Request<Bytes>| {
                    let guard = Cancelled(cancelled.clone());
                    async move {
                        let messages = stream::unfold(guard, |guard| async {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                            Some((Ok(Bytes::from("again")), guard))
                        });
                        Ok(Response::new(messages))
                    }
                });
                grpc.server_streaming(endless, request).await
            }
            "Join" => {
                let join = tower::service_fn(|request: Request<Streaming<Bytes>>| async move {
                    let words: Vec<Bytes> = request.into_inner().try_collect().await?;
                    Ok(Response::new(Bytes::from(words.concat())))
                });
                grpc.client_streaming(join, request).await
            }
            "Echo" => {
                let echo = tower::service_fn(|request: Request<Streaming<Bytes>>| async move {
                    Ok(Response::new(request.into_inner().boxed()))
                });
                grpc.streaming(echo, request).await
            }
            _ => Status::unimplemented("no such method").into_http(),
        }
    }
}

fn upper(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    let metadata = request.metadata().clone();
    let message = text(&request.into_inner()).to_uppercase();
    let mut response = Response::new(Bytes::from(message));
    for name in ["grpc-timeout", "te", "user-agent", "x-word", "x-word-bin"] {
        if let Some(value) = metadata.as_ref().get(name) {
            let seen = format!("x-seen-{name}");
            let seen = hyper::header::HeaderName::from_bytes(seen.as_bytes()).unwrap();
            response.metadata_mut().as_mut().insert(seen, value.clone());
        }
    }
    Ok(response)
}

fn text(message: &Bytes) -> String {
    String::from_utf8(message.to_vec()).unwrap()
}

/// Counts when it is dropped, which a call that never ends by itself is only by a cancel.
struct Cancelled(Arc<AtomicUsize>);

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
