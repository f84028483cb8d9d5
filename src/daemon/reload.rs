//! The running set of listeners, and its change to another generation.
//!
//! Everything that can fail comes first: the snapshot is built and new listeners are bound.
//! Only then is anything changed, so that a failed reload keeps the old state serving.

use std::sync::Arc;

use crate::admin::Listening;
use crate::config::{self, Diagnostics, Loaded, Share};
use crate::drain::{self, Drain, DrainSender};
use crate::server::{
    Acceptor, BindError, Heartbeat, InheritedSockets, ListenerSocket, ServerContext,
};
use crate::snapshot::Snapshot;
use crate::tls::Forecast;

/// The listeners that run.
#[derive(Debug)]
pub(super) struct Listeners {
    context: Arc<ServerContext>,
    drain: Drain,
    inherited: InheritedSockets,
    heartbeat: Heartbeat,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    spec: config::Listener,
    /// One, but for sockets of the service manager: never none.
    sockets: Sockets,
    stop: DrainSender,
}

type Sockets = Vec<Arc<ListenerSocket>>;

/// Why a generation was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[source] Diagnostics),
    /// It would turn away more clients than `reload.max_broken_clients` permits.
    #[error(
        "it would turn away {} of {} handshakes like those that got through, more than \
         max_broken_clients = {max}",
        forecast.would_fail,
        forecast.get_through
    )]
    Guarded {
        /// What is permitted.
        max: Share,
        /// Who would be turned away.
        forecast: Box<Forecast>,
    },
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// Whether clients that got through are looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// As `reload.max_broken_clients` says.
    Configured,
    /// Somebody knows what they do.
    Forced,
}

impl Listeners {
    /// No listeners yet; connections of those to come hold `drain`. Some may be on sockets that are
    /// `inherited`.
    pub(super) fn new(
        context: Arc<ServerContext>,
        drain: Drain,
        inherited: InheritedSockets,
    ) -> Self {
        Self {
            context,
            drain,
            inherited,
            heartbeat: Heartbeat::default(),
            running: Vec::new(),
        }
    }

    /// What the accept loops answer to.
    pub(super) const fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// Opens the listeners of the generation that the context was made with.
    ///
    /// # Errors
    /// Inherited sockets that are not there, or the first address that cannot be listened on; then
    /// none is.
    pub(super) fn begin(&mut self, loaded: &Loaded) -> Result<(), ReloadError> {
        for (spec, sockets) in self.open_new(loaded)? {
            self.start(spec, sockets);
        }
        Ok(())
    }

    /// Builds the next generation of `loaded`, publishes it and changes the listeners to it.
    /// Those that did not change are not touched.
    ///
    /// # Errors
    /// Nothing has changed.
    pub(super) fn apply(&mut self, loaded: &Loaded, guard: Guard) -> Result<(), ReloadError> {
        let context = self.context.clone();
        let metrics = &context.telemetry.metrics;
        let previous = context.snapshot.load_full();
        let next =
            Snapshot::build(loaded, metrics, Some(&previous)).map_err(ReloadError::Config)?;
        if guard == Guard::Configured
            && let Some(max) = loaded.config.reload.max_broken_clients
        {
            let forecast = previous.forecast(&next);
            if max.is_exceeded_by(forecast.would_fail, forecast.get_through) {
                let forecast = Box::new(forecast);
                return Err(ReloadError::Guarded { max, forecast });
            }
        }
        let opened = self.open_new(loaded)?;

        previous.retire(&next, metrics);
        next.announce(metrics);
        context.resize(&loaded.config.limits);
        context.snapshot.store(Arc::new(next));
        // New loops start before old ones stop.
        let wanted = &loaded.config.listeners;
        let unchanged = |own: &Running| wanted.iter().any(|spec| same(spec, &own.spec));
        let (kept, replaced) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(unchanged);
        self.running = kept;
        for (spec, sockets) in opened {
            self.start(spec, sockets);
        }
        drop::<Vec<Running>>(replaced);
        Ok(())
    }

    /// Their names, and where they listen.
    pub(super) fn listening(&self) -> Listening {
        let running = self.running.iter().map(|own| {
            let sockets = own.sockets.iter();
            let addresses = sockets.map(|it| it.address(&own.spec.address));
            (own.spec.name.clone(), addresses.collect())
        });
        running.collect()
    }

    /// The generation that serves.
    pub(super) fn serving(&self) -> Arc<Snapshot> {
        self.context.snapshot.load_full()
    }

    /// Stops accepting.
    pub(super) fn stop(&mut self) {
        self.running.clear();
    }

    /// The sockets of each listener that is new or changed: the running ones where the address is
    /// the same, whatever else changed.
    fn open_new(&self, loaded: &Loaded) -> Result<Vec<(config::Listener, Sockets)>, ReloadError> {
        let config = &loaded.config;
        let faults = self.inherited.faults(&config.listeners);
        if !faults.is_empty() {
            return Err(ReloadError::Config(Diagnostics {
                sources: loaded.sources.clone(),
                items: faults,
            }));
        }
        for name in self.inherited.unused(&config.listeners) {
            tracing::warn!(
                name,
                "the service manager passed a socket that no listener asks for: its clients wait"
            );
        }
        let changed =
            |spec: &&config::Listener| !self.running.iter().any(|own| same(spec, &own.spec));
        config
            .listeners
            .iter()
            .filter(changed)
            .map(|spec| {
                let own = self.running.iter().find(|own| same_socket(spec, &own.spec));
                let sockets = match own {
                    Some(own) => {
                        for socket in &own.sockets {
                            socket.backlog(spec.backlog);
                        }
                        own.sockets.clone()
                    }
                    None => {
                        let (address, backlog) = (&spec.address, spec.backlog);
                        let opened = ListenerSocket::open(address, backlog, &self.inherited)?;
                        opened.into_iter().map(Arc::new).collect()
                    }
                };
                Ok((spec.clone(), sockets))
            })
            .collect()
    }

    fn start(&mut self, spec: config::Listener, sockets: Sockets) {
        let (stop, stopped) = drain::channel();
        for socket in &sockets {
            let address = socket.address(&spec.address);
            tracing::info!(listener = %spec.name, %address, "listening");
            let acceptor = Acceptor::new(
                socket.clone(),
                address,
                spec.name.clone(),
                self.context.clone(),
                &self.heartbeat,
            );
            tokio::spawn(acceptor.run(stopped.clone(), self.drain.clone()));
        }
        self.running.push(Running {
            spec,
            sockets,
            stop,
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.drain();
    }
}

/// Whether the same accept loop serves both. What is spoken comes with each generation.
fn same(a: &config::Listener, b: &config::Listener) -> bool {
    a.name == b.name && a.address == b.address && a.backlog == b.backlog
}

/// Whether the running socket of `own` is the one that `spec` asks for. Port 0 is another port
/// for each listener.
fn same_socket(spec: &config::Listener, own: &config::Listener) -> bool {
    spec.address == own.address && (!spec.address.is_ephemeral() || spec.name == own.name)
}
