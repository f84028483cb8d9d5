//! What `[metrics]` asks for, read at every handshake and changed by a reload.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::{Metrics, PerSni, defaults};

/// What `[metrics]` asks for. Each setting stands alone, so they may be read one by one.
#[derive(Debug)]
pub(super) struct MetricsSettings {
    server_names: AtomicBool,
    exemplars: AtomicBool,
}

impl MetricsSettings {
    /// Changes to these.
    pub(super) fn set(&self, metrics: &Metrics) {
        let server_names = metrics.per_sni == PerSni::Configured;
        self.server_names.store(server_names, Ordering::Relaxed);
        self.exemplars.store(metrics.exemplars, Ordering::Relaxed);
    }

    /// Which server names are labels.
    pub(super) fn per_sni(&self) -> PerSni {
        match self.server_names.load(Ordering::Relaxed) {
            true => PerSni::Configured,
            false => PerSni::Off,
        }
    }

    /// Whether exemplars are kept and written.
    pub(super) fn exemplars(&self) -> bool {
        self.exemplars.load(Ordering::Relaxed)
    }
}

impl Default for MetricsSettings {
    fn default() -> Self {
        let settings = Self {
            server_names: AtomicBool::default(),
            exemplars: AtomicBool::default(),
        };
        settings.set(&defaults::METRICS);
        settings
    }
}
