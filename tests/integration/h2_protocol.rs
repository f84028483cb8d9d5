//! HTTP/2 frame by frame: how a client is answered that keeps to RFC 9113 and RFC 7541, and one
//! that does not.
//!
//! Every case is a connection of its own, and ends with something that is answered where what was
//! sent before is ignored, so that nothing has to be waited for.

use std::io::Read;
use std::net::TcpListener;

use crate::support::h2_frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, H2Client, H2End, HEADERS, PADDED,
    PING, PREFACE, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get,
    post, request_block, reset, settings, window_update,
};
use crate::support::{Daemon, Origin, Settings};

/// Error codes (RFC 9113 section 7).
const PROTOCOL_ERROR: u32 = 0x1;
const FLOW_CONTROL_ERROR: u32 = 0x3;
const STREAM_CLOSED: u32 = 0x5;
const FRAME_SIZE_ERROR: u32 = 0x6;
const REFUSED_STREAM: u32 = 0x7;
const COMPRESSION_ERROR: u32 = 0x9;

/// Settings (RFC 9113 section 6.5.2).
const ENABLE_PUSH: u16 = 0x2;
const INITIAL_WINDOW: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;

const PRIORITY_FLAG: u8 = 0x20;

/// What h2 says wherever it cannot read a frame or a field block, to malformed fields, and to frames
/// of streams that it has forgotten. A stream may be ended with its connection (section 5.4); the
/// codes are its own.
const END: H2End = H2End::Connection(PROTOCOL_ERROR);

/// What a client sends, and what comes of it.
struct Case {
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
    fn or(self, end: H2End) -> Self {
        Self {
            or: Some(end),
            ..self
        }
    }

    fn after_answer(self) -> Self {
        Self {
            after_answer: true,
            ..self
        }
    }
}

fn case(name: &'static str, end: H2End, frames: &[&[u8]]) -> Case {
    Case {
        name,
        sent: frames.concat(),
        end,
        or: None,
        after_answer: false,
    }
}

/// Ends the connection.
fn connection(name: &'static str, code: u32, frames: &[&[u8]]) -> Case {
    case(name, H2End::Connection(code), frames)
}

/// Ends a stream.
fn stream(name: &'static str, code: u32, frames: &[&[u8]]) -> Case {
    case(name, H2End::Stream(code), frames)
}

/// Is in order, or is to be ignored.
fn ignored(name: &'static str, frames: &[&[u8]]) -> Case {
    case(name, H2End::Pong, frames)
}

/// Is answered.
fn answered(name: &'static str, status: u16, frames: &[&[u8]]) -> Case {
    case(name, H2End::Answer(status), frames)
}

/// A request whose fields are these.
fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields))
}

/// A request with these beside the usual fields.
fn request_with(more: &[(&str, &str)]) -> Vec<u8> {
    let block = request_block("GET", "/", more);
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)
}

/// A request whose field block ends with `more`.
fn request_ending(more: &[u8]) -> Vec<u8> {
    let block = [&request_block("GET", "/", &[])[..], more].concat();
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)
}

/// The head of a request with a body of this length.
fn post_of(length: &str) -> Vec<u8> {
    let block = request_block("POST", "/sink", &[("content-length", length)]);
    frame(HEADERS, END_HEADERS, 1, &block)
}

/// A request without END_HEADERS.
fn begun(id: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM, id, &request_block("GET", "/", &[]))
}

fn data(id: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(DATA, flags, id, payload)
}

/// On a stream, that depends on another.
fn priority(id: u32, on: u32) -> Vec<u8> {
    frame(PRIORITY, 0, id, &[&on.to_be_bytes()[..], &[0]].concat())
}

fn plain(field: &[(&str, &str)]) -> Vec<u8> {
    block(field)
}

/// Runs the cases, each on a connection of its own, and names all that end otherwise.
fn run(cases: &[Case]) {
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

#[test]
fn frames_have_their_format() {
    let large = vec![0; 16385];
    run(&[
        ignored("4.1: an unknown type", &[&frame(0xfa, 0, 0, b"unknown")]),
        ignored("4.1: unknown flags", &[&frame(PING, 0xfe, 0, b"12345678")]),
        ignored(
            "4.1: the reserved bit",
            &[&frame(PING, 0, 1 << 31, b"12345678")],
        ),
        answered(
            "4.2: the largest frame",
            200,
            &[
                &post(1, "/sink"),
                &data(1, 0, &large[..16384]),
                &data(1, END_STREAM, b""),
            ],
        ),
        connection(
            "4.2: DATA that is too large",
            FRAME_SIZE_ERROR,
            &[&post(1, "/sink"), &data(1, 0, &large)],
        ),
        connection(
            "4.2: HEADERS that are too large",
            FRAME_SIZE_ERROR,
            &[&frame(HEADERS, END_HEADERS, 1, &large)],
        ),
        connection(
            "4.3: PRIORITY in a field block",
            PROTOCOL_ERROR,
            &[&begun(1), &priority(1, 0)],
        ),
        connection(
            "4.3: HEADERS of another stream in a field block",
            PROTOCOL_ERROR,
            &[&begun(1), &get(3, "/")],
        ),
        ignored(
            "5.5: an unknown type on a stream",
            &[&frame(0x16, 0, 1, b"")],
        ),
        connection(
            "5.5: an unknown type in a field block",
            PROTOCOL_ERROR,
            &[&begun(1), &frame(0x16, 0, 1, b"")],
        ),
    ]);
}

#[test]
fn streams_have_their_states() {
    let end = frame(CONTINUATION, END_HEADERS, 1, &plain(&[("a", "b")]));
    run(&[
        connection("5.1: DATA, idle", PROTOCOL_ERROR, &[&data(1, 0, b"x")]),
        connection("5.1: RST_STREAM, idle", PROTOCOL_ERROR, &[&reset(1)]),
        connection(
            "5.1: WINDOW_UPDATE, idle",
            PROTOCOL_ERROR,
            &[&window_update(1, 100)],
        ),
        connection("5.1: CONTINUATION, idle", PROTOCOL_ERROR, &[&end]),
        ignored("5.1: PRIORITY, idle", &[&priority(1, 0)]),
        stream(
            "5.1: DATA, half closed",
            STREAM_CLOSED,
            &[&get(1, "/never"), &data(1, 0, b"x")],
        )
        .or(END),
        stream(
            "5.1: HEADERS, half closed",
            STREAM_CLOSED,
            &[&get(1, "/never"), &get(1, "/never")],
        )
        .or(END),
        connection(
            "5.1: CONTINUATION, half closed",
            PROTOCOL_ERROR,
            &[&get(1, "/never"), &end],
        ),
        ignored(
            "5.1: WINDOW_UPDATE and PRIORITY, half closed",
            &[&get(1, "/never"), &window_update(1, 100), &priority(1, 0)],
        ),
        stream(
            "5.1: DATA, reset",
            STREAM_CLOSED,
            &[&post(1, "/never"), &reset(1), &data(1, 0, b"x")],
        ),
        stream(
            "5.1: HEADERS, reset",
            STREAM_CLOSED,
            &[&post(1, "/never"), &reset(1), &get(1, "/never")],
        )
        .or(END),
        connection(
            "5.1: CONTINUATION, reset",
            PROTOCOL_ERROR,
            &[&get(1, "/never"), &reset(1), &end],
        ),
        stream("5.1: DATA, closed", STREAM_CLOSED, &[&data(1, 0, b"x")]).after_answer(),
        connection("5.1: HEADERS, closed", STREAM_CLOSED, &[&get(1, "/")])
            .or(END)
            .after_answer(),
        connection("5.1: CONTINUATION, closed", PROTOCOL_ERROR, &[&end]).after_answer(),
        ignored(
            "5.1: PRIORITY, WINDOW_UPDATE and RST_STREAM, closed",
            &[&priority(1, 0), &window_update(1, 100), &reset(1)],
        )
        .after_answer(),
        connection("5.1.1: an even stream", PROTOCOL_ERROR, &[&get(2, "/")]),
        connection(
            "5.1.1: a stream below one that was opened",
            PROTOCOL_ERROR,
            &[&get(5, "/never"), &get(3, "/never")],
        ),
        stream(
            "5.1.2: more streams than are permitted",
            REFUSED_STREAM,
            &[&(0..9)
                .flat_map(|count| get(2 * count + 1, "/never"))
                .collect::<Vec<u8>>()],
        ),
        stream(
            "5.3: HEADERS that depend on their own stream",
            PROTOCOL_ERROR,
            &[&frame(
                HEADERS,
                END_STREAM | END_HEADERS | PRIORITY_FLAG,
                1,
                &[&[0, 0, 0, 1, 0][..], &request_block("GET", "/", &[])].concat(),
            )],
        ),
        stream(
            "5.3: PRIORITY that depends on its own stream",
            PROTOCOL_ERROR,
            &[&priority(1, 1)],
        ),
    ]);
}

#[test]
fn every_type_has_its_rules() {
    let get_block = request_block("GET", "/", &[]);
    let whole = END_STREAM | END_HEADERS;
    run(&[
        connection(
            "6.1: DATA of no stream",
            PROTOCOL_ERROR,
            &[&data(0, 0, b"x")],
        ),
        connection(
            "6.1: as much padding as payload",
            PROTOCOL_ERROR,
            &[&post(1, "/sink"), &data(1, PADDED, b"\x04\0\0\0")],
        ),
        connection(
            "6.1: padding without its length",
            PROTOCOL_ERROR,
            &[&post(1, "/sink"), &data(1, PADDED, b"")],
        ),
        answered(
            "6.1: padding",
            200,
            &[
                &post(1, "/sink"),
                &data(1, PADDED | END_STREAM, b"\x03x\0\0\0"),
            ],
        ),
        connection(
            "6.2: HEADERS of no stream",
            PROTOCOL_ERROR,
            &[&frame(HEADERS, whole, 0, &get_block)],
        ),
        connection(
            "6.2: more padding than payload",
            PROTOCOL_ERROR,
            &[&frame(
                HEADERS,
                whole | PADDED,
                1,
                &[&[0xff][..], &get_block].concat(),
            )],
        ),
        answered(
            "6.2: padding and priority",
            200,
            &[&frame(
                HEADERS,
                whole | PADDED | PRIORITY_FLAG,
                1,
                &[&[2, 0, 0, 0, 0, 7][..], &get_block, &[0, 0]].concat(),
            )],
        ),
        connection(
            "6.3: PRIORITY of no stream",
            PROTOCOL_ERROR,
            &[&priority(0, 1)],
        ),
        stream(
            "6.3: PRIORITY of four octets",
            FRAME_SIZE_ERROR,
            &[&frame(PRIORITY, 0, 1, &[0; 4])],
        )
        .or(END),
        connection("6.4: RST_STREAM of no stream", PROTOCOL_ERROR, &[&reset(0)]),
        connection(
            "6.4: RST_STREAM of three octets",
            FRAME_SIZE_ERROR,
            &[&get(1, "/never"), &frame(RST_STREAM, 0, 1, &[0; 3])],
        )
        .or(END),
        connection(
            "6.5: an acknowledgement with settings",
            FRAME_SIZE_ERROR,
            &[&frame(SETTINGS, ACK, 0, &[0, 4, 0, 0, 1, 0])],
        )
        .or(END),
        connection(
            "6.5: SETTINGS of a stream",
            PROTOCOL_ERROR,
            &[&frame(SETTINGS, 0, 1, &[0, 4, 0, 0, 1, 0])],
        ),
        connection(
            "6.5: SETTINGS of five octets",
            FRAME_SIZE_ERROR,
            &[&frame(SETTINGS, 0, 0, &[0; 5])],
        )
        .or(END),
        connection(
            "6.5.2: ENABLE_PUSH of 2",
            PROTOCOL_ERROR,
            &[&settings(&[(ENABLE_PUSH, 2)])],
        ),
        connection(
            "6.5.2: INITIAL_WINDOW_SIZE of 2^31",
            FLOW_CONTROL_ERROR,
            &[&settings(&[(INITIAL_WINDOW, 1 << 31)])],
        )
        .or(END),
        connection(
            "6.5.2: MAX_FRAME_SIZE of 16383",
            PROTOCOL_ERROR,
            &[&settings(&[(MAX_FRAME_SIZE, 16383)])],
        ),
        connection(
            "6.5.2: MAX_FRAME_SIZE of 2^24",
            PROTOCOL_ERROR,
            &[&settings(&[(MAX_FRAME_SIZE, 1 << 24)])],
        ),
        ignored("6.5.2: an unknown setting", &[&settings(&[(0xff, 1)])]),
        connection(
            "6.6: PUSH_PROMISE of a client",
            PROTOCOL_ERROR,
            &[
                &post(1, "/never"),
                &frame(
                    PUSH_PROMISE,
                    END_HEADERS,
                    1,
                    &[&[0, 0, 0, 2][..], &get_block].concat(),
                ),
            ],
        ),
        connection(
            "6.7: PING of a stream",
            PROTOCOL_ERROR,
            &[&frame(PING, 0, 1, b"12345678")],
        ),
        connection(
            "6.7: PING of six octets",
            FRAME_SIZE_ERROR,
            &[&frame(PING, 0, 0, b"123456")],
        )
        .or(END),
        connection(
            "6.8: GOAWAY of a stream",
            PROTOCOL_ERROR,
            &[&frame(GOAWAY, 0, 1, &[0; 8])],
        ),
        connection(
            "6.9: WINDOW_UPDATE of 0",
            PROTOCOL_ERROR,
            &[&window_update(0, 0)],
        ),
        stream(
            "6.9: WINDOW_UPDATE of 0 on a stream",
            PROTOCOL_ERROR,
            &[&get(1, "/never"), &window_update(1, 0)],
        )
        .or(END),
        connection(
            "6.9: WINDOW_UPDATE of three octets",
            FRAME_SIZE_ERROR,
            &[&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])],
        )
        .or(END),
        connection(
            "6.9.1: a window past 2^31-1",
            FLOW_CONTROL_ERROR,
            &[
                &window_update(0, 0x7fff_ffff),
                &window_update(0, 0x7fff_ffff),
            ],
        ),
        stream(
            "6.9.1: a stream's window past 2^31-1",
            FLOW_CONTROL_ERROR,
            &[&get(1, "/never"), &window_update(1, 0x7fff_ffff)],
        ),
        answered(
            "6.10: a block of three frames",
            200,
            &[
                &frame(HEADERS, END_STREAM, 1, &get_block[..3]),
                &frame(CONTINUATION, 0, 1, &get_block[3..20]),
                &frame(CONTINUATION, END_HEADERS, 1, &get_block[20..]),
            ],
        ),
        connection(
            "6.10: another frame after CONTINUATION",
            PROTOCOL_ERROR,
            &[
                &begun(1),
                &frame(CONTINUATION, 0, 1, &plain(&[("a", "b")])),
                &data(1, 0, b"x"),
            ],
        ),
        connection(
            "6.10: CONTINUATION of no stream",
            PROTOCOL_ERROR,
            &[
                &begun(1),
                &frame(CONTINUATION, END_HEADERS, 0, &plain(&[("a", "b")])),
            ],
        ),
        connection(
            "6.10: CONTINUATION of another stream",
            PROTOCOL_ERROR,
            &[
                &begun(1),
                &frame(CONTINUATION, END_HEADERS, 3, &plain(&[("a", "b")])),
            ],
        ),
        connection(
            "6.10: CONTINUATION after the block's end",
            PROTOCOL_ERROR,
            &[
                &begun(1),
                &frame(CONTINUATION, END_HEADERS, 1, b""),
                &frame(CONTINUATION, END_HEADERS, 1, b""),
            ],
        ),
        connection(
            "6.10: CONTINUATION after DATA",
            PROTOCOL_ERROR,
            &[
                &post(1, "/never"),
                &data(1, 0, b"x"),
                &frame(CONTINUATION, END_HEADERS, 1, &plain(&[("a", "b")])),
            ],
        ),
        ignored(
            "7: an unknown code",
            &[
                &post(1, "/never"),
                &frame(RST_STREAM, 0, 1, &[0, 0, 0, 0xff]),
            ],
        ),
    ]);
}

#[test]
fn requests_are_well_formed() {
    const METHOD: (&str, &str) = (":method", "GET");
    const SCHEME: (&str, &str) = (":scheme", "https");
    const PATH: (&str, &str) = (":path", "/");
    const AUTHORITY: (&str, &str) = (":authority", "example.test");
    let malformed = |name, sent: Vec<u8>| stream(name, PROTOCOL_ERROR, &[&sent]).or(END);
    run(&[
        answered("8.1: a request", 200, &[&get(1, "/")]),
        answered(
            "8.1: trailers",
            200,
            &[
                &post(1, "/sink"),
                &data(1, 0, b"x"),
                &frame(
                    HEADERS,
                    END_STREAM | END_HEADERS,
                    1,
                    &plain(&[("x-a", "b")]),
                ),
            ],
        ),
        stream(
            "8.1: trailers that do not end the stream",
            PROTOCOL_ERROR,
            &[
                &post(1, "/sink"),
                &frame(HEADERS, END_HEADERS, 1, &plain(&[("x-a", "b")])),
            ],
        ),
        connection(
            "8.1: a pseudo-header field in trailers",
            PROTOCOL_ERROR,
            &[
                &post(1, "/sink"),
                &frame(HEADERS, END_STREAM | END_HEADERS, 1, &plain(&[METHOD])),
            ],
        ),
        malformed("8.2.1: capitals", request_with(&[("X-Test", "a")])),
        malformed("8.2.1: a space in a name", request_with(&[("x test", "a")])),
        malformed("8.2.1: a colon in a name", request_with(&[("x:test", "a")])),
        malformed("8.2.1: an empty name", request_with(&[("", "a")])),
        malformed("8.2.1: NUL in a value", request_with(&[("x-a", "a\0b")])),
        malformed("8.2.1: CR in a value", request_with(&[("x-a", "a\rb")])),
        malformed("8.2.1: LF in a value", request_with(&[("x-a", "a\nb")])),
        malformed(
            "8.2.2: connection",
            request_with(&[("connection", "keep-alive")]),
        ),
        malformed("8.2.2: keep-alive", request_with(&[("keep-alive", "a")])),
        malformed(
            "8.2.2: proxy-connection",
            request_with(&[("proxy-connection", "a")]),
        ),
        malformed(
            "8.2.2: transfer-encoding",
            request_with(&[("transfer-encoding", "chunked")]),
        ),
        malformed("8.2.2: upgrade", request_with(&[("upgrade", "a")])),
        malformed("8.2.2: te", request_with(&[("te", "trailers, deflate")])),
        answered(
            "8.2.2: te: trailers",
            200,
            &[&request_with(&[("te", "trailers")])],
        ),
        answered(
            "8.2.3: cookies in pieces",
            200,
            &[&request_with(&[("cookie", "a=b"), ("cookie", "c=d")])],
        ),
        malformed(
            "8.3: an unknown field",
            request(&[METHOD, SCHEME, PATH, AUTHORITY, (":test", "a")]),
        ),
        malformed(
            "8.3: a response's field",
            request(&[METHOD, SCHEME, PATH, AUTHORITY, (":status", "200")]),
        ),
        malformed(
            "8.3: after others",
            request(&[METHOD, SCHEME, AUTHORITY, ("x-a", "b"), PATH]),
        ),
        malformed(
            "8.3: :method twice",
            request(&[METHOD, METHOD, SCHEME, PATH, AUTHORITY]),
        ),
        malformed(
            "8.3: :scheme twice",
            request(&[METHOD, SCHEME, SCHEME, PATH, AUTHORITY]),
        ),
        malformed(
            "8.3: :path twice",
            request(&[METHOD, SCHEME, PATH, PATH, AUTHORITY]),
        ),
        malformed(
            "8.3: :authority twice",
            request(&[METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY]),
        ),
        malformed("8.3.1: no :method", request(&[SCHEME, PATH, AUTHORITY])),
        malformed("8.3.1: no :scheme", request(&[METHOD, PATH, AUTHORITY])),
        malformed("8.3.1: no :path", request(&[METHOD, SCHEME, AUTHORITY])),
        malformed(
            "8.3.1: an empty :path",
            request(&[METHOD, SCHEME, (":path", ""), AUTHORITY]),
        ),
        malformed(
            "8.3.1: a :path without a slash",
            request(&[METHOD, SCHEME, (":path", "a"), AUTHORITY]),
        ),
        answered(
            "8.3.1: * for GET",
            400,
            &[&request(&[METHOD, SCHEME, (":path", "*"), AUTHORITY])],
        ),
        answered(
            "8.3.1: * for OPTIONS",
            200,
            &[&request(&[
                (":method", "OPTIONS"),
                SCHEME,
                (":path", "*"),
                AUTHORITY,
            ])],
        ),
        answered(
            "8.3.1: user information",
            400,
            &[&request(&[
                METHOD,
                SCHEME,
                PATH,
                (":authority", "a@example.test"),
            ])],
        ),
        answered(
            "8.3.1: host instead of :authority",
            200,
            &[&request(&[METHOD, SCHEME, PATH, ("host", "example.test")])],
        ),
        answered(
            "8.3.1: host that is not :authority",
            400,
            &[&request_with(&[("host", "other.test")])],
        ),
        answered("8.3.1: neither", 400, &[&request(&[METHOD, SCHEME, PATH])]),
        answered(
            "8.1.1: content-length",
            200,
            &[&post_of("2"), &data(1, 0, b"x"), &data(1, END_STREAM, b"y")],
        ),
        stream(
            "8.1.1: content-length of less",
            PROTOCOL_ERROR,
            &[&post_of("1"), &data(1, END_STREAM, b"xy")],
        ),
        stream(
            "8.1.1: content-length of more",
            PROTOCOL_ERROR,
            &[&post_of("3"), &data(1, 0, b"x"), &data(1, END_STREAM, b"y")],
        ),
        malformed(
            "8.1.1: content-length without a body",
            request_with(&[("content-length", "1")]),
        ),
        malformed(
            "8.1.1: content-length twice",
            request_with(&[("content-length", "0"), ("content-length", "1")]),
        ),
        malformed(
            "8.1.1: content-length that is no number",
            request_with(&[("content-length", "+0")]),
        ),
    ]);
}

#[test]
fn field_blocks_are_decoded() {
    let compression =
        |name, more: &[u8]| connection(name, COMPRESSION_ERROR, &[&request_ending(more)]).or(END);
    run(&[
        answered(
            "2.3.2: the dynamic table",
            200,
            &[&request_ending(b"\x40\x03x-a\x01b\xbe")],
        ),
        answered(
            "5.2: Huffman's code",
            200,
            &[&request_ending(b"\x00\x03x-a\x81\x1f")],
        ),
        answered(
            "6.3: a table of no size",
            200,
            &[&frame(
                HEADERS,
                END_STREAM | END_HEADERS,
                1,
                &[&[0x20][..], &request_block("GET", "/", &[])].concat(),
            )],
        ),
        compression("2.3.3: an index past the tables", &[0xc6]),
        compression("2.3.3: a name's index past the tables", b"\x7f\x07\x01b"),
        compression("4.2: a table's size after a field", &[0x20]),
        compression("5.1: an integer without end", &[0xff; 20]),
        compression("5.2: a string past the block", b"\x00\x03x-a\x09b"),
        compression("5.2: padding of a whole octet", b"\x00\x03x-a\x82\x1f\xff"),
        compression("5.2: padding of zeros", b"\x00\x03x-a\x81\x18"),
        compression(
            "5.2: the end of string in a string",
            b"\x00\x03x-a\x84\xff\xff\xff\xff",
        ),
        compression("6.1: the index 0", &[0x80]),
        connection(
            "6.3: a table past the limit",
            COMPRESSION_ERROR,
            &[&frame(
                HEADERS,
                END_STREAM | END_HEADERS,
                1,
                &[b"\x3f\xe2\x1f", &request_block("GET", "/", &[])[..]].concat(),
            )],
        )
        .or(END),
    ]);
}

#[test]
fn a_connection_begins_with_the_preface() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()));
    for (begin, end) in [
        (&b"INVALID CONNECTION PREFACE\r\n\r\n"[..], None),
        (b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", None),
        (&[PREFACE, &get(1, "/")].concat(), Some(PROTOCOL_ERROR)),
    ] {
        let mut client = H2Client::silent(daemon.https());
        client.send(begin);
        let goaway = client.find(|frame| frame.kind == GOAWAY);
        // Section 3.4: GOAWAY may be left out where the peer does not speak HTTP/2.
        if let Some(code) = end {
            assert_eq!(goaway.map(|frame| frame.code(4)), Some(code));
        }
        assert_eq!(client.next(), None);
    }
}

#[test]
fn settings_and_pings_are_acknowledged() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()));
    let mut client = H2Client::connect(daemon.https(), &[]);
    // Section 3.4: our preface is SETTINGS.
    let first = client.next().unwrap();
    assert_eq!((first.kind, first.flags), (SETTINGS, 0));
    let acknowledged = client.find(|frame| frame.kind == SETTINGS).unwrap();
    assert_eq!(acknowledged.flags, ACK);
    // Section 6.7: an acknowledgement is not answered.
    client.send(&frame(PING, ACK, 0, b"not this"));
    client.send(&frame(PING, 0, 0, b"but this"));
    let pong = client.find(|frame| frame.kind == PING).unwrap();
    assert_eq!((pong.flags, &pong.payload[..]), (ACK, &b"but this"[..]));
}

#[test]
fn the_clients_windows_are_kept() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()));
    let length = |client: &mut H2Client| {
        let frame = client.find(|frame| matches!(frame.kind, DATA | GOAWAY));
        let frame = frame.unwrap();
        assert_eq!(frame.kind, DATA);
        frame.payload.len()
    };
    // Section 6.9.2: the last of several values holds, and a change moves open streams.
    let mut client = H2Client::connect(
        daemon.https(),
        &[(INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1)],
    );
    client.send(&get(1, "/source/100"));
    assert_eq!(length(&mut client), 1);
    client.send(&settings(&[(INITIAL_WINDOW, 3)]));
    assert_eq!(length(&mut client), 2);
    // Below 0: nothing is sent until it is open again.
    client.send(&settings(&[(INITIAL_WINDOW, 0)]));
    client.send(&window_update(1, 3));
    client.send(&frame(PING, 0, 0, b"12345678"));
    let next = client.find(|frame| matches!(frame.kind, DATA | PING));
    assert_eq!(next.unwrap().kind, PING);
    client.send(&window_update(1, 4));
    assert_eq!(length(&mut client), 4);
    client.send(&window_update(1, 1000));
    assert_eq!(length(&mut client), 100 - 7);
    // Section 6.9.2: a change that makes a window too large.
    let mut client = H2Client::connect(daemon.https(), &[]);
    client.send(&get(1, "/never"));
    client.send(&window_update(1, 0x7fff_ffff - 65_535));
    client.send(&settings(&[(INITIAL_WINDOW, 65_536)]));
    assert_eq!(client.end(), H2End::Connection(FLOW_CONTROL_ERROR));
}

#[test]
fn a_body_that_is_reset_without_error_is_not_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = Daemon::run_alone(&Settings::new(listener.local_addr().unwrap()));
    let mut client = H2Client::connect(daemon.https(), &[]);
    client.send(&[post(1, "/"), frame(DATA, 0, 1, b"part")].concat());
    let (mut upstream, _) = listener.accept().unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"part\r\n") {
        let mut byte = [0];
        upstream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    client.send(&frame(RST_STREAM, 0, 1, &[0; 4]));
    let mut rest = Vec::new();
    // Closed or reset, without a last chunk.
    let _ = upstream.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}
