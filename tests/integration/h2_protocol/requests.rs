//! Requests as HTTP/2 frames them (RFC 9113 section 8).

use super::case::{
    END, PROTOCOL_ERROR, answered, connection, data, plain, post_of, request, request_with, run,
    stream,
};
use crate::support::h2_frames::{
    END_HEADERS, END_STREAM, GOAWAY, H2Client, HEADERS, frame, get, post,
};
use crate::support::{Daemon, Origin, Settings};

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
        answered(
            "8.2.1: a quote in a name",
            400,
            &[&request_with(&[("x\"test", "a")])],
        ),
        answered(
            "8.2.1: a blank before a value",
            400,
            &[&request_with(&[("x-a", " a")])],
        ),
        answered(
            "8.2.1: a tab after a value",
            400,
            &[&request_with(&[("x-a", "a\t")])],
        ),
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
            "8.3.1: a :path that is a query",
            400,
            &[&request(&[METHOD, SCHEME, (":path", "?a"), AUTHORITY])],
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
        answered(
            "8.1.1: content-length of 19 digits",
            400,
            &[&post_of("1000000000000000000"), &data(1, 0, b"x")],
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
fn a_connect_with_content_ends_the_connection_by_its_name() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()));
    let websocket = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/"),
        (":authority", "example.test"),
        ("content-length", "5"),
    ];
    let plain_connect = [
        (":method", "CONNECT"),
        (":authority", "example.test:443"),
        ("content-length", "5"),
    ];
    for fields in [&websocket[..], &plain_connect] {
        let mut client = H2Client::connect(daemon.https(), &[]);
        client.send(&get(1, "/never"));
        client.send(&frame(HEADERS, END_HEADERS, 3, &plain(fields)));
        let goaway = client.find(|frame| frame.kind == GOAWAY).unwrap();
        assert_eq!(goaway.code(0), 3, "the last stream");
        assert_eq!(goaway.code(4), PROTOCOL_ERROR);
        assert_eq!(client.next(), None);
    }
}
