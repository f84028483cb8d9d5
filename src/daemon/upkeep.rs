//! What has to be looked after from time to time: ticket keys, stored sessions, and the windows of
//! the summary.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::server::ServerContext;
use crate::telemetry::Telemetry;

/// How often: at most so long does a key in a shared directory go unnoticed.
const EVERY: Duration = Duration::from_secs(2);

/// How often the counters are read for the windows of the summary.
const TICK: Duration = Duration::from_secs(1);

/// Reads the counters once a second, for ever.
pub(super) async fn tick(telemetry: Telemetry) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        telemetry.tick();
    }
}

/// Keeps the current generation up to date, for ever.
pub(super) async fn upkeep(context: Arc<ServerContext>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let context = context.clone();
        // It reads files, which can be slow where they are on a network.
        let done = tokio::task::spawn_blocking(move || {
            let snapshot = context.snapshot.load_full();
            snapshot.upkeep(&context.telemetry.metrics);
        });
        if let Err(error) = done.await {
            tracing::error!(%error, "upkeep of ticket keys failed");
        }
    }
}
