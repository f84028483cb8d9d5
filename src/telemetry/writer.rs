//! Whole lines from every thread to one output, without ever waiting for it.
//!
//! A line is appended to a bounded buffer; one thread swaps the buffer for an empty one and writes
//! it out in one piece. No line costs an allocation or a system call where it arises, and a busy
//! daemon wakes the thread once for many lines. A slow or stuck output costs lines, which are
//! counted, and never time. Lines that are work to make (events of handshakes) are made by that
//! thread too.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::stream::{Dropped, Stream};

/// The sending side; cheap to clone.
#[derive(Clone)]
pub(super) struct LineWriter {
    shared: Arc<Shared>,
}

/// Where lines go.
#[derive(Debug)]
pub(super) enum Output {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// A file, opened for appending.
    File(File),
}

struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the writing thread.
    wake: Condvar,
    /// Tells that the writing thread is done.
    done: Condvar,
    dropped: Arc<Dropped>,
}

struct Queue {
    batch: Batch,
    thread: ThreadState,
}

/// What waits to be written.
#[derive(Default)]
struct Batch {
    lines: Vec<u8>,
    /// Lines that are not made yet, and before which byte of `lines` each belongs.
    later: Vec<(usize, Stream, Format)>,
    /// What `later` will have, about.
    later_bytes: usize,
    /// Lines of each stream.
    counts: [u64; Stream::ALL.len()],
    /// The output to go on with, and how much of `lines` and `later` is for the one before.
    next: Option<(usize, usize, Output)>,
}

/// Makes a line, without its newline.
type Format = Box<dyn FnOnce(&mut Vec<u8>) + Send>;

/// What the writing thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ThreadState {
    /// Waiting for a first line.
    Idle,
    /// Letting lines gather after a batch.
    Gathering,
    /// Writing.
    Writing,
    /// Told to write what there is and end.
    Closing,
    /// Ended: nothing is taken any more.
    Closed,
}

/// Lines waiting past this many bytes are dropped…
const MAX_QUEUED: usize = 1024 * 1024;
/// …except the daemon's own, which have some more room: a flood of requests must not hide why.
const DAEMON_RESERVE: usize = 256 * 1024;
/// Past this much the writing thread stops gathering.
const GATHER_BYTES: usize = MAX_QUEUED / 4;
/// How late a line may be written so that others go out with it.
const GATHER: Duration = Duration::from_millis(5);
/// Buffers that grew past this are given back.
const KEPT_CAPACITY: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl LineWriter {
    /// Starts the writing thread.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(super) fn start(output: Output, dropped: Arc<Dropped>) -> io::Result<Self> {
        let writer = Self::unattended(dropped);
        let shared = writer.shared.clone();
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || shared.run(output))?;
        Ok(writer)
    }

    /// A writer without a thread: lines stay until the bound is reached.
    pub(super) fn unattended(dropped: Arc<Dropped>) -> Self {
        Self {
            shared: Arc::new(Shared {
                queue: Mutex::new(Queue {
                    batch: Batch::default(),
                    thread: ThreadState::Writing,
                }),
                wake: Condvar::new(),
                done: Condvar::new(),
                dropped,
            }),
        }
    }

    /// Queues the line that `format` makes; a newline is added. A line that does not fit is
    /// dropped and counted.
    pub(super) fn line(&self, stream: Stream, format: impl FnOnce(&mut Vec<u8>)) {
        SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut line) => {
                line.clear();
                format(&mut line);
                line.push(b'\n');
                self.push(stream, &line);
                if line.capacity() > KEPT_CAPACITY {
                    *line = Vec::new();
                }
            }
            // Formatting a line led to another line.
            Err(_) => {
                let mut line = Vec::new();
                format(&mut line);
                line.push(b'\n');
                self.push(stream, &line);
            }
        });
    }

    /// Counts an event that is not written, because there are too many like it.
    pub(super) fn past_rate(&self) {
        self.shared.dropped.past_rate();
    }

    /// Queues `line`, which ends with its newline.
    pub(super) fn push(&self, stream: Stream, line: &[u8]) {
        let closed = || match stream {
            // The last words of the program, after its log was closed.
            Stream::Daemon => drop(io::stderr().write_all(line)),
            Stream::Access | Stream::Handshake => self.shared.dropped.add(stream, 1),
        };
        self.queue(stream, line.len(), closed, |batch| {
            batch.lines.extend_from_slice(line);
        });
    }

    /// As [`LineWriter::line`], for a line of `about` so many bytes that the writing thread makes.
    pub(super) fn line_later(
        &self,
        stream: Stream,
        about: usize,
        format: impl FnOnce(&mut Vec<u8>) + Send + 'static,
    ) {
        let closed = || self.shared.dropped.add(stream, 1);
        self.queue(stream, about, closed, |batch| {
            batch
                .later
                .push((batch.lines.len(), stream, Box::new(format)));
            batch.later_bytes += about;
        });
    }

    fn queue(
        &self,
        stream: Stream,
        bytes: usize,
        closed: impl FnOnce(),
        add: impl FnOnce(&mut Batch),
    ) {
        let mut queue = self.shared.queue();
        let room = match stream {
            Stream::Daemon => MAX_QUEUED + DAEMON_RESERVE,
            Stream::Access | Stream::Handshake => MAX_QUEUED,
        };
        if queue.thread == ThreadState::Closed {
            drop(queue);
            closed();
            return;
        }
        if queue.batch.bytes() + bytes > room {
            drop(queue);
            self.shared.dropped.add(stream, 1);
            return;
        }
        add(&mut queue.batch);
        queue.batch.counts[stream as usize] += 1;
        let wake = match queue.thread {
            ThreadState::Idle => true,
            ThreadState::Gathering => queue.batch.bytes() > GATHER_BYTES,
            ThreadState::Writing | ThreadState::Closing | ThreadState::Closed => false,
        };
        drop(queue);
        if wake {
            self.shared.wake.notify_one();
        }
    }

    /// Goes on with `output` after the lines that wait now.
    pub(super) fn switch(&self, output: Output) {
        let mut queue = self.shared.queue();
        let batch = &mut queue.batch;
        let (lines, later) = match &batch.next {
            // A switch that was not made yet never happens.
            Some((lines, later, _)) => (*lines, *later),
            None => (batch.lines.len(), batch.later.len()),
        };
        batch.next = Some((lines, later, output));
        drop(queue);
        self.shared.wake.notify_one();
    }

    /// Writes what waits and ends the thread, waiting for it no longer than `deadline`: an output
    /// that nobody reads must not keep the process alive.
    pub(super) fn close(&self, deadline: Duration) {
        let mut queue = self.shared.queue();
        if queue.thread != ThreadState::Closed {
            queue.thread = ThreadState::Closing;
        }
        self.shared.wake.notify_one();
        drop(
            self.shared
                .done
                .wait_timeout_while(queue, deadline, |queue| queue.thread != ThreadState::Closed),
        );
    }

    /// The lines that wait, for tests that read them.
    #[cfg(test)]
    pub(super) fn take_lines(&self) -> Vec<String> {
        let batch = std::mem::take(&mut self.shared.queue().batch);
        let (lines, _) = batch.made(|_| {});
        String::from_utf8(lines)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

impl std::fmt::Debug for LineWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LineWriter")
    }
}

impl Output {
    /// Opens `path` for appending; it is made where it is not there.
    ///
    /// # Errors
    /// As `open(2)`.
    pub(super) fn append_to(path: &Path) -> io::Result<Self> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map(Self::File)
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().write_all(lines),
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(lines)?;
                out.flush()
            }
            Self::File(file) => file.write_all(lines),
        }
    }
}

/// An output and whether its last write may have ended inside a line.
struct Sink {
    output: Output,
    torn: bool,
}

impl Sink {
    /// Writes whole lines; false where they may be lost.
    fn write(&mut self, lines: &[u8]) -> bool {
        if lines.is_empty() {
            return true;
        }
        let result = if self.torn {
            self.output.write(b"\n")
        } else {
            Ok(())
        };
        self.torn = result.and_then(|()| self.output.write(lines)).is_err();
        !self.torn
    }
}

impl Batch {
    fn bytes(&self) -> usize {
        self.lines.len() + self.later_bytes
    }

    /// All lines in their order, and the output to go on with after how many bytes of them. A line
    /// whose maker panics is `lost`, and no other is.
    fn made(self, mut lost: impl FnMut(Stream)) -> (Vec<u8>, Option<(usize, Output)>) {
        if self.later.is_empty() {
            let next = self.next.map(|(at, _, output)| (at, output));
            return (self.lines, next);
        }
        let (first, first_later) = match &self.next {
            Some((lines, later, _)) => (*lines, *later),
            None => (self.lines.len(), self.later.len()),
        };
        let mut made = Vec::with_capacity(self.bytes());
        let (mut taken, mut switch) = (0, None);
        for (index, (at, stream, format)) in self.later.into_iter().enumerate() {
            if index == first_later {
                made.extend_from_slice(&self.lines[taken..first]);
                (taken, switch) = (first, Some(made.len()));
            }
            made.extend_from_slice(&self.lines[taken..at]);
            taken = at;
            let whole = made.len();
            // The thread must go on: without it nothing is logged any more, this fault included.
            match catch_unwind(AssertUnwindSafe(|| format(&mut made))) {
                Ok(()) => made.push(b'\n'),
                Err(_) => {
                    made.truncate(whole);
                    lost(stream);
                }
            }
        }
        if switch.is_none() {
            made.extend_from_slice(&self.lines[taken..first]);
            (taken, switch) = (first, Some(made.len()));
        }
        made.extend_from_slice(&self.lines[taken..]);
        let next = self.next.zip(switch);
        (made, next.map(|((.., output), at)| (at, output)))
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that panics runs under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, output: Output) {
        let mut sink = Sink {
            output,
            torn: false,
        };
        let mut spare = Vec::new();
        loop {
            let (batch, last) = self.next_batch(std::mem::take(&mut spare));
            let mut counts = batch.counts;
            let (mut lines, next) = batch.made(|stream| {
                counts[stream as usize] -= 1;
                self.dropped.add(stream, 1);
            });
            let mut written = true;
            let mut rest = lines.as_slice();
            if let Some((at, output)) = next {
                let (before, after) = rest.split_at(at);
                written &= sink.write(before);
                sink = Sink {
                    output,
                    torn: false,
                };
                rest = after;
            }
            written &= sink.write(rest);
            if !written {
                // There is no log to tell it to: the metric does.
                for (stream, count) in Stream::ALL.into_iter().zip(counts) {
                    self.dropped.add(stream, count);
                }
            }
            lines.clear();
            lines.shrink_to(KEPT_CAPACITY);
            spare = lines;
            if last {
                break;
            }
            self.gather();
        }
        // Lines that came during the last write go out too; later ones are refused.
        let mut queue = self.queue();
        queue.thread = ThreadState::Closed;
        let batch = std::mem::take(&mut queue.batch);
        drop(queue);
        let (rest, _) = batch.made(|stream| self.dropped.add(stream, 1));
        sink.write(&rest);
        self.done.notify_all();
    }

    /// Waits until there is something to do and takes it, leaving `spare` for what comes; true: it
    /// is the last time.
    fn next_batch(&self, spare: Vec<u8>) -> (Batch, bool) {
        let mut queue = self.queue();
        loop {
            let last = queue.thread == ThreadState::Closing;
            if last || queue.batch.bytes() > 0 || queue.batch.next.is_some() {
                if !last {
                    queue.thread = ThreadState::Writing;
                }
                let empty = Batch {
                    lines: spare,
                    ..Batch::default()
                };
                return (std::mem::replace(&mut queue.batch, empty), last);
            }
            queue.thread = ThreadState::Idle;
            queue = self
                .wake
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn gather(&self) {
        let mut queue = self.queue();
        if queue.thread == ThreadState::Closing {
            return;
        }
        queue.thread = ThreadState::Gathering;
        drop(self.wake.wait_timeout_while(queue, GATHER, |queue| {
            queue.thread == ThreadState::Gathering
                && queue.batch.next.is_none()
                && queue.batch.bytes() <= GATHER_BYTES
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(counts: &Dropped) -> Vec<u64> {
        let output = counts.iter().take(Stream::ALL.len());
        output.map(|(.., count)| count).collect()
    }

    #[test]
    fn lines_of_all_threads_arrive_whole_and_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let counts = Arc::new(Dropped::default());
        let writer = LineWriter::start(Output::append_to(&path).unwrap(), counts.clone()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let writer = writer.clone();
                scope.spawn(move || {
                    for line in 0..500 {
                        writer.line(Stream::Access, |out| {
                            out.extend_from_slice(format!("{thread} {line}").as_bytes());
                        });
                    }
                });
            }
        });
        writer.close(Duration::from_secs(10));
        let text = std::fs::read_to_string(&path).unwrap();
        for thread in 0..4 {
            let numbers: Vec<usize> = text
                .lines()
                .filter_map(|line| line.strip_prefix(&format!("{thread} ")))
                .map(|line| line.parse().unwrap())
                .collect();
            assert_eq!(numbers, (0..500).collect::<Vec<_>>());
        }
        assert_eq!(text.lines().count(), 2000);
        assert_eq!(dropped(&counts), [0, 0, 0]);
        writer.line(Stream::Access, |_| ());
        assert_eq!(dropped(&counts), [1, 0, 0]);
    }

    #[test]
    fn a_full_queue_drops_and_counts_but_keeps_room_for_the_daemon() {
        let counts = Arc::new(Dropped::default());
        let writer = LineWriter::unattended(counts.clone());
        let line = [b'x'; 1023];
        for _ in 0..1030 {
            writer.line(Stream::Handshake, |out| out.extend_from_slice(&line));
        }
        assert_eq!(dropped(&counts), [0, 0, 6]);
        writer.push(Stream::Daemon, b"out of file descriptors\n");
        assert_eq!(dropped(&counts), [0, 0, 6]);
        let lines = writer.take_lines();
        assert_eq!(lines.len(), 1025);
        assert_eq!(lines[1024], "out of file descriptors");
    }

    #[test]
    fn lines_made_later_keep_their_place() {
        let later = |writer: &LineWriter, text: &'static str| {
            writer.line_later(Stream::Handshake, 100, move |line| {
                line.extend_from_slice(text.as_bytes());
            });
        };
        let counts = Arc::new(Dropped::default());
        let writer = LineWriter::unattended(counts.clone());
        later(&writer, "one");
        writer.push(Stream::Daemon, b"two\n");
        later(&writer, "three");
        later(&writer, "four");
        writer.push(Stream::Daemon, b"five\n");
        writer.switch(Output::Stdout);
        later(&writer, "six");
        writer.push(Stream::Daemon, b"seven\n");
        let batch = std::mem::take(&mut writer.shared.queue().batch);
        let (lines, next) = batch.made(|_| panic!("nothing is lost"));
        let at = next.map(|(at, _)| at).unwrap();
        assert_eq!(&lines[..at], b"one\ntwo\nthree\nfour\nfive\n");
        assert_eq!(&lines[at..], b"six\nseven\n");
        for _ in 0..MAX_QUEUED / 100 + 5 {
            later(&writer, "flood");
        }
        assert_eq!(dropped(&counts), [0, 0, 5]);
        assert_eq!(writer.take_lines().len(), MAX_QUEUED / 100);
    }

    #[test]
    fn a_line_that_cannot_be_made_is_the_only_one_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let counts = Arc::new(Dropped::default());
        let writer = LineWriter::start(Output::append_to(&path).unwrap(), counts.clone()).unwrap();
        for text in ["one", "fault", "two"] {
            writer.line_later(Stream::Handshake, 100, move |line| {
                line.extend_from_slice(text.as_bytes());
                assert_ne!(text, "fault", "a fault that the test makes");
            });
        }
        writer.push(Stream::Daemon, b"three\n");
        writer.close(Duration::from_secs(10));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "one\ntwo\nthree\n");
        assert_eq!(dropped(&counts), [0, 0, 1]);
    }

    #[test]
    fn a_new_output_begins_at_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let rotated = directory.path().join("log.1");
        let writer = LineWriter::start(Output::append_to(&path).unwrap(), Arc::default()).unwrap();
        writer.push(Stream::Daemon, b"first\n");
        std::fs::rename(&path, &rotated).unwrap();
        writer.switch(Output::append_to(&path).unwrap());
        let waits = || {
            let queue = writer.shared.queue();
            queue.batch.bytes() > 0 || queue.batch.next.is_some()
        };
        while waits() {
            std::thread::yield_now();
        }
        writer.push(Stream::Daemon, b"second\n");
        writer.close(Duration::from_secs(10));
        assert_eq!(std::fs::read_to_string(&rotated).unwrap(), "first\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second\n");
    }

    #[test]
    fn lost_writes_are_counted() {
        let counts = Arc::new(Dropped::default());
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let writer = LineWriter::start(Output::File(full), counts.clone()).unwrap();
        writer.push(Stream::Daemon, b"one\n");
        writer.push(Stream::Access, b"two\n");
        writer.close(Duration::from_secs(10));
        assert_eq!(dropped(&counts), [1, 1, 0]);
    }
}
