//! `handfast run`: from a configuration to a serving process and to its end.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::cli::complain;
use super::control::{Control, Demand};
use super::descriptors;
use super::exit::Exit;
use super::notify::{Notifier, watchdog};
use super::reload::{Guard, Listeners, ReloadError};
use super::reloader::{ReloadRequest, Reloader, chain};
use super::runtime;
use super::shutdown::{Draining, shutdown};
use super::signals::{Request, Signals};
use super::upkeep::{tick, upkeep};
use super::watch::Watch;
use super::watched_files::Sight;
use crate::admin::{AdminListener, AdminState, DaemonStatus, Readiness, ReloadCause, ReloadReport};
use crate::config::{self, Loaded};
use crate::server::{InheritedSockets, ServerContext, bind};
use crate::snapshot::Snapshot;
use crate::telemetry::{Metrics, Telemetry, TelemetryGuard};
use crate::unix_socket::{SocketAccess, bind_unix};
use crate::{admin, drain, tls};

/// Admin connections that wait in the kernel.
const ADMIN_BACKLOG: u32 = 64;
/// For tasks to be dropped, which takes no time but that of threads that are busy.
const LAST_TASKS: Duration = Duration::from_secs(1);
/// For answers of the admin listeners at the very end.
const ADMIN_CLOSE: Duration = Duration::from_secs(1);

/// Runs the daemon with the configuration at `path` until it is told to end.
pub(super) fn run(path: &Path) -> Exit {
    // While this is the only thread.
    let inherited = InheritedSockets::take();
    let watch = Watch::new(Some(path));
    let seen = watch.look();
    let loaded = match config::load(path) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            complain(diagnostics.to_string().trim_end());
            return Exit::Config;
        }
    };
    let source = ConfigSource {
        reload: &|| config::load(path),
        watch,
        seen,
    };
    run_loaded(loaded, inherited, source, |_| Ok(()))
}

/// Where configurations come from.
pub(super) struct ConfigSource<'a> {
    /// Loads the next one.
    pub(super) reload: &'a dyn Fn() -> Result<Loaded, config::Diagnostics>,
    /// Notices that there is a next one.
    pub(super) watch: Watch,
    /// How the files looked before the first was loaded.
    pub(super) seen: Sight,
}

/// Runs the daemon with a configuration that is loaded already, with the sockets that it was started
/// with, and then with the configurations of `source`; `ready` is called inside the runtime once all listeners listen.
pub(super) fn run_loaded(
    loaded: Loaded,
    inherited: InheritedSockets,
    source: ConfigSource<'_>,
    ready: impl FnOnce(&Telemetry) -> Result<(), Box<dyn Error>>,
) -> Exit {
    let (telemetry, guard) = match Telemetry::start(&loaded.config.log) {
        Ok(started) => started,
        Err(error) => return failed(&error),
    };
    let result = runtime::build(loaded.config.runtime.workers)
        .map_err(|error| failed(&error))
        .map(|runtime| {
            let exit =
                runtime.block_on(serve(&loaded, inherited, telemetry, &guard, source, ready));
            // Connections past the drain timeout end here, with their tasks; what these leave (a
            // line in the log, a socket's file) is waited for, a name that is looked up is not.
            runtime.shutdown_timeout(LAST_TASKS);
            exit
        });
    result.unwrap_or_else(|exit| exit)
}

async fn serve(
    loaded: &Loaded,
    inherited: InheritedSockets,
    telemetry: Telemetry,
    log: &TelemetryGuard,
    source: ConfigSource<'_>,
    ready: impl FnOnce(&Telemetry) -> Result<(), Box<dyn Error>>,
) -> Exit {
    // Signals first: one that comes during the start is not lost.
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return failed(&error),
    };
    let notifier = match Notifier::from_environment() {
        Ok(notifier) => notifier,
        Err(error) => {
            // It serves as well without: only a unit with Type=notify gives up on it.
            complain(&format!("handfast: {}", chain(&error)));
            Notifier::default()
        }
    };
    // Before the first handshake, which it would delay by 50 ms.
    if tls::warm_up().is_err() {
        complain("the system has no randomness to give");
        return Exit::Failure;
    }
    let ConfigSource {
        reload,
        mut watch,
        mut seen,
    } = source;
    let named = loaded.config.files();
    seen.add(&named);
    let first = match Snapshot::build(loaded, &telemetry.metrics, None) {
        Ok(first) => first,
        Err(diagnostics) => {
            complain(diagnostics.to_string().trim_end());
            return Exit::Config;
        }
    };
    first.announce(&telemetry.metrics);
    let status = Arc::new(DaemonStatus::default());
    if let Some(token) = first.admin_token() {
        status.admin_token(token.clone());
    }
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
    let mut listeners = Listeners::new(context.clone(), drain.clone(), inherited);
    let readiness = Readiness::new();

    // The admin listeners serve until the very end: they show the drain.
    let (admin_drain, admin_drained) = drain::channel();
    let admin = &loaded.config.admin;
    let key_log = context.snapshot.load().key_log().clone();
    let mut control = Control::new(log, key_log.clone(), loaded.config.log.level);
    let state = Arc::new(AdminState::new(
        telemetry.clone(),
        readiness.clone(),
        status.clone(),
        key_log,
        context.snapshot.clone(),
        control.sender(),
        admin.socket.clone(),
    ));
    let health = &loaded.config.health;
    let over_tcp: [(_, _, fn(TcpListener) -> _); 2] = [
        ("admin", &admin.address, AdminListener::Tcp),
        ("health", &health.address, AdminListener::Health),
    ];
    for (name, spec, kind) in over_tcp {
        let Some(spec) = spec else { continue };
        match bind(spec.address, ADMIN_BACKLOG) {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(spec.address);
                tracing::info!(listener = name, %address, "listening");
                let listener = kind(listener);
                tokio::spawn(admin::serve(listener, state.clone(), admin_drained.clone()));
            }
            Err(error) => return failed(&error),
        }
    }
    let mut socket_file = None;
    if let Some(path) = &admin.socket {
        match bind_unix(path, SocketAccess::Owner, ADMIN_BACKLOG) {
            Ok((listener, file)) => {
                tracing::info!(listener = "admin socket", address = %path.display(), "listening");
                socket_file = Some(file);
                let listener = AdminListener::Unix(listener);
                tokio::spawn(admin::serve(listener, state.clone(), admin_drained.clone()));
            }
            Err(error) => return failed(&error),
        }
    }
    drop(state);
    match listeners.begin(loaded) {
        Ok(()) => {}
        Err(ReloadError::Config(diagnostics)) => {
            complain(diagnostics.to_string().trim_end());
            return Exit::Config;
        }
        Err(error) => return failed(&error),
    }
    status.listening(listeners.listening());
    tokio::spawn(upkeep(context.clone()));
    tokio::spawn(tick(telemetry.clone()));
    readiness.ready();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
    if let Err(error) = ready(&telemetry) {
        return failed(&*error);
    }
    notifier.ready(&serving(None, &telemetry.metrics));
    tokio::spawn(watchdog(notifier.clone(), listeners.heartbeat().clone()));

    let reloader = Reloader {
        first: &loaded.config,
        load: reload,
        log,
        metrics: &telemetry.metrics,
        status: status.clone(),
    };
    watch.renew(loaded.config.reload.watch, named, seen);
    loop {
        let asked = tokio::select! {
            request = signals.next() => match request {
                Request::Reload => (ReloadCause::Signal, Guard::Configured, None),
                Request::Shutdown => break,
            },
            demand = control.next() => match demand {
                Demand::Reload { guard, answer } => (ReloadCause::Command, guard, Some(answer)),
                Demand::Shutdown => break,
            },
            changed = watch.changed() => {
                if let [file, more @ ..] = &*changed {
                    let (file, more) = (file.display(), more.len());
                    tracing::info!(%file, more, "files have changed: reloading");
                }
                (ReloadCause::Watch, Guard::Configured, None)
            }
        };
        let (cause, guard, answer) = asked;
        let request = ReloadRequest { cause, guard };
        notifier.reloading();
        let (report, next) = reloader.reload(&mut listeners, &mut watch, request);
        notifier.ready(&serving(Some(&report), &telemetry.metrics));
        if let Some(next) = next {
            control.reloaded(next.config.log.level);
            shutdown_spec = next.config.shutdown;
        }
        if let Some(answer) = answer {
            // Whoever asked may be gone.
            let _ = answer.send(Some(report));
        }
    }
    let drain = Draining {
        spec: &shutdown_spec,
        connections: &drain_sender,
        readiness: &readiness,
        status: &status,
        notifier: &notifier,
        metrics: &telemetry.metrics,
    };
    let exit = shutdown(drain, &mut listeners, &mut signals, &mut control).await;
    control.end();
    // Ticket keys that the next process is to know.
    context.snapshot.load().upkeep(&telemetry.metrics);
    // Answers that are being written.
    admin_drain.drain();
    let _ = tokio::time::timeout(ADMIN_CLOSE, admin_drain.finished()).await;
    drop(socket_file);
    exit
}

/// What the daemon is about, in a line for the service manager.
fn serving(reload: Option<&ReloadReport>, metrics: &Metrics) -> String {
    let generation = metrics.generation();
    match reload.and_then(|reload| reload.error.as_ref()) {
        None => format!("serving configuration {generation}"),
        Some(error) => {
            format!("serving configuration {generation}; the last reload failed: {error}")
        }
    }
}

/// Ends the start. The log may not reach anybody yet, so standard error is told too.
fn failed(error: &(dyn Error + 'static)) -> Exit {
    complain(&format!("handfast: {}", chain(error)));
    Exit::Failure
}
