//! Instructions of the handshake path, counted by callgrind: repeatable where times are not.
//!
//! `make instructions` counts and shows the change against `benches/instructions/counts.txt`;
//! `make instructions-keep` writes that file anew. Counted is all that happens inside
//! `tls::accept`, rustls and aws-lc included; the client's end is not.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its product is a table"
)]

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use support::{Cell, Rig};

/// Handshakes a count: their randomness evens out.
const ROUNDS: u64 = 50;
const COUNTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/benches/instructions/counts.txt"
);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--inner") {
        return inner(arguments.get(at + 1).map_or("", String::as_str));
    }
    let keep = arguments.iter().any(|argument| argument == "--keep");
    let before = read(Path::new(COUNTS));
    let mut now = BTreeMap::new();
    println!(
        "{:<18} {:>12} {:>12} {:>8}",
        "handshake", "before", "now", "change"
    );
    for cell in Cell::ALL {
        let count = match count(cell) {
            Ok(count) => count,
            Err(error) => {
                eprintln!("{}: {error}", cell.name());
                return ExitCode::FAILURE;
            }
        };
        let old = before.get(cell.name()).copied();
        #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
        let change = old.map_or_else(
            || "new".to_owned(),
            |old| format!("{:+.2} %", (count as f64 / old as f64 - 1.0) * 100.0),
        );
        let old = old.map_or_else(|| "-".to_owned(), |old| old.to_string());
        println!("{:<18} {old:>12} {count:>12} {change:>8}", cell.name());
        now.insert(cell.name().to_owned(), count);
    }
    if keep {
        let text: String = now
            .iter()
            .map(|(name, count)| format!("{name} {count}\n"))
            .collect();
        if let Err(error) = fs::write(COUNTS, text) {
            eprintln!("{COUNTS}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Runs one cell under callgrind and reads its total.
fn count(cell: Cell) -> Result<u64, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=handfast::tls::handshake::accept*")
        .arg(own)
        .args(["--inner", cell.name()])
        .output()
        .map_err(|error| format!("valgrind (Debian package valgrind): {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let total = text
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, count)| count.trim().parse::<u64>().ok());
    match total {
        Some(total) if output.status.success() && total > 0 => Ok(total / ROUNDS),
        _ => Err(format!("no count:\n{text}")),
    }
}

fn inner(name: &str) -> ExitCode {
    let Some(cell) = Cell::ALL.into_iter().find(|cell| cell.name() == name) else {
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return ExitCode::FAILURE;
    };
    runtime.block_on(async {
        let rig = Rig::new(cell).await;
        for _ in 0..ROUNDS {
            rig.handshake().await;
        }
    });
    ExitCode::SUCCESS
}

fn read(path: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)))
        .collect()
}
