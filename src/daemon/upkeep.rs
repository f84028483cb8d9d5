//! What has to be looked after from time to time: ticket keys and stored sessions.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::server::ServerContext;

/// How often: at most so long does a key in a shared directory go unnoticed.
const EVERY: Duration = Duration::from_secs(2);

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
