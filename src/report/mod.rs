//! What is known of one handshake: plain data that every floor shares.
//!
//! Nothing here does IO or knows rustls; the handshake driver fills these types, telemetry and
//! the admin API read them.

mod alert;
mod details;
pub mod explanation;
mod failure;
mod handshake;
mod http2_limit;
mod json;
mod network;
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
pub use http2_limit::Http2Limit;
pub(crate) use json::micros;
pub use network::{ExtraRoundTrip, Network, Verdict, Wait};
pub use phase::{Part, Parts, Phase, PhaseKind, Phases};
pub use resumption::{Confidence, FalseStart, Ineligible, Resumption};
pub use walk::{Agreed, Walk, sentence};
