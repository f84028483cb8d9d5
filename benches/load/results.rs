//! What a run found: the JSON file, and what table and chart are drawn from.

use serde::Serialize;

use crate::client::Count;
use crate::counters::Counters;
use crate::library::Library;
use crate::machine::Machine;
use crate::peers::Peer;
use crate::stats::{Ratio, Summary, Verdict};
use crate::workloads::Metric;

/// A core this busy is taken as the limit of a run.
const SATURATED: f64 = 0.97;

/// More than this share of the proxy's core used by somebody else: the machine was not quiet.
const FOREIGN: f64 = 0.05;

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    /// Where and with what.
    pub(crate) machine: Machine,
    /// Repetitions of each measurement.
    pub(crate) repetitions: u32,
    /// Seconds of each.
    pub(crate) seconds: u32,
    /// One for each workload.
    pub(crate) rows: Vec<Row>,
    /// What the TLS libraries need without a server around them; `None` when that was not asked for.
    pub(crate) library: Option<Library>,
}

/// One workload.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its title.
    pub(crate) title: &'static str,
    /// What `value` of its samples is.
    pub(crate) metric: Metric,
    /// Whether the servers had one pinned worker.
    pub(crate) pinned: bool,
    /// Every peer's repetitions, in the order of [`Peer::ALL`].
    pub(crate) series: Vec<Series>,
    /// Why the row could not be measured; what there is of it does not count.
    pub(crate) failure: Option<String>,
}

/// The repetitions of one peer.
#[derive(Debug, Serialize)]
pub(crate) struct Series {
    /// Which.
    pub(crate) peer: Peer,
    /// In the order they were run.
    pub(crate) samples: Vec<Sample>,
}

/// One repetition.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sample {
    /// The figure that the row compares.
    pub(crate) value: f64,
    /// CPU microseconds of the server for each operation.
    pub(crate) cpu_us: f64,
    /// Requests, or visits.
    pub(crate) operations: u64,
    /// How many a second.
    pub(crate) per_second: f64,
    /// Median time of an operation.
    pub(crate) p50_us: f64,
    /// 99th percentile of it.
    pub(crate) p99_us: f64,
    /// What failed.
    pub(crate) failed: u64,
    /// Why the first did.
    pub(crate) first_failure: String,
    /// The server's memory after the load, in KiB; before it where the row compares memory.
    pub(crate) memory_kib: u64,
    /// Share of the time that the proxy's core worked.
    pub(crate) proxy_core: f64,
    /// Share of the time that the load's core worked.
    pub(crate) load_core: f64,
    /// Share of the proxy's core that other programs used.
    pub(crate) foreign: f64,
    /// Share of the proxy's core that the hypervisor gave away.
    pub(crate) stolen: f64,
    /// What the own client counted.
    pub(crate) client: Option<Count>,
    /// What handfast counted.
    pub(crate) counters: Option<Counters>,
}

impl Row {
    /// The repetitions of a peer.
    pub(crate) fn of(&self, peer: Peer) -> &[Sample] {
        let series = self.series.iter().find(|series| series.peer == peer);
        series.map_or(&[], |series| &series.samples)
    }

    /// A figure of a peer over its repetitions.
    pub(crate) fn summary(&self, peer: Peer, figure: impl Fn(&Sample) -> f64) -> Summary {
        Summary::of(self.of(peer).iter().map(figure))
    }

    /// handfast against a peer; `None` when the row failed.
    pub(crate) fn ratio(&self, peer: Peer) -> Option<Ratio> {
        if self.failure.is_some() {
            return None;
        }
        let values =
            |peer| -> Vec<f64> { self.of(peer).iter().map(|sample| sample.value).collect() };
        Ratio::of(&values(Peer::Handfast), &values(peer))
    }

    /// The verdict against a peer.
    pub(crate) fn verdict(&self, peer: Peer) -> Option<Verdict> {
        self.ratio(peer).map(|ratio| ratio.verdict)
    }

    /// What a reader must know before quoting the row.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for peer in Peer::ALL {
            let name = peer.name();
            let failed: u64 = self.of(peer).iter().map(|sample| sample.failed).sum();
            if failed > 0 {
                let why = self
                    .of(peer)
                    .iter()
                    .find(|sample| !sample.first_failure.is_empty());
                let why = why.map_or("", |sample| sample.first_failure.as_str());
                remarks.push(format!("{failed} operations failed at {name}: {why}"));
            }
            let load = self.summary(peer, |sample| sample.load_core).median;
            let proxy = self.summary(peer, |sample| sample.proxy_core).median;
            if self.pinned && load >= SATURATED && proxy < SATURATED {
                remarks.push(format!(
                    "the load core was the limit at {name} ({:.0} % busy, the proxy's {:.0} %): its throughput is a lower bound",
                    load * 100.0,
                    proxy * 100.0,
                ));
            }
        }
        let foreign = Peer::ALL.map(|peer| {
            let others = |sample: &Sample| sample.foreign + sample.stolen;
            self.summary(peer, others).median
        });
        let foreign = foreign.into_iter().fold(0.0, f64::max);
        if self.pinned && foreign >= FOREIGN {
            remarks.push(format!(
                "the machine was not quiet: {:.0} % of the proxy core went to others",
                foreign * 100.0,
            ));
        }
        remarks
    }
}
