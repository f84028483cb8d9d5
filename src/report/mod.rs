//! What is known of one handshake: plain data that every floor shares.
//!
//! Nothing here does IO or knows rustls; the handshake driver fills these types, telemetry and
//! the admin API read them.

mod alert;
mod details;
mod failure;
mod handshake;
mod json;
mod phase;
mod resumption;
mod walk;

pub use alert::{alert_meaning, alert_name};
pub use details::{ChainLink, Comparison, FailureDetails, Name, gave_up_like};
pub use failure::{Failure, FailureClass, Remedy, Side};
pub use handshake::{
    ConnectionId, ConnectionIdError, Direction, HandshakeKind, HandshakeReport, Message, Outcome,
    Peer, ProtocolVersion, ServerNameLabel,
};
pub(crate) use json::micros;
pub use phase::{Part, Parts, Phase, PhaseKind, Phases};
pub use resumption::{FalseStart, Ineligible, Resumption};
pub use walk::{Agreed, Walk, sentence};
