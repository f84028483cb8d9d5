//! TLS names as plain data: cipher suites, groups, presets, and what can never work.
//!
//! Knows nothing of rustls: the tests of the TLS room prove that each suite and group here exists
//! there.

mod cipher_suite;
mod group;
mod impossible;
mod preset;

pub use cipher_suite::{CertificateType, CipherSuite};
pub use group::Group;
pub(super) use impossible::{Impossible, impossible_group, impossible_suite, impossible_version};
pub use preset::Preset;
