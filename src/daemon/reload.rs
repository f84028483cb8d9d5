//! The running set of listeners, and its change to another generation.
//!
//! Everything that can fail comes first: the snapshot is built and new listeners are bound.
//! Only then is anything changed, so that a failed reload keeps the old state serving.

use std::sync::Arc;

use crate::admin::Listening;
use crate::config::{self, Diagnostics, Loaded, Share};
use crate::drain::{self, Drain, DrainSender};
use crate::server::{Acceptor, BindError, ListenerSocket, ServerContext};
use crate::snapshot::Snapshot;
use crate::tls::Forecast;

/// The listeners that run.
#[derive(Debug)]
pub(super) struct Listeners {
    context: Arc<ServerContext>,
    drain: Drain,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    spec: config::Listener,
    listener: Arc<ListenerSocket>,
    stop: DrainSender,
}

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
    /// No listeners yet; connections of those to come hold `drain`.
    pub(super) const fn new(context: Arc<ServerContext>, drain: Drain) -> Self {
        Self {
            context,
            drain,
            running: Vec::new(),
        }
    }

    /// Binds the listeners of the generation that the context was made with.
    ///
    /// # Errors
    /// The first address that cannot be listened on; then none is.
    pub(super) fn begin(&mut self, config: &config::Config) -> Result<(), BindError> {
        for (spec, listener) in self.bind_new(config)? {
            self.start(spec, listener);
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
        let bound = self.bind_new(&loaded.config)?;

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
        for (spec, listener) in bound {
            self.start(spec, listener);
        }
        drop::<Vec<Running>>(replaced);
        Ok(())
    }

    /// Their names, and where they listen.
    pub(super) fn listening(&self) -> Listening {
        let running = self.running.iter().map(|own| {
            (
                own.spec.name.clone(),
                own.listener.address(&own.spec.address),
            )
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

    /// A socket for each listener that is new or changed: a running one where the address is the
    /// same, whatever else changed.
    fn bind_new(
        &self,
        config: &config::Config,
    ) -> Result<Vec<(config::Listener, Arc<ListenerSocket>)>, BindError> {
        let changed =
            |spec: &&config::Listener| !self.running.iter().any(|own| same(spec, &own.spec));
        config
            .listeners
            .iter()
            .filter(changed)
            .map(|spec| {
                let own = self.running.iter().find(|own| same_socket(spec, &own.spec));
                let socket = match own {
                    Some(own) => {
                        own.listener.backlog(spec.backlog);
                        own.listener.clone()
                    }
                    None => Arc::new(ListenerSocket::bind(&spec.address, spec.backlog)?),
                };
                Ok((spec.clone(), socket))
            })
            .collect()
    }

    fn start(&mut self, spec: config::Listener, listener: Arc<ListenerSocket>) {
        let address = listener.address(&spec.address);
        tracing::info!(listener = %spec.name, %address, "listening");
        let (stop, stopped) = drain::channel();
        let acceptor = Acceptor::new(
            listener.clone(),
            address,
            spec.name.clone(),
            self.context.clone(),
        );
        tokio::spawn(acceptor.run(stopped, self.drain.clone()));
        self.running.push(Running {
            spec,
            listener,
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
