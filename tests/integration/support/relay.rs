//! A relay between client and daemon that holds back the client's bytes at one chosen point.
//!
//! It cuts the client's direction at TLS records, which are in clear in every version, and so
//! knows the ClientHello from the flight that follows the server's. The server's direction is
//! copied as it comes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::wait::pause;

/// Where the client's bytes are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Nowhere.
    Nowhere,
    /// Before the first byte of the ClientHello.
    BeforeHello,
    /// In the middle of the ClientHello.
    InHello,
    /// Before the first byte that follows the server's first flight: the client's flight, or the
    /// second ClientHello after a HelloRetryRequest.
    BeforeFlight,
    /// In the middle of that flight: one record and half of the next have gone.
    InFlight,
}

/// A relay; serves until the process ends.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
}

impl Relay {
    /// Relays to `target`, holding back at `point` for `delay`, once a connection.
    pub(crate) fn start(target: SocketAddr, point: Point, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                std::thread::spawn(move || relay(&client, target, point, delay));
            }
        });
        Self { address }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn relay(client: &TcpStream, target: SocketAddr, point: Point, delay: Duration) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let back = std::thread::spawn(move || {
        let copied = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Write);
        copied
    });
    forward(client, &server, point, delay)?;
    server.shutdown(Shutdown::Write)?;
    let _ = back.join();
    Ok(())
}

fn forward(
    mut client: impl Read,
    mut server: impl Write,
    point: Point,
    delay: Duration,
) -> io::Result<()> {
    // The records that matter: the ClientHello, the first and the second of the next flight.
    for number in 0..3 {
        let Some(record) = read_record(&mut client)? else {
            return Ok(());
        };
        let held = match (point, number) {
            (Point::BeforeHello, 0) | (Point::BeforeFlight, 1) => Some(0),
            (Point::InHello, 0) | (Point::InFlight, 2) => Some(record.len() / 2),
            _ => None,
        };
        let (first, rest) = record.split_at(held.unwrap_or(0));
        server.write_all(first)?;
        if held.is_some() {
            pause(delay);
        }
        server.write_all(rest)?;
    }
    io::copy(&mut client, &mut server)?;
    Ok(())
}

/// One record with its header (RFC 8446 section 5.1); `None` at the end of the stream.
fn read_record(client: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut record = vec![0; 5];
    match client.read_exact(&mut record) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + length, 0);
    client.read_exact(&mut record[5..])?;
    Ok(Some(record))
}

#[test]
fn the_relay_holds_back_at_its_point_alone_and_loses_nothing() {
    let record = |byte: u8, len: u8| {
        let mut record = vec![22, 3, 3, 0, len];
        record.extend(vec![byte; usize::from(len)]);
        record
    };
    let sent = [record(1, 10), record(2, 1), record(3, 20), record(4, 4)].concat();
    for (point, expected) in [
        (Point::Nowhere, vec![sent.len()]),
        (Point::BeforeHello, vec![0, sent.len()]),
        (Point::InHello, vec![7, sent.len() - 7]),
        (Point::BeforeFlight, vec![15, sent.len() - 15]),
        (Point::InFlight, vec![15 + 6 + 12, sent.len() - 33]),
    ] {
        let mut sink = Bursts::default();
        forward(&sent[..], &mut sink, point, Duration::from_millis(40)).unwrap();
        assert_eq!(sink.bytes, sent, "{point:?}");
        let mut expected = expected;
        expected.retain(|&count| count > 0);
        assert_eq!(sink.bursts, expected, "{point:?}");
    }
}

/// Against a server that is not ours: what the relay takes for the client's flight is one in both
/// versions, so each point delays the handshake once and breaks nothing.
#[test]
fn handshakes_pass_the_relay_and_take_the_delay_longer() {
    use super::{Client, Tool, certs, wait_for};
    use std::time::Instant;

    let dir = tempfile::TempDir::new().unwrap();
    certs().write(dir.path());
    let file = |name: &str| dir.path().join(name).display().to_string();
    let server = Tool::new("openssl")
        .words("s_server -www -accept 127.0.0.1:0")
        .args(["-cert", &file("main.pem"), "-key", &file("main.key")])
        .start();
    let address: SocketAddr = wait_for(Duration::from_secs(10), "s_server listens", || {
        let printed = server.stdout();
        let line = printed.lines().find(|line| line.starts_with("ACCEPT"))?;
        line.strip_prefix("ACCEPT ")?.parse().ok()
    });
    let delay = Duration::from_millis(50);
    for version in ["1.2", "1.3"] {
        for point in [
            Point::BeforeHello,
            Point::InHello,
            Point::BeforeFlight,
            Point::InFlight,
        ] {
            let relay = Relay::start(address, point, delay);
            let start = Instant::now();
            let client = Client::of_version(version);
            let bytes = client.get_raw(relay.address(), "/").unwrap();
            assert!(bytes.starts_with(b"HTTP/1.0 200"), "{version} {point:?}");
            assert!(start.elapsed() >= delay, "{version} {point:?}");
        }
    }
}

/// Counts the bytes written without a pause between them.
#[cfg(test)]
#[derive(Default)]
struct Bursts {
    bytes: Vec<u8>,
    bursts: Vec<usize>,
    last: Option<std::time::Instant>,
}

#[cfg(test)]
impl Write for Bursts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let now = std::time::Instant::now();
        let joined = self
            .last
            .is_some_and(|last| now - last < Duration::from_millis(30));
        self.last = Some(now);
        self.bytes.extend(bytes);
        match self.bursts.last_mut() {
            Some(burst) if joined => *burst += bytes.len(),
            _ => self.bursts.push(bytes.len()),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
