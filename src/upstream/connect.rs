//! From a server's address to a TCP connection, before a deadline.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::error::ExchangeError;

/// A connection to `address`, before `deadline`.
///
/// # Errors
/// [`ExchangeError::Connect`] or [`ExchangeError::ConnectTimeout`].
pub(super) async fn connect(
    address: SocketAddr,
    deadline: Instant,
) -> Result<TcpStream, ExchangeError> {
    match timeout_at(deadline, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            // Heads are written whole; Nagle would only hold back the end of bodies.
            stream.set_nodelay(true).map_err(ExchangeError::Connect)?;
            Ok(stream)
        }
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "upstream connect failed");
            Err(ExchangeError::Connect(error))
        }
        Err(_) => {
            tracing::debug!(%address, "upstream connect timed out");
            Err(ExchangeError::ConnectTimeout)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn refused_is_an_error_and_not_a_timeout() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let error = connect(address, Instant::now() + LIMIT).await.unwrap_err();
        assert!(matches!(error, ExchangeError::Connect(_)), "{error:?}");
    }

    #[tokio::test]
    async fn small_writes_are_not_held_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = connect(address, Instant::now() + LIMIT).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert!(stream.nodelay().unwrap());
    }
}
