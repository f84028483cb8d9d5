//! What is measured.

use crate::arguments::Version;
use crate::certificates::Key;
use crate::peers::Bed;
use crate::tools::{H2Load, REPORT, UPLOAD, Visits, Wrk};

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    /// Its name, for `--only`.
    pub(crate) name: &'static str,
    /// What the table calls it.
    pub(crate) title: &'static str,
    /// How the servers stand.
    pub(crate) bed: Bed,
    /// What is done to them.
    pub(crate) load: Load,
}

/// What is done to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Connections with one request each.
    Visits(Key, Visits),
    /// wrk.
    Wrk(Wrk),
    /// h2load.
    H2(H2Load),
    /// Keep-alive clients while others storm.
    Storm,
    /// So many idle connections.
    Idle(usize),
    /// Keep-alive clients beside idle connections.
    Beside(Idle),
}

/// Idle connections that others have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// None.
    Nowhere,
    /// So many to another server on the same core, so that the machine has the same sockets: what
    /// they cost a request then is not the measured server's.
    Elsewhere(usize),
    /// So many to the measured server.
    Here(usize),
}

/// The figure a row compares; less is better in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// CPU microseconds of the server's process tree for each operation.
    CpuMicroseconds,
    /// The 99th percentile of a request's time, in milliseconds.
    P99Milliseconds,
    /// Proportional set size for each connection, in KiB.
    MemoryKib,
}

impl Metric {
    /// Its unit, for tables.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::CpuMicroseconds => "CPU µs",
            Self::P99Milliseconds => "p99 ms",
            Self::MemoryKib => "KiB",
        }
    }
}

impl Workload {
    /// Whether it needs a server that has served nothing else.
    pub(crate) const fn is_fresh(&self) -> bool {
        matches!(self.load, Load::Idle(_) | Load::Beside(_))
    }

    /// What it compares.
    pub(crate) const fn metric(&self) -> Metric {
        match self.load {
            Load::Storm | Load::Beside(_) => Metric::P99Milliseconds,
            Load::Idle(_) => Metric::MemoryKib,
            _ => Metric::CpuMicroseconds,
        }
    }
}

/// Visits at once.
const CONCURRENCY: usize = 32;

/// The keep-alive clients of the storm and the milliseconds between requests on each.
pub(crate) const PACED: (usize, u64) = (16, 10);

/// The keep-alive clients beside idle connections: a load that no server is busy with, so that what
/// waits is seen and not what is saturated.
pub(crate) const CALM: (usize, u64) = (64, 20);

/// Many idle connections.
const MANY: usize = 10_000;

/// The storm: full RSA handshakes, as many at once as can wait.
pub(crate) const STORM: Visits = Visits {
    version: Version::Tls13,
    resume: false,
    concurrency: 64,
};

const KEEP_ALIVE: Load = Load::Wrk(Wrk {
    connections: 64,
    path: "/1k",
    script: REPORT,
});

const H2: Load = Load::H2(H2Load {
    connections: 16,
    streams: 32,
});

/// Every workload, in the order it is run.
pub(crate) const ALL: &[Workload] = &[
    pinned(
        "tls13-full-p256",
        "TLS 1.3 full, P-256",
        visits(Key::P256, Version::Tls13, false),
    ),
    pinned(
        "tls12-full-p256",
        "TLS 1.2 full, P-256",
        visits(Key::P256, Version::Tls12, false),
    ),
    pinned(
        "tls13-full-rsa",
        "TLS 1.3 full, RSA-2048",
        visits(Key::Rsa2048, Version::Tls13, false),
    ),
    pinned(
        "tls12-full-rsa",
        "TLS 1.2 full, RSA-2048",
        visits(Key::Rsa2048, Version::Tls12, false),
    ),
    pinned(
        "tls13-resumed",
        "TLS 1.3 resumed",
        visits(Key::P256, Version::Tls13, true),
    ),
    pinned(
        "tls12-resumed",
        "TLS 1.2 resumed",
        visits(Key::P256, Version::Tls12, true),
    ),
    pinned("h1-keepalive", "h1 keep-alive, 1 KiB, wrk -c64", KEEP_ALIVE),
    pinned("h2", "h2, 1 KiB, h2load -c16 -m32", H2),
    pinned(
        "download",
        "1 MiB down, wrk -c8",
        Load::Wrk(Wrk {
            connections: 8,
            path: "/1m",
            script: REPORT,
        }),
    ),
    pinned(
        "upload",
        "1 MiB up, wrk -c8",
        Load::Wrk(Wrk {
            connections: 8,
            path: "/1k",
            script: UPLOAD,
        }),
    ),
    pinned("storm", "keep-alive p99 in an RSA storm", Load::Storm),
    pinned("idle", "idle TLS connection, of 2,000", Load::Idle(2000)),
    pinned(
        "beside-0",
        "keep-alive p99, no others",
        Load::Beside(Idle::Nowhere),
    ),
    pinned(
        "beside-elsewhere",
        "keep-alive p99, 10,000 idle elsewhere",
        Load::Beside(Idle::Elsewhere(MANY)),
    ),
    pinned(
        "beside-10000",
        "keep-alive p99 beside 10,000 idle",
        Load::Beside(Idle::Here(MANY)),
    ),
    two_workers(
        "two-tls13-full-p256",
        "2 workers: TLS 1.3 full, P-256",
        visits(Key::P256, Version::Tls13, false),
    ),
    two_workers("two-h1-keepalive", "2 workers: h1 keep-alive", KEEP_ALIVE),
    two_workers("two-h2", "2 workers: h2", H2),
];

const fn visits(key: Key, version: Version, resume: bool) -> Load {
    Load::Visits(
        key,
        Visits {
            version,
            resume,
            concurrency: CONCURRENCY,
        },
    )
}

const fn pinned(name: &'static str, title: &'static str, load: Load) -> Workload {
    Workload {
        name,
        title,
        bed: Bed::Pinned,
        load,
    }
}

const fn two_workers(name: &'static str, title: &'static str, load: Load) -> Workload {
    Workload {
        name,
        title,
        bed: Bed::TwoWorkers,
        load,
    }
}
