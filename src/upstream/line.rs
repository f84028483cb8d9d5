//! A bounded number of those who wait.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A line that holds `pool.max_waiting`. It has no order: what is waited for has.
#[derive(Debug)]
pub(super) struct Line {
    most: usize,
    waiting: AtomicUsize,
}

/// A place in a line, until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting<'l>(&'l AtomicUsize);

impl Line {
    pub(super) const fn new(most: usize) -> Self {
        Self {
            most,
            waiting: AtomicUsize::new(0),
        }
    }

    /// A place in the line; `None`: it is full.
    pub(super) fn join(&self) -> Option<Waiting<'_>> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        (before < self.most).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_so_many_and_a_place_that_is_left_is_free() {
        let line = Line::new(2);
        let (first, second) = (line.join(), line.join());
        assert!(first.is_some() && second.is_some());
        assert!(line.join().is_none() && line.join().is_none());
        drop(first);
        assert!(line.join().is_some());
        assert!(Line::new(0).join().is_none());
    }
}
