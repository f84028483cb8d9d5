//! `handfast completions`: what a shell needs to complete the command line.

use std::io::{self, Write as _};

use clap::CommandFactory;
use clap_complete::Shell;

use super::cli::Cli;
use super::exit::Exit;

/// Prints the completions for `shell`.
pub(super) fn completions(shell: Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "handfast", &mut script);
    // A reader that has seen enough is no fault.
    let _ = io::stdout().write_all(&script);
    Exit::Ok
}
