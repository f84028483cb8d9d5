//! The handshake engine: ClientHello, records, phases, policies and certificates.
//!
//! [`accept`] drives one handshake; [`Sites`] say which certificate and policy a client gets.

mod alert;
mod certificates;
mod client_auth;
mod client_identity;
mod clock;
mod diagnosis;
mod handshake;
mod hello;
mod hooks;
mod policy;
mod provider;
mod record;
mod sites;
mod transcript;
mod wire;
mod work;

pub use certificates::{CertificateError, LoadedCertificate};
pub use client_auth::{ClientAuthError, ClientVerifier};
pub use client_identity::{ClientIdentity, IdentityError};
pub use handshake::{Established, Incoming, Refused, accept};
pub use hello::{ClientHello, HelloError, ServerName, is_grease};
pub use policy::{PolicyError, TlsPolicy};
pub use provider::{provider, warm_up};
pub use record::RecordIo;
pub use sites::{Site, Sites};
