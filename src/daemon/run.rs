//! `handfast run`: from a configuration to a serving process and to its end.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use super::cli::complain;
use super::descriptors;
use super::exit::Exit;
use super::reload::{Listeners, ReloadError};
use super::runtime;
use super::shutdown::shutdown;
use super::signals::{Request, Signals};
use super::upkeep::upkeep;
use crate::admin::{AdminState, Readiness};
use crate::config::{self, Loaded};
use crate::server::{ServerContext, bind};
use crate::snapshot::Snapshot;
use crate::telemetry::{Telemetry, TelemetryGuard};
use crate::{admin, drain, tls};

/// Admin connections that wait in the kernel.
const ADMIN_BACKLOG: u32 = 64;

/// Runs the daemon with the configuration at `path` until it is told to end.
pub(super) fn run(path: &Path) -> Exit {
    let loaded = match config::load(path) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            complain(diagnostics.to_string().trim_end());
            return Exit::Config;
        }
    };
    let reload = || config::load(path);
    run_loaded(loaded, &reload, |_| Ok(()))
}

/// Runs the daemon with a configuration that is loaded already. `reload` loads it again at
/// SIGHUP; `ready` is called inside the runtime once all listeners listen.
pub(super) fn run_loaded(
    loaded: Loaded,
    reload: &dyn Fn() -> Result<Loaded, config::Diagnostics>,
    ready: impl FnOnce(&Telemetry) -> Result<(), Box<dyn Error>>,
) -> Exit {
    let (telemetry, guard) = match Telemetry::start(&loaded.config.log) {
        Ok(started) => started,
        Err(error) => return failed(&error),
    };
    let result = runtime::build(loaded.config.runtime.workers)
        .map_err(|error| failed(&error))
        .map(|runtime| {
            let exit = runtime.block_on(serve(&loaded, telemetry, &guard, reload, ready));
            // Connections past the drain timeout end here, with their tasks.
            runtime.shutdown_background();
            exit
        });
    result.unwrap_or_else(|exit| exit)
}

async fn serve(
    loaded: &Loaded,
    telemetry: Telemetry,
    log: &TelemetryGuard,
    reload: &dyn Fn() -> Result<Loaded, config::Diagnostics>,
    ready: impl FnOnce(&Telemetry) -> Result<(), Box<dyn Error>>,
) -> Exit {
    // Signals first: one that comes during the start is not lost.
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return failed(&error),
    };
    // Before the first handshake, which it would delay by 50 ms.
    if tls::warm_up().is_err() {
        complain("the system has no randomness to give");
        return Exit::Failure;
    }
    let first = match Snapshot::build(loaded, &telemetry.metrics, None) {
        Ok(first) => first,
        Err(diagnostics) => {
            complain(diagnostics.to_string().trim_end());
            return Exit::Config;
        }
    };
    first.announce(&telemetry.metrics);
    descriptors::raise(loaded.config.limits.connections);
    let mut shutdown_spec = loaded.config.shutdown.clone();
    let snapshot = Arc::new(ArcSwap::from_pointee(first));
    let context = Arc::new(ServerContext::new(
        snapshot,
        telemetry.clone(),
        &loaded.config.limits,
        Handle::current().metrics().num_workers(),
    ));
    let (drain_sender, drain) = drain::channel();
    let mut listeners = Listeners::new(context.clone(), drain.clone());
    let readiness = Readiness::new();

    // The admin listener serves until the very end: it shows the drain.
    let (_admin_drain, admin_drained) = drain::channel();
    if let Some(spec) = &loaded.config.admin.address {
        match bind(spec.address, ADMIN_BACKLOG) {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(spec.address);
                tracing::info!(listener = "admin", %address, "listening");
                let state = AdminState::new(telemetry.clone(), readiness.clone(), address);
                tokio::spawn(admin::serve(listener, Arc::new(state), admin_drained));
            }
            Err(error) => return failed(&error),
        }
    }
    if let Err(error) = listeners.begin(&loaded.config) {
        return failed(&error);
    }
    tokio::spawn(upkeep(context.clone()));
    readiness.ready();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
    if let Err(error) = ready(&telemetry) {
        return failed(&*error);
    }

    loop {
        match signals.next().await {
            Request::Reload => {
                let applied = reload()
                    .map_err(ReloadError::Config)
                    .and_then(|next| listeners.apply(&next).map(|()| next));
                telemetry.metrics.config_reload(applied.is_ok());
                match applied {
                    Ok(next) => {
                        shutdown_spec = next.config.shutdown.clone();
                        warn_of_what_needs_a_restart(&loaded.config, &next.config);
                        match log.reconfigure(&next.config.log) {
                            Ok(()) => tracing::info!("configuration reloaded"),
                            Err(error) => {
                                tracing::error!(error = %chain(&error), "log keeps its old target");
                            }
                        }
                    }
                    Err(ReloadError::Config(diagnostics)) => {
                        for item in &diagnostics.items {
                            let at = item
                                .location
                                .and_then(|at| diagnostics.sources.position(at));
                            let at = at.map(|at| at.to_string()).unwrap_or_default();
                            tracing::error!(
                                at,
                                error = item.message,
                                help = item.help,
                                "configuration error"
                            );
                        }
                        let errors = diagnostics.items.len();
                        tracing::error!(errors, "reload failed: the old configuration serves on");
                    }
                    Err(error) => {
                        let error = chain(&error);
                        tracing::error!(error, "reload failed: the old configuration serves on");
                    }
                }
            }
            Request::Shutdown => {
                return shutdown(
                    &shutdown_spec,
                    &mut listeners,
                    &drain_sender,
                    &readiness,
                    &mut signals,
                )
                .await;
            }
        }
    }
}

fn warn_of_what_needs_a_restart(old: &config::Config, new: &config::Config) {
    if old.runtime != new.runtime {
        tracing::warn!(
            key = "runtime.workers",
            "changed: takes effect at the next restart"
        );
    }
    let address = |config: &config::Config| config.admin.address.as_ref().map(|a| a.address);
    if address(old) != address(new) {
        tracing::warn!(
            key = "admin.address",
            "changed: takes effect at the next restart"
        );
    }
}

/// Ends the start. The log may not reach anybody yet, so standard error is told too.
fn failed(error: &(dyn Error + 'static)) -> Exit {
    complain(&format!("handfast: {}", chain(error)));
    Exit::Failure
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
