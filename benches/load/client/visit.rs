//! Visits: connect, handshake, one request, close, over and over.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::HandshakeKind;

use super::Count;
use super::connection::{After, Connection};
use super::tls;
use crate::arguments::Version;

/// After so many failures in a row a visitor gives up, so that a peer that refuses everything does
/// not make a tight loop.
const PATIENCE: u32 = 20;

/// Visits `address` for `seconds` with `concurrency` visitors, then lets each finish its visit, so
/// that the counts of both ends can agree, and prints the [`Count`].
pub(crate) async fn visit(
    address: SocketAddr,
    version: Version,
    resume: bool,
    concurrency: usize,
    seconds: u32,
) -> io::Result<()> {
    let started = Instant::now();
    let end = started + Duration::from_secs(seconds.into());
    let mut visitors = JoinSet::new();
    for _ in 0..concurrency {
        // One store a visitor: a ticket of TLS 1.3 is used once, and a store keeps few of them.
        let connector = tls::connector(version, resume).map_err(io::Error::other)?;
        visitors.spawn(visitor(connector, address, end));
    }
    let mut count = Count::default();
    let mut latencies = Vec::new();
    while let Some(visitor) = visitors.join_next().await {
        let (counted, mut times) = visitor?;
        count.full += counted.full;
        count.resumed += counted.resumed;
        count.retried += counted.retried;
        count.requests += counted.requests;
        count.failed += counted.failed;
        if count.first_failure.is_empty() {
            count.first_failure = counted.first_failure;
        }
        latencies.append(&mut times);
    }
    count.elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    count.latencies(latencies);
    count.print()
}

async fn visitor(
    connector: TlsConnector,
    address: SocketAddr,
    end: Instant,
) -> (Count, Vec<Duration>) {
    let mut count = Count::default();
    let mut latencies = Vec::new();
    let mut failed = 0;
    while Instant::now() < end && failed < PATIENCE {
        let started = Instant::now();
        match once(&connector, address, &mut count).await {
            Ok(()) => {
                latencies.push(started.elapsed());
                failed = 0;
            }
            Err(error) => {
                count.failure(&error);
                failed += 1;
            }
        }
    }
    (count, latencies)
}

async fn once(connector: &TlsConnector, address: SocketAddr, count: &mut Count) -> io::Result<()> {
    let mut connection = Connection::open(connector, address).await?;
    match connection.kind() {
        Some(HandshakeKind::Resumed) => count.resumed += 1,
        Some(HandshakeKind::FullWithHelloRetryRequest) => count.retried += 1,
        _ => count.full += 1,
    }
    connection.request(After::Close).await?;
    count.requests += 1;
    Ok(())
}
