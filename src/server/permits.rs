//! How many connections there may be (`limits.connections`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The permits for connections over all listeners (`limits.connections`). Past the limit
/// connections wait in the kernel's backlog.
#[derive(Debug)]
pub struct ConnectionPermits {
    semaphore: Arc<Semaphore>,
    limit: AtomicUsize,
    /// Permits to take back when they are returned, after the limit was lowered.
    debt: AtomicUsize,
}

impl ConnectionPermits {
    /// `limit` permits.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            semaphore: Arc::new(Semaphore::new(limit)),
            limit: AtomicUsize::new(limit),
            debt: AtomicUsize::new(0),
        }
    }

    /// Changes the limit. Connections beyond a lower one end in their own time; new ones wait
    /// until enough have.
    pub fn resize(&self, limit: usize) {
        let old = self.limit.swap(limit, Ordering::AcqRel);
        if limit < old {
            let missing = old - limit - self.semaphore.forget_permits(old - limit);
            self.debt.fetch_add(missing, Ordering::AcqRel);
            return;
        }
        let mut more = limit - old;
        while more > 0 && self.forgive() {
            more -= 1;
        }
        self.semaphore.add_permits(more);
    }

    /// Gives a permit back, or keeps it where one is owed.
    pub(super) fn release(&self, permit: OwnedSemaphorePermit) {
        if self.forgive() {
            permit.forget();
        }
    }

    /// Takes one off the debt; false when there is none.
    fn forgive(&self) -> bool {
        let less = |debt: usize| debt.checked_sub(1);
        self.debt
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less)
            .is_ok()
    }

    /// Whether there is one to be had.
    pub(super) fn any(&self) -> bool {
        self.semaphore.available_permits() > 0
    }

    pub(super) async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        self.semaphore.clone().acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn permits_follow_the_limit() {
        let permits = ConnectionPermits::new(2);
        let first = permits.acquire().await.unwrap();
        let second = permits.acquire().await.unwrap();
        permits.resize(1);
        permits.release(first);
        assert_eq!(permits.semaphore.available_permits(), 0);
        permits.release(second);
        assert_eq!(permits.semaphore.available_permits(), 1);
        permits.resize(5);
        assert_eq!(permits.semaphore.available_permits(), 5);
    }
}
