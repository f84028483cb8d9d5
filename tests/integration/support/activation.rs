//! A test as the service manager: sockets that it opens and passes on, and what it is told.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Sockets by name, two at most: they go to the daemon by way of standard input and output.
#[derive(Debug)]
pub(crate) struct Activation {
    sockets: Vec<(String, OwnedFd)>,
}

impl Activation {
    /// With these sockets, which stay open here.
    pub(crate) fn new(sockets: impl IntoIterator<Item = (&'static str, OwnedFd)>) -> Self {
        let sockets = sockets.into_iter();
        let sockets: Vec<_> = sockets.map(|(name, it)| (name.to_owned(), it)).collect();
        assert!(sockets.len() <= 2);
        Self { sockets }
    }

    /// With a socket over TCP for each of these names, and their addresses.
    pub(crate) fn over_tcp<const N: usize>(names: [&'static str; N]) -> (Self, [SocketAddr; N]) {
        let listeners = names.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = listeners.each_ref().map(|it| it.local_addr().unwrap());
        let sockets = names.into_iter().zip(listeners);
        let activation = Self::new(sockets.map(|(name, it)| (name, OwnedFd::from(it))));
        (activation, addresses)
    }

    /// What a shell does before it becomes the daemon.
    pub(super) fn shell(&self) -> String {
        let names: Vec<&str> = self.sockets.iter().map(|(name, _)| &**name).collect();
        format!(
            "export LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={}; exec 3<&0 4<&1 0</dev/null 1>&2",
            names.len(),
            names.join(":")
        )
    }

    pub(super) fn hand_over(&self, command: &mut Command) {
        let passed = |index: usize| match self.sockets.get(index) {
            Some((_, socket)) => Stdio::from(socket.try_clone().unwrap()),
            None => Stdio::null(),
        };
        command.stdin(passed(0)).stdout(passed(1));
    }
}

/// Where the daemon tells how it is.
#[derive(Debug)]
pub(crate) struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    /// Listens.
    pub(crate) fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        Self { socket, directory }
    }

    /// What a shell does before it becomes the daemon.
    pub(crate) fn shell(&self) -> String {
        let path = self.directory.path().join("notify");
        format!("export NOTIFY_SOCKET={}", path.display())
    }

    /// The next message that is not a ping of the watchdog nor a status alone, in lines.
    #[track_caller]
    pub(crate) fn next(&self, limit: Duration) -> Vec<String> {
        self.find(limit, |lines| {
            let only = |name: &str| lines.len() == 1 && lines[0].starts_with(name);
            !only("WATCHDOG=") && !only("STATUS=")
        })
    }

    /// The next message that `wanted` is true of.
    #[track_caller]
    pub(crate) fn find(&self, limit: Duration, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let end = Instant::now() + limit;
        let mut others = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no such message, but {others:?}");
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 4096];
            // A timeout shows above.
            let Ok(length) = self.socket.recv(&mut buffer) else {
                continue;
            };
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if wanted(&lines) {
                return lines;
            }
            others.push(lines);
        }
    }

    /// Whether a ping comes within `time`; what came before counts not.
    pub(crate) fn is_pinged(&self, time: Duration) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        while self.socket.recv(&mut buffer).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.socket.set_read_timeout(Some(left)).unwrap();
            if self
                .socket
                .recv(&mut buffer)
                .is_ok_and(|it| buffer[..it] == *b"WATCHDOG=1")
            {
                return true;
            }
        }
    }
}
