//! The rules of each type of frame (RFC 9113 section 6).

use super::case::{
    ENABLE_PUSH, END, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, INITIAL_WINDOW, MAX_FRAME_SIZE,
    PRIORITY_FLAG, PROTOCOL_ERROR, answered, begun, connection, data, ignored, plain, priority,
    run, stream,
};
use crate::support::h2_frames::{
    ACK, CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, get, post, request_block, reset,
    settings, window_update,
};

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
