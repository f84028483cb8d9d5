//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::exit::Exit;
use super::ticket_key::{self, TicketKeyCommand};
use super::{check, dev, run};

/// A TLS-terminating reverse proxy that shows you the handshake.
#[derive(Debug, Parser)]
#[command(
    name = "handfast",
    version,
    arg_required_else_help = true,
    propagate_version = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    ///
    /// SIGHUP reloads the configuration; SIGTERM and SIGINT drain, a second one exits at once.
    Run {
        /// The configuration.
        #[arg(long, short, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Check a configuration: print everything that is wrong with it, exit 78 if anything is.
    Check {
        /// The configuration.
        #[arg(long, short, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// Do not open certificates and keys: they may be on another machine.
        #[arg(long)]
        no_files: bool,
    },
    /// Try it out: a certificate made in memory, in front of a demo upstream or of yours.
    Dev {
        /// The upstream to forward to; without it an embedded one that shows each request and
        /// its connection's handshake.
        #[arg(long, value_name = "ADDR")]
        to: Option<SocketAddr>,
        /// Where to listen.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
        listen: SocketAddr,
        /// Where the admin API listens [default: 127.0.0.1:9180, or any free port if it is taken]
        #[arg(long, value_name = "ADDR")]
        admin: Option<SocketAddr>,
    },
    /// Make and rotate ticket keys that several machines share.
    #[command(subcommand)]
    TicketKey(TicketKeyCommand),
    /// Print the version.
    Version,
}

const DEFAULT_CONFIG: &str = "/etc/handfast/handfast.toml";

/// Runs the command that the process was called with.
#[must_use]
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors and go to standard output; a closed pipe is none
            // either.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
        }
    };
    match cli.command {
        Command::Run { config } => run::run(&config),
        Command::Check { config, no_files } => check::check(&config, no_files),
        Command::Dev { to, listen, admin } => dev::dev(to, listen, admin),
        Command::TicketKey(command) => ticket_key::ticket_key(&command),
        Command::Version => {
            say(&format!("handfast {}", env!("CARGO_PKG_VERSION")));
            Exit::Ok
        }
    }
}

/// A line on standard output, for commands whose product it is.
#[expect(clippy::print_stdout, reason = "the product of a command, not a log")]
pub(super) fn say(line: &str) {
    println!("{line}");
}

/// A line on standard error, before there is a log.
#[expect(clippy::print_stderr, reason = "before there is a log")]
pub(super) fn complain(line: &str) {
    eprintln!("{line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
