//! How reloads went, and what the last one left as it was.

use std::sync::atomic::{AtomicU64, Ordering};

use super::exposition::{Exposition, Kind};

/// How a reload went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// The new configuration serves.
    Ok,
    /// It serves; some certificates are still those from before.
    Partial,
    /// The old one serves on: the new one is wrong or cannot be served.
    Failed,
    /// The old one serves on: the new one would turn away too many clients.
    Guarded,
}

impl ReloadOutcome {
    /// As they are written out.
    const ALL: [Self; 4] = [Self::Failed, Self::Guarded, Self::Ok, Self::Partial];

    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Guarded => "guarded",
        }
    }
}

/// `config_reloads_total{result}` and `tls_certificates_kept`.
#[derive(Debug, Default)]
pub(super) struct ReloadMetrics {
    counts: [AtomicU64; ReloadOutcome::ALL.len()],
    kept: AtomicU64,
}

impl ReloadMetrics {
    pub(super) fn add(&self, outcome: ReloadOutcome) {
        self.counts[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many reloads ended so.
    pub(super) fn count(&self, outcome: ReloadOutcome) -> u64 {
        self.counts[outcome as usize].load(Ordering::Relaxed)
    }

    pub(super) fn kept(&self, certificates: usize) {
        self.kept.store(certificates as u64, Ordering::Relaxed);
    }

    pub(super) fn write(&self, out: &mut Exposition) {
        out.family(
            "config_reloads",
            Kind::Counter,
            "Reloads of the configuration by result.",
            |family| {
                for outcome in ReloadOutcome::ALL {
                    family.sample(&[("result", outcome.name())], self.count(outcome));
                }
            },
        );
        out.family(
            "tls_certificates_kept",
            Kind::Gauge,
            "Certificates that serve as they were because their files cannot be used.",
            |family| family.sample(&[], self.kept.load(Ordering::Relaxed)),
        );
    }
}
