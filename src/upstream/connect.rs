//! From where a server is to a connection with it, before a deadline.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout_at};

use super::byte_stream::ByteStream;
use super::endpoint::Endpoint;
use super::error::ExchangeError;

/// How soon a unix socket whose backlog is full is asked again, and how often at the least.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A connection to the server at `endpoint`, before `deadline`.
///
/// # Errors
/// [`ExchangeError::Connect`] or [`ExchangeError::ConnectTimeout`].
pub(super) async fn connect(
    endpoint: &Endpoint,
    deadline: Instant,
) -> Result<ByteStream, ExchangeError> {
    match timeout_at(deadline, open(endpoint)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            tracing::debug!(address = %endpoint, %error, "upstream connect failed");
            Err(ExchangeError::Connect(error))
        }
        Err(_) => {
            tracing::debug!(address = %endpoint, "upstream connect timed out");
            Err(ExchangeError::ConnectTimeout)
        }
    }
}

async fn open(endpoint: &Endpoint) -> io::Result<ByteStream> {
    match endpoint {
        Endpoint::Tcp(address) => {
            let tcp = TcpStream::connect(address).await?;
            // Heads are written whole; Nagle would only hold back the end of bodies.
            tcp.set_nodelay(true)?;
            Ok(ByteStream::Tcp(tcp))
        }
        Endpoint::Unix(path) => open_unix(path).await.map(ByteStream::Unix),
    }
}

/// A connection to the unix socket at `path`. Where its backlog is full the kernel says so at once,
/// and tells nobody when there is room again (connect(2), EAGAIN): so it is asked again, as TCP
/// does by itself.
async fn open_unix(path: &Path) -> io::Result<UnixStream> {
    let mut pause = FIRST_PAUSE;
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, SockAddr, Socket, Type};
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn refused_is_an_error_and_not_a_timeout() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Endpoint::Tcp(closed.local_addr().unwrap());
        drop(closed);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let missing = Endpoint::Unix(path.clone());
        let left = directory.path().join("left.sock");
        drop(UnixListener::bind(&left).unwrap());
        for endpoint in [address, missing, Endpoint::Unix(left)] {
            let error = connect(&endpoint, Instant::now() + LIMIT)
                .await
                .unwrap_err();
            assert!(matches!(error, ExchangeError::Connect(_)), "{error:?}");
        }
    }

    #[tokio::test]
    async fn small_writes_are_not_held_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = Endpoint::Tcp(address);
        let stream = connect(&endpoint, Instant::now() + LIMIT).await.unwrap();
        let ByteStream::Tcp(tcp) = stream else {
            panic!("{stream:?}");
        };
        assert_eq!(tcp.peer_addr().unwrap(), address);
        assert!(tcp.nodelay().unwrap());
    }

    /// A full backlog is waited for, for as long as there is time.
    #[tokio::test]
    async fn a_unix_socket_that_is_busy_is_asked_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let endpoint = Endpoint::Unix(path);
        // As many as the kernel lets wait.
        let mut waiting = Vec::new();
        let error = loop {
            let soon = Instant::now() + Duration::from_millis(100);
            match connect(&endpoint, soon).await {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
            assert!(waiting.len() < 100);
        };
        assert!(matches!(error, ExchangeError::ConnectTimeout), "{error:?}");
        let (stream, accepted) = tokio::join!(connect(&endpoint, Instant::now() + LIMIT), async {
            tokio::task::yield_now().await;
            socket.accept()
        });
        stream.unwrap();
        accepted.unwrap();
    }
}
