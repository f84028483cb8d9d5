//! An upstream that does what the path says, faults included.
//!
//! | path | answer |
//! |---|---|
//! | `/head` | the head of the request, as received |
//! | `/sink`, `/slow-sink` | SHA-256 and length of the request's body |
//! | `/source/N`, `/slow-source/N` | a payload of N bytes; with `?chunked` in chunks |
//! | `/hop` | fields that must not pass |
//! | `/stall` | reads no body, and never answers |
//! | `/hold` | answers when the gate opens |
//! | `/never` | never answers |
//! | `/reset-before` | resets before the response |
//! | `/reset-middle` | resets in the body, when the gate opens |
//! | `/truncated-chunked`, `/truncated-length` | closes in the body; with `?gate` when it opens |
//! | any other | its name |

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::http::{Head, copy_body, read_head};
use super::payload::{Pace, Payload, Sha256};

/// A running upstream; serves until the process ends.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    name: String,
    gate: Mutex<bool>,
    opened: Condvar,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl Origin {
    /// An upstream named `origin`.
    pub(crate) fn start() -> Self {
        Self::named("origin")
    }

    /// An upstream that answers with this name.
    pub(crate) fn named(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            name: name.to_owned(),
            ..State::default()
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let state = shared.clone();
                state.connections.fetch_add(1, Ordering::Relaxed);
                // Its peer breaking off is part of the script.
                std::thread::spawn(move || state.serve(stream).is_ok());
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Requests whose head has come so far.
    pub(crate) fn requests(&self) -> usize {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Lets one `/hold` or `/reset-middle` go on.
    pub(crate) fn open_gate(&self) {
        *self.state.lock() = true;
        self.state.opened.notify_all();
    }
}

impl State {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(head) = read_head(&mut reader)? {
            self.requests.fetch_add(1, Ordering::Relaxed);
            let target = head.start.split(' ').nth(1).unwrap_or_default().to_owned();
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            let slow = path.starts_with("/slow-");
            if path.ends_with("/sink") || path == "/slow-sink" {
                let body = digest_body(&mut reader, &head, slow)?;
                respond(&stream, &body)?;
                continue;
            }
            if path == "/stall" {
                self.wait_gate();
                return Ok(());
            }
            copy_body(&mut reader, &head, false, &mut |_| ())?;
            if let Some((_, length)) = path.split_once("source/") {
                let length = length.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
                send_payload(&stream, length, query == "chunked", slow)?;
                continue;
            }
            match path {
                "/head" => respond(&stream, &as_received(&head))?,
                "/hop" => (&stream).write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: X-Private\r\n\
                      X-Private: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
                      X-Public: 1\r\n\r\nhop\n",
                )?,
                "/hold" => {
                    self.wait_gate();
                    respond(&stream, "held\n")?;
                }
                "/never" => {
                    // Until the peer gives up.
                    let _ = reader.read(&mut [0]);
                    return Ok(());
                }
                "/reset-before" => return reset(&stream),
                "/reset-middle" => {
                    (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
                    (&stream).write_all(&[b'x'; 10_000])?;
                    self.wait_gate();
                    return reset(&stream);
                }
                "/truncated-chunked" | "/truncated-length" => {
                    let part: &[u8] = if path.ends_with("chunked") {
                        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
                    } else {
                        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhello"
                    };
                    (&stream).write_all(part)?;
                    if query == "gate" {
                        self.wait_gate();
                    }
                    return Ok(());
                }
                _ => respond(&stream, &format!("{}\n", self.name))?,
            }
        }
        Ok(())
    }

    fn wait_gate(&self) {
        let mut open = self.lock();
        while !*open {
            let (guard, timeout) = self
                .opened
                .wait_timeout(open, Duration::from_secs(60))
                .unwrap_or_else(PoisonError::into_inner);
            open = guard;
            if timeout.timed_out() {
                return;
            }
        }
        *open = false;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, bool> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An address at which nothing listens and nothing else can while the socket is kept.
pub(crate) fn refusing_address() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

fn respond(mut stream: &TcpStream, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(
        BufWriterOnce(&mut stream),
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Makes one write of a `write!`, which else makes one for each piece.
struct BufWriterOnce<W>(W);

impl<W: Write> Write for BufWriterOnce<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_fmt(&mut self, arguments: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.0.write_all(arguments.to_string().as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn as_received(head: &Head) -> String {
    let mut text = format!("{}\n", head.start);
    for (name, value) in &head.fields {
        text.push_str(&format!("{name}: {value}\n"));
    }
    text
}

fn digest_body(reader: &mut BufReader<TcpStream>, head: &Head, slow: bool) -> io::Result<String> {
    let mut pace = slow.then(Pace::slow);
    let mut digest = Sha256::new();
    let mut length = 0;
    copy_body(reader, head, false, &mut |bytes| {
        digest.update(bytes);
        length += bytes.len();
        if let Some(pace) = &mut pace {
            pace.spend(bytes.len());
        }
    })?;
    Ok(format!("{} {length}\n", digest.finish()))
}

fn send_payload(mut stream: &TcpStream, length: u64, chunked: bool, slow: bool) -> io::Result<()> {
    let mut pace = slow.then(Pace::slow);
    let framing = if chunked {
        "Transfer-Encoding: chunked".to_owned()
    } else {
        format!("Content-Length: {length}")
    };
    stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").as_bytes())?;
    let mut payload = Payload::new(length);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = payload.read(&mut buffer)?;
        if chunked {
            stream.write_all(format!("{count:x}\r\n").as_bytes())?;
        }
        stream.write_all(&buffer[..count])?;
        if chunked {
            stream.write_all(b"\r\n")?;
        }
        if count == 0 {
            return Ok(());
        }
        if let Some(pace) = &mut pace {
            pace.spend(count);
        }
    }
}

fn reset(stream: &TcpStream) -> io::Result<()> {
    // With a linger of zero the last close, when `serve` returns, sends RST instead of FIN.
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
}
