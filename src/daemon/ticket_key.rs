//! `handfast ticket-key`: key files for a fleet.

use std::path::PathBuf;

use clap::Subcommand;

use super::cli::{complain, say};
use super::exit::Exit;
use crate::tls::{KeyDirectoryError, add_ticket_key, rotate_ticket_keys};

#[derive(Debug, Subcommand)]
pub(super) enum TicketKeyCommand {
    /// Make a key in a directory, which is made too if it is not there.
    ///
    /// Running daemons read the directory again every few seconds, and seal with the newest key.
    New {
        /// The directory that `key_dir` names.
        directory: PathBuf,
    },
    /// Make a key and remove the oldest.
    ///
    /// To be run by a timer on one machine, which then copies the directory to the others. A key
    /// should be kept for the `lifetime` of sessions after the next one was made.
    Rotate {
        /// The directory that `key_dir` names.
        directory: PathBuf,
        /// How many keys to keep, the new one included.
        #[arg(long, value_name = "COUNT", default_value_t = 3,
              value_parser = clap::value_parser!(u8).range(1..=32))]
        keep: u8,
    },
}

/// Runs the command; prints what was made and what was removed.
pub(super) fn ticket_key(command: &TicketKeyCommand) -> Exit {
    match run(command) {
        Ok((made, removed)) => {
            say(&format!("made {}", made.display()));
            for path in removed {
                say(&format!("removed {}", path.display()));
            }
            Exit::Ok
        }
        Err(error) => {
            let cause = std::error::Error::source(&error);
            let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
            complain(&format!("handfast: {error}{cause}"));
            Exit::Failure
        }
    }
}

fn run(command: &TicketKeyCommand) -> Result<(PathBuf, Vec<PathBuf>), KeyDirectoryError> {
    match command {
        TicketKeyCommand::New { directory } => Ok((add_ticket_key(directory)?, Vec::new())),
        TicketKeyCommand::Rotate { directory, keep } => {
            rotate_ticket_keys(directory, usize::from(*keep))
        }
    }
}
