//! The file of a key log and the thread that writes it: a worker never waits for a disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;
use rustix::fs::OFlags;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::key_log::{CaptureId, KeyLog, KeyLogRequest, KeyLogStatus, Line};

/// The largest file; a capture that would pass it ends.
const MAX_FILE: usize = 16 << 20;
/// As much as is written at once.
const BATCH: usize = 64 << 10;

/// What is known of a capture.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) clients: IpNet,
    pub(super) deadline: Instant,
    pub(super) dropped: AtomicU64,
    file: PathBuf,
    until: SystemTime,
    uid: Option<u32>,
    sessions: AtomicU64,
}

/// Writes one capture to its end.
pub(super) struct KeyLogWriter {
    log: Arc<KeyLog>,
    id: CaptureId,
    facts: Arc<Facts>,
    file: File,
    queue: Receiver<Line>,
    written: usize,
    /// Dropped with the thread, which is how the end is heard.
    _ended: SyncSender<()>,
}

/// Why a capture ended.
enum End {
    /// Its time is over.
    Time,
    /// Somebody stopped it.
    Stopped,
    /// The file is full.
    Size,
    /// The file cannot be written.
    Failed(io::Error),
}

/// Creates the file, for its owner alone. The last component of `path` is no link, and nothing is
/// there yet.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

impl Facts {
    /// Those of a capture that begins now.
    pub(super) fn new(request: &KeyLogRequest) -> Self {
        Self {
            clients: request.clients.trunc(),
            deadline: Instant::now() + request.duration,
            dropped: AtomicU64::new(0),
            file: request.file.clone(),
            until: SystemTime::now() + request.duration,
            uid: request.uid,
            sessions: AtomicU64::new(0),
        }
    }

    /// As they are now.
    pub(super) fn status(&self) -> KeyLogStatus {
        KeyLogStatus {
            clients: self.clients,
            file: self.file.clone(),
            until: self.until,
            uid: self.uid,
            sessions: self.sessions.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    /// Tells the log of the beginning.
    pub(super) fn log_start(&self) {
        let until = OffsetDateTime::from(self.until).format(&Rfc3339);
        tracing::warn!(
            clients = %self.clients, file = %self.file.display(), uid = self.uid,
            until = until.unwrap_or_default(),
            "key log started: whoever has the file can read the connections of these clients"
        );
    }

    fn log_end(&self, end: &End) {
        let reason = match end {
            End::Time => "its time is over",
            End::Stopped => "it was stopped",
            End::Size => "the file has reached its greatest size",
            End::Failed(_) => "the file cannot be written",
        };
        let error = match end {
            End::Failed(error) => Some(error.to_string()),
            _ => None,
        };
        let status = self.status();
        tracing::warn!(
            clients = %status.clients, file = %status.file.display(), uid = status.uid,
            sessions = status.sessions, dropped = status.dropped, reason, error,
            "key log ended: keep the file safe, and remove it when it is not needed any more"
        );
    }
}

impl KeyLogWriter {
    /// A writer, and what hears of its end.
    pub(super) fn new(
        log: Arc<KeyLog>,
        id: CaptureId,
        facts: Arc<Facts>,
        file: File,
        queue: Receiver<Line>,
    ) -> (Self, Receiver<()>) {
        let (sender, ended) = sync_channel(0);
        let writer = Self {
            log,
            id,
            facts,
            file,
            queue,
            written: 0,
            _ended: sender,
        };
        (writer, ended)
    }

    /// Writes on a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn spawn(self) -> io::Result<()> {
        let thread = thread::Builder::new().name("key-log".into());
        thread.spawn(move || self.run()).map(drop)
    }

    fn run(mut self) {
        let end = self.write();
        self.log.end(self.id);
        self.facts.log_end(&end);
    }

    fn write(&mut self) -> End {
        loop {
            let left = self
                .facts
                .deadline
                .saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return End::Time;
            }
            let first = match self.queue.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => return End::Time,
                Err(RecvTimeoutError::Disconnected) => return End::Stopped,
            };
            if let Err(end) = self.write_batch(first) {
                return end;
            }
        }
    }

    /// Writes `first` and what waits behind it.
    fn write_batch(&mut self, first: Line) -> Result<(), End> {
        let mut batch = Zeroizing::new(Vec::with_capacity(BATCH));
        let mut sessions = 0;
        let mut next = Some(first);
        let mut full = false;
        while let Some(line) = next {
            if self.written + batch.len() + line.text.len() > MAX_FILE {
                full = true;
                break;
            }
            batch.extend_from_slice(&line.text);
            sessions += u64::from(line.first);
            // A line has less than 300 bytes: the batch never grows.
            next = if batch.len() + 1024 < BATCH {
                self.queue.try_recv().ok()
            } else {
                None
            };
        }
        self.file.write_all(&batch).map_err(End::Failed)?;
        self.written += batch.len();
        self.facts.sessions.fetch_add(sessions, Ordering::Relaxed);
        for _ in 0..sessions {
            self.log.metrics().session();
        }
        if full { Err(End::Size) } else { Ok(()) }
    }
}
