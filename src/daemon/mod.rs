//! The process: command line, start, reload, signals, shutdown.

mod check;
mod cli;
mod demo;
mod descriptors;
mod dev;
mod exit;
mod reload;
mod run;
mod runtime;
mod shutdown;
mod signals;
mod ticket_key;
mod upkeep;

pub use cli::main;
pub use exit::Exit;
