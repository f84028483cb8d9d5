//! The two certificates that every peer serves.

use std::fs;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};

use crate::failure::Failure;

/// The key of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// ECDSA on P-256.
    P256,
    /// RSA with 2048 bits.
    Rsa2048,
}

impl Key {
    /// The file of certificate and key.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::P256 => "p256.pem",
            Self::Rsa2048 => "rsa.pem",
        }
    }
}

/// Writes `p256.pem` and `rsa.pem`, certificate and key in one file as HAProxy wants it.
pub(crate) fn write(directory: &Path) -> Result<(), Failure> {
    let made = |error: rcgen::Error| Failure::Io {
        what: "cannot make a certificate".to_owned(),
        source: std::io::Error::other(error),
    };
    let keys = [
        (Key::P256, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)),
        (
            Key::Rsa2048,
            KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        ),
    ];
    for (kind, key) in keys {
        let key = key.map_err(made)?;
        let params = CertificateParams::new(vec!["localhost".to_owned()]).map_err(made)?;
        let certificate = params.self_signed(&key).map_err(made)?;
        let path = directory.join(kind.file());
        let text = certificate.pem() + &key.serialize_pem();
        fs::write(&path, text).map_err(Failure::io(path.display().to_string()))?;
    }
    Ok(())
}
