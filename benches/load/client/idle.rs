//! Connections that idle, for what each costs in memory.

use std::future::pending;
use std::io;
use std::net::SocketAddr;

use tokio::task::JoinSet;

use super::Count;
use super::connection::{After, Connection};
use super::tls;
use crate::arguments::Version;

/// Handshakes at once.
const AT_ONCE: usize = 32;

/// Opens `connections`, asks once on each, prints the [`Count`], and holds them until the process
/// is ended.
pub(crate) async fn idle(address: SocketAddr, connections: usize) -> io::Result<()> {
    let connector = tls::connector(Version::Tls13, false).map_err(io::Error::other)?;
    let mut count = Count::default();
    let mut held = Vec::with_capacity(connections);
    let mut opening = JoinSet::new();
    let mut begun = 0;
    while held.len() + (count.failed as usize) < connections {
        while opening.len() < AT_ONCE && begun < connections {
            begun += 1;
            let connector = connector.clone();
            opening.spawn(async move {
                let mut connection = Connection::open(&connector, address).await?;
                connection.request(After::Keep).await?;
                io::Result::Ok(connection)
            });
        }
        match opening.join_next().await {
            Some(opened) => match opened? {
                Ok(connection) => held.push(connection),
                Err(error) => count.failure(&error),
            },
            None => break,
        }
    }
    count.full = held.len() as u64;
    count.requests = count.full;
    count.print()?;
    pending().await
}
