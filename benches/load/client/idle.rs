//! Connections that idle: for what each costs in memory, and what all of them cost others.

use std::io;
use std::net::SocketAddr;

use tokio::task::{JoinSet, spawn_blocking};

use super::Count;
use super::connection::{After, Connection};
use super::tls;
use crate::arguments::Version;

/// Handshakes, or requests, at once.
const AT_ONCE: usize = 32;

/// Opens `connections`, asks once on each, prints the [`Count`], and holds them. Asks again and prints
/// again for each line on its standard input, until that or the process is ended.
pub(crate) async fn idle(address: SocketAddr, connections: usize) -> io::Result<()> {
    let connector = tls::connector(Version::Tls13, false).map_err(io::Error::other)?;
    let opened = (0..connections).map(|_| {
        let connector = connector.clone();
        async move {
            let connection = Connection::open(&connector, address).await?;
            asked(connection).await
        }
    });
    let (mut held, mut count) = each(opened).await?;
    count.full = count.requests;
    count.print()?;
    while spawn_blocking(read_line).await?? {
        let again = held.into_iter().map(asked);
        (held, count) = each(again).await?;
        count.print()?;
    }
    Ok(())
}

/// Whether there is another line.
fn read_line() -> io::Result<bool> {
    Ok(io::stdin().read_line(&mut String::new())? > 0)
}

async fn asked(mut connection: Connection) -> io::Result<Connection> {
    connection.request(After::Keep).await?;
    Ok(connection)
}

/// Does all of `work`, some at once: the connections that it left, and how many those are.
async fn each<F>(work: impl Iterator<Item = F>) -> io::Result<(Vec<Connection>, Count)>
where
    F: Future<Output = io::Result<Connection>> + Send + 'static,
{
    let mut work = work.fuse();
    let (mut held, mut count) = (Vec::new(), Count::default());
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some(next) = work.next()
        {
            under_way.spawn(next);
        }
        match under_way.join_next().await {
            Some(done) => match done? {
                Ok(connection) => held.push(connection),
                Err(error) => count.failure(&error),
            },
            None => break,
        }
    }
    count.requests = held.len() as u64;
    Ok((held, count))
}
