//! From the names of servers to their addresses.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::error::ExchangeError;
use super::servers::Servers;
use crate::config::ServerAddress;

/// How long an answer of the resolver is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// As many addresses of a name are used at most.
const MOST_ADDRESSES: usize = 64;

impl Servers {
    /// Whether any server has a name.
    pub(super) fn has_names(&self) -> bool {
        let mut servers = self.spec().servers.iter();
        servers.any(|server| matches!(server.address, ServerAddress::Name(..)))
    }

    /// Asks for the addresses of all names at once. Where a name has no answer, the addresses
    /// that it had stay.
    ///
    /// # Errors
    /// Why one of them has none.
    pub(super) async fn resolve(self: &Arc<Self>) -> Result<(), ExchangeError> {
        let mut answers = JoinSet::new();
        for (index, server) in self.spec().servers.iter().enumerate() {
            if let ServerAddress::Name(name, port) = &server.address {
                let (name, port) = (name.clone(), *port);
                answers.spawn(async move { (index, lookup(&name, port).await) });
            }
        }
        let mut failure = None;
        while let Some(answer) = answers.join_next().await {
            match answer {
                Ok((index, Ok(addresses))) => self.renew(index, addresses),
                Ok((index, Err(error))) => {
                    let name = &self.spec().servers[index].address;
                    tracing::warn!(
                        upstream = %self.spec().name,
                        %name,
                        %error,
                        "upstream name not resolved; known addresses stay"
                    );
                    failure = Some(error);
                }
                // Only when the runtime ends.
                Err(_) => failure = Some(io::ErrorKind::Interrupted.into()),
            }
        }
        failure.map_or(Ok(()), |error| Err(ExchangeError::Resolve(error)))
    }

    /// Asks for the first addresses, unless there are some; whoever else asks is waited for in a
    /// line as long as each server's.
    ///
    /// # Errors
    /// There are none, or [`ExchangeError::PoolFull`]: the line is full.
    pub(super) async fn resolve_first(self: &Arc<Self>) -> Result<(), ExchangeError> {
        let _asking = match self.asking.try_lock() {
            Ok(asking) => asking,
            Err(_) => {
                let _waiting = self.line.join().ok_or(ExchangeError::PoolFull)?;
                self.asking.lock().await
            }
        };
        if !self.roster().is_empty() {
            return Ok(());
        }
        let answer = self.resolve().await;
        match self.roster().is_empty() {
            true => answer,
            false => Ok(()),
        }
    }
}

/// The addresses of `name`, always in the same order. Never none.
async fn lookup(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let answer = timeout(PATIENCE, lookup_host((name, port))).await;
    let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let mut addresses: Vec<_> = answer?.collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(MOST_ADDRESSES);
    match addresses.is_empty() {
        true => Err(io::ErrorKind::NotFound.into()),
        false => Ok(addresses),
    }
}
