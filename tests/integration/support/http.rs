//! Just enough HTTP/1.1 to write scripted peers: heads, and bodies that know when they are cut.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A message's start line and fields.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Request line or status line.
    pub(crate) start: String,
    /// The fields in order, as received.
    pub(crate) fields: Vec<(String, String)>,
}

/// A response whose body has come whole.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// Its head.
    pub(crate) head: Head,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

impl Head {
    /// Every value of the field `name`.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The only value of the field `name`; panics when there are several.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "several {name} fields: {self:?}");
        all.first().copied()
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        let status = self.start.split(' ').nth(1).unwrap_or_default();
        status
            .parse()
            .unwrap_or_else(|_| panic!("no status line: {:?}", self.start))
    }
}

impl Response {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Reads a head to its empty line; `None` when the peer closed before its first byte.
pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    if reader.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let start = read_line(reader)?;
    let mut fields = Vec::new();
    loop {
        let line = read_line(reader)?;
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some(Head {
                start: start.trim_end().to_owned(),
                fields,
            }));
        }
        let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// Hands a body to `sink` as it comes. `to_the_end` says that a body without a length ends with
/// the connection. A body that is cut is an `UnexpectedEof`, or what the transport reports.
pub(crate) fn copy_body(
    reader: &mut impl BufRead,
    head: &Head,
    to_the_end: bool,
    sink: &mut dyn FnMut(&[u8]),
) -> io::Result<()> {
    if head
        .one("transfer-encoding")
        .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    {
        loop {
            let line = read_line(reader)?;
            let size = line.trim_end().split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::UnexpectedEof)?;
            if size == 0 {
                while !read_line(reader)?.trim_end().is_empty() {}
                return Ok(());
            }
            copy_exactly(reader, size, sink)?;
            let end = read_line(reader)?;
            if end != "\r\n" {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
    if let Some(length) = head.one("content-length") {
        let length = length.parse().map_err(|_| io::ErrorKind::InvalidData)?;
        return copy_exactly(reader, length, sink);
    }
    if to_the_end {
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest)?;
        sink(&rest);
    }
    Ok(())
}

/// Reads one response with its body, which must come whole.
pub(crate) fn read_response(reader: &mut impl BufRead) -> io::Result<Response> {
    let head = read_head(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut body = Vec::new();
    copy_body(reader, &head, true, &mut |bytes| body.extend(bytes))?;
    Ok(Response { head, body })
}

/// One GET without TLS, on a connection of its own.
pub(crate) fn get(address: SocketAddr, target: &str) -> io::Result<Response> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    read_response(&mut BufReader::new(stream))
}

/// A line with its end; a line that is cut is an `UnexpectedEof`.
fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.take(64 * 1024).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn copy_exactly(
    reader: &mut impl BufRead,
    length: u64,
    sink: &mut dyn FnMut(&[u8]),
) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let bytes = reader.fill_buf()?;
        let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sink(&bytes[..count]);
        reader.consume(count);
        left -= count as u64;
    }
    Ok(())
}

#[test]
fn a_cut_body_is_an_error_and_a_whole_one_is_not() {
    let whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for cut in 0..whole.len() {
        assert!(read_response(&mut &whole[..cut]).is_err(), "cut at {cut}");
    }
    assert_eq!(read_response(&mut &whole[..]).unwrap().body, b"abc");
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc";
    assert!(read_response(&mut &short[..]).is_err());
}
