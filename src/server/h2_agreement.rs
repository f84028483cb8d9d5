//! The guard beside hyper: whatever a client sends, the guard ends no connection that stays inside
//! its budgets, and counts what was sent.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::h2_guard::H2Guard;
use super::h2_ledger::H2Fault;
use crate::config::{Budget, Limits, defaults};

/// What a client does next.
#[derive(Clone, Debug)]
enum Act {
    Get,
    Post {
        pieces: Vec<(u8, bool)>,
        trailers: bool,
    },
    Reset,
    Settings(u32),
    Ping,
    Priority,
    Window(u32),
    Unknown(u8),
    Blocks(u8),
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const REQUEST: &[u8] = b"\x82\x87\x84\x01\x01a";
const POST: &[u8] = b"\x83\x87\x84\x01\x01a";

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

/// The bytes of a client that does these things, and how many frames they are.
fn written(acts: &[Act]) -> (Vec<u8>, u64) {
    let mut out = PREFACE.to_vec();
    let mut frames = 1;
    let mut stream = 1;
    for act in acts {
        let before = frames;
        frames += 1;
        match act {
            Act::Get => frame(&mut out, 1, 5, stream, REQUEST),
            Act::Post { pieces, trailers } => {
                frame(&mut out, 1, 4, stream, POST);
                for (length, padded) in pieces {
                    frames += 1;
                    let data = vec![b'x'; usize::from(*length)];
                    if *padded {
                        let padded = [&[3], &data[..], &[0; 3]].concat();
                        frame(&mut out, 0, 8, stream, &padded);
                    } else {
                        frame(&mut out, 0, 0, stream, &data);
                    }
                }
                frames += 1;
                if *trailers {
                    frame(&mut out, 1, 5, stream, b"\x00\x03x-t\x01t");
                } else {
                    frame(&mut out, 0, 1, stream, b"");
                }
            }
            Act::Reset => {
                frame(&mut out, 1, 4, stream, POST);
                frame(&mut out, 3, 0, stream, &8_u32.to_be_bytes());
                frames += 1;
            }
            Act::Settings(window) => {
                let setting = [&[0, 4][..], &window.to_be_bytes()].concat();
                frame(&mut out, 4, 0, 0, &setting);
            }
            Act::Ping => frame(&mut out, 6, 0, 0, b"12345678"),
            Act::Priority => frame(&mut out, 2, 0, stream + 200, &[0; 5]),
            Act::Window(octets) => frame(&mut out, 8, 0, 0, &octets.to_be_bytes()),
            Act::Unknown(length) => frame(&mut out, 0xfa, 0xff, 77, &vec![1; usize::from(*length)]),
            Act::Blocks(parts) => {
                let parts = usize::from(*parts);
                frame(&mut out, 1, 1, stream, &REQUEST[..parts.min(REQUEST.len())]);
                frame(&mut out, 9, 4, stream, &REQUEST[parts.min(REQUEST.len())..]);
                frames += 1;
            }
        }
        if frames > before
            && matches!(
                act,
                Act::Get | Act::Post { .. } | Act::Reset | Act::Blocks(_)
            )
        {
            stream += 2;
        }
    }
    (out, frames)
}

fn limits() -> Limits {
    let budget = Budget {
        count: 1000,
        per: Duration::from_secs(10),
    };
    Limits {
        h2_resets: budget,
        h2_control_frames: budget,
        ..defaults::LIMITS
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // A body that breaks off is an answer's as well.
    let _ = request.into_body().collect().await;
    Ok(Response::new(Full::from("answer")))
}

/// Feeds `bytes`, cut at `cuts`, to hyper through a guard: why the guard ended the connection,
/// what it counted, and what hyper wrote. The client closes when so many answers have begun.
fn served(bytes: &[u8], cuts: &[usize], answers: usize) -> (Option<H2Fault>, (u64, u64), Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (near, far) = duplex(1 << 20);
        let guard = H2Guard::new(near, &limits());
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(guard.share()), service_fn(answer));
        let server = async move {
            // How it ends is hyper's matter.
            let _ = connection.await;
            (guard.fault(), guard.frames())
        };
        let client = async move {
            let mut far = far;
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut start = 0;
            for cut in cuts {
                // Fails where hyper has closed already, as below.
                if far.write_all(&bytes[start..cut]).await.is_err() {
                    break;
                }
                start = cut;
                tokio::task::yield_now().await;
            }
            let mut written = Vec::new();
            while kinds(&written).iter().filter(|kind| **kind == 1).count() < answers {
                if !matches!(far.read_buf(&mut written).await, Ok(1..)) {
                    break;
                }
            }
            let _ = far.shutdown().await;
            let _ = far.read_to_end(&mut written).await;
            written
        };
        let all = async { tokio::join!(server, client) };
        let ((fault, frames), written) = tokio::time::timeout(Duration::from_secs(20), all)
            .await
            .expect("hyper ends when its client has closed");
        (fault, frames, written)
    })
}

/// The types of the frames in `bytes`; the last may be cut.
fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        kinds.push(*kind);
        bytes = rest.get(length..).unwrap_or_default();
    }
    kinds
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(Act::Get),
        (
            prop::collection::vec((any::<u8>(), any::<bool>()), 0..4),
            any::<bool>()
        )
            .prop_map(|(pieces, trailers)| Act::Post { pieces, trailers }),
        Just(Act::Reset),
        (0..100_000_u32).prop_map(Act::Settings),
        Just(Act::Ping),
        Just(Act::Priority),
        (1..100_000_u32).prop_map(Act::Window),
        any::<u8>().prop_map(Act::Unknown),
        (1..10_u8).prop_map(Act::Blocks),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_valid_passes_and_is_counted(
        acts in prop::collection::vec(act(), 0..30),
        cuts in prop::collection::vec(any::<usize>(), 0..30),
    ) {
        let (bytes, sent) = written(&acts);
        let expected = acts
            .iter()
            .filter(|act| matches!(act, Act::Get | Act::Post { .. } | Act::Blocks(_)))
            .count();
        let (fault, (frames_in, frames_out), answers) = served(&bytes, &cuts, expected);
        prop_assert_eq!(fault, None);
        prop_assert_eq!(frames_in, sent);
        let kinds = kinds(&answers);
        prop_assert_eq!(frames_out, u64::try_from(kinds.len()).unwrap());
        prop_assert_eq!(kinds.iter().filter(|kind| **kind == 1).count(), expected);
    }

    #[test]
    fn what_is_broken_is_left_to_hyper(
        acts in prop::collection::vec(act(), 0..30),
        faults in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6),
        cuts in prop::collection::vec(any::<usize>(), 0..30),
    ) {
        let (mut bytes, _) = written(&acts);
        for (place, value) in faults {
            let place = place % bytes.len();
            bytes[place] = value;
        }
        let (fault, (_, frames_out), answers) = served(&bytes, &cuts, 0);
        prop_assert!(!matches!(fault, Some(H2Fault::Limit(_))));
        prop_assert_eq!(frames_out, u64::try_from(kinds(&answers).len()).unwrap());
    }
}
