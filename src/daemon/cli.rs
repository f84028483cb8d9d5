//! The command line.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use super::ask_key_log::{self, KeyLogArgs};
use super::ask_what_if::{self, WhatIfArgs};
use super::exit::Exit;
use super::man::{self, ManPage};
use super::probe::{self, ProbeArgs};
use super::socket_client::{SocketArgs, ViewArgs};
use super::ticket_key::{self, TicketKeyCommand};
use super::{ask_reload, check, completions, dev, explain, run, schema, status, top};

/// A TLS-terminating reverse proxy that shows you the handshake.
#[derive(Debug, Parser)]
#[command(
    name = "handfast",
    version,
    arg_required_else_help = true,
    propagate_version = true
)]
pub(super) struct Cli {
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
    /// Make a handshake with a server and show it step by step.
    ///
    /// Exits with 0 when it succeeds, with 1 when it fails.
    Probe(ProbeArgs),
    /// Make and rotate ticket keys that several machines share.
    #[command(subcommand)]
    TicketKey(TicketKeyCommand),
    /// Reload the configuration of the running daemon, and say how it went.
    ///
    /// Exits with 78 when the configuration is wrong; the old one serves on then. With 1 when
    /// certificates are kept as they were, because their files cannot be used.
    Reload {
        #[command(flatten)]
        socket: SocketArgs,
        /// Reload also when that turns away more clients than reload.max_broken_clients permits.
        #[arg(long)]
        force: bool,
    },
    /// Show what the running daemon is about.
    Status {
        #[command(flatten)]
        socket: SocketArgs,
        /// Print the answer of the API as it is.
        #[arg(long)]
        json: bool,
        /// Print nothing: exit 0 when the daemon is ready for connections, else 1.
        #[arg(long, conflicts_with = "json")]
        ready: bool,
    },
    /// Watch what the running daemon does: rates, durations, phases, failures, resumption.
    ///
    /// Refreshed every second until Ctrl-C, in 80 columns.
    Top {
        #[command(flatten)]
        view: ViewArgs,
        /// Print it once, for pipes.
        #[arg(long)]
        once: bool,
    },
    /// Write the session secrets of some clients to a file, for a time.
    ///
    /// For Wireshark and its like: whoever has the file can read what these clients send. Only
    /// connections that begin after it are in it.
    KeyLog {
        #[command(flatten)]
        socket: SocketArgs,
        #[command(flatten)]
        key_log: KeyLogArgs,
    },
    /// Explain a failure class: what it means, usual causes, how to confirm and to fix it.
    ///
    /// Without a class, list them all.
    Explain {
        /// The class, as in metrics and events.
        class: Option<String>,
    },
    /// Tell which clients a change of tls policies would turn away.
    ///
    /// The running daemon keeps a ClientHello of each kind of client that came, and answers them in
    /// memory as the changed policies would. Nothing is changed.
    WhatIf {
        #[command(flatten)]
        socket: SocketArgs,
        #[command(flatten)]
        change: WhatIfArgs,
    },
    /// Tell about the configuration's format.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print a page of the manual, or write all of them.
    Man {
        /// The page.
        #[arg(default_value = "handfast")]
        page: ManPage,
        /// Write all pages into this directory, in place of printing one.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Print the version.
    Version,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print its JSON Schema (draft 2020-12), with which editors complete and check it.
    Schema,
}

pub(super) const DEFAULT_CONFIG: &str = "/etc/handfast/handfast.toml";

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
        Command::Probe(args) => probe::probe(&args),
        Command::TicketKey(command) => ticket_key::ticket_key(&command),
        Command::Reload { socket, force } => ask_reload::ask_reload(&socket, force),
        Command::Status {
            socket,
            json,
            ready,
        } => status::status(&socket, json, ready),
        Command::Top { view, once } => top::top(&view, once),
        Command::KeyLog { socket, key_log } => ask_key_log::ask_key_log(&socket, &key_log),
        Command::Explain { class } => explain::explain(class.as_deref()),
        Command::WhatIf { socket, change } => ask_what_if::ask_what_if(&socket, &change),
        Command::Config(ConfigCommand::Schema) => schema::schema(),
        Command::Completions { shell } => completions::completions(shell),
        Command::Man { page, out } => man::man(page, out.as_deref()),
        Command::Version => {
            say(&format!("handfast {}", env!("CARGO_PKG_VERSION")));
            Exit::Ok
        }
    }
}

/// A line on standard output, for commands whose product it is. A reader that has seen enough (a
/// closed pipe) is no fault.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A line on standard error, before there is a log.
pub(super) fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
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
