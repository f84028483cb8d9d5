//! Which tests may run beside each other: most do, those that measure or load run alone.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static TURN: RwLock<()> = RwLock::new(());

/// Held by a daemon for as long as it lives. A test takes one turn at most.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Beside others.
    Shared {
        /// Held, never read.
        _guard: RwLockReadGuard<'static, ()>,
    },
    /// Nothing else runs.
    Alone {
        /// Held, never read.
        _guard: RwLockWriteGuard<'static, ()>,
    },
}

impl Turn {
    /// Waits until no test runs that must be alone.
    pub(crate) fn shared() -> Self {
        // A test that panicked poisons the lock, which protects nothing but time.
        Self::Shared {
            _guard: TURN.read().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Waits until no other test runs.
    pub(crate) fn alone() -> Self {
        Self::Alone {
            _guard: TURN.write().unwrap_or_else(PoisonError::into_inner),
        }
    }
}
