//! Processes that the bench starts, and ends again whatever happens.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::{Failure, tail};

/// How long a process may take to end when asked.
const GRACE: Duration = Duration::from_secs(4);

/// Where a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this core alone.
    Core(usize),
    /// Where the kernel puts it.
    Anywhere,
}

/// The core of the proxy.
pub(crate) const PROXY_CORE: usize = 0;

/// The core of load clients and upstream.
pub(crate) const LOAD_CORE: usize = 1;

/// A command line that runs `program` at a place and ends with this process, should it be killed.
///
/// Both helpers replace themselves by the program, so the process id stays that of the child.
pub(crate) fn command(program: &Path, place: Place) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]);
    if let Place::Core(core) = place {
        command.args(["taskset", "--cpu-list", &core.to_string()]);
    }
    command.arg(program);
    command
}

/// A server that runs until this is dropped.
pub(crate) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a server; what it says on stderr goes to the file `log`.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> Result<Self, Failure> {
        let failure = |source| Failure::io(format!("cannot start {name}"))(source);
        let stderr = File::create(log).map_err(failure)?;
        let child = command
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(failure)?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The process, for its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Fails with the end of its log when the process has ended.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(Failure::Ended {
                program: self.name.clone(),
                log: tail(&fs::read_to_string(&self.log).unwrap_or_default(), 800),
            }),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        if let Some(id) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(id, Signal::TERM).ok();
        }
        let end = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            thread::park_timeout(Duration::from_millis(5));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
