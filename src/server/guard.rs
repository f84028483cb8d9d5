//! What stands between hyper and the proxy: observes requests, changes nothing.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::upgrade::{self, OnUpgrade};
use pin_project_lite::pin_project;

use super::activity::{Activity, InFlight};
use super::outbox::Flusher;
use super::pace::Pace;
use super::socket::ClientSocket;
use super::tunnels::Tunnels;
use crate::proxy::{ProxyBody, ProxyService};

/// A service that notes when requests begin and end, and hands over those that become tunnels.
#[derive(Debug)]
pub(super) struct Noted {
    service: ProxyService,
    activity: Arc<Activity>,
    tunnels: Arc<Tunnels>,
    /// What sends the answers of HTTP/1; HTTP/2 has windows.
    flusher: Option<Flusher<ClientSocket>>,
}

impl Noted {
    /// `flusher` is what sends the answers one after another; `None`: each has a window.
    pub(super) const fn new(
        service: ProxyService,
        activity: Arc<Activity>,
        tunnels: Arc<Tunnels>,
        flusher: Option<Flusher<ClientSocket>>,
    ) -> Self {
        Self {
            service,
            activity,
            tunnels,
            flusher,
        }
    }
}

impl Service<Request<Incoming>> for Noted {
    type Response = Response<NotedBody<ProxyBody>>;
    type Error = Infallible;
    type Future = NotedFuture<<ProxyService as Service<Request<Incoming>>>::Future>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let in_flight = Some(self.activity.begin());
        // The stream of an extended CONNECT; a connection of HTTP/1 is switched as a whole.
        let stream = (request.method() == Method::CONNECT).then(|| upgrade::on(&mut request));
        NotedFuture {
            future: self.service.call(request),
            in_flight,
            tunnels: self.tunnels.clone(),
            stream,
            flusher: self.flusher.clone(),
        }
    }
}

pin_project! {
    /// The answer to one request, until its head is there.
    pub(super) struct NotedFuture<F> {
        #[pin]
        future: F,
        in_flight: Option<InFlight>,
        tunnels: Arc<Tunnels>,
        stream: Option<OnUpgrade>,
        flusher: Option<Flusher<ClientSocket>>,
    }
}

impl<F> Future for NotedFuture<F>
where
    F: Future<Output = Result<Response<ProxyBody>, Infallible>>,
{
    type Output = Result<Response<NotedBody<ProxyBody>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.future.poll(cx).map_ok(|mut response| {
            let mut in_flight = this.in_flight.take();
            if let Some(tunnel) = response.body_mut().take_tunnel() {
                let request = in_flight.take();
                this.tunnels.open(tunnel, this.stream.take(), request);
            } else if in_flight.as_ref().is_some_and(InFlight::is_last) {
                // hyper closes the connection after it.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            let pace = this.flusher.take().map(Pace::new);
            response.map(|body| NotedBody {
                body,
                in_flight,
                pace,
            })
        })
    }
}

pin_project! {
    /// The rest of the answer.
    pub(super) struct NotedBody<B> {
        #[pin]
        body: B,
        in_flight: Option<InFlight>,
        pace: Option<Pace>,
    }
}

impl Body for NotedBody<ProxyBody> {
    type Data = <ProxyBody as Body>::Data;
    type Error = <ProxyBody as Body>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        if let Some(pace) = this.pace {
            this.body.read_at_most(ready!(pace.poll_most(cx)));
        }
        let frame = this.body.poll_frame(cx);
        if let (Some(pace), Poll::Ready(Some(Ok(frame)))) = (this.pace, &frame) {
            pace.took(frame.data_ref().map_or(0, Bytes::len));
        }
        if let Poll::Ready(Some(Err(_))) = &frame
            && let Some(in_flight) = this.in_flight
        {
            in_flight.broke();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
