//! Decrypts the records of one direction of TLS 1.3 (RFC 8446 sections 5.2 and 7.3).

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use aws_lc_rs::hkdf::{HKDF_SHA256, HKDF_SHA384, KeyType, Prk};
use zeroize::Zeroizing;

/// The keys of one direction for as long as they hold.
#[derive(Debug)]
pub(super) struct Opener {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Opener {
    /// Keys from a traffic secret under a cipher suite; `None` for suites that are not of TLS 1.3.
    pub(super) fn new(suite: u16, secret: &[u8]) -> Option<Self> {
        let (aead, hash) = match suite {
            0x1301 => (&AES_128_GCM, HKDF_SHA256),
            0x1302 => (&AES_256_GCM, HKDF_SHA384),
            0x1303 => (&CHACHA20_POLY1305, HKDF_SHA256),
            _ => return None,
        };
        let secret = Prk::new_less_safe(hash, secret);
        let mut key = Zeroizing::new(vec![0; aead.key_len()]);
        let mut iv = [0; 12];
        expand(&secret, b"tls13 key", &mut key)?;
        expand(&secret, b"tls13 iv", &mut iv)?;
        let key = LessSafeKey::new(UnboundKey::new(aead, &key).ok()?);
        Some(Self {
            key,
            iv,
            sequence: 0,
        })
    }

    /// Decrypts the next record: its inner content type and its content.
    pub(super) fn open(&mut self, record: &[u8]) -> Option<(u8, Vec<u8>)> {
        let (header, body) = record.split_at_checked(5)?;
        let mut nonce = self.iv;
        for (byte, sequence) in nonce.iter_mut().skip(4).zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let content = self.key.open_in_place(nonce, Aad::from(header), &mut body);
        let length = content.ok()?.len();
        self.sequence += 1;
        body.truncate(length);
        // The type is the last byte that is not padding.
        while body.last() == Some(&0) {
            body.pop();
        }
        let kind = body.pop()?;
        Some((kind, body))
    }
}

/// HKDF-Expand-Label with an empty context.
fn expand(secret: &Prk, label: &[u8], out: &mut [u8]) -> Option<()> {
    let length = u8::try_from(out.len()).ok()?;
    let name = u8::try_from(label.len()).ok()?;
    let info = [&[0, length, name], label, &[0]].concat();
    let info = [info.as_slice()];
    let key = secret.expand(&info, Length(out.len())).ok()?;
    key.fill(out).ok()
}
