//! The kinds of clients that came: a ClientHello of each, counted, for forecasts.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::hello::ClientHello;
use super::hello_shape::{shape, without_session};
use super::ja4::ja4;
use crate::report::ServerNameLabel;

/// Kinds of clients since the start, by listener and server name label.
///
/// Bounded in number and bytes: what did not come for longest is forgotten. A kind that is known
/// costs a hash of its ClientHello and a short lock; one that is new is copied as well.
pub struct HelloRing {
    keys: RandomState,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    kinds: HashMap<u64, Kind>,
    bytes: usize,
    /// ClientHellos so far: the age of each.
    clock: u64,
    forgotten: u64,
}

struct Kind {
    sample: Arc<HelloSample>,
    count: u64,
    last: u64,
}

/// One kind of client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloSample {
    /// The listener that it came to.
    pub listener: Arc<str>,
    /// The server name it asked for, as a label.
    pub server_name: ServerNameLabel,
    /// Its fingerprint.
    pub ja4: String,
    /// A whole ClientHello of its kind, without random bytes and sessions.
    pub message: Vec<u8>,
}

/// What came.
#[derive(Clone, Debug, Default)]
pub struct HelloCensus {
    /// Each kind that is kept, and how often it came; the most frequent first.
    pub kinds: Vec<(Arc<HelloSample>, u64)>,
    /// ClientHellos of kinds that are not kept any more.
    pub forgotten: u64,
}

/// Kinds that are kept: forecasts take a handshake's time for each.
const MAX_KINDS: usize = 512;
/// All samples together; most have less than 2 KB.
const MAX_BYTES: usize = 1 << 20;
/// Larger ClientHellos are counted as forgotten.
const MAX_SAMPLE: usize = 16 << 10;

impl HelloRing {
    /// Counts a ClientHello: `message` as it came, and `hello`, parsed of it.
    pub(super) fn saw(
        &self,
        message: &[u8],
        hello: &ClientHello,
        listener: &Arc<str>,
        server_name: &ServerNameLabel,
    ) {
        let Some(shape) = shape(message, &self.keys) else {
            return;
        };
        let key = self.keys.hash_one((shape, listener, server_name));
        if self.kept().count(key) {
            return;
        }
        // Outside of the lock: two may do it at once, and the second is counted.
        let sample = match message.len() {
            ..=MAX_SAMPLE => without_session(message),
            _ => None,
        };
        let sample = sample.map(|message| HelloSample {
            listener: listener.clone(),
            server_name: server_name.clone(),
            ja4: ja4(hello),
            message,
        });
        self.kept().add(key, sample);
    }

    /// Everything that is kept.
    #[must_use]
    pub fn census(&self) -> HelloCensus {
        let kept = self.kept();
        let kinds = kept.kinds.values();
        let mut kinds: Vec<_> = kinds
            .map(|kind| (kind.sample.clone(), kind.count))
            .collect();
        let forgotten = kept.forgotten;
        drop(kept);
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        HelloCensus { kinds, forgotten }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Counts one of a kind that is known; false when it is not.
    fn count(&mut self, key: u64) -> bool {
        let Some(kind) = self.kinds.get_mut(&key) else {
            return false;
        };
        self.clock += 1;
        kind.count += 1;
        kind.last = self.clock;
        true
    }

    /// Adds a kind with one ClientHello; without a sample it is only counted.
    fn add(&mut self, key: u64, sample: Option<HelloSample>) {
        if self.count(key) {
            return;
        }
        self.clock += 1;
        let Some(sample) = sample else {
            self.forgotten += 1;
            return;
        };
        let bytes = sample.message.len();
        while self.kinds.len() >= MAX_KINDS || self.bytes + bytes > MAX_BYTES {
            let oldest = self.kinds.iter().min_by_key(|(_, kind)| kind.last);
            let Some(oldest) = oldest.map(|(key, _)| *key) else {
                break;
            };
            if let Some(kind) = self.kinds.remove(&oldest) {
                self.bytes -= kind.sample.message.len();
                self.forgotten += kind.count;
            }
        }
        self.bytes += bytes;
        let kind = Kind {
            sample: Arc::new(sample),
            count: 1,
            last: self.clock,
        };
        self.kinds.insert(key, kind);
    }
}

impl Default for HelloRing {
    fn default() -> Self {
        Self {
            keys: RandomState::new(),
            kept: Mutex::default(),
        }
    }
}

impl fmt::Debug for HelloRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.kept().kinds.len();
        f.debug_struct("HelloRing").field("kinds", &kinds).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::old_hello;
    use super::*;

    fn saw(ring: &HelloRing, suite: u16, label: &ServerNameLabel) {
        let message = old_hello(suite, 29, "localhost");
        let hello = ClientHello::parse(&message).unwrap();
        ring.saw(&message, &hello, &"https".into(), label);
    }

    #[test]
    fn kinds_are_counted_by_name_and_the_most_frequent_comes_first() {
        let ring = HelloRing::default();
        let named = ServerNameLabel::Configured("localhost".into());
        saw(&ring, 0xc02b, &named);
        for _ in 0..3 {
            saw(&ring, 0xc02c, &named);
        }
        saw(&ring, 0xc02c, &ServerNameLabel::Other);
        let census = ring.census();
        let counts: Vec<_> = census.kinds.iter().map(|(_, count)| *count).collect();
        assert_eq!((counts, census.forgotten), (vec![3, 1, 1], 0));
        assert_eq!(census.kinds[0].0.server_name, named);
        assert!(census.kinds[0].0.ja4.starts_with("t12d"));
    }

    #[test]
    fn what_did_not_come_for_longest_is_forgotten() {
        let ring = HelloRing::default();
        let label = ServerNameLabel::None;
        let last = u16::try_from(MAX_KINDS).unwrap() + 9;
        for suite in 0..=last {
            saw(&ring, suite, &label);
            // It keeps coming.
            saw(&ring, 0xc02b, &label);
        }
        let census = ring.census();
        assert_eq!(census.kinds.len(), MAX_KINDS);
        assert_eq!(census.kinds[0].1, u64::from(last) + 1);
        assert_eq!(census.forgotten, 11);
        let all: u64 = census.kinds.iter().map(|(_, count)| count).sum();
        assert_eq!(all + census.forgotten, 2 * (u64::from(last) + 1));
    }

    #[test]
    fn giants_are_not_kept() {
        let ring = HelloRing::default();
        let mut message = old_hello(0xc02b, 29, "localhost");
        let hello = ClientHello::parse(&message).unwrap();
        message.resize(MAX_SAMPLE + 1, 0);
        ring.saw(&message, &hello, &"https".into(), &ServerNameLabel::None);
        let census = ring.census();
        assert_eq!((census.kinds.len(), census.forgotten), (0, 1));
    }
}
