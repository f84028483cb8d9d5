//! What an HTTP/2 client lets us send: its flow-control windows, and since when one is shut.
//!
//! hyper waits for a window as long as it takes. Here the windows are kept a second time, from the
//! frames that pass, so that a client that takes nothing can be told from an upstream that sends
//! nothing: while a response is on its way, a window of 0 is the client's to open.

use std::collections::HashMap;
use std::time::Instant;

/// The windows of a connection and of its streams (RFC 9113 section 5.2).
#[derive(Debug)]
pub(super) struct SendWindows {
    /// What a new stream begins with.
    initial: i64,
    connection: Window,
    streams: HashMap<u32, Stream>,
    /// More streams than this are not looked at.
    most: usize,
    /// Streams whose response is on its way.
    responding: usize,
    /// No window that is shut was shut before; `None`: none is. Windows that have opened since
    /// can make it too early.
    earliest: Option<Instant>,
}

#[derive(Debug)]
struct Stream {
    window: Window,
    phase: Phase,
    /// The client has not ended its side.
    request_open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The response's head is not sent.
    Waiting,
    /// Its body is on its way.
    Responding,
}

#[derive(Debug)]
struct Window {
    /// Octets that may be sent; below 0 after the client has lowered what streams begin with.
    open: i64,
    shut: Option<Shut>,
}

/// A window that was used up.
#[derive(Clone, Copy, Debug)]
struct Shut {
    since: Instant,
    /// What the client gave since.
    given: u32,
}

/// What a client has to give before a window that was used up counts as one that moves: with the
/// default of `timeouts.response_idle` 34 octets a second. Less is a client that dribbles.
const LEAST: u32 = 1024;

/// RFC 9113 section 6.9.2.
const INITIAL: i64 = 65_535;

/// What an idle connection may keep of its table.
const KEPT: usize = 16;

impl SendWindows {
    /// A new connection, on which at most `most` streams are looked at.
    pub(super) fn new(most: usize) -> Self {
        Self {
            initial: INITIAL,
            connection: Window::new(INITIAL),
            streams: HashMap::new(),
            most,
            responding: 0,
            earliest: None,
        }
    }

    /// The client has opened a stream.
    pub(super) fn opened(&mut self, id: u32, request_open: bool) {
        if self.streams.len() < self.most {
            self.streams.insert(
                id,
                Stream {
                    window: Window::new(self.initial),
                    phase: Phase::Waiting,
                    request_open,
                },
            );
        }
    }

    /// The client has ended its side of a stream.
    pub(super) fn request_ended(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.request_open = false;
        }
    }

    /// Whether the client may still send on a stream.
    pub(super) fn is_request_open(&self, id: u32) -> bool {
        self.streams
            .get(&id)
            .is_some_and(|stream| stream.request_open)
    }

    /// The head of a response was sent, and its body follows.
    pub(super) fn responding(&mut self, id: u32, now: Instant) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.phase == Phase::Waiting {
            stream.phase = Phase::Responding;
            self.responding += 1;
            stream.window.begin(now);
            let shut = stream.window.shut_since();
            self.note(shut);
            if self.responding == 1 {
                self.connection.begin(now);
            }
            self.note(self.connection.shut_since());
        }
    }

    /// So many octets of a response were sent; whether the stream's window is open still.
    pub(super) fn sent(&mut self, id: u32, octets: usize, now: Instant) -> bool {
        let octets = i64::try_from(octets).unwrap_or(i64::MAX);
        self.connection.spend(octets, now);
        self.note(self.connection.shut_since());
        let Some(stream) = self.streams.get_mut(&id) else {
            return true;
        };
        stream.window.spend(octets, now);
        let shut = stream.window.shut_since();
        self.note(shut);
        shut.is_none()
    }

    /// The client has opened a window; stream 0 is the connection.
    pub(super) fn given(&mut self, id: u32, octets: u32, now: Instant) {
        if id == 0 {
            self.connection.give(octets, now);
        } else if let Some(stream) = self.streams.get_mut(&id) {
            stream.window.give(octets, now);
        }
    }

    /// The client has set what streams begin with, which moves the windows of those that are open.
    pub(super) fn set_initial(&mut self, octets: u32, now: Instant) {
        let change = i64::from(octets) - self.initial;
        self.initial = i64::from(octets);
        for stream in self.streams.values_mut() {
            match u32::try_from(change) {
                Ok(more) => stream.window.give(more, now),
                Err(_) => stream.window.spend(-change, now),
            }
        }
        // Where none is shut, the next look will tell.
        self.note((change < 0).then_some(now));
    }

    /// A response has ended, or its stream.
    pub(super) fn closed(&mut self, id: u32) {
        if let Some(stream) = self.streams.remove(&id)
            && stream.phase == Phase::Responding
        {
            self.responding -= 1;
        }
        if self.streams.is_empty() {
            self.earliest = None;
            if self.streams.capacity() > 2 * KEPT {
                self.streams.shrink_to(KEPT);
            }
        }
    }

    /// Whether a response is on its way.
    pub(super) const fn is_answering(&self) -> bool {
        self.responding > 0
    }

    /// No window is shut for longer than since then; `None`: no client is waited for. After
    /// [`Self::look`] it is exact.
    pub(super) const fn shut_since(&self) -> Option<Instant> {
        self.earliest
    }

    /// Makes [`Self::shut_since`] exact.
    pub(super) fn look(&mut self) {
        let streams = self
            .streams
            .values()
            .filter(|stream| stream.phase == Phase::Responding)
            .filter_map(|stream| stream.window.shut_since());
        let connection = self.connection.shut_since();
        let connection = connection.filter(|_| self.responding > 0);
        self.earliest = streams.chain(connection).min();
    }

    fn note(&mut self, shut: Option<Instant>) {
        self.earliest = match (self.earliest, shut) {
            (Some(earliest), Some(shut)) => Some(earliest.min(shut)),
            (earliest, shut) => earliest.or(shut),
        };
    }
}

impl Window {
    const fn new(open: i64) -> Self {
        Self { open, shut: None }
    }

    /// From now on it is the client's turn, if it is shut.
    fn begin(&mut self, now: Instant) {
        self.shut = (self.open <= 0).then_some(Shut {
            since: now,
            given: 0,
        });
    }

    fn spend(&mut self, octets: i64, now: Instant) {
        self.open = self.open.saturating_sub(octets);
        if self.shut.is_none() {
            self.begin(now);
        }
    }

    fn give(&mut self, octets: u32, now: Instant) {
        self.open = self.open.saturating_add(i64::from(octets));
        if let Some(shut) = &mut self.shut {
            shut.given = shut.given.saturating_add(octets);
            if shut.given >= LEAST {
                self.begin(now);
            }
        }
    }

    fn shut_since(&self) -> Option<Instant> {
        self.shut.filter(|_| self.open <= 0).map(|shut| shut.since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn since(windows: &mut SendWindows) -> Option<Instant> {
        windows.look();
        windows.shut_since()
    }

    #[test]
    fn only_a_response_on_its_way_waits_for_a_window() {
        let start = Instant::now();
        let mut windows = SendWindows::new(8);
        windows.set_initial(0, start);
        windows.opened(1, false);
        assert_eq!(since(&mut windows), None);
        windows.responding(1, at(start, 3));
        assert_eq!(since(&mut windows), Some(at(start, 3)));
        windows.given(1, 65_535, at(start, 4));
        assert_eq!(since(&mut windows), None);
        assert!(!windows.sent(1, 65_535, at(start, 5)));
        // The connection's window is used up as well.
        windows.given(1, 65_535, at(start, 6));
        assert_eq!(since(&mut windows), Some(at(start, 5)));
        windows.given(0, 65_535, at(start, 7));
        assert_eq!(since(&mut windows), None);
        windows.closed(1);
        assert_eq!(windows.shut_since(), None);
        assert_eq!(windows.responding, 0);
    }

    #[test]
    fn a_dribble_does_not_count_as_progress() {
        let start = Instant::now();
        let mut windows = SendWindows::new(8);
        windows.set_initial(1, start);
        windows.opened(1, false);
        windows.responding(1, start);
        windows.sent(1, 1, start);
        for second in 1..1024 {
            windows.given(1, 1, at(start, second));
            assert_eq!(since(&mut windows), None);
            windows.sent(1, 1, at(start, second));
            assert_eq!(since(&mut windows), Some(start));
        }
        windows.given(1, 1, at(start, 1024));
        windows.sent(1, 1, at(start, 1024));
        assert_eq!(since(&mut windows), Some(at(start, 1024)));
    }

    #[test]
    fn a_lowered_initial_window_shuts_open_streams() {
        let start = Instant::now();
        let mut windows = SendWindows::new(8);
        windows.opened(1, true);
        windows.opened(3, true);
        windows.responding(1, start);
        windows.sent(1, 1000, start);
        windows.set_initial(0, at(start, 1));
        assert_eq!(since(&mut windows), Some(at(start, 1)));
        windows.set_initial(2000, at(start, 2));
        assert_eq!(since(&mut windows), None);
        assert!(windows.is_request_open(3));
        windows.request_ended(3);
        assert!(!windows.is_request_open(3));
    }

    #[test]
    fn the_table_is_bounded_and_given_back() {
        let start = Instant::now();
        let mut windows = SendWindows::new(100);
        for id in 0..1000 {
            windows.opened(2 * id + 1, false);
            windows.responding(2 * id + 1, start);
        }
        assert_eq!(windows.streams.len(), 100);
        assert_eq!(windows.responding, 100);
        for id in 0..1000 {
            windows.closed(2 * id + 1);
        }
        assert_eq!(windows.responding, 0);
        assert!(windows.streams.capacity() <= 2 * KEPT);
    }
}
