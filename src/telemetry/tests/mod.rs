//! The metrics as a scraper sees them.

mod exposition;
mod handshakes;
mod process;
