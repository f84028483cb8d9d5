//! The states of streams (RFC 9113 section 5).

use super::case::{
    END, PRIORITY_FLAG, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED, connection, data, ignored,
    plain, priority, run, stream,
};
use crate::support::h2_frames::{
    CONTINUATION, END_HEADERS, END_STREAM, HEADERS, frame, get, post, request_block, reset,
    window_update,
};

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
