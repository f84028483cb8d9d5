//! The handshake engine: ClientHello, records, phases, policies and certificates.
//!
//! [`accept`] drives one handshake; [`Sites`] say which certificate and policy a client gets.

mod admission;
mod alert;
mod certificates;
mod chain;
mod client_auth;
mod client_identity;
mod clock;
mod comparison;
mod diagnosis;
mod door;
mod facts;
mod false_start;
mod first_flight;
#[cfg(test)]
mod fixture;
mod forecast;
mod handshake;
mod hello;
mod hello_ring;
mod hello_shape;
mod hooks;
mod idle;
mod inbox;
mod ja4;
mod kernel;
mod key_directory;
mod key_log;
mod key_log_writer;
mod ocsp;
mod offer;
mod policy;
mod provider;
mod record;
mod rehearsal;
mod remedy;
mod resumption;
mod scope;
mod selection;
mod session_store;
mod sites;
mod slot_wait;
mod streaming;
#[cfg(test)]
mod tests;
mod ticket_key;
mod ticket_ring;
mod ticket_state;
mod timestamp;
mod transcript;
mod transport;
mod wire;
mod work;

pub use admission::Admission;
pub use alert::REFUSAL;
pub use certificates::{
    CertificateError, CertificateWarning, LoadedCertificate, load_client_certificate,
};
pub use chain::ChainError;
pub use client_auth::{ClientAuthError, ClientVerifier};
pub use client_identity::{ClientIdentity, IdentityError};
pub use door::{Ahead, turn_away};
pub use forecast::{Forecast, ForecastFailure};
pub use handshake::{Established, Incoming, Proxied, Refused, accept, never_began};
pub use hello::{ClientHello, HelloError, ServerName, is_grease};
pub use hello_ring::{HelloCensus, HelloRing, HelloSample};
pub use idle::Idle;
pub use kernel::{TcpFacts, defer_accept, send_room, stamp_arrivals};
pub use key_directory::{KeyDirectoryError, add_ticket_key, rotate_ticket_keys};
pub use key_log::{KeyLog, KeyLogError, KeyLogRequest, KeyLogStatus};
pub use ocsp::OcspError;
pub use policy::{PolicyError, TlsPolicy};
pub use provider::{client_provider, provider, warm_up};
pub use record::RecordIo;
pub use rehearsal::{Negotiated, rehearse};
pub use remedy::{Ailment, prescribe};
pub use scope::Scope;
pub use sites::{Site, Sites};
pub use ticket_key::KeyMaterialError;
pub use ticket_ring::TicketKeyError;
pub use timestamp::Timestamp;
pub use transport::Transport;
pub(crate) use wire::Reader;
