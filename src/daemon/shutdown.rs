//! The end in stages: not ready, drain delay, no more accepts, drain timeout, exit.

use std::io::IsTerminal;
use std::time::Duration;

use super::exit::Exit;
use super::reload::Listeners;
use super::signals::{Request, Signals};
use crate::admin::Readiness;
use crate::config;
use crate::drain::DrainSender;

/// Load balancers need a moment to notice; a person at a terminal does not.
const DRAIN_DELAY: Duration = Duration::from_secs(5);

/// Drains. A second SIGTERM or SIGINT ends it at once.
pub(super) async fn shutdown(
    spec: &config::Shutdown,
    listeners: &mut Listeners,
    drain: &DrainSender,
    readiness: &Readiness,
    signals: &mut Signals,
) -> Exit {
    let delay = spec.drain_delay.unwrap_or_else(|| {
        if std::io::stderr().is_terminal() {
            Duration::ZERO
        } else {
            DRAIN_DELAY
        }
    });
    readiness.draining();
    tracing::info!(drain_delay = ?delay, drain_timeout = ?spec.drain_timeout, "draining");
    tokio::select! {
        () = stages(delay, spec.drain_timeout, listeners, drain) => Exit::Ok,
        () = second(signals) => {
            tracing::warn!(connections = drain.held(), "second signal: exiting at once");
            Exit::Failure
        }
    }
}

async fn stages(
    delay: Duration,
    timeout: Duration,
    listeners: &mut Listeners,
    drain: &DrainSender,
) {
    tokio::time::sleep(delay).await;
    listeners.stop();
    drain.drain();
    if tokio::time::timeout(timeout, drain.finished())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = drain.held(),
            "drain timeout: closing what is left"
        );
    } else {
        tracing::info!("drained");
    }
}

async fn second(signals: &mut Signals) {
    while signals.next().await != Request::Shutdown {}
}
