//! The load generators, each a process of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::process::Child;
use tokio::time::timeout;

use crate::arguments::Version;
use crate::child::{Place, command};
use crate::client::{Count, percentile};
use crate::failure::{Failure, tail};
use crate::machine;

/// What a generator may take beyond the time it was told to run.
const SLACK: Duration = Duration::from_secs(30);

/// What one run of a generator came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Requests, or visits, that succeeded.
    pub(crate) operations: u64,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// What failed.
    pub(crate) failed: u64,
    /// Why the first failed, where that is known.
    pub(crate) first_failure: String,
    /// Median time of an operation, in microseconds.
    pub(crate) p50_us: f64,
    /// 99th percentile of it.
    pub(crate) p99_us: f64,
    /// The own client's handshakes; `None` for other generators.
    pub(crate) handshakes: Option<Count>,
}

impl From<Count> for Tally {
    fn from(count: Count) -> Self {
        Self {
            operations: count.requests,
            elapsed: Duration::from_micros(count.elapsed_us),
            failed: count.failed,
            first_failure: count.first_failure.clone(),
            p50_us: count.p50_us,
            p99_us: count.p99_us,
            handshakes: Some(count),
        }
    }
}

/// The own client's visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visits {
    /// The TLS version.
    pub(crate) version: Version,
    /// Whether it offers tickets.
    pub(crate) resume: bool,
    /// Visits at once.
    pub(crate) concurrency: usize,
}

/// Runs the own client's visits.
pub(crate) async fn visits(
    address: SocketAddr,
    visits: Visits,
    seconds: u32,
    place: Place,
) -> Result<Tally, Failure> {
    let mut command = command(&machine::this_program()?, place);
    command
        .args(["visit", "--address", &address.to_string()])
        .args(["--version", visits.version.name()])
        .args(["--concurrency", &visits.concurrency.to_string()])
        .args(["--seconds", &seconds.to_string()]);
    if visits.resume {
        command.arg("--resume");
    }
    let output = output("the load client", command, seconds).await?;
    Ok(count(&output)?.into())
}

/// Runs the own client's paced keep-alive connections.
pub(crate) async fn paced(
    address: SocketAddr,
    connections: usize,
    interval_ms: u64,
    seconds: u32,
    place: Place,
) -> Result<Tally, Failure> {
    let mut command = command(&machine::this_program()?, place);
    command
        .args(["pace", "--address", &address.to_string()])
        .args(["--connections", &connections.to_string()])
        .args(["--interval-ms", &interval_ms.to_string()])
        .args(["--seconds", &seconds.to_string()]);
    let output = output("the paced client", command, seconds).await?;
    Ok(count(&output)?.into())
}

/// What wrk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrk {
    /// Connections.
    pub(crate) connections: u32,
    /// The path.
    pub(crate) path: &'static str,
    /// The script, of which the last act is to report.
    pub(crate) script: &'static str,
}

/// The script for GET.
pub(crate) const REPORT: &str = include_str!("wrk-report.lua");

/// The script for a POST of 1 MiB.
pub(crate) const UPLOAD: &str = include_str!("wrk-upload.lua");

/// Runs wrk with one thread.
pub(crate) async fn wrk(
    address: SocketAddr,
    wrk: Wrk,
    seconds: u32,
    place: Place,
    directory: &Path,
) -> Result<Tally, Failure> {
    let script = directory.join("wrk.lua");
    fs::write(&script, wrk.script).map_err(Failure::io("wrk.lua"))?;
    let mut command = command(&machine::program("wrk")?, place);
    command
        .args(["-t1", &format!("-c{}", wrk.connections)])
        .arg(format!("-d{seconds}s"))
        .arg("-s")
        .arg(&script)
        .arg(format!("https://localhost:{}{}", address.port(), wrk.path));
    let output = output("wrk", command, seconds).await?;
    let numbers: Vec<f64> = output
        .lines()
        .find_map(|line| line.strip_prefix("bench "))
        .into_iter()
        .flat_map(str::split_whitespace)
        .filter_map(|number| number.parse().ok())
        .collect();
    let [requests, elapsed_us, failed, p50_us, p99_us] = numbers[..] else {
        return Err(unreadable("wrk", &output));
    };
    Ok(Tally {
        operations: requests as u64,
        elapsed: Duration::from_secs_f64(elapsed_us / 1e6),
        failed: failed as u64,
        p50_us,
        p99_us,
        ..Tally::default()
    })
}

/// What h2load does: one connection carries many requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct H2Load {
    /// Connections.
    pub(crate) connections: u32,
    /// Streams at once on each.
    pub(crate) streams: u32,
}

/// Runs h2load with one thread. The tally has no times: see [`h2_times`].
pub(crate) async fn h2load(
    address: SocketAddr,
    load: H2Load,
    seconds: u32,
    place: Place,
) -> Result<Tally, Failure> {
    let command = h2load_command(address, load, seconds, place)?;
    let output = output("h2load", command, seconds).await?;
    let line = |start: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(start));
        line.ok_or_else(|| unreadable("h2load", &output))
    };
    let before = |line: &str, word: &str| -> Result<u64, Failure> {
        line.split(',')
            .find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
            .ok_or_else(|| unreadable("h2load", &output))
    };
    let requests = line("requests: ")?;
    if line("Application protocol: ")? != "h2" {
        return Err(unreadable("h2load", &output));
    }
    Ok(Tally {
        operations: before(requests, "succeeded")?,
        elapsed: Duration::from_secs(seconds.into()),
        failed: before(requests, "failed")? + before(requests, "errored")?,
        ..Tally::default()
    })
}

/// The median and the 99th percentile of a request's time, in microseconds, from a second run of
/// h2load: it tells the times only in a log, to which it writes once a request, and that is work
/// which must not be in the first run.
pub(crate) async fn h2_times(
    address: SocketAddr,
    load: H2Load,
    place: Place,
    directory: &Path,
) -> Result<(f64, f64), Failure> {
    let log = directory.join("h2load.tsv");
    // It appends.
    fs::remove_file(&log).ok();
    let mut command = h2load_command(address, load, 1, place)?;
    command.arg(format!("--log-file={}", log.display()));
    output("h2load", command, 1).await?;
    let text = fs::read_to_string(&log).map_err(Failure::io("h2load.tsv"))?;
    fs::remove_file(&log).ok();
    // Start, status, microseconds.
    let mut times: Vec<Duration> = text
        .lines()
        .filter_map(|line| line.split('\t').nth(2)?.parse().ok())
        .map(Duration::from_micros)
        .collect();
    times.sort_unstable();
    Ok((percentile(&times, 50), percentile(&times, 99)))
}

fn h2load_command(
    address: SocketAddr,
    load: H2Load,
    seconds: u32,
    place: Place,
) -> Result<Command, Failure> {
    let mut command = command(&machine::program("h2load")?, place);
    command
        .args(["-t1", &format!("-c{}", load.connections)])
        .arg(format!("-m{}", load.streams))
        .arg(format!("-D{seconds}"))
        .arg(format!("--connect-to={address}"))
        .arg(format!("https://localhost:{}/1k", address.port()));
    Ok(command)
}

/// Starts a generator that dies with its handle.
pub(crate) fn spawn(name: &str, mut command: Command) -> Result<Child, Failure> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .map_err(Failure::io(name))
}

/// What a program printed that was told to run for `seconds`; it dies with this future.
pub(crate) async fn output(
    name: &str,
    mut command: Command,
    seconds: u32,
) -> Result<String, Failure> {
    let after = Duration::from_secs(seconds.into()) + SLACK;
    command.stdin(Stdio::null());
    let child = spawn(name, command)?;
    let output = timeout(after, child.wait_with_output())
        .await
        .map_err(|_| Failure::Deadline {
            what: name.to_owned(),
            after,
        })?
        .map_err(Failure::io(name))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(stdout)
    } else {
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(Failure::Tool {
            program: name.to_owned(),
            output: tail(&format!("{stdout}\n{stderr}"), 800),
        })
    }
}

/// What the own client printed.
pub(crate) fn count(output: &str) -> Result<Count, Failure> {
    serde_json::from_str(output.trim()).map_err(|_| unreadable("the load client", output))
}

fn unreadable(program: &str, output: &str) -> Failure {
    Failure::Output {
        program: program.to_owned(),
        output: tail(output, 800),
    }
}
