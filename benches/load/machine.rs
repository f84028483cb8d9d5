//! The machine and the programs on it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::child::{LOAD_CORE, PROXY_CORE};
use crate::failure::{Failure, tail};

/// Where Debian puts what is not for everyone's `PATH`.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// What a table must say about where it was made.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// When, in UTC.
    pub(crate) time: String,
    /// The processor's name.
    pub(crate) processor: String,
    /// How many of it.
    pub(crate) cores: usize,
    /// Whether the proxy's and the load's core are two threads of one physical core.
    pub(crate) siblings: Option<bool>,
    /// Memory in MiB.
    pub(crate) memory_mib: u64,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The load average of the last minute when the run began: near 0 on a quiet machine.
    pub(crate) load_average: f64,
    /// The commit that was built, with `+` for changes beside it.
    pub(crate) commit: String,
    /// Program and version.
    pub(crate) versions: Vec<(&'static str, String)>,
}

impl Machine {
    /// This one, now.
    pub(crate) fn now(handfast: &Path) -> Result<Self, Failure> {
        let cpu = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpu.lines().find(|line| line.starts_with(name));
            line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
        };
        let memory = read("/proc/meminfo");
        let memory = memory
            .split_whitespace()
            .nth(1)
            .and_then(|kb| kb.parse::<u64>().ok());
        let changed = said("git", &["status", "--porcelain", "--untracked-files=no"]);
        let commit = said("git", &["rev-parse", "--short", "HEAD"]);
        let processor = [field("model name"), field("cpu family"), field("model\t")];
        let [name, family, model] = processor.map(Option::unwrap_or_default);
        Ok(Self {
            time: OffsetDateTime::now_utc()
                .replace_nanosecond(0)
                .unwrap_or(OffsetDateTime::UNIX_EPOCH)
                .format(&Rfc3339)
                .unwrap_or_default(),
            processor: format!("{name}, family {family}, model {model}"),
            cores: cpu
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            siblings: siblings(),
            memory_mib: memory.unwrap_or(0) / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: load_average(),
            commit: commit + if changed.is_empty() { "" } else { "+" },
            versions: versions(handfast)?,
        })
    }
}

/// The load average of the last minute.
pub(crate) fn load_average() -> f64 {
    let load = read("/proc/loadavg");
    let first = load.split_whitespace().next();
    first.and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Lets this process, and those it starts, open as many files as the system grants.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // What does not work out shows as a connection that fails.
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )
    .ok();
}

/// The path of an installed program.
pub(crate) fn program(name: &'static str) -> Result<PathBuf, Failure> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SYSTEM.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .ok_or(Failure::Missing { program: name })
}

/// This executable, for its other roles.
pub(crate) fn this_program() -> Result<PathBuf, Failure> {
    env::current_exe().map_err(Failure::io("cannot find this executable"))
}

/// What a program answers, or nothing.
fn said(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| String::new(),
        |output| {
            let all = [output.stdout, output.stderr].concat();
            tail(&String::from_utf8_lossy(&all), 4000)
        },
    )
}

fn versions(handfast: &Path) -> Result<Vec<(&'static str, String)>, Failure> {
    let first = |program: PathBuf, arguments: &[&str], words: &str| {
        let text = said(program, arguments);
        let line = text.lines().find(|line| line.contains(words));
        line.unwrap_or_default()
            .replace(words, "")
            .trim()
            .to_owned()
    };
    let first_word = |text: String| text.split_whitespace().next().unwrap_or("").to_owned();
    Ok(vec![
        (
            "handfast",
            first_word(first(handfast.to_owned(), &["--version"], "handfast ")),
        ),
        (
            "nginx",
            first(program("nginx")?, &["-v"], "nginx version: nginx/"),
        ),
        (
            "HAProxy",
            first_word(first(program("haproxy")?, &["-v"], "HAProxy version ")),
        ),
        (
            "OpenSSL of both",
            first_word(first(program("nginx")?, &["-V"], "built with OpenSSL ")),
        ),
        ("wrk", first_word(first(program("wrk")?, &["-v"], "wrk "))),
        (
            "h2load",
            first(program("h2load")?, &["--version"], "h2load nghttp2/"),
        ),
        (
            "rustc",
            first_word(said("rustc", &["--version"]).replace("rustc ", "")),
        ),
    ])
}

fn siblings() -> Option<bool> {
    let path = format!("/sys/devices/system/cpu/cpu{PROXY_CORE}/topology/thread_siblings_list");
    let list = fs::read_to_string(path).ok()?;
    // "0-1", "0,32" or "0".
    let mut ends = list.trim().split(['-', ',']).map(str::parse::<usize>);
    let first = ends.next()?.ok()?;
    let last = ends.next_back().and_then(Result::ok).unwrap_or(first);
    Some(if list.contains('-') {
        (first..=last).contains(&LOAD_CORE)
    } else {
        last == LOAD_CORE
    })
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
