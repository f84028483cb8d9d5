//! The handshake engine: ClientHello, records, phases, policies and certificates.
//!
//! [`accept`] drives one handshake; [`Sites`] say which certificate and policy a client gets.

mod alert;
mod certificates;
mod chain;
mod clock;
mod diagnosis;
mod handshake;
mod hello;
mod hooks;
mod ocsp;
mod policy;
mod provider;
mod record;
mod sites;
mod transcript;
mod wire;
mod work;

pub use certificates::{CertificateError, CertificateWarning, LoadedCertificate};
pub use chain::ChainError;
pub use handshake::{Established, Incoming, Refused, accept};
pub use hello::{ClientHello, HelloError, ServerName, is_grease};
pub use ocsp::OcspError;
pub use policy::TlsPolicy;
pub use provider::{provider, warm_up};
pub use record::RecordIo;
pub use sites::{Site, Sites};
