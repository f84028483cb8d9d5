//! The format of frames and field blocks (RFC 9113 section 4).

use super::case::{
    COMPRESSION_ERROR, END, FRAME_SIZE_ERROR, PROTOCOL_ERROR, answered, begun, connection, data,
    ignored, priority, request_ending, run,
};
use crate::support::h2_frames::{
    END_HEADERS, END_STREAM, HEADERS, PING, frame, get, post, request_block,
};

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
