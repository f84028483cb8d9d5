//! A map from label values to counters that is read without a lock.
//!
//! For labels whose values are known only when they are first seen. New values are rare (each is
//! seen for the first time once), so an insertion copies the map and a look-up is one atomic load.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Counters by label value. Entries stay until the process ends.
#[derive(Debug)]
pub(super) struct Labelled<K, V> {
    map: ArcSwap<HashMap<K, Arc<V>>>,
    capacity: usize,
}

impl<K: Clone + Eq + Hash, V> Labelled<K, V> {
    /// An empty map for `capacity` values at most.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            map: ArcSwap::default(),
            capacity,
        }
    }

    /// Calls `count` with the counters of `key`, made by `make` at its first use. `None`: the map
    /// is full and `key` is not in it.
    pub(super) fn with<T>(
        &self,
        key: &K,
        make: impl Fn() -> V,
        count: impl FnOnce(&V) -> T,
    ) -> Option<T> {
        // One look for both: the key may come, as the last one, between two.
        let map = self.map.load();
        if let Some(value) = map.get(key) {
            return Some(count(value));
        }
        // Nothing ever leaves, so a full map stays as it is: it is not copied to find that out.
        if map.len() >= self.capacity {
            return None;
        }
        drop(map);
        let fresh = Arc::new(make());
        self.map.rcu(|map| {
            let mut map = HashMap::clone(map);
            if map.len() < self.capacity {
                // Another thread may have been first: its counters stay.
                map.entry(key.clone()).or_insert_with(|| fresh.clone());
            }
            map
        });
        self.map.load().get(key).map(|value| count(value))
    }

    /// Every value with its counters, sorted by `order`.
    pub(super) fn sorted<O: Ord>(&self, order: impl Fn(&K) -> O) -> Vec<(K, Arc<V>)> {
        let mut entries: Vec<_> = self
            .map
            .load()
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        entries.sort_by_key(|(key, _)| order(key));
        entries
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn threads_that_race_for_a_label_share_its_counters() {
        let map: Labelled<usize, AtomicU64> = Labelled::new(64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for key in 0..64 {
                        map.with(&key, AtomicU64::default, |count| {
                            count.fetch_add(1, Ordering::Relaxed)
                        })
                        .unwrap();
                    }
                });
            }
        });
        let entries = map.sorted(|&key| key);
        assert_eq!(entries.len(), 64);
        for (_, count) in entries {
            assert_eq!(count.load(Ordering::Relaxed), 4);
        }
        assert_eq!(map.with(&64, AtomicU64::default, |_| ()), None);
    }
}
