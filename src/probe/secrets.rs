//! The traffic secrets of the probe's own connection, to read its own records with.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use tokio_rustls::rustls::KeyLog;
use zeroize::Zeroizing;

/// Where rustls leaves secrets. They never leave the process.
#[derive(Default)]
pub(super) struct Secrets(Mutex<Vec<Secret>>);

/// One secret, by its label in the NSS key log format.
pub(super) type Secret = (String, Zeroizing<Vec<u8>>);

impl Secrets {
    /// Takes the secrets of the connection that was made since the last call.
    pub(super) fn take(&self) -> Vec<Secret> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl KeyLog for Secrets {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((label.to_owned(), Zeroizing::new(secret.to_vec())));
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}
