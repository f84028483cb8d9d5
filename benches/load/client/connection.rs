//! One connection of the load client.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::HandshakeKind;
use tokio_rustls::rustls::pki_types::ServerName;

/// The longest a handshake, or a request with its answer, may take: a peer that stalls is a failure
/// and not a bench that never ends.
const DEADLINE: Duration = Duration::from_secs(10);

/// The body that `/1k` answers with.
const BODY: usize = 1 << 10;

const KEEP: &[u8] = b"GET /1k HTTP/1.1\r\nHost: localhost\r\n\r\n";
const CLOSE: &[u8] = b"GET /1k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Whether the server is asked to close after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// `Connection: close`, and the end of the stream is awaited: the server closes first.
    Close,
    /// The connection stays open.
    Keep,
}

/// A connection whose handshake is done.
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
}

impl Connection {
    /// Connects and shakes hands.
    pub(super) async fn open(connector: &TlsConnector, address: SocketAddr) -> io::Result<Self> {
        let handshake = async {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
            connector.connect(name, tcp).await
        };
        let stream = timeout(DEADLINE, handshake).await??;
        Ok(Self { stream })
    }

    /// How the handshake went.
    pub(super) fn kind(&self) -> Option<HandshakeKind> {
        self.stream.get_ref().1.handshake_kind()
    }

    /// Sends one request and reads its whole answer.
    pub(super) async fn request(&mut self, after: After) -> io::Result<()> {
        timeout(DEADLINE, self.exchange(after)).await?
    }

    async fn exchange(&mut self, after: After) -> io::Result<()> {
        self.stream
            .write_all(match after {
                After::Close => CLOSE,
                After::Keep => KEEP,
            })
            .await?;
        let mut answer = [0; 4 << 10];
        let mut filled = 0;
        loop {
            if answer_ends(&answer[..filled])? && after == After::Keep {
                return Ok(());
            }
            match self.stream.read(&mut answer[filled..]).await {
                Ok(0) => break,
                Ok(read) => filled += read,
                // Not every peer says close_notify.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
        if answer_ends(&answer[..filled])? {
            Ok(())
        } else {
            Err(io::Error::other("the answer was cut short"))
        }
    }
}

/// Whether a whole answer is there; a wrong one is an error.
fn answer_ends(answer: &[u8]) -> io::Result<bool> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(false);
    };
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        let line = answer.split(|byte| *byte == b'\r').next();
        let line = String::from_utf8_lossy(line.unwrap_or_default());
        return Err(io::Error::other(format!("the answer was {line}")));
    }
    Ok(answer.len() - head - 4 >= BODY)
}
