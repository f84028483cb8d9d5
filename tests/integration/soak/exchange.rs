//! One request and its answer, as chance has it: sizes, rates, and what may become of it.

use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::support::Payload;

pub(super) const LENGTHS: [u64; 6] = [0, 1, 1000, 70_000, 300_000, 3_000_000];

/// What goes past slow clients in a second.
const SLOW: u64 = 300_000;

/// By then an exchange at full speed is over, one way or the other: the deadlines of the mortal
/// upstream, twice for a retry, and a share of a busy machine.
pub(super) const MOST: Duration = Duration::from_secs(5);

/// Numbers as good as random, the same ones every time.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ (seed + 1).wrapping_mul(0xff51_afd7_ed55_8ccd))
    }

    /// Below `sides`.
    pub(super) const fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) % sides
    }

    pub(super) const fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// One request and its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    pub(super) mortal: bool,
    pub(super) upload: bool,
    pub(super) chunked: bool,
    pub(super) slow: bool,
    /// The client leaves once the answer has begun.
    pub(super) leaves: bool,
    pub(super) length: u64,
}

impl Exchange {
    pub(super) const PLAIN: Self = Self {
        mortal: false,
        upload: false,
        chunked: false,
        slow: false,
        leaves: false,
        length: 1000,
    };

    pub(super) fn roll(dice: &mut Dice) -> Self {
        let slow = dice.one_in(4);
        let most = if slow { 5 } else { 6 };
        Self {
            mortal: dice.one_in(3),
            upload: dice.one_in(2),
            chunked: dice.one_in(2),
            slow,
            leaves: dice.one_in(16),
            length: LENGTHS[usize::try_from(dice.roll(most)).unwrap()],
        }
    }

    /// How long it may take.
    pub(super) fn most(self) -> Duration {
        match self.slow {
            true => MOST + Duration::from_millis(self.length * 1000 / SLOW) * 2,
            false => MOST,
        }
    }

    pub(super) fn request(self, h2: bool) -> Request<Upload> {
        let start = if self.mortal { "/mortal" } else { "/steady" };
        let query = if self.chunked { "?chunked" } else { "" };
        let path = match self.upload {
            true => format!("{start}/sink"),
            false => format!("{start}/source/{}{query}", self.length),
        };
        let mut request = Request::new(Upload::new(self));
        if self.upload {
            *request.method_mut() = Method::POST;
        }
        let host = if h2 { "https://example.test" } else { "" };
        *request.uri_mut() = format!("{host}{path}").parse().unwrap();
        if !h2 {
            let host = "example.test".parse().unwrap();
            request.headers_mut().insert(http::header::HOST, host);
        }
        request
    }
}

/// How an exchange ended, where it was no disaster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Whole,
    /// With 502 to 504.
    Apology,
    BrokeOff,
    Left,
}

/// The body of a request: a payload, at a rate where it is slow.
pub(super) struct Upload {
    payload: Payload,
    left: u64,
    chunked: bool,
    slow: bool,
    rest: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    fn new(exchange: Exchange) -> Self {
        let length = if exchange.upload { exchange.length } else { 0 };
        Self {
            payload: Payload::new(length),
            left: length,
            chunked: exchange.upload && exchange.chunked,
            slow: exchange.slow,
            rest: None,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(rest) = &mut self.rest {
            std::task::ready!(rest.as_mut().poll(cx));
            self.rest = None;
        }
        let mut bytes = vec![0; 16 * 1024];
        let count = self.payload.read(&mut bytes)?;
        if count == 0 {
            return Poll::Ready(None);
        }
        bytes.truncate(count);
        self.left -= count as u64;
        if self.slow {
            self.rest = Some(Box::pin(sleep(time_of(count))));
        }
        Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && !self.chunked
    }

    fn size_hint(&self) -> SizeHint {
        match self.chunked {
            true => SizeHint::default(),
            false => SizeHint::with_exact(self.left),
        }
    }
}

/// What `bytes` take at the rate of slow clients.
pub(super) const fn time_of(bytes: usize) -> Duration {
    Duration::from_micros(bytes as u64 * 1_000_000 / SLOW)
}
