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
mod http;
mod linger;
mod listener;
mod outbox;
mod per_ip;

pub use accept::{Acceptor, ConnectionPermits};
pub use connection::ServerContext;
pub use listener::{BindError, backlog, bind};
