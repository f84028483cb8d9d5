//! Messages of HTTP/1.1 in pieces of every size: where they end, and which are refused.

use crate::server::h1_framing::{EMPTY_LINES, H1Framing, HeadLimits, Stop};
use crate::server::h1_refusal::Refusal;

const LIMITS: HeadLimits = HeadLimits {
    request_line: 64,
    fields: 128,
    count: 8,
};

/// How much of `bytes` is taken in pieces of `size`, how many heads, and why it stops.
fn read(bytes: &[u8], size: usize) -> (usize, usize, Option<Stop>) {
    let mut framing = H1Framing::new(LIMITS);
    let mut taken = 0;
    for piece in bytes.chunks(size) {
        let (count, stop) = framing.read(piece);
        taken += count;
        if stop.is_some() {
            assert_eq!(framing.read(b"x"), (0, stop), "nothing follows");
            return (taken, framing.heads(), stop);
        }
    }
    (taken, framing.heads(), None)
}

#[track_caller]
fn refused(text: &str, refusal: Refusal) {
    for size in 1..=text.len() {
        let (taken, heads, stop) = read(text.as_bytes(), size);
        assert_eq!(stop, Some(Stop::Refused(refusal)), "{text:?} by {size}");
        assert_eq!(heads, 0, "{text:?}");
        assert!(taken < text.len());
    }
    // Whole, nothing of it passes.
    assert_eq!(read(text.as_bytes(), text.len()).0, 0);
}

#[test]
fn messages_end_where_they_should_in_any_pieces() {
    let text = "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe\r\no\
         POST /b HTTP/1.0\r\ncontent-length:\t0 \r\n\r\n\
         POST /c HTTP/1.1\r\nTransfer-Encoding: CHUNKED\r\n\r\n\
         5;a=\"b\"\r\nhello\r\nA\r\n0123456789\r\n00\r\nX: y\r\n\r\n\
         GET /d HTTP/1.1\r\n\r\n";
    for size in 1..=text.len() {
        assert_eq!(read(text.as_bytes(), size), (text.len(), 5, None), "{size}");
    }
}

#[test]
fn what_comes_before_a_refused_head_passes() {
    let good = "GET /a HTTP/1.1\r\n\r\n";
    let text = format!("{good}GET /b HTTP/1.1\nHost: a\r\n\r\n");
    let stop = Some(Stop::Refused(Refusal::BareLineFeed));
    assert_eq!(
        read(text.as_bytes(), text.len()),
        (good.len(), 1, stop),
        "in one piece"
    );
}

#[test]
fn heads_are_read_strictly() {
    let head = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
    for line in [
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /a b HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/1.10",
        "GET\t/ HTTP/1.1",
    ] {
        refused(&head(line), Refusal::RequestLine);
    }
    for line in ["PRI * HTTP/2.0", "GET / HTTP/1.2", "GET / HTTP/0.9"] {
        refused(&head(line), Refusal::Version);
    }
    for line in [
        "GET /#a HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /\u{7f} HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\r HTTP/1.1",
    ] {
        refused(&head(line), Refusal::Target);
    }
    refused(
        "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        Refusal::BareLineFeed,
    );
    refused("GET / HTTP/1.1\r\nHost: a\r\n\n", Refusal::BareLineFeed);
    refused("\nGET / HTTP/1.1\r\n\r\n", Refusal::BareLineFeed);
    let empty = "\r\n".repeat(EMPTY_LINES + 1);
    let proxy = Refusal::ProxyHeader;
    refused("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", proxy);
    refused("PROXY UNKNOWN\r\n", proxy);
    let version_2 = read(b"\r\n\r\n\0\r\nQUIT\n", 32);
    assert_eq!(version_2, (4, 0, Some(Stop::Refused(proxy))));
    let stop = Some(Stop::Refused(Refusal::RequestLine));
    assert_eq!(read(empty.as_bytes(), 3), (2 * EMPTY_LINES, 0, stop));
}

#[test]
fn lengths_that_can_be_read_in_two_ways_are_refused() {
    let head = |fields: &str| format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
    for value in [
        "",
        "+5",
        "-5",
        "5, 5",
        "0x5",
        "5a",
        "5 5",
        "5;",
        "1000000000000000000",
        "18446744073709551616",
    ] {
        let fields = format!("Content-Length: {value}");
        refused(&head(&fields), Refusal::ContentLength);
    }
    let twice = "Content-Length: 5\r\nCONTENT-LENGTH: 5";
    refused(&head(twice), Refusal::ContentLength);
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding:\u{b}chunked",
        "Transfer-Encoding:",
    ] {
        refused(&head(fields), Refusal::Framing);
    }
    for coding in ["gzip, chunked", "chunked, chunked", "gzip,chunked"] {
        let fields = format!("Transfer-Encoding: {coding}");
        refused(&head(&fields), Refusal::TransferEncoding);
    }
    refused(
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        Refusal::Framing,
    );
}

#[test]
fn limits_are_exact() {
    let line = |length: usize| {
        let path = "a".repeat(length - "GET / HTTP/1.1".len());
        format!("GET /{path} HTTP/1.1\r\n\r\n")
    };
    let text = line(LIMITS.request_line);
    for size in 1..=text.len() {
        assert_eq!(read(text.as_bytes(), size), (text.len(), 1, None));
    }
    refused(&line(LIMITS.request_line + 1), Refusal::RequestLineTooLong);
    let field = |length: usize| {
        let value = "a".repeat(length - "X: \r\n".len());
        format!("GET / HTTP/1.1\r\nX: {value}\r\n\r\n")
    };
    let text = field(LIMITS.fields);
    for size in 1..=text.len() {
        assert_eq!(read(text.as_bytes(), size), (text.len(), 1, None));
    }
    refused(&field(LIMITS.fields + 1), Refusal::FieldsTooLarge);
    let fields = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert_eq!(read(fields(LIMITS.count).as_bytes(), 7).1, 1);
    refused(&fields(LIMITS.count + 1), Refusal::FieldsTooLarge);
    // Also what never ends its line.
    let endless = "a".repeat(1000);
    let (taken, _, stop) = read(endless.as_bytes(), 1);
    assert_eq!(stop, Some(Stop::Refused(Refusal::RequestLineTooLong)));
    assert!(taken <= LIMITS.request_line + 1);
}

#[test]
fn chunks_are_read_strictly() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "\r\n",
        "g\r\n",
        "+5\r\n",
        "0x5\r\n",
        "5\nhello\r\n",
        "5\rhello\r\n",
        "5;a\nb\r\n",
        "5;a\rb\r\n",
        "5;\0\r\n",
        "5\r\nhello0\r\n",
        "5\r\nhello\n0\r\n",
        "10000000000000000\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX: \0\r\n\r\n",
        "0\r\nX: y\rz\r\n",
        "0\r\n\n",
    ] {
        let text = format!("{head}{body}");
        for size in 1..=text.len() {
            let (taken, heads, stop) = read(text.as_bytes(), size);
            assert_eq!((heads, stop), (1, Some(Stop::Body)), "{body:?} by {size}");
            assert!(taken >= head.len() && taken < text.len());
        }
    }
}
