//! HTTP/1.1 byte by byte: what a client gets for what it sends, and what the upstream sees of it;
//! and the same the other way round.
//!
//! Every exchange ends with one more request, so that what the connection is worth after it shows,
//! and nothing has to be waited for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Client, Daemon, Settings, TlsStream, read_head, wait_until};

/// A client that has sent its bytes still gets an answer to this.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// What a client sends, and what comes of it.
struct Request {
    sent: &'static [u8],
    /// The statuses that come back, without that of [`LAST`].
    statuses: &'static [u16],
    /// Method, target and body of each request that the upstream sees, without [`LAST`].
    seen: &'static [&'static str],
    /// Whether [`LAST`] is answered.
    lasts: bool,
}

const fn passes(sent: &'static [u8], seen: &'static [&'static str]) -> Request {
    const STATUSES: [u16; 4] = [200; 4];
    Request {
        sent,
        statuses: STATUSES.split_at(seen.len()).0,
        seen,
        lasts: true,
    }
}

const fn ends(sent: &'static [u8], seen: &'static [&'static str]) -> Request {
    Request {
        lasts: false,
        ..passes(sent, seen)
    }
}

const fn refused(sent: &'static [u8], statuses: &'static [u16]) -> Request {
    Request {
        sent,
        statuses,
        seen: &[],
        lasts: false,
    }
}

#[rustfmt::skip]
const REQUESTS: &[Request] = &[
    // What is in order.
    passes(b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n", &["GET /a "]),
    passes(b"\r\n\r\nGET /a HTTP/1.1\r\nHost: a.test\r\n\r\n", &["GET /a "]),
    passes(b"GET /a?b=c&d=%20%zz HTTP/1.1\r\nHost: a.test\r\n\r\n", &["GET /a?b=c&d=%20%zz "]),
    passes(b"GET //a//b/..c/.d%41 HTTP/1.1\r\nHost: a.test\r\n\r\n", &["GET //a//b/..c/.d%41 "]),
    passes(b"GET / HTTP/1.1\r\nhOST:a.test\r\n\r\n", &["GET / "]),
    passes(b"GET / HTTP/1.1\r\nHost: \t a.test \t\r\n\r\n", &["GET / "]),
    passes(b"GET / HTTP/1.1\r\nHost: a.test:8443\r\n\r\n", &["GET / "]),
    passes(b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Empty:\r\nX-High: \xc3\xa9\r\n\r\n", &["GET / "]),
    passes(b"PURGE /a HTTP/1.1\r\nHost: a.test\r\n\r\n", &["PURGE /a "]),
    passes(b"get /a HTTP/1.1\r\nHost: a.test\r\n\r\n", &["get /a "]),
    passes(b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", &["OPTIONS * "]),
    passes(b"GET http://a.test/a HTTP/1.1\r\nHost: b.test\r\n\r\n", &["GET /a "]),
    passes(b"GET HTTP://a.test?b HTTP/1.1\r\nHost: a.test\r\n\r\n", &["GET /?b "]),
    passes(b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello", &["POST /a hello"]),
    passes(b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0005\r\n\r\nhello", &["POST /a hello"]),
    passes(b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n", &["POST /a "]),
    passes(b"POST /a HTTP/1.1\r\nHost: a.test\r\n\r\n", &["POST /a "]),
    passes(b"GET /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello", &["GET /a hello"]),
    passes(b"DELETE /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", &["DELETE /a hello"]),
    passes(b"POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: Chunked\r\n\r\n00005\r\nhello\r\n1\r\n!\r\n000\r\n\r\n", &["POST /a hello!"]),
    passes(b"POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d;e\"\r\nhello\r\n0;x\r\n\r\n", &["POST /a hello"]),
    passes(b"POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: b\r\nHost: evil\r\n\r\n", &["POST /a hello"]),
    passes(b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 15\r\n\r\nGET /b HTTP/1.1GET /c HTTP/1.1\r\nHost: a.test\r\n\r\n", &["POST /a GET /b HTTP/1.1", "GET /c "]),
    passes(b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\nPOST /b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\n!GET /c HTTP/1.1\r\nHost: a.test\r\n\r\n", &["GET /a ", "POST /b !", "GET /c "]),
    passes(b"POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello", &["POST /a hello"]),
    passes(b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent_Length: 9\r\nContent-Length: 5\r\n\r\nhello", &["POST /a hello"]),
    passes(b"GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", &["GET /a "]),
    passes(b"GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: Host, Content-Length\r\nContent-Length: 2\r\n\r\nhi", &["GET /a hi"]),
    // HTTP/1.0.
    ends(b"GET /a HTTP/1.0\r\n\r\n", &["GET /a "]),
    ends(b"GET /a HTTP/1.0\r\nHost: a.test\r\nExpect: 100-continue\r\n\r\n", &["GET /a "]),
    passes(b"GET /a HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n", &["GET /a "]),
    ends(b"GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: a.test\r\n\r\n", &["GET /a "]),
    ends(b"GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive\r\nConnection: Close\r\n\r\n", &["GET /a "]),
    refused(b"POST /a HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
    // Request lines.
    refused(b"GET /a\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET\t/a\tHTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET  /a HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET /a  HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET /a HTTP/1.1 \r\nHost: a.test\r\n\r\n", &[400]),
    refused(b" GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GE(T /a HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET /a b HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET /a#b HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET /a\x01 HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET a HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET ?a HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET * HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET http://u@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET http:///a HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET http://a.test/a HTTP/1.1\r\n\r\n", &[400]),
    refused(b"GET http://a.test/a HTTP/1.1\r\nHost: a b\r\n\r\n", &[400]),
    refused(b"GET http://a.test/a HTTP/1.1\r\nHost: u@a.test\r\n\r\n", &[400]),
    refused(b"GET http://a.test/a HTTP/1.1\r\nHost: a.test/x\r\n\r\n", &[400]),
    refused(b"GET http://a.test/a HTTP/1.0\r\nHost: a,b\r\n\r\n", &[400]),
    refused(b"GET /a HTTP/1.2\r\nHost: a.test\r\n\r\n", &[505]),
    refused(b"GET //a//b/../c/ HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET /a/%2e HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET /a HTTP/2.0\r\nHost: a.test\r\n\r\n", &[505]),
    refused(b"GET /a HTTP/0.9\r\nHost: a.test\r\n\r\n", &[505]),
    refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505]),
    refused(b"GET /a HTTX/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET /a HTTP/1.1\nHost: a.test\r\n\r\n", &[400]),
    refused(b"\nGET /a HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n", &[405]),
    refused(b"TRACE / HTTP/1.1\r\nHost: a.test\r\n\r\n", &[405]),
    // Lengths of more than 18 digits, and what is no list of tokens.
    refused(b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000000000000000\r\n\r\n", &[400]),
    refused(b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9223372036854775808\r\n\r\n", &[400]),
    refused(b"GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: close, \xff\r\n\r\n", &[400]),
    // Hosts.
    refused(b"GET / HTTP/1.1\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost:\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost: a.test/\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost: u@a.test\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost: a.test:99999\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", &[400]),
    // Fields.
    refused(b"GET / HTTP/1.1\r\nHost: a.test\nX: y\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost: a.test\r\n\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost: a.test\r\nX: a\rb\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost: a.test\r\nX: a\0b\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost: a.test\r\nX: a\r\n b\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\n Host: a.test\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost : a.test\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost: a.test\r\n: empty\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost: a.test\r\nnothing\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost: a.test\r\nX\xe9: y\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost: a.test\r\nExpect: tea\r\n\r\n", &[417]),
    // Lengths.
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n", &[400]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", &[400]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", &[400]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5,5\r\n\r\nhello", &[400]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +5\r\n\r\nhello", &[400]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0x5\r\n\r\nhello", &[400]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 99999999999999999999\r\n\r\nhello", &[400]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length:\r\n\r\nhello", &[400]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", &[501]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", &[501]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: identity\r\n\r\n", &[400]),
    refused(b"GET / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", &[400]),
    // Chunks: the upstream has the head by then, and never a whole body.
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", &[400]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n", &[400]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", &[400]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n", &[400]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n", &[400]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\nContent-Length: 1\r\n\r\n", &[400]),
    refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\0\r\n\r\n", &[400]),
    // What comes before a bad head is answered first.
    Request {
        sent: b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\nGET /b HTTP/1.1\nHost: a.test\r\n\r\n",
        statuses: &[200, 400],
        seen: &["GET /a "],
        lasts: false,
    },
    Request {
        sent: b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\nGET /b HTTP/1.1\r\nHost: a.test\r\n\r\nGET /c HTTP/3.0\r\n\r\n",
        statuses: &[200, 200, 505],
        seen: &["GET /a ", "GET /b "],
        lasts: false,
    },
];

/// What the upstream answers, and what comes of it.
struct Answer {
    answer: &'static [u8],
    /// Status and body that the client gets. Bodies that break off: `upstream_faults`.
    gets: (u16, &'static str),
    /// Whether the upstream's connection serves the next request.
    kept: bool,
}

const fn kept(answer: &'static [u8], status: u16, body: &'static str) -> Answer {
    Answer {
        answer,
        gets: (status, body),
        kept: true,
    }
}

const fn closed(answer: &'static [u8], status: u16, body: &'static str) -> Answer {
    Answer {
        answer,
        gets: (status, body),
        kept: false,
    }
}

const BAD: &str = "502 Bad Gateway\nupstream_bad_response\n";

#[rustfmt::skip]
const ANSWERS: &[Answer] = &[
    kept(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
    kept(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
    kept(b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n", 299, ""),
    kept(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\n\r\n", 200, "ok"),
    kept(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
    kept(b"HTTP/1.1 204 No\r\n\r\n", 204, ""),
    kept(b"HTTP/1.1 304 Not\r\nContent-Length: 99\r\n\r\n", 304, ""),
    kept(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
    closed(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
    closed(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
    closed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore", 200, "ok"),
    closed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", 200, "ok"),
    closed(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 502, BAD),
    closed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", 502, BAD),
    closed(b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", 502, BAD),
    closed(b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nok", 502, BAD),
    closed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 502, BAD),
    closed(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 502, BAD),
    closed(b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok", 502, BAD),
    closed(b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok", 502, BAD),
    closed(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok", 502, BAD),
    closed(b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok", 502, BAD),
    closed(b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok", 502, BAD),
    closed(b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok", 502, BAD),
    closed(b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok", 502, BAD),
    closed(b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 502, BAD),
    closed(b"hello\r\n\r\n", 502, BAD),
];

/// An upstream that notes what it sees, strictly, and answers `/answer/N` by [`ANSWERS`].
struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Upstream {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = seen.clone();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (stream, seen) = (stream.unwrap(), noted.clone());
                // Its peer breaking off is part of the script.
                std::thread::spawn(move || serve(stream, number, &seen).is_ok());
            }
        });
        Self { address, seen }
    }

    /// What was seen since, but for [`LAST`]; and by how many connections.
    fn take(&self) -> (Vec<String>, Vec<usize>) {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        let connections = seen.iter().map(|(number, _)| *number).collect();
        let requests = seen.into_iter().map(|(_, text)| text);
        let requests = requests.filter(|text| text != "GET /last ");
        (requests.collect(), connections)
    }
}

fn serve(
    stream: TcpStream,
    number: usize,
    seen: &Mutex<Vec<(usize, String)>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(head) = read_head(&mut reader)? {
        let mut parts = head.start.splitn(3, ' ');
        let method = parts.next().unwrap_or_default().to_owned();
        let target = parts.next().unwrap_or_default().to_owned();
        assert_eq!(parts.next(), Some("HTTP/1.1"), "{head:?}");
        // HTTP/1.0 clients may name no host; anyone else's is theirs.
        assert!(head.one("host").is_some(), "{head:?}");
        for field in [
            "upgrade",
            "http2-settings",
            "content_length",
            "transfer_encoding",
        ] {
            assert!(head.all(field).is_empty(), "{head:?}");
        }
        let chunked = head.one("transfer-encoding");
        let length = head.one("content-length");
        assert!(chunked.is_none() || length.is_none(), "{head:?}");
        let mut body = Vec::new();
        crate::support::copy_body(&mut reader, &head, false, &mut |bytes| {
            body.extend_from_slice(bytes);
        })?;
        let body = String::from_utf8_lossy(&body).into_owned();
        let text = format!("{method} {target} {body}");
        seen.lock().unwrap().push((number, text));
        let scripted = target.strip_prefix("/answer/");
        let scripted = scripted.and_then(|number| ANSWERS.get(number.parse::<usize>().ok()?));
        let answer = scripted.map_or(
            &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..],
            |it| it.answer,
        );
        reader.get_mut().write_all(answer)?;
    }
    Ok(())
}

fn connect(daemon: &Daemon) -> TlsStream {
    Client::new().connect(daemon.https()).unwrap()
}

/// All that comes until the connection ends.
fn read_all(stream: &mut TlsStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // However it ends: what came before is kept.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    let starts = text.match_indices("HTTP/1.").map(|(at, _)| at + 9);
    starts
        .filter_map(|at| text.get(at..at + 3)?.parse().ok())
        .collect()
}

#[test]
fn what_clients_send() {
    let upstream = Upstream::start();
    let daemon = Daemon::run(&Settings::new(upstream.address));
    let mut faults = Vec::new();
    // In one record, and so that no line and no chunk comes in one piece.
    for pieces in [usize::MAX, 3] {
        for case in REQUESTS {
            let mut stream = connect(&daemon);
            let sent = [case.sent, LAST.as_bytes()].concat();
            for piece in sent.chunks(pieces.min(sent.len())) {
                // The answer to a bad head may come, and the connection end, before all is sent.
                if stream.write_all(piece).is_err() {
                    break;
                }
            }
            let got = read_all(&mut stream);
            let (seen, _) = upstream.take();
            let mut expected = case.statuses.to_vec();
            if case.lasts {
                expected.push(200);
            }
            if statuses(&got) != expected || seen != case.seen {
                faults.push(format!(
                    "{:?} by {pieces}: upstream saw {seen:?}, client got {:?}",
                    String::from_utf8_lossy(case.sent),
                    String::from_utf8_lossy(&got),
                ));
            }
        }
    }
    assert!(REQUESTS.len() > 90);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_upstreams_answer() {
    let upstream = Upstream::start();
    let daemon = Daemon::run(&Settings::new(upstream.address));
    let mut faults = Vec::new();
    for (number, case) in ANSWERS.iter().enumerate() {
        let (status, body) = case.gets;
        // A connection of which nothing is in doubt.
        let mut stream = connect(&daemon);
        write!(
            stream,
            "GET /answer/{number} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let got = read_all(&mut stream);
        let mut stream = connect(&daemon);
        stream.write_all(LAST.as_bytes()).unwrap();
        let last = read_all(&mut stream);
        let (_, connections) = upstream.take();
        let kept = connections.len() == 2 && connections[0] == connections[1];
        let response = crate::support::read_response(&mut &got[..]);
        let text = response.as_ref().ok().map(|response| response.text());
        if statuses(&got) != [status]
            || text.as_deref() != Some(body)
            || kept != case.kept
            || statuses(&last) != [200]
            || !last.ends_with(b"\r\n\r\nok")
        {
            faults.push(format!(
                "{:?}: kept {kept}, client got {:?}, then {:?}",
                String::from_utf8_lossy(case.answer),
                String::from_utf8_lossy(&got),
                String::from_utf8_lossy(&last),
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn heads_that_are_not_finished_are_408() {
    let upstream = Upstream::start();
    let settings = Settings::new(upstream.address).more("[timeouts]\nrequest_header = \"300ms\"\n");
    let daemon = Daemon::run(&settings);
    for (sent, expected) in [
        ("GET /a HTTP/1.1\r\nHost: a.te", &[408][..]),
        ("G", &[408]),
        // The half of the second head came with the first.
        (
            "GET /a HTTP/1.1\r\nHost: a.test\r\n\r\nGET /b HTTP/1.1\r\nHo",
            &[200, 408],
        ),
    ] {
        let started = Instant::now();
        let mut stream = connect(&daemon);
        stream.write_all(sent.as_bytes()).unwrap();
        assert_eq!(statuses(&read_all(&mut stream)), expected, "{sent}");
        assert!(started.elapsed() >= Duration::from_millis(290));
        // Long before the 75 s of keep_alive.
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn limits_of_heads_are_exact() {
    let upstream = Upstream::start();
    let daemon = Daemon::run(&Settings::new(upstream.address));
    let line = |length: usize| {
        let path = "a".repeat(length - "GET / HTTP/1.1".len());
        format!("GET /{path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
    };
    let fields = |count: usize| {
        let fields = "X: y\r\n".repeat(count - 2);
        format!("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{fields}\r\n")
    };
    let size = |size: usize| {
        let own = "Host: a.test\r\nConnection: close\r\nX: \r\n".len();
        let value = "x".repeat(size - own);
        format!("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nX: {value}\r\n\r\n")
    };
    for (request, status) in [
        (line(8192), 200),
        (line(8193), 414),
        (line(100_000), 414),
        (fields(100), 200),
        (fields(101), 431),
        (fields(5000), 431),
        (size(32 << 10), 200),
        (size((32 << 10) + 1), 431),
        (size(1 << 20), 431),
    ] {
        let mut stream = connect(&daemon);
        // What is refused is not read to its end; that must not cost the client the answer.
        let _ = stream.write_all(request.as_bytes());
        let got = statuses(&read_all(&mut stream));
        assert_eq!(got, [status], "{} bytes", request.len());
    }
}

#[test]
fn refused_requests_are_logged_and_counted() {
    let upstream = Upstream::start();
    let daemon = Daemon::run(&Settings::new(upstream.address));
    let mut stream = connect(&daemon);
    let request =
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(request).unwrap();
    let got = String::from_utf8(read_all(&mut stream)).unwrap();
    assert!(got.ends_with("\r\n\r\n400 Bad Request\nframing\n"), "{got}");
    let labels = [("code", "4xx"), ("protocol", "http/1.1")];
    daemon.wait_metric("http_requests_total", &labels, 1.0);
    let records = || [daemon.log().records(), daemon.stdout().records()].concat();
    wait_until(Duration::from_secs(10), "the request is logged", || {
        records()
            .iter()
            .any(|record| record["event"] == "http.request" && record["error"] == "framing")
    });
}

#[test]
fn a_client_that_goes_away_cancels_its_request_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = Daemon::run(&Settings::new(listener.local_addr().unwrap()));
    let mut stream = connect(&daemon);
    stream.write_all(LAST.as_bytes()).unwrap();
    let (upstream, _) = listener.accept().unwrap();
    let mut upstream = BufReader::new(upstream);
    read_head(&mut upstream).unwrap();
    let gone = Instant::now();
    drop(stream);
    assert!(upstream.fill_buf().unwrap().is_empty());
    let took = gone.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn trusted_proxies_are_believed_and_others_are_not() {
    const CLAIMS: &str = "GET /head HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: b.test\r\nX-Forwarded-Port: 8\r\n\
         Forwarded: for=192.0.2.7\r\nX_Forwarded_For: 7.7.7.7\r\nConnection: close, X-Forwarded-For\r\n\r\n";
    let origin = crate::support::Origin::start();
    let seen = |tables: &str| {
        let daemon = Daemon::run(&Settings::new(origin.address()).more(tables));
        let mut stream = connect(&daemon);
        stream.write_all(CLAIMS.as_bytes()).unwrap();
        let response = read_all(&mut stream);
        let head = crate::support::read_response(&mut &response[..])
            .unwrap()
            .text();
        let mut lines: Vec<_> = head
            .lines()
            .filter(|line| line.to_ascii_lowercase().contains("forwarded"))
            .map(|line| line.trim().to_ascii_lowercase())
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(
        seen(""),
        [
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: a.test",
            "x-forwarded-proto: https",
        ]
    );
    assert_eq!(
        seen("[forwarding]\nheaders = [\"forwarded\"]\n"),
        ["forwarded: for=127.0.0.1;host=\"a.test\";proto=https"]
    );
    // `Connection` may not take away what proxies say.
    assert_eq!(
        seen("[forwarding]\ntrusted_proxies = [\"127.0.0.0/8\"]\n"),
        [
            "x-forwarded-for: 6.6.6.6, 192.0.2.7, 127.0.0.1",
            "x-forwarded-host: b.test",
            "x-forwarded-port: 8",
            "x-forwarded-proto: http",
        ]
    );
}
