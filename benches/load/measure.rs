//! The run: every workload, the servers in turn, the repetitions around them.

use std::io::{self, Write as _};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::certificates::Key;
use crate::client::Count;
use crate::counters::Counters;
use crate::cpu;
use crate::failure::Failure;
use crate::idlers::Idlers;
use crate::peers::{Bed, Ground, Peer, Server, Upstream};
use crate::results::{Row, Sample, Series};
use crate::tools::{self, Tally, Visits};
use crate::window::Window;
use crate::workloads::{CALM, Idle, Load, Metric, PACED, STORM, Workload};

/// How long memory may take to come to rest.
const REST: Duration = Duration::from_secs(3);

/// Measures `workloads`, all of one bed, and gives a row for each. A workload that fails is a row
/// that says so; the rest goes on.
pub(crate) async fn bed(
    bed: Bed,
    workloads: &[Workload],
    ground: &Ground,
    repetitions: u32,
    seconds: u32,
) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    if workloads.is_empty() {
        return Ok(rows);
    }
    let upstream = Upstream::start(bed, &ground.directory).await?;
    let (fresh, shared): (Vec<_>, Vec<_>) =
        workloads.iter().partition(|workload| workload.is_fresh());
    let mut servers = Vec::new();
    if !shared.is_empty() {
        for peer in Peer::ALL {
            let server = Server::start(peer, bed, ground, upstream.port).await?;
            warm_up(&server, bed).await?;
            servers.push(server);
        }
    }
    for workload in shared {
        let mut row = empty(workload);
        'rounds: for round in 0..repetitions {
            for (server, series) in servers.iter_mut().zip(&mut row.series) {
                progress(workload, server.peer, round, repetitions);
                match sample(workload, server, ground, seconds).await {
                    Ok(sample) => series.samples.push(sample),
                    Err(error) => {
                        row.failure = Some(format!("{}: {error}", server.peer.name()));
                        break 'rounds;
                    }
                }
            }
        }
        rows.push(row);
    }
    drop(servers);
    for workload in fresh {
        let mut row = empty(workload);
        'rounds: for round in 0..repetitions.min(3) {
            for series in &mut row.series {
                progress(workload, series.peer, round, repetitions.min(3));
                let measured = match Server::start(series.peer, bed, ground, upstream.port).await {
                    Ok(mut server) => {
                        let port = upstream.port;
                        fresh_sample(workload, &mut server, ground, port, seconds).await
                    }
                    Err(error) => Err(error),
                };
                match measured {
                    Ok(sample) => series.samples.push(sample),
                    Err(error) => {
                        row.failure = Some(format!("{}: {error}", series.peer.name()));
                        break 'rounds;
                    }
                }
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

fn empty(workload: &Workload) -> Row {
    let series = Peer::ALL.map(|peer| Series {
        peer,
        samples: Vec::new(),
    });
    Row {
        name: workload.name,
        title: workload.title,
        metric: workload.metric(),
        pinned: workload.bed == Bed::Pinned,
        series: series.into(),
        failure: None,
    }
}

fn progress(workload: &Workload, peer: Peer, round: u32, rounds: u32) {
    let (name, peer, round) = (workload.name, peer.name(), round + 1);
    writeln!(io::stderr(), "{name} {round}/{rounds} {peer}").ok();
}

/// A second of visits, so that the first repetition is not the first use.
async fn warm_up(server: &Server, bed: Bed) -> Result<(), Failure> {
    let visits = Visits {
        concurrency: 8,
        ..STORM
    };
    tools::visits(server.address(Key::P256), visits, 1, bed.load()).await?;
    Ok(())
}

/// What a load came to.
struct Work {
    /// The operations.
    tally: Tally,
    /// Whose times count where these are not the operations'.
    paced: Option<Tally>,
}

async fn fresh_sample(
    workload: &Workload,
    server: &mut Server,
    ground: &Ground,
    upstream: u16,
    seconds: u32,
) -> Result<Sample, Failure> {
    let Load::Beside(idle) = workload.load else {
        return memory_of_idle(workload, server).await;
    };
    warm_up(server, workload.bed).await?;
    let other;
    let (holder, connections) = match idle {
        Idle::Nowhere => (&*server, 0),
        Idle::Here(connections) => (&*server, connections),
        Idle::Elsewhere(connections) => {
            // It reads its files at the start alone, so it may have those of a measured one.
            other = Server::start(Peer::Haproxy, workload.bed, ground, upstream).await?;
            (&other, connections)
        }
    };
    let address = holder.address(Key::P256);
    let mut idlers = Idlers::open(address, connections, workload.bed.load()).await?;
    // What the handshakes left for later is not in the figure.
    memory_at_rest(holder.id()).await?;
    let sample = sample(workload, server, ground, seconds).await?;
    idlers.ask().await?;
    Ok(sample)
}

async fn sample(
    workload: &Workload,
    server: &mut Server,
    ground: &Ground,
    seconds: u32,
) -> Result<Sample, Failure> {
    let version = match workload.load {
        Load::Visits(_, visits) => Some(visits.version),
        Load::Storm => Some(STORM.version),
        _ => None,
    };
    let counters = match (server.peer, version) {
        (Peer::Handfast, Some(version)) => {
            let counters = Counters::now(server.admin(), version).await?;
            Some((counters, version))
        }
        _ => None,
    };

    let window = Window::open(server.id())?;
    let mut work = work(workload, server, ground, seconds).await?;
    let usage = window.close()?;
    if let Load::H2(load) = workload.load {
        let (address, place) = (server.address(Key::P256), workload.bed.load());
        let times = tools::h2_times(address, load, place, &ground.directory).await?;
        (work.tally.p50_us, work.tally.p99_us) = times;
    }

    server.check()?;
    let client = work.handshakes();
    let counters = match (counters, &client) {
        (Some((before, version)), Some(client)) => {
            Some(before.agree(server.admin(), version, client).await?)
        }
        _ => None,
    };
    let Work { tally, paced } = work;
    let timed = paced.as_ref().unwrap_or(&tally);
    let cpu_us = usage.cpu.as_secs_f64() * 1e6 / tally.operations.max(1) as f64;
    Ok(Sample {
        value: match workload.metric() {
            Metric::P99Milliseconds => timed.p99_us / 1e3,
            _ => cpu_us,
        },
        cpu_us,
        operations: tally.operations,
        per_second: tally.operations as f64 / tally.elapsed.as_secs_f64().max(1e-9),
        p50_us: timed.p50_us,
        p99_us: timed.p99_us,
        failed: tally.failed + paced.as_ref().map_or(0, |paced| paced.failed),
        first_failure: match &paced {
            Some(paced) if tally.failed == 0 => paced.first_failure.clone(),
            _ => tally.first_failure.clone(),
        },
        memory_kib: cpu::memory(server.id())?,
        proxy_core: usage.proxy_core,
        load_core: usage.load_core,
        foreign: usage.foreign,
        stolen: usage.stolen,
        client,
        counters,
    })
}

impl Work {
    /// All handshakes that the own client made.
    fn handshakes(&self) -> Option<Count> {
        let mut all = self.tally.handshakes.clone()?;
        if let Some(paced) = self
            .paced
            .as_ref()
            .and_then(|paced| paced.handshakes.as_ref())
        {
            all.full += paced.full;
        }
        Some(all)
    }
}

async fn work(
    workload: &Workload,
    server: &Server,
    ground: &Ground,
    seconds: u32,
) -> Result<Work, Failure> {
    let place = workload.bed.load();
    let directory = &ground.directory;
    let p256 = server.address(Key::P256);
    let mut paced = None;
    let tally = match workload.load {
        Load::Visits(key, visits) => {
            tools::visits(server.address(key), visits, seconds, place).await?
        }
        Load::Wrk(wrk) => tools::wrk(p256, wrk, seconds, place, directory).await?,
        Load::H2(load) => tools::h2load(p256, load, seconds, place).await?,
        Load::Storm => {
            let rsa = server.address(Key::Rsa2048);
            let (connections, interval) = PACED;
            let (storm, times) = tokio::try_join!(
                tools::visits(rsa, STORM, seconds, place),
                tools::paced(p256, connections, interval, seconds, place),
            )?;
            paced = Some(times);
            storm
        }
        Load::Beside(_) => {
            let (connections, interval) = CALM;
            tools::paced(p256, connections, interval, seconds, place).await?
        }
        // Measured by `memory_of_idle`.
        Load::Idle(_) => Tally::default(),
    };
    if tally.operations == 0 {
        return Err(Failure::Tool {
            program: "every operation".to_owned(),
            output: tally.first_failure,
        });
    }
    Ok(Work { tally, paced })
}

/// The memory that idle connections cost a server that has served nothing else.
async fn memory_of_idle(workload: &Workload, server: &Server) -> Result<Sample, Failure> {
    let Load::Idle(connections) = workload.load else {
        return Ok(Sample::default());
    };
    let place = workload.bed.load();
    let before = memory_at_rest(server.id()).await?;
    let address = server.address(Key::P256);
    let idlers = Idlers::open(address, connections, place).await?;
    let after = memory_at_rest(server.id()).await?;
    drop(idlers);
    Ok(Sample {
        value: after.saturating_sub(before) as f64 / connections as f64,
        operations: connections as u64,
        memory_kib: before,
        ..Sample::default()
    })
}

/// A server's memory once two readings in a row agree to a percent.
async fn memory_at_rest(id: u32) -> Result<u64, Failure> {
    let end = Instant::now() + REST;
    let mut last = cpu::memory(id)?;
    loop {
        sleep(Duration::from_millis(300)).await;
        let now = cpu::memory(id)?;
        if now.abs_diff(last) * 100 <= now || Instant::now() > end {
            return Ok(now);
        }
        last = now;
    }
}
