//! The process: command line, start, reload, signals, shutdown.

mod ask_key_log;
mod ask_reload;
mod ask_what_if;
mod check;
mod cli;
mod completions;
mod control;
mod demo;
mod descriptors;
mod dev;
mod directory_events;
mod exit;
mod explain;
mod man;
mod notify;
mod probe;
mod reference_page;
mod reload;
mod reloader;
mod run;
mod runtime;
mod schema;
mod shutdown;
mod signals;
mod socket_client;
mod status;
mod ticket_key;
mod top;
mod top_screen;
mod upkeep;
mod watch;
mod watched_files;

pub use cli::main;
pub use exit::Exit;
