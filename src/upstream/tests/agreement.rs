//! Our client of HTTP/1.1 beside hyper's: what it takes for a response, hyper takes for the same.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::cluster::request;
use crate::telemetry::UpstreamMetrics;
use crate::upstream::byte_stream::ByteStream;
use crate::upstream::link::Link;
use crate::upstream::transport::Transport;

const LIMIT: Duration = Duration::from_secs(5);

/// What a client makes of an answer: status, body and trailers, or that there is none.
type Taken = Option<(u16, Vec<u8>, Vec<(String, Vec<u8>)>)>;

/// A server that reads a request, sends `answer` in pieces, and closes.
async fn serve(mut stream: UnixStream, answer: &[u8], piece: usize) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    for piece in answer.chunks(piece) {
        // Who has seen enough closes.
        if stream.write_all(piece).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn ours(stream: UnixStream, method: Method) -> Taken {
    let transport = Transport::Plain(ByteStream::Unix(stream));
    let mut link = Link::new(transport, Arc::new(UpstreamMetrics::default()));
    link.send(request(method), None);
    let head = poll_fn(|cx| link.poll_head(cx)).await.ok()?;
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    while let Some(frame) = poll_fn(|cx| link.poll_frame(cx)).await {
        match frame.ok()?.into_data() {
            Ok(data) => body.extend_from_slice(&data),
            Err(frame) => trailers = fields(&frame.into_trailers().ok()?),
        }
    }
    Some((head.status.as_u16(), body, trailers))
}

async fn hypers(stream: UnixStream, method: Method) -> Taken {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri("/")
        .header("host", "a");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?;
    driver.abort();
    let trailers = body.trailers().map(fields).unwrap_or_default();
    Some((status, body.to_bytes().to_vec(), trailers))
}

fn fields(map: &http::HeaderMap) -> Vec<(String, Vec<u8>)> {
    map.iter()
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect()
}

/// What both make of `answer`.
fn both(method: &Method, answer: &[u8], piece: usize) -> (Taken, Taken) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (client, server) = UnixStream::pair().unwrap();
        let served = serve(server, answer, piece);
        let (own, ()) = tokio::join!(timeout(LIMIT, ours(client, method.clone())), served);
        let (client, server) = UnixStream::pair().unwrap();
        let served = serve(server, answer, piece);
        let (other, ()) = tokio::join!(timeout(LIMIT, hypers(client, method.clone())), served);
        (own.expect("ours ends"), other.expect("hyper's ends"))
    })
}

/// Bytes that mean something in a response, and some that do not.
const WORDS: [&str; 34] = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 204 \r\n",
    "HTTP/1.1 304 x\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early\r\nlink: a\r\n\r\n",
    "HTTP/1.1 404\r\n",
    "content-length: 5\r\n",
    "Content-Length: 0\r\n",
    "content-length: 5, 5\r\n",
    "content-length: +5\r\n",
    "transfer-encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "connection: close\r\n",
    "x: y\r\n",
    "x : y\r\n",
    " folded\r\n",
    "x: \u{1}\r\n",
    "\r\n",
    "\n",
    "\r",
    "hello",
    "5\r\nhello\r\n",
    "5;ext=\"a\"\r\nhello\r\n",
    "5\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nx: y\r\n\r\n",
    "05\r\nhello\r\n",
    "5 \r\nhello\r\n",
    "ffffffffffffffff1\r\n",
    "g\r\n",
    "\0",
    ": ",
    "5\r\nhelloX\r\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_a_response_to_us_is_the_same_to_hyper(
        words in prop::collection::vec(select(&WORDS[..]), 1..9),
        begins in any::<bool>(),
        head in any::<bool>(),
        piece in select(vec![1_usize, 7, 4096]),
    ) {
        let begin = if begins { "HTTP/1.1 200 OK\r\n" } else { "" };
        let answer = begin.to_owned() + &words.concat();
        let method = if head { Method::HEAD } else { Method::GET };
        let (own, other) = both(&method, answer.as_bytes(), piece);
        if own.is_some() {
            prop_assert_eq!(own, other, "{:?}", answer);
        }
    }

    #[test]
    fn what_is_right_is_taken(
        interim in 0..3_usize,
        status in select(vec![200_u16, 206, 404, 503]),
        body in prop::collection::vec(any::<u8>(), 0..3000),
        sizes in prop::collection::vec(1..700_usize, 1..9),
        framing in 0..3,
        trailers in any::<bool>(),
        piece in select(vec![1_usize, 13, 1000, 65536]),
    ) {
        let mut answer = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(interim).into_bytes();
        answer.extend_from_slice(format!("HTTP/1.1 {status} Some reason\r\nDate: now\r\n").as_bytes());
        let mut expected = Vec::new();
        match framing {
            0 => {
                answer.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
                answer.extend_from_slice(&body);
            }
            1 => {
                answer.extend_from_slice(b"\r\n");
                answer.extend_from_slice(&body);
            }
            _ => {
                answer.extend_from_slice(b"Transfer-Encoding: Chunked\r\n\r\n");
                let mut rest = &body[..];
                for size in sizes.iter().cycle() {
                    if rest.is_empty() {
                        break;
                    }
                    let (chunk, left) = rest.split_at(rest.len().min(*size));
                    answer.extend_from_slice(format!("{:X};a=b\r\n", chunk.len()).as_bytes());
                    answer.extend_from_slice(chunk);
                    answer.extend_from_slice(b"\r\n");
                    rest = left;
                }
                answer.extend_from_slice(if trailers { b"0\r\nsum: 1\r\n\r\n" } else { b"0\r\n\r\n" });
                if trailers {
                    expected.push(("sum".to_owned(), b"1".to_vec()));
                }
            }
        }
        let (own, other) = both(&Method::GET, &answer, piece);
        prop_assert_eq!(&own, &Some((status, body, expected)));
        prop_assert_eq!(own, other);
    }
}
