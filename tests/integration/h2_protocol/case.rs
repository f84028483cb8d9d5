//! What a client sends, and what comes of it.
//!
//! Every case is a connection of its own, and ends with something that is answered where what was
//! sent before is ignored, so that nothing has to be waited for.

use crate::support::h2_frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, H2Client, H2End, HEADERS, PING, PRIORITY, RST_STREAM,
    block, frame, get, request_block,
};
use crate::support::{Daemon, Origin, Settings};

/// Error codes (RFC 9113 section 7).
pub(super) const PROTOCOL_ERROR: u32 = 0x1;
pub(super) const FLOW_CONTROL_ERROR: u32 = 0x3;
pub(super) const STREAM_CLOSED: u32 = 0x5;
pub(super) const FRAME_SIZE_ERROR: u32 = 0x6;
pub(super) const REFUSED_STREAM: u32 = 0x7;
pub(super) const COMPRESSION_ERROR: u32 = 0x9;

/// Settings (RFC 9113 section 6.5.2).
pub(super) const ENABLE_PUSH: u16 = 0x2;
pub(super) const INITIAL_WINDOW: u16 = 0x4;
pub(super) const MAX_FRAME_SIZE: u16 = 0x5;

pub(super) const PRIORITY_FLAG: u8 = 0x20;

/// What h2 says wherever it cannot read a frame or a field block, to malformed fields, and to frames
/// of streams that it has forgotten. A stream may be ended with its connection (section 5.4); the
/// codes are its own.
pub(super) const END: H2End = H2End::Connection(PROTOCOL_ERROR);

/// What a client sends, and what comes of it.
pub(super) struct Case {
    /// The section that says so, and what it is about.
    name: &'static str,
    sent: Vec<u8>,
    end: H2End,
    /// What h2 does instead.
    or: Option<H2End>,
    /// Whether stream 1 was opened, answered and closed before.
    after_answer: bool,
}

impl Case {
    pub(super) fn or(self, end: H2End) -> Self {
        Self {
            or: Some(end),
            ..self
        }
    }

    pub(super) fn after_answer(self) -> Self {
        Self {
            after_answer: true,
            ..self
        }
    }
}

pub(super) fn case(name: &'static str, end: H2End, frames: &[&[u8]]) -> Case {
    Case {
        name,
        sent: frames.concat(),
        end,
        or: None,
        after_answer: false,
    }
}

/// Ends the connection.
pub(super) fn connection(name: &'static str, code: u32, frames: &[&[u8]]) -> Case {
    case(name, H2End::Connection(code), frames)
}

/// Ends a stream.
pub(super) fn stream(name: &'static str, code: u32, frames: &[&[u8]]) -> Case {
    case(name, H2End::Stream(code), frames)
}

/// Is in order, or is to be ignored.
pub(super) fn ignored(name: &'static str, frames: &[&[u8]]) -> Case {
    case(name, H2End::Pong, frames)
}

/// Is answered.
pub(super) fn answered(name: &'static str, status: u16, frames: &[&[u8]]) -> Case {
    case(name, H2End::Answer(status), frames)
}

/// A request whose fields are these.
pub(super) fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields))
}

/// A request with these beside the usual fields.
pub(super) fn request_with(more: &[(&str, &str)]) -> Vec<u8> {
    let block = request_block("GET", "/", more);
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)
}

/// A request whose field block ends with `more`.
pub(super) fn request_ending(more: &[u8]) -> Vec<u8> {
    let block = [&request_block("GET", "/", &[])[..], more].concat();
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)
}

/// The head of a request with a body of this length.
pub(super) fn post_of(length: &str) -> Vec<u8> {
    let block = request_block("POST", "/sink", &[("content-length", length)]);
    frame(HEADERS, END_HEADERS, 1, &block)
}

/// A request without END_HEADERS.
pub(super) fn begun(id: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM, id, &request_block("GET", "/", &[]))
}

pub(super) fn data(id: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(DATA, flags, id, payload)
}

/// On a stream, that depends on another.
pub(super) fn priority(id: u32, on: u32) -> Vec<u8> {
    frame(PRIORITY, 0, id, &[&on.to_be_bytes()[..], &[0]].concat())
}

pub(super) fn plain(field: &[(&str, &str)]) -> Vec<u8> {
    block(field)
}

/// Runs the cases, each on a connection of its own, and names all that end otherwise.
pub(super) fn run(cases: &[Case]) {
    let origin = Origin::start();
    let settings = Settings::new(origin.address()).more("[limits]\nh2_streams = 8");
    let daemon = Daemon::run(&settings);
    let mut wrong = Vec::new();
    for case in cases {
        let mut client = H2Client::connect(daemon.https(), &[]);
        if case.after_answer {
            client.send(&get(1, "/"));
            assert_eq!(client.end(), H2End::Answer(200), "{}", case.name);
        }
        // The acknowledgement of a PING overtakes RST_STREAM.
        let last = match case.end {
            H2End::Answer(_) => Vec::new(),
            H2End::Stream(_) => get(51, "/"),
            _ => frame(PING, 0, 0, b"the last"),
        };
        client.send(&[&case.sent[..], &last].concat());
        let end = client.end();
        if end != case.end && Some(end) != case.or {
            wrong.push(format!("{}: {end:?}, not {:?}", case.name, case.end));
            continue;
        }
        if matches!(end, H2End::Connection(_) | H2End::Closed) {
            // Section 5.4.1: the connection is closed after GOAWAY.
            assert_eq!(client.next(), None, "{}", case.name);
        } else {
            client.send(&get(101, "/"));
            let last = client.find(|frame| {
                frame.kind == GOAWAY
                    || frame.stream == 101
                        && (frame.kind == RST_STREAM || frame.flags & END_STREAM != 0)
            });
            // Refused at most, where others are open.
            let lasts = last.is_some_and(|frame| frame.stream == 101);
            assert!(lasts, "{}: the connection does not last", case.name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
