//! Listeners, accept loops and connections.

mod accept;
mod activity;
mod connection;
mod guard;
#[cfg(test)]
mod h1_agreement;
mod h1_answer;
mod h1_framing;
mod h1_guard;
mod h1_refusal;
#[cfg(test)]
mod h2_agreement;
mod h2_fields;
mod h2_frames;
mod h2_guard;
mod h2_ledger;
mod h2_meter;
mod h2_windows;
mod heartbeat;
mod http;
mod inherited;
mod linger;
mod listener;
mod outbox;
mod pace;
mod per_ip;
mod permits;
mod proxy_header;
mod socket;
#[cfg(test)]
mod tests;
mod timer_table;
mod tunnels;

pub use accept::Acceptor;
pub use connection::ServerContext;
pub use heartbeat::Heartbeat;
pub use inherited::InheritedSockets;
pub use listener::{BindError, ListenerSocket, bind};
pub use permits::ConnectionPermits;
