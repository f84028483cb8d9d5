//! Instructions of the handshake path, counted by callgrind: repeatable where times are not.
//!
//! `make instructions` counts and shows the change against `benches/instructions/counts.txt`;
//! `make instructions-keep` writes that file anew. Counted is all that happens inside
//! `tls::accept`, rustls and aws-lc included; the client's end is not.
//!
//! A second table has what it costs to see a handshake: stock tokio-rustls with the same settings,
//! ours with all that can be turned off turned off, and ours with everything on.

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

use support::{Cell, Rig, Sight, Stock};

/// Handshakes a count: their randomness evens out.
const ROUNDS: u64 = 50;
const COUNTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/benches/instructions/counts.txt"
);

/// What is run for a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// Our handshake, without what its report is for.
    Accept,
    Stock,
    Least,
    All,
}

impl Run {
    const ALL: [Self; 4] = [Self::Accept, Self::Stock, Self::Least, Self::All];

    const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Stock => "stock",
            Self::Least => "least",
            Self::All => "all",
        }
    }

    /// The function in which instructions are counted.
    const fn counted(self) -> &'static str {
        match self {
            Self::Accept => "handfast::tls::handshake::accept*",
            Self::Stock => "*support::stock*",
            Self::Least | Self::All => "*support::observed*",
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--inner") {
        let word = |at| arguments.get(at).map_or("", String::as_str);
        return inner(word(at + 1), word(at + 2));
    }
    let keep = arguments.iter().any(|argument| argument == "--keep");
    let before = read(Path::new(COUNTS));
    let mut now = BTreeMap::new();
    println!(
        "{:<18} {:>12} {:>12} {:>8}",
        "handshake", "before", "now", "change"
    );
    for cell in Cell::ALL {
        let count = match count(cell, Run::Accept) {
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
    match sights() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What it costs to see a handshake.
fn sights() -> Result<(), String> {
    println!(
        "\n{:<18} {:>12} {:>12} {:>12} {:>10} {:>10}",
        "handshake", "stock", "all off", "all on", "on to off", "on to stock"
    );
    for cell in Cell::ALL {
        let [stock, least, all] = [Run::Stock, Run::Least, Run::All].map(|run| count(cell, run));
        let (stock, least, all) = (stock?, least?, all?);
        #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
        let more = |than: u64| format!("{:+.2} %", (all as f64 / than as f64 - 1.0) * 100.0);
        println!(
            "{:<18} {stock:>12} {least:>12} {all:>12} {:>10} {:>10}",
            cell.name(),
            more(least),
            more(stock)
        );
    }
    Ok(())
}

/// Runs one cell under callgrind and reads its total.
fn count(cell: Cell, run: Run) -> Result<u64, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect={}", run.counted()))
        .arg(own)
        .args(["--inner", cell.name(), run.name()])
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

fn inner(cell: &str, run: &str) -> ExitCode {
    let cell = Cell::ALL.into_iter().find(|known| known.name() == cell);
    let run = Run::ALL.into_iter().find(|known| known.name() == run);
    let (Some(cell), Some(run)) = (cell, run) else {
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return ExitCode::FAILURE;
    };
    runtime.block_on(async {
        let sight = match run {
            Run::Stock => {
                let stock = Stock::new(cell).await;
                for _ in 0..ROUNDS {
                    stock.handshake().await;
                }
                return;
            }
            Run::Accept => Sight::None,
            Run::Least => Sight::Least,
            Run::All => Sight::All,
        };
        let rig = Rig::new(cell, sight).await;
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
