//! Bodies of unknown length, with trailers, from curl and from a client that sends what curl cannot.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use crate::support::{Client, Daemon, Settings};

/// An upstream that answers a chunked request with its head, its body and its trailers, apart by
/// lines of `--`.
fn mirror() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            // A connection ends when the daemon does.
            thread::spawn(move || while answer(&stream).is_some() {});
        }
    });
    address
}

/// `None`: there is no further request.
fn answer(stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let head = lines(&mut reader)?;
    let (mut body, mut size) = (Vec::new(), String::new());
    loop {
        size.clear();
        reader.read_line(&mut size).ok()?;
        let length = u64::from_str_radix(size.trim_end(), 16).ok()?;
        if length == 0 {
            break;
        }
        (&mut reader).take(length).read_to_end(&mut body).ok()?;
        reader.read_line(&mut size).ok()?;
    }
    let trailers = lines(&mut reader)?;
    let body = String::from_utf8(body).ok()?;
    let text = format!("{head}--\n{body}--\n{trailers}");
    let length = text.len();
    write!(
        &mut &*stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}"
    )
    .ok()
}

/// Lines up to an empty one.
fn lines(reader: &mut impl BufRead) -> Option<String> {
    let mut all = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => return Some(all),
            line => all = all + line + "\n",
        }
    }
}

#[test]
fn curl_uploads_what_it_does_not_know_the_length_of() {
    let daemon = Daemon::run(&Settings::new(mirror()));
    let sent: String = (0..40_000).map(|line| format!("{line}\n")).collect();
    for protocol in ["--http1.1", "--http2"] {
        // From a pipe: chunks over HTTP/1.1, frames without a length over HTTP/2.
        let curl = daemon.curl(&format!("{protocol} -T -"), "/upload");
        let seen = curl.stdin(sent.clone()).run().success().stdout;
        let (head, rest) = seen.split_once("--\n").unwrap();
        assert!(head.starts_with("PUT /upload HTTP/1.1\n"), "{head}");
        assert!(head.contains("transfer-encoding: chunked\n"), "{head}");
        assert!(!head.contains("content-length"), "{head}");
        let (body, trailers) = rest.split_once("--\n").unwrap();
        assert!(body == sent, "{protocol}: {} bytes", body.len());
        assert_eq!(trailers, "");
    }
}

#[test]
fn trailers_that_may_pass_follow_the_chunks() {
    let daemon = Daemon::run(&Settings::new(mirror()));
    let mut client = Client::new().connect(daemon.https()).unwrap();
    write!(
        client,
        "POST / HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\nTrailer: X-Sum, Host\r\n\
         Transfer-Encoding: chunked\r\n\r\n5;part=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\n\
         Host: other.test\r\nX-Unannounced: 1\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\ntrailer: x-sum\n"), "{answer}");
    // To announce them is a courtesy (RFC 9110 section 6.6.2).
    let end = "--\nhello world--\nx-sum: 11\nx-unannounced: 1\n";
    assert!(answer.ends_with(end), "{answer}");
}
