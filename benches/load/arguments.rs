//! The command line.
//!
//! The bench is one program with several roles: without a subcommand it conducts; the upstream and
//! the load clients are the same executable, started by the conductor as processes of their own,
//! so that each has a core and a CPU account to itself.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// handfast beside nginx and HAProxy, in one run
#[derive(Debug, Parser)]
#[command(name = "load")]
pub(crate) struct Arguments {
    /// Short runs: 3 repetitions of 1 s
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only the workloads whose name contains this; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Repetitions of each measurement (default 5, quick 3)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) repeat: Option<u32>,
    /// Seconds of each measurement (default 3, quick 1)
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=60))]
    pub(crate) seconds: Option<u32>,
    /// Where table, JSON and chart are written
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub(crate) out: PathBuf,
    /// The handfast to measure (default: a release build of this tree)
    #[arg(long, value_name = "FILE")]
    pub(crate) handfast: Option<PathBuf>,
    /// Put the results into benches/results, benches/README.md and README.md as well
    #[arg(long)]
    pub(crate) record: bool,
    /// Name the workloads and end
    #[arg(long)]
    pub(crate) list: bool,
    /// What cargo passes to a bench
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
    /// What this process is, where it is not the conductor
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// A role that the conductor starts.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Role {
    /// The upstream behind every proxy
    #[command(hide = true)]
    Upstream,
    /// Connections with one request each
    #[command(hide = true)]
    Visit {
        #[arg(long)]
        address: SocketAddr,
        #[arg(long)]
        version: Version,
        /// Offer the ticket of the connection before
        #[arg(long)]
        resume: bool,
        #[arg(long)]
        concurrency: usize,
        #[arg(long)]
        seconds: u32,
    },
    /// Keep-alive connections with a request at every tick
    #[command(hide = true)]
    Pace {
        #[arg(long)]
        address: SocketAddr,
        #[arg(long)]
        connections: usize,
        #[arg(long)]
        interval_ms: u64,
        #[arg(long)]
        seconds: u32,
    },
    /// Connections that are opened, used once and left idle, and used again for each line on stdin
    #[command(hide = true)]
    Idle {
        #[arg(long)]
        address: SocketAddr,
        #[arg(long)]
        connections: usize,
    },
    /// Handshakes of rustls with itself, without sockets
    #[command(hide = true)]
    Memory {
        #[arg(long)]
        certificate: PathBuf,
        #[arg(long)]
        version: Version,
        /// Offer the ticket of the handshake before
        #[arg(long)]
        resume: bool,
        #[arg(long)]
        milliseconds: u64,
    },
}

/// A TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Version {
    /// TLS 1.2 (RFC 5246).
    #[value(name = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[value(name = "1.3")]
    Tls13,
}

impl Version {
    /// The name, as on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}
