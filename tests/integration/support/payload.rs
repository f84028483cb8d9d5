//! The bytes that streams carry, their SHA-256, and a rate to move them at.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use tokio_rustls::rustls::SupportedCipherSuite;
use tokio_rustls::rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use tokio_rustls::rustls::crypto::hash::Context;

use super::wait::pause;

const BLOCK: usize = 64 * 1024;

/// A given number of bytes in which every block differs, so that a lost, doubled or swapped block
/// changes the digest.
pub(crate) struct Payload {
    block: Vec<u8>,
    at: u64,
    len: u64,
}

impl Payload {
    /// `len` bytes, the same ones every time.
    pub(crate) fn new(len: u64) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let block = (0..BLOCK)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            })
            .collect();
        Self { block, at: 0, len }
    }
}

impl Read for Payload {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let offset = usize::try_from(self.at % BLOCK as u64).unwrap();
        if offset == 0 {
            let number = (self.at / BLOCK as u64).to_le_bytes();
            self.block[..8].copy_from_slice(&number);
        }
        let left = usize::try_from((self.len - self.at).min(BLOCK as u64)).unwrap();
        let count = out.len().min(BLOCK - offset).min(left);
        out[..count].copy_from_slice(&self.block[offset..offset + count]);
        self.at += count as u64;
        Ok(count)
    }
}

/// A running SHA-256, borrowed from the TLS library's own provider.
pub(crate) struct Sha256(Box<dyn Context>);

impl Sha256 {
    /// Of nothing yet.
    pub(crate) fn new() -> Self {
        match TLS13_AES_128_GCM_SHA256 {
            SupportedCipherSuite::Tls13(suite) => Self(suite.common.hash_provider.start()),
            SupportedCipherSuite::Tls12(_) => unreachable!("a TLS 1.3 suite"),
        }
    }

    /// Takes in more bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest in hexadecimal.
    pub(crate) fn finish(self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        for byte in self.0.finish().as_ref() {
            write!(text, "{byte:02x}").unwrap();
        }
        text
    }
}

/// The digest of a payload of `len` bytes.
pub(crate) fn sha256_of_payload(len: u64) -> String {
    let mut digest = Sha256::new();
    let mut payload = Payload::new(len);
    let mut buffer = vec![0; BLOCK];
    loop {
        match payload.read(&mut buffer).unwrap() {
            0 => return digest.finish(),
            count => digest.update(&buffer[..count]),
        }
    }
}

/// A rate in bytes per second, kept by pausing.
pub(crate) struct Pace {
    rate: u64,
    start: Instant,
    moved: u64,
}

impl Pace {
    /// `rate` bytes per second from now on.
    pub(crate) fn new(rate: u64) -> Self {
        Self {
            rate,
            start: Instant::now(),
            moved: 0,
        }
    }

    /// Two megabytes per second.
    pub(crate) fn slow() -> Self {
        Self::new(2_000_000)
    }

    /// Accounts for `count` bytes and waits until the rate allows more.
    pub(crate) fn spend(&mut self, count: usize) {
        self.moved += count as u64;
        let due = Duration::from_micros(self.moved * 1_000_000 / self.rate);
        if let Some(wait) = due.checked_sub(self.start.elapsed()) {
            pause(wait);
        }
    }
}

#[test]
fn sha256_of_abc_is_the_published_one() {
    let mut digest = Sha256::new();
    digest.update(b"a");
    digest.update(b"bc");
    assert_eq!(
        digest.finish(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn payloads_repeat_themselves_and_no_block_is_like_another() {
    let mut bytes = Vec::new();
    Payload::new(200_000).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 200_000);
    assert_ne!(bytes[..BLOCK], bytes[BLOCK..2 * BLOCK]);
    let mut digest = Sha256::new();
    digest.update(&bytes);
    assert_eq!(digest.finish(), sha256_of_payload(200_000));
}
