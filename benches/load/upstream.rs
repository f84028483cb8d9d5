//! The upstream behind every proxy: HTTP/1.1, keep-alive, nothing else.
//!
//! Made for this bench and not for the world: it shares its core with the load clients, so what it
//! does not do leaves them more time. `/1k` and `/1m` answer with so many bytes; a request body is
//! read to its last byte before the answer, unlike at nginx's `return`, which answers at once and
//! so changes what the proxy before it does.

use std::io::{self, Write as _};
use std::sync::LazyLock;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The largest request head that is read.
const HEAD: usize = 16 << 10;

/// What is read at once of a request body.
const CHUNK: usize = 64 << 10;

static SMALL: LazyLock<Vec<u8>> = LazyLock::new(|| answer(1 << 10));
static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| answer(1 << 20));

/// Serves on a port of its own choice, which it prints, until it is ended.
pub(crate) async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut stdout = io::stdout();
    writeln!(stdout, "{}", listener.local_addr()?.port())?;
    stdout.flush()?;
    loop {
        // Only a lack of descriptors can fail here, and the run's limit is above what it opens.
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A proxy that hangs up is no fault.
        tokio::spawn(async move { connection(stream).await.ok() });
    }
}

async fn connection(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut filled = 0;
    loop {
        let Some(end) = find(&buffer[..filled], b"\r\n\r\n").map(|at| at + 4) else {
            if filled == HEAD {
                return Ok(());
            }
            let read = stream.read(&mut buffer[filled..HEAD]).await?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
            continue;
        };
        let Some(length) = content_length(&buffer[..end]) else {
            return stream
                .write_all(b"HTTP/1.1 501 Not Implemented\r\nConnection: close\r\n\r\n")
                .await;
        };
        let answer = if find(&buffer[..end], b" /1m ").is_some() {
            &*LARGE
        } else {
            &*SMALL
        };
        let in_buffer = (filled - end).min(length);
        let mut rest = length - in_buffer;
        buffer.copy_within(end + in_buffer..filled, 0);
        filled -= end + in_buffer;
        while rest > 0 {
            let wanted = rest.min(CHUNK);
            let read = stream.read(&mut buffer[..wanted]).await?;
            if read == 0 {
                return Ok(());
            }
            rest -= read;
        }
        stream.write_all(answer).await?;
    }
}

/// A whole response with a body of `length` bytes.
fn answer(length: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + length, b'x');
    answer
}

/// The length of the body; 0 without the field, `None` for a chunked one, which no client of this
/// bench sends.
fn content_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    let mut length = 0;
    for line in head.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return None;
        }
    }
    Some(length)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
