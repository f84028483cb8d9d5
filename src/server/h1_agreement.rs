//! Fuzzing: where [`H1Framing`] sees messages, hyper sees the same.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::h1_framing::{H1Framing, HeadLimits};

const LIMITS: HeadLimits = HeadLimits {
    request_line: 1 << 10,
    fields: 8 << 10,
    count: 100,
};

/// What one reader saw: where each head ended, and how long each body was.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    heads: Vec<usize>,
    bodies: Vec<Option<usize>>,
}

/// Gives a byte a read, so that a reader's place shows, and swallows what is written.
struct Feed {
    bytes: Vec<u8>,
    at: Arc<Mutex<usize>>,
}

impl AsyncRead for Feed {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut at = self.at.lock().unwrap();
        if let Some(byte) = self.bytes.get(*at) {
            buffer.put_slice(&[*byte]);
            *at += 1;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Feed {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What hyper sees, and whether it closed in order.
fn hyper_sees(bytes: &[u8]) -> (Seen, bool) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let at = Arc::new(Mutex::new(0));
    let feed = Feed {
        bytes: bytes.to_vec(),
        at: at.clone(),
    };
    let noted = seen.clone();
    let service = service_fn(move |request: http::Request<Incoming>| {
        let seen = noted.clone();
        seen.lock().unwrap().heads.push(*at.lock().unwrap());
        async move {
            let body = request.into_body().collect().await;
            let length = body.ok().map(|body| body.to_bytes().len());
            seen.lock().unwrap().bodies.push(length);
            Ok::<_, Infallible>(http::Response::new(Empty::<bytes::Bytes>::new()))
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let end = runtime.block_on(http1::Builder::new().serve_connection(TokioIo::new(feed), service));
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    (seen, end.is_ok())
}

/// Where heads end, how much passes, and whether a body is cut by the end of the bytes.
fn framing_sees(bytes: &[u8], splits: &[usize]) -> (Vec<usize>, usize, bool) {
    let mut ends = Vec::new();
    let mut framing = H1Framing::new(LIMITS);
    let mut taken = 0;
    let mut stopped = false;
    for byte in bytes {
        let heads = framing.heads();
        let (count, stop) = framing.read(std::slice::from_ref(byte));
        taken += count;
        if framing.heads() > heads {
            ends.push(taken);
        }
        if stop.is_some() {
            stopped = true;
            break;
        }
    }
    // In other pieces it is the same, but that less passes of a head that is refused.
    let mut pieces = H1Framing::new(LIMITS);
    let mut passed = 0;
    let mut rest = bytes;
    for size in splits.iter().copied().chain(std::iter::repeat(usize::MAX)) {
        let (piece, after) = rest.split_at(size.clamp(1, rest.len().max(1)).min(rest.len()));
        let (count, stop) = pieces.read(piece);
        passed += count;
        rest = after;
        if stop.is_some() || rest.is_empty() {
            break;
        }
    }
    assert_eq!(pieces.heads(), framing.heads());
    assert_eq!(pieces.between_messages(), framing.between_messages());
    assert!(passed <= taken);
    let cut = !stopped && !framing.between_messages() && !framing.in_head();
    (ends, passed, cut)
}

fn message() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        8 => Just("GET / HTTP/1.1\r\n"),
        4 => Just("POST /a?b=c HTTP/1.1\r\n"),
        1 => Just("HEAD * HTTP/1.0\r\n"),
        1 => Just("\r\nPUT http://a/ HTTP/1.1\r\n"),
        1 => Just("GET /x HTTP/1.1\n"),
    ];
    let field = prop_oneof![
        6 => Just("Host: a\r\n"),
        2 => Just("X:\t y \r\n"),
        1 => Just("Connection: keep-alive\r\n"),
        1 => Just("Content-Length: 0\r\n"),
        1 => Just("Transfer-Encoding: chunked\r\n"),
        1 => Just("X: a\n"),
        1 => Just("X: a\r\n b\r\n"),
        1 => Just("Content-Length : 3\r\n"),
        1 => Just("Expect: 100-continue\r\n"),
        1 => Just("Upgrade: x\r\n"),
    ];
    let body = prop_oneof![
        8 => Just("\r\n"),
        3 => Just("Content-Length: 5\r\n\r\nhello"),
        2 => Just("content-length:  12\r\n\r\nGET / HTTP/1"),
        3 => Just("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        2 => Just("TRANSFER-ENCODING: Chunked\r\n\r\na;x=y\r\n0123456789\r\n000\r\nT: u\r\n\r\n"),
        1 => Just("Transfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0 ;b\r\nT:\r\nU: v\r\n\r\n"),
        1 => Just("\n"),
        1 => Just("Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\n"),
    ];
    (line, proptest::collection::vec(field, 0..4), body)
        .prop_map(|(line, fields, body)| format!("{line}{}{body}", fields.concat()))
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        proptest::sample::select(b"\r\n \t:;,0159afAF#\0".to_vec()),
        any::<u8>(),
    ];
    let change = (any::<prop::sample::Index>(), 0..3u8, byte);
    (
        proptest::collection::vec(message(), 1..5),
        proptest::collection::vec(change, 0..3),
    )
        .prop_map(|(messages, changes)| {
            let mut bytes = messages.concat().into_bytes();
            for (index, kind, byte) in changes {
                let at = index.index(bytes.len());
                match kind {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
                if bytes.is_empty() {
                    bytes.push(b'G');
                }
            }
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn hyper_sees_the_same_messages(
        bytes in mutated(),
        splits in proptest::collection::vec(1..40_usize, 0..20),
    ) {
        let (ends, passed, cut) = framing_sees(&bytes, &splits);
        let (seen, orderly) = hyper_sees(&bytes[..passed]);
        // What hyper refuses besides (names, values) ends the connection: it may see less.
        prop_assert!(ends.starts_with(&seen.heads), "{:?} {:?}", ends, seen);
        // What keeps no connection alive ends it, too.
        let ends_early = bytes.windows(8).any(|text| text == b"HTTP/1.0");
        // So does a body whose trailers are no fields, or that is cut by the end of the bytes.
        let whole = seen.bodies.iter().all(Option::is_some);
        if orderly && whole && !ends_early {
            prop_assert_eq!(&ends, &seen.heads);
            prop_assert_eq!(seen.bodies.len(), ends.len());
            prop_assert!(!cut, "hyper sees a whole body where one is cut");
        }
    }
}
