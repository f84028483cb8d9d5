//! `handfast man`: the manual. handfast(8) and a page for each command come from the command line
//! itself, handfast.toml(5) from `docs/configuration.md`.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory, ValueEnum};
use clap_mangen::Man;

use super::cli::{Cli, complain, say};
use super::exit::Exit;
use super::reference_page::reference_page;

/// A page of the manual.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ManPage {
    /// handfast(8): the command.
    #[value(name = "handfast")]
    Command,
    /// handfast.toml(5): the configuration.
    #[value(name = "handfast.toml")]
    Configuration,
}

/// Prints `page`, or writes all pages into the directory `out`.
pub(super) fn man(page: ManPage, out: Option<&Path>) -> Exit {
    let done = match out {
        Some(directory) => write_all(directory),
        None => render(page).map(|text| say(text.trim_end())),
    };
    match done {
        Ok(()) => Exit::Ok,
        Err(error) => {
            complain(&format!("handfast man: {error}"));
            Exit::Failure
        }
    }
}

fn render(page: ManPage) -> io::Result<String> {
    match page {
        ManPage::Command => command_page(command()),
        ManPage::Configuration => Ok(reference_page()),
    }
}

fn command() -> Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    command
}

fn command_page(command: Command) -> io::Result<String> {
    let name = command.get_display_name().unwrap_or("handfast").to_owned();
    let mut roff = Vec::new();
    let page = Man::new(command).title(name).section("8");
    page.manual("handfast").render(&mut roff)?;
    String::from_utf8(roff).map_err(io::Error::other)
}

fn write_all(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join("handfast.toml.5"), reference_page())?;
    write_commands(directory, command())
}

fn write_commands(directory: &Path, command: Command) -> io::Result<()> {
    for inner in command.get_subcommands() {
        write_commands(directory, inner.clone())?;
    }
    let name = command.get_display_name().unwrap_or("handfast").to_owned();
    fs::write(directory.join(format!("{name}.8")), command_page(command)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        write_all(directory.path()).unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        let main = read("handfast.8");
        let mut commands = 0;
        for inner in command().get_subcommands() {
            let name = inner.get_name();
            let page = read(&format!("handfast-{name}.8"));
            assert!(page.contains(".SH SYNOPSIS"), "{page}");
            assert!(
                main.contains(&format!("handfast\\-{}", name.replace('-', "\\-"))),
                "{name}"
            );
            commands += 1;
        }
        assert!(commands > 10, "{commands}");
        assert!(read("handfast-run.8").contains("SIGHUP"));
        assert!(read("handfast-ticket-key-new.8").contains(".TH"));
        assert!(read("handfast.toml.5").contains(".SH"));
    }
}
