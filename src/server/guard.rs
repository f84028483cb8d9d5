//! What stands between hyper and the proxy: observes requests, changes nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use hyper::service::Service;
use pin_project_lite::pin_project;

use super::activity::{Activity, InFlight};

/// A service that notes when requests begin and end.
#[derive(Debug)]
pub(super) struct Noted<T> {
    service: T,
    activity: Arc<Activity>,
}

impl<T> Noted<T> {
    pub(super) const fn new(service: T, activity: Arc<Activity>) -> Self {
        Self { service, activity }
    }
}

impl<T, Q, B> Service<Q> for Noted<T>
where
    T: Service<Q, Response = http::Response<B>>,
{
    type Response = http::Response<NotedBody<B>>;
    type Error = T::Error;
    type Future = NotedFuture<T::Future>;

    fn call(&self, request: Q) -> Self::Future {
        let in_flight = Some(self.activity.begin());
        NotedFuture {
            future: self.service.call(request),
            in_flight,
        }
    }
}

pin_project! {
    /// The answer to one request, until its head is there.
    pub(super) struct NotedFuture<F> {
        #[pin]
        future: F,
        in_flight: Option<InFlight>,
    }
}

impl<F, B, E> Future for NotedFuture<F>
where
    F: Future<Output = Result<http::Response<B>, E>>,
{
    type Output = Result<http::Response<NotedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.future.poll(cx).map_ok(|response| {
            let in_flight = this.in_flight.take();
            if response.status() == http::StatusCode::SWITCHING_PROTOCOLS
                && let Some(in_flight) = &in_flight
            {
                in_flight.switches();
            }
            response.map(|body| NotedBody { body, in_flight })
        })
    }
}

pin_project! {
    /// The rest of the answer.
    pub(super) struct NotedBody<B> {
        #[pin]
        body: B,
        in_flight: Option<InFlight>,
    }
}

impl<B: Body> Body for NotedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let frame = this.body.poll_frame(cx);
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
