//! An HTTP/2 client that sends whatever frames it is told to, right or wrong, and shows what comes
//! back.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use super::client::{Client, TlsStream};

/// Frame types (RFC 9113 section 6).
pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const PRIORITY: u8 = 0x2;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PUSH_PROMISE: u8 = 0x5;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
pub(crate) const CONTINUATION: u8 = 0x9;

/// Flags.
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;

/// What a client's connection begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection.
#[derive(Debug)]
pub(crate) struct H2Client {
    stream: TlsStream,
    buffer: Vec<u8>,
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct H2Frame {
    /// Its type.
    pub(crate) kind: u8,
    /// Its flags.
    pub(crate) flags: u8,
    /// Its stream.
    pub(crate) stream: u32,
    /// Its payload.
    pub(crate) payload: Vec<u8>,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum H2End {
    /// GOAWAY with this code.
    Connection(u32),
    /// RST_STREAM with this code.
    Stream(u32),
    /// A response with this status, to its end.
    Answer(u16),
    /// The answer to a PING.
    Pong,
    /// The connection closed.
    Closed,
}

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field block of literals without indexing.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            let length = u8::try_from(text.len()).unwrap();
            assert!(length < 127, "{text} is too long");
            bytes.push(length);
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// The field block of a request, with `more` after the usual fields.
pub(crate) fn request_block(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![
        (":method", method),
        (":scheme", "https"),
        (":path", path),
        (":authority", "example.test"),
    ];
    fields.extend(more);
    block(&fields)
}

/// A whole request without a body.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    let block = request_block("GET", path, &[]);
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)
}

/// The head of a request whose body follows.
pub(crate) fn post(stream: u32, path: &str) -> Vec<u8> {
    let block = request_block("POST", path, &[]);
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// A SETTINGS frame.
pub(crate) fn settings(parameters: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in parameters {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// A WINDOW_UPDATE frame.
pub(crate) fn window_update(stream: u32, octets: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &octets.to_be_bytes())
}

/// A RST_STREAM frame with CANCEL.
pub(crate) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

impl H2Client {
    /// Connects and sends nothing.
    pub(crate) fn silent(address: SocketAddr) -> Self {
        let stream = Client::new().alpn(&["h2"]).connect(address).unwrap();
        let limit = Some(Duration::from_secs(15));
        stream.sock.set_read_timeout(limit).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Connects, and begins with these settings.
    pub(crate) fn connect(address: SocketAddr, parameters: &[(u16, u32)]) -> Self {
        let mut client = Self::silent(address);
        client.send(&[PREFACE, &settings(parameters)].concat());
        client
    }

    /// Sends `bytes`; whether the peer still takes them.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok() && self.stream.flush().is_ok()
    }

    /// The next frame; `None` once the connection is closed, however. Panics where nothing comes.
    pub(crate) fn next(&mut self) -> Option<H2Frame> {
        loop {
            if let Some(frame) = self.buffered() {
                return Some(frame);
            }
            let mut piece = [0; 16384];
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(got) => self.buffer.extend(&piece[..got]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("nothing comes")
                }
                Err(_) => return None,
            }
        }
    }

    fn buffered(&mut self) -> Option<H2Frame> {
        let head = self.buffer.first_chunk::<9>()?;
        let [a, b, c, kind, flags, s, t, u, v] = *head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let payload = self.buffer.get(9..9 + length)?.to_vec();
        self.buffer.drain(..9 + length);
        Some(H2Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([s, t, u, v]) & 0x7fff_ffff,
            payload,
        })
    }

    /// The next frame that `wanted` says yes to; `None` when the connection is closed before.
    pub(crate) fn find(&mut self, mut wanted: impl FnMut(&H2Frame) -> bool) -> Option<H2Frame> {
        loop {
            let frame = self.next()?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// How what was sent ends: the first of all that [`H2End`] lists.
    pub(crate) fn end(&mut self) -> H2End {
        let mut status = 0;
        while let Some(frame) = self.next() {
            match frame.kind {
                GOAWAY => return H2End::Connection(frame.code(4)),
                RST_STREAM => return H2End::Stream(frame.code(0)),
                PING if frame.flags & ACK != 0 => return H2End::Pong,
                HEADERS => status = frame.status(),
                _ => {}
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                return H2End::Answer(status);
            }
        }
        H2End::Closed
    }
}

impl H2Frame {
    /// The 32 bits at `place` of its payload.
    pub(crate) fn code(&self, place: usize) -> u32 {
        let bytes = self.payload[place..place + 4].try_into().unwrap();
        u32::from_be_bytes(bytes)
    }

    /// The status of a response's HEADERS, which are the first of their connection with it.
    fn status(&self) -> u16 {
        match self.payload[..] {
            // RFC 7541 appendix A.
            [0x88, ..] => 200,
            [0x89, ..] => 204,
            [0x8a, ..] => 206,
            [0x8b, ..] => 304,
            [0x8c, ..] => 400,
            [0x8d, ..] => 404,
            [0x8e, ..] => 500,
            [0x08 | 0x48, length, ..] if length & 0x80 != 0 => {
                let digits = &self.payload[2..2 + usize::from(length & 0x7f)];
                huffman_digits(digits)
            }
            [0x08 | 0x48, 3, ref text @ ..] => {
                std::str::from_utf8(&text[..3]).unwrap().parse().unwrap()
            }
            ref other => panic!("no status: {other:02x?}"),
        }
    }
}

/// Three digits in Huffman's code (RFC 7541 appendix B): 0 to 2 have five bits, the others six.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let mut bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut number = 0;
    for _ in 0..3 {
        let mut code = 0;
        for _ in 0..5 {
            code = code << 1 | bits.next().unwrap();
        }
        let digit = match code {
            0..=2 => code,
            _ => (code << 1 | bits.next().unwrap()) - 0x19 + 3,
        };
        number = number * 10 + digit;
    }
    number
}

#[test]
fn digits_are_decoded() {
    // RFC 7541 appendix C.6.1: 302.
    assert_eq!(huffman_digits(&[0x64, 0x02]), 302);
    // C.6.2: 307.
    assert_eq!(huffman_digits(&[0x64, 0x0e, 0xff]), 307);
}
