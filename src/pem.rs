//! Certificates, keys and revocation lists as PEM; the only user of rustls-pemfile.
//!
//! rustls-pemfile is archived (RUSTSEC-2025-0134) and a thin wrapper over `rustls-pki-types`; it
//! was asked for by name, so it is kept in this one file. The replacement is
//! `rustls_pki_types::pem::PemObject`.

use rustls_pemfile::Item;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
};

/// Why PEM text is not what was expected.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// Not PEM at all.
    #[error("cannot be read as PEM")]
    Syntax(#[source] std::io::Error),
    /// Binary DER where PEM is wanted.
    #[error(
        "is DER, not PEM: convert it with `openssl x509 -inform der` or `openssl pkey -inform der`"
    )]
    Der,
    /// No certificate in a chain file.
    #[error("has no certificate (`BEGIN CERTIFICATE`)")]
    NoCertificate,
    /// No revocation list in a CRL file.
    #[error("has no revocation list (`BEGIN X509 CRL`)")]
    NoCrl,
    /// A key, but no certificate, in a chain file.
    #[error("has a private key and no certificate: are `chain` and `key` swapped?")]
    KeyInsteadOfChain,
    /// No key in a key file.
    #[error("has no private key (`BEGIN PRIVATE KEY`)")]
    NoKey,
    /// Certificates, but no key, in a key file.
    #[error("has a certificate and no private key: are `chain` and `key` swapped?")]
    ChainInsteadOfKey,
    /// An encrypted key.
    #[error(
        "has an encrypted private key, which cannot be used unattended: decrypt it with `openssl pkey`"
    )]
    EncryptedKey,
}

/// Reads all certificates of a chain, in order.
///
/// # Errors
/// What the text is instead.
pub fn load_chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let mut key = false;
    let mut chain = Vec::new();
    for item in items(text)? {
        match item {
            Item::X509Certificate(certificate) => chain.push(certificate),
            Item::Pkcs1Key(_) | Item::Pkcs8Key(_) | Item::Sec1Key(_) => key = true,
            _ => {}
        }
    }
    match (chain.is_empty(), key) {
        (false, _) => Ok(chain),
        (true, true) => Err(PemError::KeyInsteadOfChain),
        (true, false) => Err(PemError::NoCertificate),
    }
}

/// Reads all revocation lists, in order.
///
/// # Errors
/// What the text is instead.
pub fn load_crls(text: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
    let lists: Vec<_> = items(text)?
        .into_iter()
        .filter_map(|item| match item {
            Item::Crl(list) => Some(list),
            _ => None,
        })
        .collect();
    if lists.is_empty() {
        return Err(PemError::NoCrl);
    }
    Ok(lists)
}

/// Reads the first private key: PKCS #1, PKCS #8 or SEC 1.
///
/// # Errors
/// What the text is instead.
pub fn load_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    let mut certificate = false;
    for item in items(text)? {
        match item {
            Item::Pkcs1Key(key) => return Ok(key.into()),
            Item::Pkcs8Key(key) => return Ok(key.into()),
            Item::Sec1Key(key) => return Ok(key.into()),
            Item::X509Certificate(_) => certificate = true,
            _ => {}
        }
    }
    let encrypted = text.split(|&byte| byte == b'\n').any(|line| {
        line.starts_with(b"-----BEGIN ENCRYPTED") || line.starts_with(b"Proc-Type: 4,ENCRYPTED")
    });
    Err(match (encrypted, certificate) {
        (true, _) => PemError::EncryptedKey,
        (false, true) => PemError::ChainInsteadOfKey,
        (false, false) => PemError::NoKey,
    })
}

fn items(text: &[u8]) -> Result<Vec<Item>, PemError> {
    if text.starts_with(&[0x30]) {
        return Err(PemError::Der);
    }
    // The old OpenSSL encryption header is no base64: seen before the parser trips over it.
    if text
        .windows(22)
        .any(|window| window == b"Proc-Type: 4,ENCRYPTED")
    {
        return Err(PemError::EncryptedKey);
    }
    rustls_pemfile::read_all(&mut &*text)
        .collect::<Result<_, _>>()
        .map_err(PemError::Syntax)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn chains_and_keys_load() {
        let (chain, key) = pair();
        assert_eq!(
            load_chain(format!("{chain}{chain}").as_bytes())
                .unwrap()
                .len(),
            2
        );
        load_key(key.as_bytes()).unwrap();
        load_key(format!("{chain}{key}").as_bytes()).unwrap();
    }

    #[test]
    fn the_wrong_thing_is_named() {
        let (chain, key) = pair();
        assert!(matches!(
            load_chain(key.as_bytes()),
            Err(PemError::KeyInsteadOfChain)
        ));
        assert!(matches!(
            load_key(chain.as_bytes()),
            Err(PemError::ChainInsteadOfKey)
        ));
        assert!(matches!(load_chain(b""), Err(PemError::NoCertificate)));
        assert!(matches!(load_crls(chain.as_bytes()), Err(PemError::NoCrl)));
        assert!(matches!(load_key(b"hello\n"), Err(PemError::NoKey)));
        assert!(matches!(load_key(&[0x30, 0x82, 1, 2]), Err(PemError::Der)));
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        assert!(matches!(
            load_key(encrypted.as_bytes()),
            Err(PemError::EncryptedKey)
        ));
    }
}
