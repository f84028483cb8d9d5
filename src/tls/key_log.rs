//! The key log: session secrets of chosen clients, in a file that Wireshark reads (the format of
//! NSS's `SSLKEYLOGFILE`).
//!
//! Whoever has such a file reads the connections. So there is none until somebody asks for it, for
//! the clients of one network, for an hour at most; the environment is never asked. All rustls
//! configurations share one [`KeyLog`]. rustls does not tell it whose secret it gets: the driver
//! decides by the client's address whether a connection belongs to the running capture, and its
//! hooks find the answer in [`super::work`].

use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use ipnet::IpNet;
use tokio_rustls::rustls;
use zeroize::Zeroizing;

use super::key_log_writer::{Facts, KeyLogWriter, create};
use super::work;
use crate::report::Peer;
use crate::telemetry::KeyLogMetrics;

/// Who secrets are written for, at most one capture at a time. Idle until [`KeyLog::start`]; then
/// a handshake costs one atomic load more than without.
#[derive(Debug, Default)]
pub struct KeyLog {
    /// The number of the running capture; 0: none.
    active: AtomicU32,
    running: ArcSwapOption<Capture>,
    history: Mutex<History>,
    metrics: Arc<KeyLogMetrics>,
}

/// The number of a capture, from 1.
pub(super) type CaptureId = NonZeroU32;

/// What is to be captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLogRequest {
    /// The clients' network.
    pub clients: IpNet,
    /// Whether the network may be all of IPv4 or IPv6.
    pub any_client: bool,
    /// For how long, from 1 ms to an hour.
    pub duration: Duration,
    /// The file, which must not exist: an absolute path.
    pub file: PathBuf,
    /// The user who asks, for the log.
    pub uid: Option<u32>,
}

/// A capture, while it runs or as it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLogStatus {
    /// The clients' network.
    pub clients: IpNet,
    /// The file.
    pub file: PathBuf,
    /// When it ends by itself.
    pub until: SystemTime,
    /// The user who asked for it.
    pub uid: Option<u32>,
    /// Handshakes whose secrets are in the file.
    pub sessions: u64,
    /// Lines that the file did not take fast enough.
    pub dropped: u64,
}

/// Why a capture does not begin.
#[derive(Debug, thiserror::Error)]
pub enum KeyLogError {
    /// The network is everybody, and nobody said that this is meant.
    #[error("{0} is every client: name a network, or say that any client is meant")]
    AnyClient(IpNet),
    /// Longer than an hour, or no time at all.
    #[error("a key log lasts from 1 ms to 1 h, not {0:?}")]
    Duration(Duration),
    /// The path depends on a working directory.
    #[error("the file {} must be an absolute path", .0.display())]
    RelativePath(PathBuf),
    /// One at a time.
    #[error("a key log for {} runs already, into {}", .0.clients, .0.file.display())]
    Running(Box<KeyLogStatus>),
    /// The file cannot be made: its directory does not exist, it exists itself.
    #[error("cannot create {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// No thread to write with.
    #[error("cannot start the thread that writes the key log")]
    Thread(#[source] io::Error),
}

/// The longest capture.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// Lines that wait for the file, of some 200 bytes each: 200 handshakes of TLS 1.3. What does not
/// fit is dropped and counted.
const QUEUE: usize = 1024;
/// How long [`KeyLog::stop`] waits for a file that takes nothing.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Capture {
    id: CaptureId,
    facts: Arc<Facts>,
    lines: SyncSender<Line>,
}

/// One line of the file.
pub(super) struct Line {
    /// With its newline.
    pub(super) text: Zeroizing<Vec<u8>>,
    /// Whether it is the first of its handshake.
    pub(super) first: bool,
}

#[derive(Debug, Default)]
struct History {
    captures: u32,
    /// Hears of the end of the last one's writer.
    ended: Option<Receiver<()>>,
}

impl KeyLog {
    /// An idle one that counts in `metrics`.
    #[must_use]
    pub const fn new(metrics: Arc<KeyLogMetrics>) -> Self {
        Self {
            active: AtomicU32::new(0),
            running: ArcSwapOption::const_empty(),
            history: Mutex::new(History {
                captures: 0,
                ended: None,
            }),
            metrics,
        }
    }

    /// Begins a capture. The file is created with mode 0600, and holds 16 MiB at most; at the end
    /// of the duration or of that size the capture ends by itself. Blocks on the file.
    ///
    /// # Errors
    /// The request is not acceptable, another capture runs, or the file cannot be created.
    pub fn start(self: &Arc<Self>, request: &KeyLogRequest) -> Result<(), KeyLogError> {
        if request.clients.prefix_len() == 0 && !request.any_client {
            return Err(KeyLogError::AnyClient(request.clients));
        }
        if !(Duration::from_millis(1)..=LONGEST).contains(&request.duration) {
            return Err(KeyLogError::Duration(request.duration));
        }
        if !request.file.is_absolute() {
            return Err(KeyLogError::RelativePath(request.file.clone()));
        }
        let mut history = self.history();
        if let Some(running) = self.status() {
            return Err(KeyLogError::Running(Box::new(running)));
        }
        let file = create(&request.file).map_err(|source| KeyLogError::Create {
            path: request.file.clone(),
            source,
        })?;
        history.captures = history.captures.checked_add(1).unwrap_or(1);
        let id = CaptureId::MIN.saturating_add(history.captures - 1);
        let facts = Arc::new(Facts::new(request));
        let (lines, queue) = sync_channel(QUEUE);
        let (writer, ended) = KeyLogWriter::new(self.clone(), id, facts.clone(), file, queue);
        self.running.store(Some(Arc::new(Capture {
            id,
            facts: facts.clone(),
            lines,
        })));
        if let Err(error) = writer.spawn() {
            self.running.store(None);
            // It is empty and of no use.
            let _ = std::fs::remove_file(&request.file);
            return Err(KeyLogError::Thread(error));
        }
        history.ended = Some(ended);
        self.active.store(id.get(), Ordering::Release);
        self.metrics.active(true);
        facts.log_start();
        Ok(())
    }

    /// Ends the running capture, and waits for what is queued to be written, for a second at most.
    /// `None`: none runs.
    pub fn stop(&self) -> Option<KeyLogStatus> {
        let mut history = self.history();
        let capture = self.running.swap(None)?;
        self.ended();
        let facts = capture.facts.clone();
        // The writer ends when the last sender is gone.
        drop(capture);
        let ended = history.ended.take();
        drop(history);
        if let Some(ended) = ended {
            // Nothing is ever sent: it returns when the writer is gone.
            let _ = ended.recv_timeout(CLOSE_DEADLINE);
        }
        Some(facts.status())
    }

    /// The running capture.
    #[must_use]
    pub fn status(&self) -> Option<KeyLogStatus> {
        let running = self.running.load();
        running.as_ref().map(|capture| capture.facts.status())
    }

    /// The capture that a new connection of `peer` belongs to.
    pub(super) fn capture_of(&self, peer: Peer) -> Option<CaptureId> {
        let id = CaptureId::new(self.active.load(Ordering::Relaxed))?;
        let Peer::Tcp(address) = peer else {
            return None;
        };
        let address: IpAddr = address.ip().to_canonical();
        let running = self.running.load();
        let capture = running.as_ref().filter(|capture| capture.id == id)?;
        capture.facts.clients.contains(&address).then_some(id)
    }

    /// The writer of capture `id` ends it.
    pub(super) fn end(&self, id: CaptureId) {
        let _history = self.history();
        let running = self.running.load();
        if running.as_ref().is_some_and(|capture| capture.id == id) {
            self.running.store(None);
            self.ended();
        }
    }

    fn ended(&self) {
        self.active.store(0, Ordering::Release);
        self.metrics.active(false);
    }

    /// Where it counts.
    pub(super) fn metrics(&self) -> &KeyLogMetrics {
        &self.metrics
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // A panic in the middle leaves a number that was not used.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl rustls::KeyLog for KeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let Some(id) = work::session().capture else {
            return;
        };
        let running = self.running.load();
        let Some(capture) = running.as_ref().filter(|capture| capture.id == id) else {
            return;
        };
        if Instant::now() >= capture.facts.deadline {
            return;
        }
        let line = Line {
            text: written(label, client_random, secret),
            first: matches!(label, "CLIENT_RANDOM" | "CLIENT_HANDSHAKE_TRAFFIC_SECRET"),
        };
        match capture.lines.try_send(line) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                capture.facts.dropped.fetch_add(1, Ordering::Relaxed);
                self.metrics.dropped();
            }
            // The writer has just ended.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    fn will_log(&self, _label: &str) -> bool {
        work::session().capture.is_some()
    }
}

/// `LABEL RANDOM SECRET`, the latter in hexadecimal digits.
fn written(label: &str, client_random: &[u8], secret: &[u8]) -> Zeroizing<Vec<u8>> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Its whole size at once: growing would leave copies behind.
    let size = label.len() + 2 * (client_random.len() + secret.len()) + 3;
    let mut text = Zeroizing::new(Vec::with_capacity(size));
    text.extend_from_slice(label.as_bytes());
    for bytes in [client_random, secret] {
        text.push(b' ');
        for byte in bytes {
            text.push(DIGITS[usize::from(byte >> 4)]);
            text.push(DIGITS[usize::from(byte & 15)]);
        }
    }
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use rustls::KeyLog as _;

    use super::super::work::SessionContext;
    use super::*;

    fn request(file: &Path) -> KeyLogRequest {
        KeyLogRequest {
            clients: "127.0.0.0/30".parse().unwrap(),
            any_client: false,
            duration: LONGEST,
            file: file.to_owned(),
            uid: Some(0),
        }
    }

    fn log_as(log: &KeyLog, address: &str, label: &str) {
        let peer = Peer::Tcp(address.parse().unwrap());
        work::begin(SessionContext {
            capture: log.capture_of(peer),
            ..SessionContext::default()
        });
        if log.will_log(label) {
            log.log(label, &[0x0f; 32], &[0xa0, 1]);
        }
        work::take();
    }

    #[test]
    fn only_connections_of_the_network_are_written_and_only_while_it_runs() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys");
        let log = Arc::new(KeyLog::default());
        log_as(&log, "127.0.0.1:1", "CLIENT_RANDOM");
        log.start(&request(&file)).unwrap();
        assert!(matches!(
            log.start(&request(&directory.path().join("other"))),
            Err(KeyLogError::Running(_))
        ));
        log_as(&log, "127.0.0.1:1", "CLIENT_RANDOM");
        log_as(&log, "[::ffff:127.0.0.2]:1", "CLIENT_TRAFFIC_SECRET_0");
        log_as(&log, "127.0.0.4:1", "CLIENT_RANDOM");
        let status = log.stop().unwrap();
        assert_eq!((status.sessions, status.dropped), (1, 0));
        assert!(log.stop().is_none());
        log_as(&log, "127.0.0.1:1", "CLIENT_RANDOM");
        let rest = format!("{} a001\n", "0f".repeat(32));
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            format!("CLIENT_RANDOM {rest}CLIENT_TRAFFIC_SECRET_0 {rest}")
        );
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        // A file that exists is never written to.
        assert!(matches!(
            log.start(&request(&file)),
            Err(KeyLogError::Create { .. })
        ));
    }

    #[test]
    fn a_connection_of_an_earlier_capture_is_not_written_to_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let log = Arc::new(KeyLog::default());
        log.start(&request(&directory.path().join("first")))
            .unwrap();
        let capture = log.capture_of(Peer::Tcp(([127, 0, 0, 1], 1).into()));
        log.stop().unwrap();
        let second = directory.path().join("second");
        log.start(&request(&second)).unwrap();
        work::begin(SessionContext {
            capture,
            ..SessionContext::default()
        });
        log.log("CLIENT_RANDOM", &[1], &[2]);
        work::take();
        log.stop().unwrap();
        assert_eq!(std::fs::read(&second).unwrap(), b"");
    }

    #[test]
    fn it_ends_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys");
        let log = Arc::new(KeyLog::default());
        let mut short = request(&file);
        short.duration = Duration::from_millis(20);
        log.start(&short).unwrap();
        let ended = log.history().ended.take().unwrap();
        ended.recv().unwrap_err();
        assert_eq!(log.status(), None);
        log_as(&log, "127.0.0.1:1", "CLIENT_RANDOM");
        assert_eq!(std::fs::read(&file).unwrap(), b"");
    }

    #[test]
    fn what_is_not_bounded_is_refused() {
        let log = Arc::new(KeyLog::default());
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys");
        let with = |change: &dyn Fn(&mut KeyLogRequest)| {
            let mut request = request(&file);
            change(&mut request);
            log.start(&request).unwrap_err()
        };
        for all in ["0.0.0.0/0", "::/0"] {
            let error = with(&|request| request.clients = all.parse().unwrap());
            assert!(matches!(error, KeyLogError::AnyClient(_)), "{error}");
        }
        for duration in [Duration::ZERO, LONGEST + Duration::from_millis(1)] {
            let error = with(&|request| request.duration = duration);
            assert!(matches!(error, KeyLogError::Duration(_)), "{error}");
        }
        let error = with(&|request| request.file = "keys".into());
        assert!(matches!(error, KeyLogError::RelativePath(_)), "{error}");
        let error = with(&|request| request.file = directory.path().join("no/keys"));
        assert!(matches!(error, KeyLogError::Create { .. }), "{error}");
        // A link is not followed, wherever it leads.
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let error = with(&|request| request.file.clone_from(&link));
        assert!(matches!(error, KeyLogError::Create { .. }), "{error}");
        assert!(!file.exists());
        assert_eq!(log.status(), None);
    }
}
