//! From a server's address to a TCP connection, within one deadline.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use super::error::ExchangeError;
use crate::config::ServerAddress;

/// How long an answer of the resolver is used before the name is asked again.
const RESOLVE_AGAIN: Duration = Duration::from_secs(30);

/// Connects to one server.
#[derive(Debug)]
pub(super) struct Connector {
    address: ServerAddress,
    resolved: Mutex<Option<Resolved>>,
    /// One question to the resolver at a time.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Resolved {
    addresses: Arc<[SocketAddr]>,
    /// When the name is asked again.
    stale: Instant,
}

impl Connector {
    /// A connector that has not asked the resolver yet.
    pub(super) fn new(address: &ServerAddress) -> Self {
        Self {
            address: address.clone(),
            resolved: Mutex::new(None),
            asking: tokio::sync::Mutex::new(()),
        }
    }

    /// A connection, before `deadline`, name resolution included. Addresses are tried in
    /// the resolver's order; each may take an equal part of the time that is left, so that one
    /// that drops packets does not use up all of it.
    ///
    /// # Errors
    /// [`ExchangeError::Resolve`], [`ExchangeError::Connect`] or
    /// [`ExchangeError::ConnectTimeout`].
    pub(super) async fn connect(&self, deadline: Instant) -> Result<TcpStream, ExchangeError> {
        match &self.address {
            ServerAddress::Ip(address) => connect_in_turn(&[*address], deadline).await,
            ServerAddress::Name(name, port) => {
                let addresses = self.resolve(name, *port, deadline).await?;
                connect_in_turn(&addresses, deadline).await
            }
        }
    }

    /// The addresses of `name`: those known while they are fresh, else asked anew. When asking
    /// fails, those known before stay in use.
    async fn resolve(
        &self,
        name: &str,
        port: u16,
        deadline: Instant,
    ) -> Result<Arc<[SocketAddr]>, ExchangeError> {
        if let Some(known) = self.known()
            && Instant::now() < known.stale
        {
            return Ok(known.addresses);
        }
        let _asking = match (self.asking.try_lock(), self.known()) {
            (Ok(asking), _) => asking,
            // Someone asks already; what is known serves until the answer is there.
            (Err(_), Some(known)) => return Ok(known.addresses),
            (Err(_), None) => timeout_at(deadline, self.asking.lock())
                .await
                .map_err(|_| ExchangeError::ConnectTimeout)?,
        };
        if let Some(known) = self.known()
            && Instant::now() < known.stale
        {
            return Ok(known.addresses);
        }
        let known = self.known();
        // Where there is something to fall back to, half of the time is left for connecting.
        let patience = deadline.saturating_duration_since(Instant::now());
        let patience = if known.is_some() {
            patience / 2
        } else {
            patience
        };
        let answer = match timeout(patience, lookup_host((name, port))).await {
            Ok(Ok(addresses)) => {
                let addresses: Arc<[SocketAddr]> = addresses.collect();
                if addresses.is_empty() {
                    Err(ExchangeError::Resolve(io::ErrorKind::NotFound.into()))
                } else {
                    Ok(addresses)
                }
            }
            Ok(Err(error)) => Err(ExchangeError::Resolve(error)),
            Err(_) => Err(ExchangeError::ConnectTimeout),
        };
        let addresses = match (answer, known) {
            (Ok(addresses), _) => addresses,
            (Err(error), Some(known)) => {
                tracing::warn!(name, %error, "upstream name not resolved again; old addresses stay");
                known.addresses
            }
            (Err(error), None) => return Err(error),
        };
        *self.lock() = Some(Resolved {
            addresses: addresses.clone(),
            stale: Instant::now() + RESOLVE_AGAIN,
        });
        Ok(addresses)
    }

    fn known(&self) -> Option<Resolved> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Resolved>> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect_in_turn(
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<TcpStream, ExchangeError> {
    let mut failure = ExchangeError::ConnectTimeout;
    for (left, address) in (1..=u32::try_from(addresses.len()).unwrap_or(u32::MAX))
        .rev()
        .zip(addresses)
    {
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Heads are written whole; Nagle would only hold back the end of bodies.
                stream.set_nodelay(true).map_err(ExchangeError::Connect)?;
                return Ok(stream);
            }
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "upstream connect failed");
                failure = ExchangeError::Connect(error);
            }
            Err(_) => {
                tracing::debug!(%address, "upstream connect timed out");
                failure = ExchangeError::ConnectTimeout;
            }
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn refused_is_an_error_and_not_a_timeout() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let error = Connector::new(&ServerAddress::Ip(address))
            .connect(Instant::now() + LIMIT)
            .await
            .unwrap_err();
        assert!(matches!(error, ExchangeError::Connect(_)), "{error:?}");
    }

    #[tokio::test]
    async fn a_name_is_resolved_and_each_address_tried() {
        // `localhost` may resolve to ::1 first, where nobody listens.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connector = Connector::new(&ServerAddress::Name("localhost".into(), port));
        let stream = connector.connect(Instant::now() + LIMIT).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().port(), port);
        assert!(stream.nodelay().unwrap());
        assert!(connector.known().is_some());
    }

    #[tokio::test]
    async fn the_next_address_is_tried_after_a_refusal() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [closed.local_addr().unwrap(), listener.local_addr().unwrap()];
        drop(closed);
        let stream = connect_in_turn(&addresses, Instant::now() + LIMIT)
            .await
            .unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
    }

    #[tokio::test]
    async fn known_addresses_outlive_a_resolver_that_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connector = Connector::new(&ServerAddress::Name("does-not-exist.invalid".into(), 1));
        *connector.lock() = Some(Resolved {
            addresses: [address].into(),
            stale: Instant::now(),
        });
        let stream = connector.connect(Instant::now() + LIMIT).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert!(connector.known().unwrap().stale > Instant::now());
    }
}
