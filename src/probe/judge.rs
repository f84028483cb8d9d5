//! Whether the server's certificate is trusted, and what is missing where it is not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::certificate::CertificateFacts;

/// Verifies as every client should, and remembers what it saw.
#[derive(Debug)]
pub(super) struct Judge {
    provider: Arc<CryptoProvider>,
    /// `None`: there is no trust store, and nobody minds.
    verifier: Option<Arc<WebPkiServerVerifier>>,
    /// Whether the handshake goes on whatever the verdict is.
    lenient: bool,
    seen: Mutex<Option<Verification>>,
}

/// What the server showed, and whether it is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The verdict.
    pub result: Verdict,
    /// Why it is not trusted.
    pub reason: Option<String>,
    /// What would have to be different.
    pub missing: Option<String>,
    /// Whether an OCSP response was stapled. It is not checked.
    pub ocsp_stapled: bool,
    /// The chain as it was sent, the server's own certificate first. One that does not decode is
    /// left out.
    #[serde(rename = "certificates")]
    pub chain: Vec<CertificateFacts>,
}

/// Whether a chain is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Trusted, for this name, today.
    Trusted,
    /// Not trusted.
    NotTrusted,
    /// There was nothing to check it against.
    NotChecked,
}

impl Verdict {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::NotTrusted => "not_trusted",
            Self::NotChecked => "not_checked",
        }
    }
}

impl Judge {
    /// A judge with what it trusts.
    pub(super) const fn new(
        provider: Arc<CryptoProvider>,
        verifier: Option<Arc<WebPkiServerVerifier>>,
        lenient: bool,
    ) -> Self {
        Self {
            provider,
            verifier,
            lenient,
            seen: Mutex::new(None),
        }
    }

    /// Takes what was seen since the last call; `None` where no certificate came, as in a
    /// handshake that resumes.
    pub(super) fn take(&self) -> Option<Verification> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.take()
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.verifier.as_ref().map(|verifier| {
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        });
        let today = SystemTime::now();
        let chain: Vec<_> = std::iter::once(end_entity)
            .chain(intermediates)
            .filter_map(|certificate| CertificateFacts::read(certificate, today))
            .collect();
        let (result, reason, missing) = match &verdict {
            None => (Verdict::NotChecked, None, None),
            Some(Ok(_)) => (Verdict::Trusted, None, None),
            Some(Err(error)) => {
                let (reason, missing) = explain(error, &chain, &server_name.to_str());
                (Verdict::NotTrusted, Some(reason), missing)
            }
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Some(Verification {
            result,
            reason,
            missing,
            ocsp_stapled: !ocsp_response.is_empty(),
            chain,
        });
        match verdict {
            Some(Err(error)) if !self.lenient => Err(error),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// Why a chain is not trusted, and what is missing.
fn explain(error: &Error, chain: &[CertificateFacts], name: &str) -> (String, Option<String>) {
    use CertificateError as Refusal;

    let leaf = chain.first();
    let Error::InvalidCertificate(refusal) = error else {
        return (error.to_string(), None);
    };
    match refusal {
        Refusal::UnknownIssuer => unknown_issuer(chain),
        Refusal::NotValidForName | Refusal::NotValidForNameContext { .. } => {
            let names = leaf.map(|leaf| leaf.names.as_slice()).unwrap_or_default();
            let names = match names {
                [] => "no name at all".to_owned(),
                names => names.join(", "),
            };
            let missing = format!("a certificate for {name}, or the right --server-name");
            let reason = format!("the certificate is for {names}, not for {name}");
            (reason, Some(missing))
        }
        Refusal::Expired | Refusal::ExpiredContext { .. } => {
            let over = chain.iter().find(|it| it.days_left < 0);
            let reason = over.or(leaf).map_or_else(
                || "a certificate has expired".to_owned(),
                |it| {
                    format!(
                        "the certificate of {} expired at {}",
                        it.subject, it.not_after
                    )
                },
            );
            (reason, Some("a new certificate".to_owned()))
        }
        Refusal::NotValidYet | Refusal::NotValidYetContext { .. } => {
            let reason = leaf.map_or_else(
                || "a certificate is not valid yet".to_owned(),
                |it| format!("the certificate is not valid before {}", it.not_before),
            );
            (
                reason,
                Some("patience, or a clock that is right".to_owned()),
            )
        }
        other => (other.to_string(), None),
    }
}

/// Follows the issuers as far as certificates came.
fn unknown_issuer(chain: &[CertificateFacts]) -> (String, Option<String>) {
    let Some(leaf) = chain.first() else {
        return ("the certificate does not decode".to_owned(), None);
    };
    if chain.len() == 1 && leaf.self_issued {
        return (
            "the certificate is self-signed, and not in the trust store".to_owned(),
            Some("it among the trusted ones (--ca), or one of a CA".to_owned()),
        );
    }
    let mut last = leaf;
    // No chain is longer than what came; a loop of names ends here too.
    for _ in 0..chain.len() {
        match chain.iter().find(|it| it.subject == last.issuer) {
            Some(next) if !last.self_issued => last = next,
            _ => break,
        }
    }
    if last.self_issued {
        let missing = format!("{} among the trusted certificates (--ca)", last.subject);
        let reason = format!("the root {} is not in the trust store", last.subject);
        return (reason, Some(missing));
    }
    let reason = format!(
        "nobody here knows {}, who issued {}: the trust store does not have it, and the server \
         does not send it",
        last.issuer, last.subject
    );
    let place = match &last.issuer_url {
        Some(url) => format!(" (to be had at {url})"),
        None => String::new(),
    };
    let missing = format!(
        "the certificate of {}{place}: in the server's chain if it is an intermediate, among the \
         trusted ones (--ca) if it is a root",
        last.issuer
    );
    (reason, Some(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(subject: &str, issuer: &str) -> CertificateFacts {
        CertificateFacts {
            subject: subject.into(),
            issuer: issuer.into(),
            names: vec!["a.example".into()],
            not_before: "2020-01-01T00:00:00Z".into(),
            not_after: "2021-01-01T00:00:00Z".into(),
            days_left: -1,
            key: "EC P-256".into(),
            signature: "Ed25519".into(),
            self_issued: subject == issuer,
            issuer_url: None,
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let (leaf, middle) = (facts("CN=leaf", "CN=middle"), facts("CN=middle", "CN=root"));
        let root = facts("CN=root", "CN=root");
        let missing = |chain: &[CertificateFacts]| unknown_issuer(chain).1.unwrap();
        let alone = missing(std::slice::from_ref(&leaf));
        assert!(alone.starts_with("the certificate of CN=middle: in the server's chain"));
        let without_root = missing(&[leaf.clone(), middle.clone()]);
        assert!(without_root.starts_with("the certificate of CN=root:"));
        let whole = missing(&[leaf.clone(), middle, root.clone()]);
        assert_eq!(whole, "CN=root among the trusted certificates (--ca)");
        let (reason, _) = unknown_issuer(&[root]);
        assert!(reason.starts_with("the certificate is self-signed"));
        let expired = Error::InvalidCertificate(CertificateError::Expired);
        let (reason, _) = explain(&expired, &[leaf], "a.example");
        assert_eq!(
            reason,
            "the certificate of CN=leaf expired at 2021-01-01T00:00:00Z"
        );
    }
}
