//! Other people's clients, run with a time limit. A missing one fails the test: it is never
//! skipped.

use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::wait::pause;

/// A command line to be run.
#[derive(Debug)]
pub(crate) struct Tool {
    name: String,
    command: Command,
    stdin: Vec<u8>,
    limit: Duration,
}

/// A tool at work; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    child: Child,
    stdout: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    deadline: Instant,
}

/// What a tool left.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// The exit code; -1 when a signal ended it.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Tool {
    /// The program `name`, given 30 seconds.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            command: Command::new(name),
            stdin: Vec::new(),
            limit: Duration::from_secs(30),
        }
    }

    /// Appends arguments.
    pub(crate) fn args<I>(mut self, args: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<std::ffi::OsStr>,
    {
        self.command.args(args);
        self
    }

    /// Appends arguments given as one text, separated by spaces.
    pub(crate) fn words(self, words: &str) -> Self {
        self.args(words.split_whitespace())
    }

    /// Where it runs.
    pub(crate) fn current_dir(mut self, dir: &std::path::Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// What to write to its standard input, which is closed afterwards.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// How long it may take.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Output {
        self.start().finish()
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Running {
        let spawned = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env_remove("SSLKEYLOGFILE")
            .env("LC_ALL", "C")
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => panic!(
                "`{}` is missing: install the Debian package `{}`",
                self.name,
                package_of(&self.name)
            ),
            Err(error) => panic!("`{}` does not start: {error}", self.name),
        };
        let mut stdin = child.stdin.take().unwrap();
        let input = self.stdin;
        // A tool that ends without reading its input is no fault of the input.
        std::thread::spawn(move || stdin.write_all(&input).is_ok());
        let (stdout, out) = collect(child.stdout.take().unwrap());
        let (stderr, err) = collect(child.stderr.take().unwrap());
        Running {
            name: self.name,
            child,
            stdout,
            readers: vec![out, err],
            stderr,
            deadline: Instant::now() + self.limit,
        }
    }
}

impl Running {
    /// How much it has printed so far.
    pub(crate) fn printed(&self) -> usize {
        locked(&self.stdout).len()
    }

    /// What it has printed so far.
    pub(crate) fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// Sends it what Ctrl-C sends.
    pub(crate) fn interrupt(&self) {
        let pid = self.child.id();
        Tool::new("sh")
            .args(["-c", &format!("kill -INT {pid}")])
            .run()
            .success();
    }

    /// Waits for its end; panics when its time is over.
    pub(crate) fn finish(mut self) -> Output {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                Instant::now() < self.deadline,
                "`{}` does not end; it printed:\n{}\n{}",
                self.name,
                text(&self.stdout),
                text(&self.stderr),
            );
            pause(Duration::from_millis(5));
        };
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Output {
            code: status.code().unwrap_or(-1),
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is the aim.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Output {
    /// Itself, if the tool ended with 0.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        assert_eq!(self.code, 0, "{self}");
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            code,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "exit code {code}\n-- stdout\n{stdout}\n-- stderr\n{stderr}"
        )
    }
}

fn package_of(tool: &str) -> &str {
    match tool {
        "gnutls-cli" => "gnutls-bin",
        "h2load" => "nghttp2-client",
        "sh" => "dash",
        other => other,
    }
}

type Shared = Arc<Mutex<Vec<u8>>>;

fn collect(mut stream: impl Read + Send + 'static) -> (Shared, JoinHandle<()>) {
    let bytes = Shared::default();
    let writer = bytes.clone();
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count) = stream.read(&mut buffer) {
            if count == 0 {
                break;
            }
            locked(&writer).extend(&buffer[..count]);
        }
    });
    (bytes, reader)
}

fn locked(bytes: &Shared) -> std::sync::MutexGuard<'_, Vec<u8>> {
    bytes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(bytes: &Shared) -> String {
    String::from_utf8_lossy(&locked(bytes)).into_owned()
}

#[test]
#[should_panic(expected = "install the Debian package `no-such-tool`")]
fn a_missing_tool_fails_and_names_its_package() {
    Tool::new("no-such-tool").run();
}

#[test]
#[should_panic(expected = "does not end")]
fn a_tool_that_hangs_is_ended() {
    Tool::new("sleep")
        .words("60")
        .limit(Duration::from_millis(50))
        .run();
}
