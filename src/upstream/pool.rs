//! Kept connections of one server, and how many there may be.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::line::Line;
use super::link::Link;
use crate::config;

/// The connections of one server.
///
/// An exchange holds a place from before it looks for a connection until that connection is kept
/// or closed. Connections are made only while none is idle, so there are never more than
/// `max_connections`. Whoever finds no place waits in line for `wait`, first come first served;
/// the line holds `max_waiting`. The last connection kept is the first taken, so what load no longer needs grows old and is
/// closed.
#[derive(Debug)]
pub(super) struct Pool {
    spec: config::Pool,
    places: Arc<Semaphore>,
    /// Who waits for a place, or for who makes a connection of HTTP/2.
    pub(super) line: Line,
    idle: Mutex<IdleLinks>,
}

/// The right to one connection.
#[derive(Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// Oldest first.
#[derive(Debug, Default)]
struct IdleLinks {
    links: VecDeque<(Instant, Box<Link>)>,
    reaper: Reaper,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reaper {
    #[default]
    Asleep,
    Running,
    /// There is nothing to keep any more: the server is no longer the cluster's.
    Closed,
}

impl Pool {
    /// An empty pool.
    pub(super) fn new(spec: &config::Pool) -> Arc<Self> {
        Arc::new(Self {
            spec: spec.clone(),
            places: Arc::new(Semaphore::new(
                spec.max_connections.clamp(1, Semaphore::MAX_PERMITS),
            )),
            line: Line::new(spec.max_waiting),
            idle: Mutex::default(),
        })
    }

    /// A place, if one is free and nobody waits for it.
    pub(super) fn try_place(&self) -> Option<Place> {
        self.places.clone().try_acquire_owned().ok().map(Place)
    }

    /// A place, as soon as one is free: first come, first served.
    pub(super) async fn place(&self) -> Place {
        match self.places.clone().acquire_owned().await {
            Ok(place) => Place(place),
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// The connection that was kept last and still lives.
    pub(super) fn take(&self) -> Option<Box<Link>> {
        loop {
            let mut link = self.pop(Instant::now())?;
            if link.is_open() {
                return Some(link);
            }
        }
    }

    /// Closes one kept connection, to make room for a new one.
    pub(super) fn drop_oldest(&self) {
        let oldest = self.lock().links.pop_front();
        drop(oldest);
    }

    /// Keeps `link` for another exchange, or closes it where that cannot be.
    pub(super) fn keep(self: &Arc<Self>, mut link: Box<Link>) {
        // An end that came in the meantime shows here, too.
        if !link.rest() {
            return;
        }
        let mut idle = self.lock();
        if idle.links.len() >= self.spec.max_idle || idle.reaper == Reaper::Closed {
            drop(idle);
            return;
        }
        if idle.reaper == Reaper::Asleep {
            // Without a runtime nothing would ever close it again.
            let Ok(runtime) = Handle::try_current() else {
                drop(idle);
                return;
            };
            idle.reaper = Reaper::Running;
            runtime.spawn(reap(Arc::downgrade(self)));
        }
        idle.links.push_back((Instant::now(), link));
    }

    /// How many connections are kept.
    pub(super) fn idle(&self) -> usize {
        self.lock().links.len()
    }

    /// Closes what is kept, and keeps nothing more.
    pub(super) fn close(&self) {
        let mut idle = self.lock();
        idle.reaper = Reaper::Closed;
        let links = std::mem::take(&mut idle.links);
        drop(idle);
        drop(links);
    }

    fn pop(&self, now: Instant) -> Option<Box<Link>> {
        let mut idle = self.lock();
        let (since, link) = idle.links.pop_back()?;
        if now.saturating_duration_since(since) < self.spec.idle_timeout {
            return Some(link);
        }
        // All others are older still.
        let expired = std::mem::take(&mut idle.links);
        drop(idle);
        drop(expired);
        None
    }

    /// Closes what has been idle for too long; when the next one will be, or `None` and no reaper
    /// is at work any more.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let mut idle = self.lock();
        let keep_from = idle
            .links
            .iter()
            .position(|(since, _)| now < *since + self.spec.idle_timeout)
            .unwrap_or(idle.links.len());
        let expired: Vec<_> = idle.links.drain(..keep_from).collect();
        let next = idle
            .links
            .front()
            .map(|(since, _)| *since + self.spec.idle_timeout);
        if next.is_none() && idle.reaper == Reaper::Running {
            idle.reaper = Reaper::Asleep;
        }
        drop(idle);
        drop(expired);
        next
    }

    fn lock(&self) -> MutexGuard<'_, IdleLinks> {
        // Nothing panics while it is held; if something did, the list is still whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes idle connections in time, for as long as there are any.
async fn reap(pool: Weak<Pool>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.expire(Instant::now())) {
        sleep_until(next).await;
    }
}
