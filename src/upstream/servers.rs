//! The servers that a cluster has now, and which of them get requests.

use std::net::SocketAddr;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, timeout_at};

use super::balance::{Balance, Choosable, Seat};
use super::client_key::{ClientKey, ServerKey};
use super::endpoint::Endpoint;
use super::line::Line;
use super::server::{Server, Turn};
use super::standing::Turnabout;
use crate::config::{ServerAddress, Upstream};
use crate::telemetry::{CheckResult, UpstreamMetrics};

/// As many servers are asked for one request at most.
const MOST_ASKED: usize = 8;

/// The servers that a cluster has now. A name in the configuration stands for as many servers as
/// it has addresses, so there may be others later.
#[derive(Debug)]
pub(super) struct Servers {
    spec: Upstream,
    roster: ArcSwap<Roster>,
    /// Where each server in the configuration is; none where a name is not resolved yet.
    answers: Mutex<Vec<Vec<Endpoint>>>,
    /// One question to the resolver at a time.
    pub(super) asking: tokio::sync::Mutex<()>,
    /// Requests that wait for the first answer.
    pub(super) line: Line,
    /// One decision about a server at a time: two at once could eject the last two.
    judging: Mutex<()>,
    /// A server was ejected, or the cluster is gone.
    changed: Notify,
    /// Another cluster has taken their place, or nobody has the cluster any more.
    retired: AtomicBool,
    /// Told when they are retired.
    ended: Notify,
    metrics: Arc<UpstreamMetrics>,
}

/// The servers at one time.
#[derive(Debug)]
pub(super) struct Roster {
    servers: Vec<Arc<Server>>,
    balance: Balance,
}

/// The servers to ask for one request, one after the other, none of them twice: good ones first.
/// Where all are bad, all are as good.
#[derive(Debug)]
pub(super) struct Choice {
    roster: Arc<Roster>,
    client: ClientKey,
    asked: [usize; MOST_ASKED],
    count: usize,
    /// To be asked before any other.
    first: Option<usize>,
}

impl Servers {
    /// The servers of `spec`; those with names are there after [`Servers::resolve`].
    pub(super) fn new(spec: &Upstream, metrics: Arc<UpstreamMetrics>) -> Self {
        let answers: Vec<_> = spec
            .servers
            .iter()
            .map(|server| match &server.address {
                ServerAddress::Ip(address) => vec![Endpoint::Tcp(*address)],
                ServerAddress::Unix(path) => vec![Endpoint::Unix(path.clone())],
                ServerAddress::Name(..) => Vec::new(),
            })
            .collect();
        Self {
            roster: ArcSwap::from_pointee(Roster::new(spec, &answers, &[])),
            answers: Mutex::new(answers),
            spec: spec.clone(),
            asking: tokio::sync::Mutex::new(()),
            line: Line::new(spec.pool.max_waiting),
            judging: Mutex::new(()),
            changed: Notify::new(),
            retired: AtomicBool::new(false),
            ended: Notify::new(),
            metrics,
        }
    }

    pub(super) const fn spec(&self) -> &Upstream {
        &self.spec
    }

    pub(super) const fn metrics(&self) -> &Arc<UpstreamMetrics> {
        &self.metrics
    }

    /// The servers that there are now.
    pub(super) fn roster(&self) -> Arc<Roster> {
        self.roster.load_full()
    }

    /// Ready once a server was ejected since this was called, or the cluster is gone.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Wakes who waits for [`Servers::changed`].
    fn wake(&self) {
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// They are no longer an upstream's: what is open may end.
    pub(super) fn retire(&self) {
        if self.retired.swap(true, Ordering::AcqRel) {
            return;
        }
        self.ended.notify_waiters();
        self.wake();
        for server in self.roster.load().servers() {
            server.retire();
        }
    }

    /// Whether they are no longer an upstream's.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Waits until `at`; true where they are retired before that.
    pub(super) async fn retired_before(&self, at: Instant) -> bool {
        // Made first, so that nothing is missed between the look and the wait.
        let ended = self.ended.notified();
        self.is_retired() || timeout_at(at, ended).await.is_ok()
    }

    /// Tells the gauges what there is.
    pub(super) fn tell(&self) {
        if self.is_retired() {
            return;
        }
        let roster = self.roster.load();
        let healthy = roster.servers.len() - roster.out();
        self.metrics.servers(roster.servers.len(), healthy);
    }

    /// The servers at `spec` in the configuration have these addresses now: those that there were
    /// before stay as they are, those that are gone are drained.
    pub(super) fn renew(&self, spec: usize, addresses: Vec<SocketAddr>) {
        let addresses: Vec<_> = addresses.into_iter().map(Endpoint::Tcp).collect();
        let mut answers = lock(&self.answers);
        if answers[spec] == addresses {
            return;
        }
        answers[spec] = addresses;
        let old = self.roster.load_full();
        let new = Arc::new(Roster::new(&self.spec, &answers, &old.servers));
        self.roster.store(new.clone());
        drop(answers);
        for server in &old.servers {
            if !new.servers.iter().any(|own| Arc::ptr_eq(own, server)) {
                server.retire();
            }
        }
        tracing::info!(
            upstream = %self.spec.name,
            name = %self.spec.servers[spec].address,
            servers = new.servers.len(),
            "upstream name has other addresses"
        );
        self.tell();
    }

    /// An exchange with `server` failed. Enough of that in a row ejects it; never more than half
    /// of the servers, rounded up, and never the last.
    pub(super) fn failed(&self, server: &Server) {
        let Some(eject) = &self.spec.eject else {
            return;
        };
        if !server.standing.failed(eject) {
            return;
        }
        let _judging = lock(&self.judging);
        let roster = self.roster.load();
        let all = roster.servers.len();
        let ejected = roster
            .servers
            .iter()
            .filter(|server| server.standing.ejected_until().is_some())
            .count();
        if ejected + 1 > all.div_ceil(2) || roster.out() + 1 >= all {
            return;
        }
        let Some(period) = server.standing.eject(eject, Instant::now()) else {
            return;
        };
        self.metrics.ejection();
        tracing::warn!(
            upstream = %self.spec.name,
            server = %server.label,
            failures = server.standing.failures(),
            seconds = period.as_secs_f64(),
            "upstream server ejected"
        );
        self.tell();
        self.wake();
    }

    /// Brings those back whose ejection is over; when the next one is.
    pub(super) fn readmit(&self, now: Instant) -> Option<Instant> {
        let roster = self.roster.load();
        for server in &roster.servers {
            if server.standing.readmit(now) {
                tracing::info!(
                    upstream = %self.spec.name,
                    server = %server.label,
                    "upstream server is asked again"
                );
                self.tell();
            }
        }
        let ends = roster.servers.iter();
        ends.filter_map(|server| server.standing.ejected_until())
            .min()
    }

    /// A health check of `server` ended.
    pub(super) fn checked(&self, server: &Server, result: CheckResult) {
        self.metrics.check(result);
        let Some(health) = &self.spec.health else {
            return;
        };
        let turnabout = {
            let _judging = lock(&self.judging);
            server.standing.checked(result == CheckResult::Ok, health)
        };
        match turnabout {
            None => return,
            Some(Turnabout::Failed) => tracing::warn!(
                upstream = %self.spec.name,
                server = %server.label,
                result = result.name(),
                "upstream server is unhealthy"
            ),
            Some(Turnabout::Recovered) => tracing::info!(
                upstream = %self.spec.name,
                server = %server.label,
                "upstream server is healthy again"
            ),
        }
        self.tell();
    }
}

impl Roster {
    /// The servers that are where `answers` says; those of `old` that are among them stay.
    fn new(spec: &Upstream, answers: &[Vec<Endpoint>], old: &[Arc<Server>]) -> Self {
        let mut servers = Vec::new();
        let mut seats = Vec::new();
        for (index, (given, endpoints)) in spec.servers.iter().zip(answers).enumerate() {
            for endpoint in endpoints {
                let same = |own: &&Arc<Server>| own.spec == index && own.endpoint == *endpoint;
                let server = old.iter().find(same).cloned();
                let server =
                    server.unwrap_or_else(|| Arc::new(Server::new(spec, index, endpoint.clone())));
                seats.push(Seat {
                    weight: given.weight,
                    key: ServerKey::of(&server.label),
                });
                servers.push(server);
            }
        }
        Self {
            servers,
            balance: Balance::new(spec.balance, seats),
        }
    }

    pub(super) fn servers(&self) -> slice::Iter<'_, Arc<Server>> {
        self.servers.iter()
    }

    /// Whether no name is resolved yet, and there is no other server.
    pub(super) const fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// How many get no requests.
    fn out(&self) -> usize {
        let servers = self.servers.iter();
        servers.filter(|server| server.standing.is_out()).count()
    }

    /// The open exchanges of all servers.
    pub(super) fn in_flight(&self) -> usize {
        self.servers.iter().map(|server| server.in_flight()).sum()
    }
}

impl Choice {
    /// The choice for a request of `client`.
    pub(super) const fn new(roster: Arc<Roster>, client: ClientKey) -> Self {
        Self {
            roster,
            client,
            asked: [0; MOST_ASKED],
            count: 0,
            first: None,
        }
    }

    /// The next server to ask: a good one, else any, but where a good one is `full` and will be free.
    pub(super) fn next(&mut self, servers: &Arc<Servers>, full: Option<&Turn>) -> Option<Turn> {
        let waits = full.is_some_and(|turn| !turn.server().standing.is_out());
        let index = match self.first.take() {
            Some(index) => index,
            None if self.count == MOST_ASKED => return None,
            None => {
                let choose = |wanted| {
                    let among = Among {
                        choice: self,
                        wanted,
                    };
                    self.roster.balance.choose(self.client, &among)
                };
                match choose(Wanted::Good) {
                    None if waits => return None,
                    good => good.or_else(|| choose(Wanted::Any))?,
                }
            }
        };
        if self.count < MOST_ASKED {
            self.asked[self.count] = index;
            self.count += 1;
        }
        let server = self.roster.servers[index].clone();
        Some(Turn::new(server, servers.clone()))
    }

    /// Begins anew, with `server` first.
    pub(super) fn again(&mut self, server: &Arc<Server>) {
        self.count = 0;
        let mut servers = self.roster.servers.iter();
        self.first = servers.position(|own| Arc::ptr_eq(own, server));
    }

    /// Begins anew, with `server` first only where it is the only one.
    pub(super) fn elsewhere(&mut self, server: &Arc<Server>) {
        self.again(server);
        if self.roster.servers.len() > 1
            && let Some(index) = self.first.take()
        {
            self.asked[0] = index;
            self.count = 1;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Good,
    Any,
}

struct Among<'a> {
    choice: &'a Choice,
    wanted: Wanted,
}

impl Choosable for Among<'_> {
    fn may(&self, index: usize) -> bool {
        let choice = self.choice;
        let out = || choice.roster.servers[index].standing.is_out();
        !choice.asked[..choice.count].contains(&index) && (self.wanted == Wanted::Any || !out())
    }

    fn in_flight(&self, index: usize) -> usize {
        self.choice.roster.servers[index].in_flight()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held; if something did, what it guards is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
