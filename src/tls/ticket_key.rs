//! One ticket key: seals sessions into tickets and opens them again.
//!
//! ```text
//! ticket = key name (16) || scope tag (16) || salt (32) || AES-256-GCM(issue time (8) || session)
//! ```
//!
//! Each ticket has an AEAD key of its own, derived from the secret and the random salt with HKDF,
//! so the nonce is always zero and no number of tickets wears a key out. The whole header is
//! authenticated. The scope tag, keyed too, tells a ticket of another policy from a damaged one.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hkdf, rand};
use zeroize::Zeroizing;

use super::scope::Scope;
use super::timestamp::Timestamp;
use super::work::Verdict;

/// The name and the secret of a key, as a file holds them.
pub(super) struct KeyMaterial {
    bytes: Zeroizing<Vec<u8>>,
    made: Timestamp,
}

/// A key at work in one scope.
pub(super) struct TicketKey {
    name: [u8; NAME],
    tag: [u8; TAG],
    secret: hkdf::Prk,
    made: Timestamp,
    /// What it was derived from, where it is to be written down.
    material: Option<Arc<KeyMaterial>>,
}

/// A session out of a ticket.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// The session, as rustls encoded it.
    pub(super) session: Vec<u8>,
    /// When the full handshake was that it comes from.
    pub(super) issued: Timestamp,
}

/// Why bytes are no ticket key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyMaterialError {
    /// Another number of bytes.
    #[error("holds {0} bytes; a ticket key has 48 or 80: make one with `handfast ticket-key new`")]
    Size(usize),
    /// One byte, again and again.
    #[error("is not random: all of its bytes are the same")]
    NotRandom,
}

const NAME: usize = 16;
const TAG: usize = 16;
const SALT: usize = 32;
const HEADER: usize = NAME + TAG + SALT;
const ISSUED: usize = 8;

/// The sizes of a key file: a name with a secret of 32 bytes, or of 64 as in nginx's files.
pub(super) const SIZES: [usize; 2] = [48, 80];

/// The longest session that is sealed: with a client's certificate chain in it a session is long,
/// and the ticket comes back in every ClientHello.
const LONGEST_SESSION: usize = 16 << 10;

impl KeyMaterial {
    /// The content of a key file that was made at `made`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(
        bytes: Zeroizing<Vec<u8>>,
        made: Timestamp,
    ) -> Result<Self, KeyMaterialError> {
        if !SIZES.contains(&bytes.len()) {
            return Err(KeyMaterialError::Size(bytes.len()));
        }
        if bytes.iter().all(|byte| Some(byte) == bytes.first()) {
            return Err(KeyMaterialError::NotRandom);
        }
        Ok(Self { bytes, made })
    }

    /// A new key.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub(super) fn generate(made: Timestamp) -> Result<Self, Unspecified> {
        let mut bytes = Zeroizing::new(vec![0; 80]);
        rand::fill(&mut bytes)?;
        Ok(Self { bytes, made })
    }

    /// Name and secret.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// When it was made.
    pub(super) const fn made(&self) -> Timestamp {
        self.made
    }

    /// The key for tickets of `scope`.
    ///
    /// # Errors
    /// None in practice: aws-lc cannot derive a key.
    pub(super) fn key(&self, scope: &Scope) -> Result<TicketKey, Unspecified> {
        let (name, secret) = self.bytes.split_first_chunk::<NAME>().ok_or(Unspecified)?;
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"handfast ticket 1").extract(secret);
        // Extracted once, so that a ticket costs one expansion.
        let secret = hkdf::Prk::from(extracted.expand(&[b"root"], hkdf::HKDF_SHA256)?);
        Ok(TicketKey {
            name: *name,
            tag: tag(&secret, scope)?,
            secret,
            made: self.made,
            material: None,
        })
    }

    /// The same, which still knows what it comes from.
    ///
    /// # Errors
    /// As for [`KeyMaterial::key`].
    pub(super) fn kept_key(self, scope: &Scope) -> Result<TicketKey, Unspecified> {
        let key = self.key(scope)?;
        Ok(TicketKey {
            material: Some(Arc::new(self)),
            ..key
        })
    }
}

impl TicketKey {
    /// The first bytes of every ticket it seals; not secret.
    pub(super) const fn name(&self) -> &[u8; NAME] {
        &self.name
    }

    /// When it was made.
    pub(super) const fn made(&self) -> Timestamp {
        self.made
    }

    /// What it was derived from, where it is to be written down.
    pub(super) const fn material(&self) -> Option<&Arc<KeyMaterial>> {
        self.material.as_ref()
    }

    /// The same key for tickets of another scope.
    ///
    /// # Errors
    /// None in practice: aws-lc cannot derive a tag.
    pub(super) fn in_scope(&self, scope: &Scope) -> Result<Self, Unspecified> {
        Ok(Self {
            name: self.name,
            tag: tag(&self.secret, scope)?,
            secret: self.secret.clone(),
            made: self.made,
            material: self.material.clone(),
        })
    }

    /// Whether `ticket` names this key.
    pub(super) fn sealed(&self, ticket: &[u8]) -> bool {
        ticket.starts_with(&self.name)
    }

    /// A ticket for `session`. `None` when the session is too long for one.
    pub(super) fn seal(&self, session: &[u8], issued: Timestamp) -> Option<Vec<u8>> {
        if session.len() > LONGEST_SESSION {
            return None;
        }
        let mut header = [0; HEADER];
        let (name, rest) = header.split_at_mut(NAME);
        let (tag, salt) = rest.split_at_mut(TAG);
        name.copy_from_slice(&self.name);
        tag.copy_from_slice(&self.tag);
        rand::fill(salt).ok()?;
        let key = self.derived(salt).ok()?;
        let mut ticket =
            Vec::with_capacity(HEADER + ISSUED + session.len() + AES_256_GCM.tag_len());
        ticket.extend_from_slice(&header);
        ticket.extend_from_slice(&issued.millis().to_be_bytes());
        ticket.extend_from_slice(session);
        let authenticator = key
            .seal_in_place_separate_tag(nonce(), Aad::from(header), ticket.get_mut(HEADER..)?)
            .ok()?;
        ticket.extend_from_slice(authenticator.as_ref());
        Some(ticket)
    }

    /// The session in `ticket`, which names this key.
    ///
    /// # Errors
    /// [`Verdict::Corrupt`] or [`Verdict::Scope`].
    pub(super) fn open(&self, ticket: &[u8]) -> Result<Opened, Verdict> {
        let (header, sealed) = ticket
            .split_first_chunk::<HEADER>()
            .ok_or(Verdict::Corrupt)?;
        let key = self
            .derived(&header[NAME + TAG..])
            .map_err(|_| Verdict::Corrupt)?;
        let mut sealed = sealed.to_vec();
        let plain = key
            .open_in_place(nonce(), Aad::from(*header), &mut sealed)
            .map_err(|_| Verdict::Corrupt)?;
        // Only now is the tag known to be one that a holder of the key has written.
        if header[NAME..NAME + TAG] != self.tag {
            return Err(Verdict::Scope);
        }
        let (issued, session) = plain
            .split_first_chunk::<ISSUED>()
            .ok_or(Verdict::Corrupt)?;
        Ok(Opened {
            session: session.to_vec(),
            issued: Timestamp::from_millis(u64::from_be_bytes(*issued)),
        })
    }

    fn derived(&self, salt: &[u8]) -> Result<LessSafeKey, Unspecified> {
        let info: [&[u8]; 2] = [b"ticket", salt];
        let key = UnboundKey::from(self.secret.expand(&info, &AES_256_GCM)?);
        Ok(LessSafeKey::new(key))
    }
}

impl fmt::Debug for TicketKey {
    /// Its name alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketKey({self})")
    }
}

impl fmt::Display for TicketKey {
    /// The first bytes of its name, as in the file names that `handfast ticket-key` gives.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&short(&self.name))
    }
}

/// The first four bytes of a key's name in hexadecimal.
pub(super) fn short(name: &[u8]) -> String {
    name.iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn tag(secret: &hkdf::Prk, scope: &Scope) -> Result<[u8; TAG], Unspecified> {
    let mut tag = [0; TAG];
    secret
        .expand(&[b"scope", scope.bytes()], Length(TAG))?
        .fill(&mut tag)?;
    Ok(tag)
}

/// Each derived key seals one ticket.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUED_AT: Timestamp = Timestamp::from_millis(1_795_407_045_123);

    fn material() -> KeyMaterial {
        KeyMaterial::generate(ISSUED_AT).unwrap()
    }

    #[test]
    fn what_was_sealed_opens() {
        let key = material().key(&Scope::named("a")).unwrap();
        for session in [b"".as_slice(), b"a session", &[7; 4000]] {
            let ticket = key.seal(session, ISSUED_AT).unwrap();
            assert!(key.sealed(&ticket));
            let opened = key.open(&ticket).unwrap();
            assert_eq!((&*opened.session, opened.issued), (session, ISSUED_AT));
        }
        assert_eq!(key.seal(&[0; LONGEST_SESSION + 1], ISSUED_AT), None);
    }

    #[test]
    fn every_damaged_bit_is_noticed() {
        let key = material().key(&Scope::named("a")).unwrap();
        let ticket = key.seal(b"a session", ISSUED_AT).unwrap();
        for at in NAME..ticket.len() {
            for bit in 0..8 {
                let mut damaged = ticket.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(key.open(&damaged), Err(Verdict::Corrupt), "byte {at}");
            }
        }
        for length in NAME..ticket.len() {
            assert_eq!(key.open(&ticket[..length]), Err(Verdict::Corrupt));
        }
    }

    #[test]
    fn another_scope_with_the_same_key_is_told_apart() {
        let material = material();
        let (one, other) = (
            material.key(&Scope::named("a")).unwrap(),
            material.key(&Scope::named("b")).unwrap(),
        );
        let ticket = one.seal(b"a session", ISSUED_AT).unwrap();
        assert!(other.sealed(&ticket));
        assert_eq!(other.open(&ticket), Err(Verdict::Scope));
    }

    #[test]
    fn no_two_tickets_are_alike() {
        let key = material().key(&Scope::named("a")).unwrap();
        let seal = || key.seal(b"a session", ISSUED_AT).unwrap();
        let (one, other) = (seal(), seal());
        assert_ne!(one[HEADER..], other[HEADER..]);
        assert!(!material().key(&Scope::named("a")).unwrap().sealed(&one));
    }

    #[test]
    fn only_random_bytes_of_the_right_number_are_a_key() {
        let read = |bytes: Vec<u8>| KeyMaterial::new(Zeroizing::new(bytes), ISSUED_AT).err();
        let counted = |count: u8| (0..count).collect::<Vec<u8>>();
        assert_eq!(read(counted(48)), None);
        assert_eq!(read(counted(80)), None);
        for count in [0, 16, 47, 49, 64, 81] {
            let size = KeyMaterialError::Size(count.into());
            assert_eq!(read(counted(count)), Some(size));
        }
        assert_eq!(read(vec![0; 80]), Some(KeyMaterialError::NotRandom));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let material = material();
        let key = material.key(&Scope::named("a")).unwrap();
        let name = short(&material.bytes()[..NAME]);
        assert_eq!(format!("{key:?}"), format!("TicketKey({name})"));
    }
}
