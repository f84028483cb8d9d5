//! Keep-alive clients that ask at every tick, for the latency that others' handshakes cost them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Count;
use super::connection::{After, Connection};
use super::tls;
use crate::arguments::Version;

/// Opens `connections`, then asks on each at every `interval_ms` for `seconds`; prints the
/// [`Count`].
pub(crate) async fn pace(
    address: SocketAddr,
    connections: usize,
    interval_ms: u64,
    seconds: u32,
) -> io::Result<()> {
    let connector = tls::connector(Version::Tls13, false).map_err(io::Error::other)?;
    let started = Instant::now();
    let interval = Duration::from_millis(interval_ms);
    let mut count = Count::default();
    let mut clients = JoinSet::new();
    for index in 0..connections {
        let connection = Connection::open(&connector, address).await?;
        count.full += 1;
        // Spread over the interval, or all would ask at once.
        let offset = interval.mul_f64(index as f64 / connections as f64);
        clients.spawn(client(
            connection,
            Instant::now() + offset,
            interval,
            seconds,
        ));
    }
    let mut latencies = Vec::new();
    while let Some(client) = clients.join_next().await {
        let (mut times, failure) = client?;
        count.requests += times.len() as u64;
        latencies.append(&mut times);
        if let Some(error) = failure {
            count.failure(&error);
        }
    }
    count.elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    count.latencies(latencies);
    count.print()
}

async fn client(
    mut connection: Connection,
    first: Instant,
    interval: Duration,
    seconds: u32,
) -> (Vec<Duration>, Option<io::Error>) {
    let end = first + Duration::from_secs(seconds.into());
    let mut latencies = Vec::new();
    let mut tick = first;
    while tick < end {
        // A request whose tick passed while the one before it was open has waited since its tick:
        // counting from the send would leave out the worst times. A late timer is our own fault
        // and is not counted.
        let late = Instant::now() >= tick;
        sleep_until(tick).await;
        let asked = if late { tick } else { Instant::now() };
        if let Err(error) = connection.request(After::Keep).await {
            return (latencies, Some(error));
        }
        latencies.push(asked.elapsed());
        tick += interval;
    }
    (latencies, None)
}
