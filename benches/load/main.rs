//! The load bench: handfast beside nginx and HAProxy, in one run on one machine.
//!
//! `make bench`, or `cargo bench --bench load -- --help`. What it does and how to read its tables:
//! `benches/README.md`.

mod arguments;
mod certificates;
mod child;
mod client;
mod counters;
mod cpu;
mod daemon;
mod failure;
mod idlers;
mod library;
mod machine;
mod measure;
mod memory;
mod peers;
mod record;
mod results;
mod stats;
mod svg;
mod table;
mod tools;
mod transcript;
mod upstream;
mod window;
mod workloads;

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use arguments::{Arguments, Role};
use failure::Failure;
use machine::Machine;
use peers::{Bed, Ground};
use results::Results;
use workloads::Workload;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.bench && arguments.role.is_none() && !arguments.list {
        // `cargo test --benches` runs every bench once, without arguments.
        writeln!(
            io::stderr(),
            "run this as `make bench` or `cargo bench --bench load`"
        )
        .ok();
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(Failure::io("cannot start"))
        .and_then(|runtime| runtime.block_on(run(arguments)));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            writeln!(io::stderr(), "load: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<bool, Failure> {
    if let Some(role) = arguments.role {
        let played = match role {
            Role::Upstream => upstream::serve().await,
            Role::Visit {
                address,
                version,
                resume,
                concurrency,
                seconds,
            } => client::visit(address, version, resume, concurrency, seconds).await,
            Role::Pace {
                address,
                connections,
                interval_ms,
                seconds,
            } => client::pace(address, connections, interval_ms, seconds).await,
            Role::Idle {
                address,
                connections,
            } => client::idle(address, connections).await,
            Role::Memory {
                certificate,
                version,
                resume,
                milliseconds,
            } => memory::memory(&certificate, version, resume, milliseconds),
        };
        return played.map(|()| true).map_err(Failure::io("this role"));
    }
    if arguments.list {
        for workload in workloads::ALL {
            writeln!(io::stdout(), "{:<22} {}", workload.name, workload.title).ok();
        }
        writeln!(io::stdout(), "{:<22} {}", library::NAME, library::TITLE).ok();
        return Ok(true);
    }
    // Whatever ends the run drops the conductor's future, and with it every process it started.
    let interrupted = || Failure::io("cannot wait for signals");
    let mut terminate = signal(SignalKind::terminate()).map_err(interrupted())?;
    tokio::select! {
        done = conduct(arguments) => done,
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        _ = terminate.recv() => Err(Failure::Interrupted),
    }
}

/// Runs the workloads and writes what they gave. `false`: a row failed.
async fn conduct(arguments: Arguments) -> Result<bool, Failure> {
    for program in ["nginx", "haproxy", "wrk", "h2load", "setpriv", "taskset"] {
        machine::program(program)?;
    }
    machine::raise_file_limit();
    let (repetitions, seconds) = if arguments.quick { (3, 1) } else { (5, 3) };
    let repetitions = arguments.repeat.unwrap_or(repetitions);
    let seconds = arguments.seconds.unwrap_or(seconds);
    let (selected, library) = select(&arguments.only)?;

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = root.join(&arguments.out);
    let directory = root.join("target/bench/run");
    for directory in [&out, &directory] {
        let what = directory.display().to_string();
        fs::create_dir_all(directory).map_err(Failure::io(what))?;
    }
    certificates::write(&directory)?;
    // Asked before the build, which would be the load.
    let load_average = machine::load_average();
    let handfast = match &arguments.handfast {
        Some(file) => daemon::copy(file, &directory)?,
        None => daemon::build(&directory)?,
    };
    let mut machine = Machine::now(&handfast)?;
    machine.load_average = load_average;
    let ground = Ground {
        directory,
        handfast,
    };
    let mut rows = Vec::new();
    for bed in [Bed::Pinned, Bed::TwoWorkers] {
        let of_bed: Vec<Workload> = selected
            .iter()
            .filter(|one| one.bed == bed)
            .copied()
            .collect();
        rows.extend(measure::bed(bed, &of_bed, &ground, repetitions, seconds).await?);
    }
    let library = if library {
        let milliseconds = if arguments.quick { 150 } else { 400 };
        Some(library::measure(&ground, repetitions, milliseconds).await)
    } else {
        None
    };
    let results = Results {
        machine,
        repetitions,
        seconds,
        rows,
        library,
    };
    let text = table::render(&results);
    write!(io::stdout(), "\n{text}").ok();
    record::write(&results, &text, &out)?;
    writeln!(
        io::stderr(),
        "\nwritten: {}/results.{{md,json,svg}}",
        out.display()
    )
    .ok();
    if arguments.record {
        let transcript = transcript::take(&ground).await?;
        record::keep(&results, &text, &transcript, root)?;
    }
    let library = results.library.as_ref();
    Ok(results.rows.iter().all(|row| row.failure.is_none())
        && library.is_none_or(|library| library.failure.is_none()))
}

/// The workloads whose names contain one of `only`, all without any, and whether the comparison of the
/// libraries is among them.
fn select(only: &[String]) -> Result<(Vec<Workload>, bool), Failure> {
    let is_selected = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part));
    let selected: Vec<Workload> = workloads::ALL
        .iter()
        .filter(|workload| is_selected(workload.name))
        .copied()
        .collect();
    let library = is_selected(library::NAME);
    if selected.is_empty() && !library {
        return Err(Failure::Usage(
            "no workload has such a name; --list names them".to_owned(),
        ));
    }
    Ok((selected, library))
}
