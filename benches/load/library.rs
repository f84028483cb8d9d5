//! What the TLS libraries need for a handshake, without a server around them.
//!
//! nginx and HAProxy use the machine's OpenSSL, handfast uses rustls with aws-lc: part of a difference
//! between the servers is one between those. Here both do the same handshakes over memory, in turn, and
//! the CPU time of the server's side alone is counted: `memory.rs` and `openssl_memory.c`.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use crate::arguments::Version;
use crate::certificates::Key;
use crate::child::{PROXY_CORE, Place, command};
use crate::failure::{Failure, tail};
use crate::machine;
use crate::memory::Spent;
use crate::peers::Ground;
use crate::stats::Summary;
use crate::tools;

/// Its name, for `--only`.
pub(crate) const NAME: &str = "library";

/// What the list calls it.
pub(crate) const TITLE: &str = "OpenSSL and rustls, handshakes over memory";

const SOURCE: &str = include_str!("openssl_memory.c");

/// The comparison.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Library {
    /// The version of OpenSSL that was run; rustls is handfast's.
    pub(crate) openssl: String,
    /// How long each repetition was with either library.
    pub(crate) milliseconds: u32,
    /// One for each kind of handshake.
    pub(crate) rows: Vec<Pair>,
    /// Why it could not be measured to its end; the rows so far count.
    pub(crate) failure: Option<String>,
}

/// One kind of handshake.
#[derive(Debug, Serialize)]
pub(crate) struct Pair {
    /// The workload that does this handshake with the servers.
    pub(crate) workload: &'static str,
    /// What tables call it.
    pub(crate) title: &'static str,
    /// CPU microseconds of the server's side with OpenSSL, one for each repetition.
    pub(crate) openssl_us: Vec<f64>,
    /// The same with rustls, of the same rounds.
    pub(crate) rustls_us: Vec<f64>,
}

impl Pair {
    /// How much less rustls needs, of the repetitions of the same round.
    pub(crate) fn difference(&self) -> Summary {
        let rounds = self.openssl_us.iter().zip(&self.rustls_us);
        Summary::of(rounds.map(|(openssl, rustls)| openssl - rustls))
    }
}

/// A kind of handshake.
#[derive(Clone, Copy)]
struct Kind {
    workload: &'static str,
    title: &'static str,
    key: Key,
    version: Version,
    resume: bool,
}

const KINDS: [Kind; 6] = [
    kind(
        "tls13-full-p256",
        "TLS 1.3 full, P-256",
        Key::P256,
        Version::Tls13,
        false,
    ),
    kind(
        "tls12-full-p256",
        "TLS 1.2 full, P-256",
        Key::P256,
        Version::Tls12,
        false,
    ),
    kind(
        "tls13-full-rsa",
        "TLS 1.3 full, RSA-2048",
        Key::Rsa2048,
        Version::Tls13,
        false,
    ),
    kind(
        "tls12-full-rsa",
        "TLS 1.2 full, RSA-2048",
        Key::Rsa2048,
        Version::Tls12,
        false,
    ),
    kind(
        "tls13-resumed",
        "TLS 1.3 resumed",
        Key::P256,
        Version::Tls13,
        true,
    ),
    kind(
        "tls12-resumed",
        "TLS 1.2 resumed",
        Key::P256,
        Version::Tls12,
        true,
    ),
];

const fn kind(
    workload: &'static str,
    title: &'static str,
    key: Key,
    version: Version,
    resume: bool,
) -> Kind {
    Kind {
        workload,
        title,
        key,
        version,
        resume,
    }
}

/// Measures every kind of handshake, each repetition for so many milliseconds with either library, one
/// after the other on the proxy's core. What fails is in [`Library::failure`].
pub(crate) async fn measure(ground: &Ground, repetitions: u32, milliseconds: u32) -> Library {
    let mut library = Library {
        milliseconds,
        ..Library::default()
    };
    if let Err(error) = fill(&mut library, ground, repetitions, milliseconds).await {
        library.failure = Some(error.to_string());
    }
    library
}

async fn fill(
    library: &mut Library,
    ground: &Ground,
    repetitions: u32,
    milliseconds: u32,
) -> Result<(), Failure> {
    let openssl = compile(&ground.directory).await?;
    let rustls = machine::this_program()?;
    let milliseconds = milliseconds.to_string();
    for kind in KINDS {
        let mut pair = Pair {
            workload: kind.workload,
            title: kind.title,
            openssl_us: Vec::new(),
            rustls_us: Vec::new(),
        };
        let certificate = ground.directory.join(kind.key.file());
        let version = kind.version.name();
        for round in 1..=repetitions {
            writeln!(
                io::stderr(),
                "{NAME} {} {round}/{repetitions}",
                kind.workload
            )
            .ok();
            let mut one = command(&openssl, Place::Core(PROXY_CORE));
            let how = if kind.resume { "resumed" } else { "full" };
            one.arg(&certificate).args([version, how, &milliseconds]);
            let spent = spent("openssl_memory", one).await?;
            pair.openssl_us.push(spent.microseconds());
            library.openssl = spent.version;

            let mut one = command(&rustls, Place::Core(PROXY_CORE));
            one.args(["memory", "--version", version, "--certificate"])
                .arg(&certificate)
                .args(["--milliseconds", &milliseconds]);
            if kind.resume {
                one.arg("--resume");
            }
            let spent = self::spent("rustls over memory", one).await?;
            pair.rustls_us.push(spent.microseconds());
        }
        library.rows.push(pair);
    }
    Ok(())
}

/// Compiles the program for OpenSSL into `directory`.
async fn compile(directory: &Path) -> Result<PathBuf, Failure> {
    let program = directory.join("openssl_memory");
    let source = program.with_extension("c");
    fs::write(&source, SOURCE).map_err(Failure::io(source.display().to_string()))?;
    let mut gcc = command(&machine::program("gcc")?, Place::Anywhere);
    gcc.args(["-O2", "-Wfatal-errors", "-o"])
        .args([&program, &source])
        .args(["-lssl", "-lcrypto"]);
    tools::output("gcc (it needs the Debian package libssl-dev)", gcc, 0).await?;
    Ok(program)
}

/// Runs a library's program.
async fn spent(name: &str, command: Command) -> Result<Spent, Failure> {
    let output = tools::output(name, command, 1).await?;
    serde_json::from_str::<Spent>(output.trim())
        .ok()
        .filter(|spent| spent.handshakes > 0 && spent.nanoseconds > 0)
        .ok_or_else(|| Failure::Output {
            program: name.to_owned(),
            output: tail(&output, 400),
        })
}
