//! What the limits refused.

use std::sync::atomic::{AtomicU64, Ordering};

use super::exposition::{Exposition, Kind};

/// A limit that turns clients away as a whole, before there is a request to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `limits.connections_per_ip`
    ConnectionsPerIp,
    /// `limits.handshakes`
    Handshakes,
}

impl Limit {
    const ALL: [Self; 2] = [Self::ConnectionsPerIp, Self::Handshakes];

    const fn name(self) -> &'static str {
        match self {
            Self::ConnectionsPerIp => "connections_per_ip",
            Self::Handshakes => "handshakes",
        }
    }
}

/// `limit_refusals_total{limit}`.
#[derive(Debug, Default)]
pub(super) struct LimitRefusals([AtomicU64; Limit::ALL.len()]);

impl LimitRefusals {
    pub(super) fn add(&self, limit: Limit) {
        self.0[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn write(&self, out: &mut Exposition) {
        out.family(
            "limit_refusals",
            Kind::Counter,
            "Connections and handshakes refused because a limit was reached.",
            |family| {
                for limit in Limit::ALL {
                    let count = self.0[limit as usize].load(Ordering::Relaxed);
                    family.sample(&[("limit", limit.name())], count);
                }
            },
        );
    }
}
