//! The one cryptography provider: aws-lc-rs, with timed key exchange groups.
//!
//! Always passed explicitly, never installed as the process default: a dependency that brings a
//! second provider would make the implicit default panic.

use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::crypto::{CryptoProvider, GetRandomFailed, SupportedKxGroup, aws_lc_rs};

use super::hooks::TimedGroup;
use crate::config::{CipherSuite, Group};

/// A provider limited to `suites` and `groups`, in that order. What aws-lc-rs does not have is
/// left out; the tables of [`crate::config`] hold nothing that it lacks, and a test says so.
#[must_use]
pub fn provider(suites: &[&CipherSuite], groups: &[&Group]) -> Arc<CryptoProvider> {
    let base = aws_lc_rs::default_provider();
    Arc::new(CryptoProvider {
        cipher_suites: suites
            .iter()
            .filter_map(|wanted| {
                aws_lc_rs::ALL_CIPHER_SUITES
                    .iter()
                    .find(|suite| u16::from(suite.suite()) == wanted.code)
                    .copied()
            })
            .collect(),
        kx_groups: groups
            .iter()
            .filter_map(|wanted| {
                timed_groups()
                    .iter()
                    .find(|group| u16::from(group.name()) == wanted.code)
                    .copied()
            })
            .collect(),
        ..base
    })
}

/// A provider for connections that we make: all of aws-lc-rs's defaults, and without the clocks of
/// the handshakes that we answer.
#[must_use]
pub fn client_provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| aws_lc_rs::default_provider().into())
        .clone()
}

/// Draws the process's first random bytes.
///
/// aws-lc gathers jitter entropy for about 50 ms at the first draw of a process; without this it
/// lands inside the first handshake.
///
/// # Errors
/// The system has no randomness to give.
pub fn warm_up() -> Result<(), GetRandomFailed> {
    aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut [0; 32])
}

/// rustls wants groups that live for ever, so each is wrapped once a process.
fn timed_groups() -> &'static [&'static dyn SupportedKxGroup] {
    static GROUPS: OnceLock<Vec<&'static dyn SupportedKxGroup>> = OnceLock::new();
    GROUPS.get_or_init(|| {
        aws_lc_rs::ALL_KX_GROUPS
            .iter()
            .map(|&group| &*Box::leak(Box::new(TimedGroup(group))) as &dyn SupportedKxGroup)
            .collect()
    })
}
