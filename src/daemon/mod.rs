//! The process: command line, start, reload, signals, shutdown.
