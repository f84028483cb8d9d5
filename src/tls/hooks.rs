//! Wrappers around rustls's providers that time what they do.
//!
//! Every wrapper forwards all of its trait: the defaults are wrong for some implementations
//! (`start_and_complete` of the KEM groups is one).

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup,
};
use tokio_rustls::rustls::ffdhe_groups::FfdheGroup;
use tokio_rustls::rustls::pki_types::SubjectPublicKeyInfoDer;
use tokio_rustls::rustls::sign::{Signer, SigningKey};
use tokio_rustls::rustls::{
    Error, NamedGroup, ProtocolVersion, SignatureAlgorithm, SignatureScheme,
    SupportedProtocolVersion,
};

use super::comparison::type_of;
use super::work::{note, timed};
use crate::report::Part;

/// A key exchange group that times generation and agreement.
#[derive(Debug)]
pub(super) struct TimedGroup(pub(super) &'static dyn SupportedKxGroup);

impl SupportedKxGroup for TimedGroup {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let inner = timed(Part::KeyExchange, || self.0.start())?;
        Ok(Box::new(TimedKeyExchange(inner)))
    }

    fn start_and_complete(&self, peer_pub_key: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let result = timed(Part::KeyExchange, || {
            self.0.start_and_complete(peer_pub_key)
        });
        note(|work| work.key_agreed = true);
        result
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        self.0.ffdhe_group()
    }

    fn name(&self) -> NamedGroup {
        self.0.name()
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        self.0.usable_for_version(version)
    }
}

struct TimedKeyExchange(Box<dyn ActiveKeyExchange>);

impl ActiveKeyExchange for TimedKeyExchange {
    fn complete(self: Box<Self>, peer_pub_key: &[u8]) -> Result<SharedSecret, Error> {
        let result = timed(Part::KeyExchange, || self.0.complete(peer_pub_key));
        note(|work| work.key_agreed = true);
        result
    }

    fn complete_for_tls_version(
        self: Box<Self>,
        peer_pub_key: &[u8],
        tls_version: &SupportedProtocolVersion,
    ) -> Result<SharedSecret, Error> {
        let result = timed(Part::KeyExchange, || {
            self.0.complete_for_tls_version(peer_pub_key, tls_version)
        });
        note(|work| work.key_agreed = true);
        result
    }

    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        self.0.hybrid_component()
    }

    fn complete_hybrid_component(
        self: Box<Self>,
        peer_pub_key: &[u8],
    ) -> Result<SharedSecret, Error> {
        timed(Part::KeyExchange, || {
            self.0.complete_hybrid_component(peer_pub_key)
        })
    }

    fn pub_key(&self) -> &[u8] {
        self.0.pub_key()
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        self.0.ffdhe_group()
    }

    fn group(&self) -> NamedGroup {
        self.0.group()
    }
}

/// A certificate's key that times its signatures.
#[derive(Debug)]
pub(super) struct TimedKey(pub(super) Arc<dyn SigningKey>);

impl SigningKey for TimedKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let inner = self.0.choose_scheme(offered)?;
        Some(Box::new(TimedSigner(inner, type_of(self.0.algorithm()))))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.0.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

#[derive(Debug)]
struct TimedSigner(Box<dyn Signer>, &'static str);

impl Signer for TimedSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        note(|work| work.signed = Some(self.1));
        timed(Part::Sign, || self.0.sign(message))
    }

    fn scheme(&self) -> SignatureScheme {
        self.0.scheme()
    }
}
