//! CPU time and memory, from `/proc`.
//!
//! The CPU time of a server is that of all threads of its process tree, to the nanosecond, from
//! `schedstat`: on shared machines it is far steadier than throughput. What the kernel does for a
//! server on loopback (its sends run the receiver's half of TCP too) is in it.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use crate::failure::Failure;

/// The CPU time of every thread of a process tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuTime(HashMap<u32, u64>);

impl CpuTime {
    /// That of the process `id` and its descendants, so far.
    pub(crate) fn of_tree(id: u32) -> Self {
        let mut times = HashMap::new();
        for process in tree(id) {
            for thread in numbers_in(&format!("/proc/{process}/task")) {
                let path = format!("/proc/{process}/task/{thread}/schedstat");
                let time = fs::read_to_string(path)
                    .ok()
                    .and_then(|text| text.split_whitespace().next()?.parse().ok());
                // A thread may end between listing and reading.
                if let Some(time) = time {
                    times.insert(thread, time);
                }
            }
        }
        Self(times)
    }

    /// What was used since `before`.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let nanos = self.0.iter().map(|(thread, now)| {
            let then = before.0.get(thread).copied().unwrap_or(0);
            now.saturating_sub(then)
        });
        Duration::from_nanos(nanos.sum())
    }
}

/// The proportional set size of a process tree, in KiB.
pub(crate) fn memory(id: u32) -> Result<u64, Failure> {
    let mut sum = 0;
    for process in tree(id) {
        let path = format!("/proc/{process}/smaps_rollup");
        let text = fs::read_to_string(&path).map_err(Failure::io(path))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let size = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        sum += size.ok_or_else(|| Failure::Output {
            program: "the kernel".to_owned(),
            output: text.clone(),
        })?;
    }
    Ok(sum)
}

/// How a core was used since boot, in clock ticks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CoreTime {
    busy: u64,
    stolen: u64,
    all: u64,
}

impl CoreTime {
    /// That of core `core`.
    pub(crate) fn now(core: usize) -> Result<Self, Failure> {
        let text = fs::read_to_string("/proc/stat").map_err(Failure::io("/proc/stat"))?;
        let name = format!("cpu{core} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        let line = line.ok_or_else(|| {
            Failure::Usage(format!(
                "this bench needs two cores; there is no core {core}"
            ))
        })?;
        // user nice system idle iowait irq softirq steal; guest time is in user already.
        let ticks: Vec<u64> = line
            .split_whitespace()
            .take(8)
            .filter_map(|tick| tick.parse().ok())
            .collect();
        let all: u64 = ticks.iter().sum();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        let stolen = ticks.get(7).copied().unwrap_or(0);
        Ok(Self {
            busy: all - idle - stolen,
            stolen,
            all,
        })
    }

    /// The share of the time since `before` that the core worked, 0 to 1.
    pub(crate) fn busy_since(&self, before: &Self) -> f64 {
        share(self.busy - before.busy, self.all - before.all)
    }

    /// The share of the time since `before` that the hypervisor gave to others, 0 to 1.
    pub(crate) fn stolen_since(&self, before: &Self) -> f64 {
        share(
            self.stolen.saturating_sub(before.stolen),
            self.all - before.all,
        )
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// A process and its descendants.
fn tree(id: u32) -> Vec<u32> {
    let mut all = vec![id];
    let mut next = 0;
    while let Some(process) = all.get(next).copied() {
        next += 1;
        for thread in numbers_in(&format!("/proc/{process}/task")) {
            let path = format!("/proc/{process}/task/{thread}/children");
            let children = fs::read_to_string(path).unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|id| id.parse::<u32>().ok()),
            );
        }
    }
    all
}

/// The entries of a directory that are numbers.
fn numbers_in(directory: &str) -> Vec<u32> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}
