//! The handshake driver against real clients, over pipes in memory.

mod admission;
mod complete;
mod first_bytes;
mod peers;
mod refusals;
mod round_trips;
mod sessions;
