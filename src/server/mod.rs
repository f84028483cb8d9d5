//! Listeners, accept loops and connections.

mod accept;
mod activity;
mod connection;
mod guard;
mod http;
mod linger;
mod listener;
mod outbox;
mod per_ip;

pub use accept::{Acceptor, ConnectionPermits};
pub use connection::ServerContext;
pub use listener::{BindError, backlog, bind};
