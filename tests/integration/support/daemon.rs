//! The daemon as a process of its own: started, asked, signalled, ended.

use std::collections::{HashMap, HashSet};
use std::io::{BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::activation::Activation;
use super::certs::certs;
use super::client_certs::client_certs;
use super::handshake::Handshake;
use super::http::{Response, get, read_response};
use super::log::Log;
use super::metrics;
use super::settings::Settings;
use super::tool::Tool;
use super::turn::Turn;
use super::wait::wait_for;

/// How long anything that should be immediate may take on a machine that is busy.
const SOON: Duration = Duration::from_secs(15);

/// A running daemon; killed when dropped. It holds the test's turn.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    dir: Arc<TempDir>,
    stdout: Log,
    stderr: Log,
    addresses: HashMap<String, SocketAddr>,
    _turn: Option<Turn>,
}

impl Daemon {
    /// `handfast run` beside other tests.
    pub(crate) fn run(settings: &Settings) -> Self {
        Self::launch(settings, Some(Turn::shared()), "")
    }

    /// `handfast run` with sockets and variables of a service manager, in a shell that first does
    /// `before`. Waits for the admin listener alone.
    pub(crate) fn activate(settings: &Settings, activation: &Activation, before: &str) -> Self {
        let dir = Self::prepare(settings);
        let turn = Some(Turn::shared());
        Self::activated(dir, turn, activation, before)
    }

    /// [`Daemon::activate`] while no other test runs.
    pub(crate) fn activate_alone(
        settings: &Settings,
        activation: &Activation,
        before: &str,
    ) -> Self {
        let dir = Self::prepare(settings);
        Self::activated(dir, Some(Turn::alone()), activation, before)
    }

    /// The same once more, with the directory of this one, which has ended and which it must not
    /// outlive.
    pub(crate) fn activate_again(&self, activation: &Activation, before: &str) -> Self {
        Self::activated(self.dir.clone(), None, activation, before)
    }

    /// [`Daemon::activate`] of one that does not start: its exit code and what it says.
    pub(crate) fn activate_in_vain(
        settings: &Settings,
        activation: &Activation,
        before: &str,
    ) -> (Option<i32>, String) {
        let dir = Self::prepare(settings);
        let before = format!("{}; {before}", activation.shell());
        let mut command = Self::command_of(&dir, &before);
        activation.hand_over(&mut command);
        let mut daemon = Self::spawn(command, dir, Some(Turn::shared()));
        let status = daemon.wait_exit(SOON);
        (status.code(), daemon.log().whole())
    }

    fn activated(
        dir: Arc<TempDir>,
        turn: Option<Turn>,
        activation: &Activation,
        before: &str,
    ) -> Self {
        let before = format!("{}; {before}", activation.shell());
        let mut command = Self::command_of(&dir, &before);
        activation.hand_over(&mut command);
        let mut daemon = Self::spawn(command, dir, turn);
        daemon.wait_listening("admin");
        daemon
    }

    /// A second `handfast run` in the same test, which must not outlive this one.
    pub(crate) fn run_beside(&self, settings: &Settings) -> Self {
        Self::launch(settings, None, "")
    }

    /// `handfast run` while no other test runs.
    pub(crate) fn run_alone(settings: &Settings) -> Self {
        Self::launch(settings, Some(Turn::alone()), "")
    }

    /// `handfast run` after the shell command `before`, while no other test runs.
    pub(crate) fn run_after(settings: &Settings, before: &str) -> Self {
        Self::launch(settings, Some(Turn::alone()), before)
    }

    /// `handfast dev` on ports of its own, with these arguments.
    pub(crate) fn dev(args: &[&str]) -> Self {
        let turn = Some(Turn::shared());
        let dir = Arc::new(TempDir::new().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_handfast"));
        command
            .args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(args)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        Self::spawn(command, dir, turn)
    }

    fn launch(settings: &Settings, turn: Option<Turn>, before: &str) -> Self {
        let dir = Self::prepare(settings);
        let mut command = Self::command_of(&dir, before);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut daemon = Self::spawn(command, dir, turn);
        for listener in ["https", "rsa", "admin"] {
            daemon.wait_listening(listener);
        }
        daemon
    }

    /// A directory with the configuration and all that it names.
    fn prepare(settings: &Settings) -> Arc<TempDir> {
        let dir = Arc::new(TempDir::new().unwrap());
        certs().write(dir.path());
        client_certs().write(dir.path());
        let file = dir.path().join("handfast.toml");
        std::fs::write(&file, settings.render(dir.path())).unwrap();
        dir
    }

    fn command_of(dir: &TempDir, before: &str) -> Command {
        let file = dir.path().join("handfast.toml");
        let mut command;
        if before.is_empty() {
            command = Command::new(env!("CARGO_BIN_EXE_handfast"));
        } else {
            command = Command::new("sh");
            command
                .arg("-c")
                .arg(format!("{before}; exec \"$0\" \"$@\""))
                .arg(env!("CARGO_BIN_EXE_handfast"));
        }
        command.arg("run").arg("--config").arg(&file);
        command
    }

    /// Standard input and output are set already.
    fn spawn(mut command: Command, dir: Arc<TempDir>, turn: Option<Turn>) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .env_remove("RUST_LOG")
            .env_remove("SSLKEYLOGFILE")
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().map_or_else(Log::default, Log::collect);
        let stderr = Log::collect(child.stderr.take().unwrap());
        Self {
            child,
            dir,
            stdout,
            stderr,
            addresses: HashMap::new(),
            _turn: turn,
        }
    }

    /// Waits until the listener's address is in the log; remembers it.
    pub(crate) fn wait_listening(&mut self, listener: &str) -> SocketAddr {
        let stderr = self.stderr.clone();
        let address = wait_for(SOON, &format!("{listener} is listening"), || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the daemon ended with {status}:\n{}", stderr.text());
            }
            stderr
                .records()
                .iter()
                .find(|record| record["message"] == "listening" && record["listener"] == listener)
                .and_then(|record| record["address"].as_str()?.parse().ok())
        });
        self.addresses.insert(listener.to_owned(), address);
        address
    }

    /// Where the listener listens.
    #[track_caller]
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        self.addresses[listener]
    }

    /// Where the listener `https` listens.
    pub(crate) fn https(&self) -> SocketAddr {
        self.address("https")
    }

    /// Its directory, with the configuration and the certificates.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The root certificate's file.
    pub(crate) fn ca(&self) -> String {
        self.dir().join("ca.pem").display().to_string()
    }

    /// Where the listener called `https` listens by now is known from elsewhere.
    pub(crate) fn knows(&mut self, listener: &str, address: SocketAddr) {
        self.addresses.insert(listener.to_owned(), address);
    }

    /// Standard error so far.
    pub(crate) fn log(&self) -> &Log {
        &self.stderr
    }

    /// Standard output so far.
    pub(crate) fn stdout(&self) -> &Log {
        &self.stdout
    }

    /// Writes another configuration over the one it runs with.
    pub(crate) fn rewrite(&self, text: &str) {
        std::fs::write(self.dir().join("handfast.toml"), text).unwrap();
    }

    /// GET on the admin listener.
    #[track_caller]
    pub(crate) fn admin(&self, target: &str) -> Response {
        get(self.address("admin"), target)
            .unwrap_or_else(|error| panic!("{target}: {error}\n{}", self.stderr.text()))
    }

    /// The sum of a metric's samples that carry `labels`, 0 if there are none.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        metrics::sum(&self.metrics(), name, labels).unwrap_or(0.0)
    }

    /// Every sample.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Vec<metrics::Sample> {
        metrics::parse(&self.admin("/metrics").text())
    }

    /// Waits until a metric has this value.
    #[track_caller]
    pub(crate) fn wait_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let mut last = 0.0;
        for _ in 0..1000 {
            last = self.metric(name, labels);
            if last.to_bits() == value.to_bits() {
                return;
            }
            super::wait::pause(Duration::from_millis(10));
        }
        panic!("{name} {labels:?} is {last}, not {value}");
    }

    /// The recent handshakes, newest first.
    #[track_caller]
    pub(crate) fn handshakes(&self) -> Vec<Handshake> {
        let response = self.admin("/api/handshakes?limit=1000");
        assert_eq!(response.head.status(), 200, "{}", response.text());
        let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        let list = body["handshakes"].as_array();
        let list = list.unwrap_or_else(|| panic!("no handshakes: {body}"));
        list.iter().cloned().map(Handshake).collect()
    }

    /// Runs `action` and waits for the `count` handshakes it makes, oldest first.
    #[track_caller]
    pub(crate) fn new_handshakes<T>(
        &self,
        count: usize,
        action: impl FnOnce() -> T,
    ) -> (T, Vec<Handshake>) {
        let known: HashSet<String> = self.handshakes().iter().map(id).collect();
        let result = action();
        let mut new = Vec::new();
        for _ in 0..1000 {
            new = self.handshakes();
            new.retain(|handshake| !known.contains(&id(handshake)));
            if new.len() >= count {
                break;
            }
            super::wait::pause(Duration::from_millis(10));
        }
        assert_eq!(new.len(), count, "{new:#?}\n{}", self.stderr.text());
        new.sort_by_key(id);
        (result, new)
    }

    /// Runs `action` and waits for the one handshake it makes.
    #[track_caller]
    pub(crate) fn new_handshake<T>(&self, action: impl FnOnce() -> T) -> (T, Handshake) {
        let (result, mut new) = self.new_handshakes(1, action);
        (result, new.remove(0))
    }

    /// curl at the listener `https` as `example.test`, with `args` (separated by spaces).
    pub(crate) fn curl(&self, args: &str, path: &str) -> Tool {
        let port = self.https().port();
        Tool::new("curl")
            .args(["-sS", "--cacert", &self.ca()])
            .args(["--resolve", &format!("example.test:{port}:127.0.0.1")])
            .words(args)
            .args([format!("https://example.test:{port}{path}")])
    }

    /// `handfast` with these arguments (separated by spaces), asking this daemon.
    pub(crate) fn command(&self, args: &str) -> Tool {
        Tool::new(env!("CARGO_BIN_EXE_handfast")).words(args).args([
            "--config".as_ref(),
            self.dir().join("handfast.toml").as_os_str(),
        ])
    }

    /// A request to the admin socket, with this JSON (nothing if empty): the status and the
    /// answer.
    #[track_caller]
    pub(crate) fn socket(
        &self,
        method: &str,
        target: &str,
        json: &str,
    ) -> (u16, serde_json::Value) {
        let stream = UnixStream::connect(self.dir().join("admin.sock")).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(
            &stream,
            "{method} {target} HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{json}",
            json.len()
        )
        .unwrap();
        let response = read_response(&mut BufReader::new(stream)).unwrap();
        let body = serde_json::from_slice(&response.body);
        (response.head.status(), body.unwrap_or_default())
    }

    /// Sends it a signal by name (`HUP`, `TERM`).
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id();
        Tool::new("sh")
            .args(["-c", &format!("kill -{name} {pid}")])
            .run()
            .success();
    }

    /// Stops it, as if its machine did, until [`Daemon::go_on`].
    pub(crate) fn stop(&self) {
        self.kill(rustix::process::Signal::STOP);
        let path = format!("/proc/{}/stat", self.child.id());
        wait_for(SOON, "the daemon is stopped", || {
            let stat = std::fs::read_to_string(&path).unwrap();
            // After the name, which is in brackets, comes the state.
            stat.rsplit(") ").next()?.starts_with('T').then_some(())
        });
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.kill(rustix::process::Signal::CONT);
    }

    fn kill(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Resident memory in bytes: now, and at its highest.
    pub(crate) fn resident(&self) -> (u64, u64) {
        (self.memory("VmRSS:"), self.memory("VmHWM:"))
    }

    /// File descriptors that are open.
    pub(crate) fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(path).unwrap().count()
    }

    /// Its threads.
    pub(crate) fn threads(&self) -> usize {
        let path = format!("/proc/{}/task", self.child.id());
        std::fs::read_dir(path).unwrap().count()
    }

    /// How long its busiest thread ran so far, and how long it waited for a core: with one worker,
    /// all else of the time it was idle.
    pub(crate) fn busiest(&self) -> (Duration, Duration) {
        let tasks = format!("/proc/{}/task", self.child.id());
        let times = std::fs::read_dir(tasks).unwrap().filter_map(|task| {
            // A thread may have just ended.
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            let mut nanos = text.split_whitespace().map(str::parse);
            let mut next = || Some(Duration::from_nanos(nanos.next()?.ok()?));
            Some((next()?, next()?))
        });
        times.max().unwrap()
    }

    fn memory(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with(field));
        let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
        kibibytes.unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Asserts that it still runs.
    #[track_caller]
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the daemon ended with {status}:\n{}", self.stderr.text());
        }
    }

    /// Waits for its end.
    pub(crate) fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let child = &mut self.child;
        wait_for(limit, "the daemon ends", || child.try_wait().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is the aim.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("-- the daemon's log\n{}", self.stderr.text());
        }
    }
}

fn id(handshake: &Handshake) -> String {
    handshake.text("id").unwrap_or_default().to_owned()
}
