//! The end in stages: not ready, drain delay, no more accepts, drain timeout, exit.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::time::Duration;

use super::control::{Control, Demand};
use super::exit::Exit;
use super::notify::Notifier;
use super::reload::Listeners;
use super::signals::{Request, Signals};
use crate::admin::{DaemonStatus, DrainStage, Readiness};
use crate::config;
use crate::drain::DrainSender;
use crate::telemetry::Metrics;

/// Load balancers need a moment to notice; a person at a terminal does not.
const DRAIN_DELAY: Duration = Duration::from_secs(5);

/// What a drain needs beside the listeners.
pub(super) struct Draining<'a> {
    /// How long each stage takes.
    pub(super) spec: &'a config::Shutdown,
    /// Tells connections to end.
    pub(super) connections: &'a DrainSender,
    /// Tells load balancers.
    pub(super) readiness: &'a Readiness,
    /// Tells whoever asks.
    pub(super) status: &'a DaemonStatus,
    /// Tells the service manager.
    pub(super) notifier: &'a Notifier,
    /// What holds on.
    pub(super) metrics: &'a Metrics,
}

/// How often the service manager is told what the drain waits for.
const TELL: Duration = Duration::from_secs(1);

/// Drains. A second SIGTERM or SIGINT ends it at once; commands but for a reload are carried out.
pub(super) async fn shutdown(
    draining: Draining<'_>,
    listeners: &mut Listeners,
    signals: &mut Signals,
    control: &mut Control<'_>,
) -> Exit {
    let Draining {
        spec,
        connections: drain,
        readiness,
        status,
        notifier,
        metrics,
    } = draining;
    let delay = spec.drain_delay.unwrap_or_else(|| {
        if std::io::stderr().is_terminal() {
            Duration::ZERO
        } else {
            DRAIN_DELAY
        }
    });
    readiness.draining();
    status.draining(drain.hearing(), delay, spec.drain_timeout);
    notifier.stopping(&told(status, metrics));
    tracing::info!(drain_delay = ?delay, drain_timeout = ?spec.drain_timeout, "draining");
    tokio::select! {
        () = stages(delay, spec.drain_timeout, listeners, drain) => Exit::Ok,
        () = second(signals) => {
            tracing::warn!(connections = drain.held(), "second signal: exiting at once");
            Exit::Failure
        }
        never = commands(control) => match never {},
        never = tell(notifier, status, metrics) => match never {},
    }
}

async fn commands(control: &mut Control<'_>) -> Infallible {
    loop {
        match control.next().await {
            // Whoever asked may be gone.
            Demand::Reload { answer, .. } => drop(answer.send(None)),
            Demand::Shutdown => {}
        }
    }
}

/// Keeps the service manager's status line up to date.
async fn tell(notifier: &Notifier, status: &DaemonStatus, metrics: &Metrics) -> Infallible {
    let mut last = told(status, metrics);
    loop {
        tokio::time::sleep(TELL).await;
        let now = told(status, metrics);
        if now != last {
            notifier.status(&now);
            last = now;
        }
    }
}

fn told(status: &DaemonStatus, metrics: &Metrics) -> String {
    match status.drain(metrics) {
        None => "draining".to_owned(),
        Some(drain) => match drain.stage {
            DrainStage::Delay => format!("draining, still accepting: {}", drain.holding()),
            DrainStage::Connections => format!("draining, waits for {}", drain.holding()),
        },
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
