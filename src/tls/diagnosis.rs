//! Why a handshake failed, from the raw ClientHello, the policy and what rustls says.
//!
//! rustls's own reason is often misleading (a client with static RSA suites alone fails for its
//! groups there), so an incompatible offer is compared with the policy in a fixed order: version,
//! suites, certificate type, groups, signature algorithms, ALPN.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use super::alert;
use super::client_auth::take_refused;
use super::comparison;
use super::hello::{ClientHello, HelloError, ServerName};
use super::selection;
use super::sites::Site;
use crate::config::{Group, Policy};
use crate::report::{
    Comparison, Failure, FailureClass, FailureDetails, Name, Phase, Side, gave_up_like,
};

/// What is known when a handshake fails.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    /// The phase that was running.
    pub(super) phase: Phase,
    /// The ClientHello, where it was whole and decodes.
    pub(super) hello: Option<&'a ClientHello>,
    /// What was chosen for it.
    pub(super) site: Option<&'a Site>,
    /// The alert that came in clear.
    pub(super) alert_received: Option<u8>,
    /// The alert that went out in clear.
    pub(super) alert_sent: Option<u8>,
    /// The time since accept.
    pub(super) elapsed: Duration,
}

/// The failure that `error` of the stream or of rustls means.
pub(super) fn of_error(error: &io::Error, scene: &Scene<'_>) -> Failure {
    use FailureClass as C;

    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    if let Some(tls) = tls {
        return of_tls(tls, scene);
    }
    let (class, side, text) = match error.kind() {
        io::ErrorKind::TimedOut => (C::Timeout, Side::Server, "the handshake deadline passed"),
        io::ErrorKind::UnexpectedEof => (C::ClientClosed, Side::Client, "the client closed"),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            (C::Reset, Side::Network, "the connection was reset")
        }
        io::ErrorKind::OutOfMemory => (
            C::Malformed,
            Side::Server,
            "more bytes than any ClientHello has",
        ),
        _ => (C::Reset, Side::Network, "the connection broke"),
    };
    let phase = scene.phase;
    let mut details = details(scene);
    details.waited_for = awaited(phase);
    let elapsed = scene.elapsed;
    let mut diagnosis = match details.waited_for {
        Some(awaited) => format!(
            "{text} after {:.3} s, while we waited for {awaited}",
            elapsed.as_secs_f64()
        ),
        None => format!(
            "{text} in phase {} after {:.3} s",
            phase.name(),
            elapsed.as_secs_f64()
        ),
    };
    if matches!(class, C::ClientClosed | C::Reset) {
        details.gave_up_like = gave_up_like(elapsed);
        match details.gave_up_like {
            Some(whose) => {
                let _ = write!(
                    diagnosis,
                    ": gave up after {:.1} s, {whose}",
                    elapsed.as_secs_f64()
                );
            }
            None => {
                details.undetermined = true;
                diagnosis.push_str("; it did not say why");
            }
        }
    }
    Failure::new(class, phase, side, scene.alert_sent, diagnosis).with(details)
}

/// The failure of a connection whose first bytes are no ClientHello.
pub(super) fn of_first_bytes(class: FailureClass, alert: Option<u8>, diagnosis: String) -> Failure {
    Failure::new(
        class,
        Phase::ClientHelloRead,
        Side::Server,
        alert,
        diagnosis,
    )
}

/// The failure of a client whose ClientHello our parser does not take.
pub(super) fn of_hello_error(error: HelloError) -> Failure {
    let (class, code) = match error {
        HelloError::NotClientHello(_) => {
            (FailureClass::ProtocolViolation, alert::UNEXPECTED_MESSAGE)
        }
        HelloError::Malformed(_) => (FailureClass::Malformed, alert::DECODE_ERROR),
        HelloError::DuplicateExtension(_) => (FailureClass::ProtocolViolation, 47),
    };
    of_first_bytes(class, Some(code), error.to_string())
}

/// The failure of a client that offers no version of the policy.
pub(super) fn no_shared_version(hello: &ClientHello, policy: &Policy) -> Failure {
    let details = comparison::of_versions(hello, policy);
    let (offered, allowed) = sets(details.versions.as_ref());
    Failure::new(
        FailureClass::NoSharedVersion,
        Phase::Select,
        Side::Server,
        Some(alert::PROTOCOL_VERSION),
        format!(
            "no version in common: the client offers {offered}; policy \"{}\" allows {allowed}",
            policy.name
        ),
    )
    .with(details)
}

/// The failure of a handshake that is refused because too many compute or wait.
///
/// The alert is internal_error, "unrelated to the peer or the correctness of the protocol" (RFC
/// 8446 section 6.2): clients take it as final for this connection, while on handshake_failure and
/// protocol_version some come back at once with another offer.
pub(super) fn overload() -> Failure {
    Failure::new(
        FailureClass::RefusedOverload,
        Phase::Admission,
        Side::Server,
        Some(alert::INTERNAL_ERROR),
        "as many handshakes as limits.handshakes compute or wait already".into(),
    )
}

/// The failure of a client whose server name is not served.
pub(super) fn no_such_name(hello: &ClientHello, served: &BTreeSet<Arc<str>>) -> Failure {
    let (details, meant) = comparison::of_name(hello, served);
    let (class, mut diagnosis) = match (hello.name(), &hello.server_name) {
        (Some(name), _) => (
            FailureClass::UnknownSni,
            format!("server name {name:?} is not configured here"),
        ),
        (None, ServerName::Invalid) => (
            FailureClass::UnknownSni,
            "the server name sent is no host name".into(),
        ),
        (None, _) => (FailureClass::MissingSni, "no server name was sent".into()),
    };
    if let Some(meant) = meant {
        let _ = write!(diagnosis, "; {meant:?} is");
    }
    Failure::new(
        class,
        Phase::Select,
        Side::Server,
        Some(alert::UNRECOGNIZED_NAME),
        diagnosis,
    )
    .with(details)
}

/// The failure of a client that says it offers less than it can, where the policy has more.
pub(super) fn needless_fallback(hello: &ClientHello, policy: &Policy) -> Failure {
    Failure::new(
        FailureClass::NoSharedVersion,
        Phase::Select,
        Side::Server,
        Some(alert::INAPPROPRIATE_FALLBACK),
        "the client fell back to TLS 1.2 after an attempt that failed (TLS_FALLBACK_SCSV), and the \
         policy has TLS 1.3: somebody may be forcing it"
            .into(),
    )
    .with(comparison::of_versions(hello, policy))
}

/// The failure of a client that sent application data before our Finished, where that is refused.
pub(super) fn false_start() -> Failure {
    Failure::new(
        FailureClass::FalseStartRefused,
        Phase::ClientFinished,
        Side::Server,
        Some(alert::UNEXPECTED_MESSAGE),
        "the client sent application data before the handshake was complete (False Start), which \
         the policy refuses"
            .into(),
    )
}

/// The failure that rustls's `error` means.
pub(super) fn of_tls(error: &Error, scene: &Scene<'_>) -> Failure {
    use FailureClass as C;

    if let Error::AlertReceived(description) = error {
        return of_client_alert(u8::from(*description), scene);
    }
    if let Some((class, alert, diagnosis)) = client_certificate(error) {
        let alert = Some(scene.alert_sent.unwrap_or(alert));
        return Failure::new(class, Phase::ClientAuth, Side::Server, alert, diagnosis)
            .with(details(scene));
    }
    let (class, alert) = match error {
        Error::PeerIncompatible(_) => {
            let details = details(scene);
            let (class, diagnosis) = incompatible(scene, &details)
                .unwrap_or_else(|| (C::ProtocolViolation, format!("rustls: {error}")));
            let phase = work_phase(scene.phase);
            let alert = Some(scene.alert_sent.unwrap_or(alert::HANDSHAKE_FAILURE));
            return Failure::new(class, phase, Side::Server, alert, diagnosis).with(details);
        }
        Error::NoApplicationProtocol => (C::NoSharedAlpn, Some(120)),
        Error::DecryptError => (C::DecryptError, Some(20)),
        Error::InvalidMessage(_) => (C::Malformed, Some(alert::DECODE_ERROR)),
        Error::PeerSentOversizedRecord => (C::Malformed, Some(22)),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            (C::ProtocolViolation, Some(alert::UNEXPECTED_MESSAGE))
        }
        Error::PeerMisbehaved(_) => (C::ProtocolViolation, Some(47)),
        _ => (C::Internal, None),
    };
    let details = details(scene);
    let diagnosis = match class {
        C::NoSharedAlpn => {
            let (offered, allowed) = sets(details.alpn.as_ref());
            format!(
                "no application protocol in common: the client offers {offered}; the policy \
                 allows {allowed}"
            )
        }
        _ => format!("rustls: {error}"),
    };
    let phase = work_phase(scene.phase);
    let alert = scene.alert_sent.or(alert);
    Failure::new(class, phase, Side::Server, alert, diagnosis).with(details)
}

/// What is wrong with the client's certificate, and the alert that rustls sends for it.
fn client_certificate(error: &Error) -> Option<(FailureClass, u8, String)> {
    use CertificateError as E;
    use FailureClass as C;

    let (class, alert, reason) = match error {
        Error::NoCertificatesPresented => {
            let text = "the policy requires a client certificate, and the client sent none";
            return Some((
                C::ClientCertMissing,
                alert::CERTIFICATE_REQUIRED,
                text.into(),
            ));
        }
        // Of our own making: the list is not by the issuer of the certificate, say.
        Error::InvalidCertRevocationList(error) => (
            C::ClientCertInvalid,
            alert::HANDSHAKE_FAILURE,
            format!("cannot be checked, the revocation list is not usable: {error:?}"),
        ),
        Error::InvalidCertificate(error) => {
            let (class, reason) = match error {
                E::Expired => (C::ClientCertExpired, "has expired".into()),
                E::ExpiredContext { not_after, .. } => (
                    C::ClientCertExpired,
                    format!("has expired: it was valid until {}", date(*not_after)),
                ),
                E::NotValidYetContext { not_before, .. } => (
                    C::ClientCertInvalid,
                    format!("is not valid before {}", date(*not_before)),
                ),
                E::Revoked => (C::ClientCertRevoked, "is revoked".into()),
                E::UnknownIssuer => (
                    C::ClientCertUnknownCa,
                    "is not issued by a CA of the policy".into(),
                ),
                E::UnknownRevocationStatus => (
                    C::ClientCertInvalid,
                    "has an issuer that none of the revocation lists is of".into(),
                ),
                E::ExpiredRevocationListContext { next_update, .. } => (
                    C::ClientCertInvalid,
                    format!(
                        "cannot be checked: the revocation list of its issuer expired {}",
                        date(*next_update)
                    ),
                ),
                E::ApplicationVerificationFailure => (
                    C::ClientCertNotAllowed,
                    "has no name that is on the policy's list `allow`".into(),
                ),
                E::InvalidPurpose | E::InvalidPurposeContext { .. } => (
                    C::ClientCertInvalid,
                    "is not for TLS clients (extendedKeyUsage)".into(),
                ),
                E::BadSignature => (
                    C::ClientCertInvalid,
                    "is valid, but the client did not sign with its key".into(),
                ),
                E::BadEncoding => (
                    C::ClientCertInvalid,
                    "does not decode, or has a control character in a name".into(),
                ),
                other => (C::ClientCertInvalid, format!("is not valid: {other}")),
            };
            (
                class,
                u8::from(AlertDescription::from(error.clone())),
                reason,
            )
        }
        _ => return None,
    };
    let diagnosis = match take_refused() {
        Some(subject) => format!("the client's certificate ({subject}) {reason}"),
        None => format!("the client's certificate {reason}"),
    };
    Some((class, alert, diagnosis))
}

/// A moment for people, in UTC.
fn date(time: UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{} s after 1970", time.as_secs()))
}

fn of_client_alert(code: u8, scene: &Scene<'_>) -> Failure {
    let class = match code {
        42..=46 | 48 => FailureClass::ClientRejectedCert,
        0 | alert::USER_CANCELED => FailureClass::ClientCancelled,
        20 | 51 => FailureClass::DecryptError,
        _ => FailureClass::ClientAlert,
    };
    let phase = match scene.phase {
        // The alert came where the flight was due.
        Phase::ClientFinished | Phase::ServerFinishWrite => Phase::ClientFlightWait,
        phase => phase,
    };
    let mut details = details(scene);
    let mut diagnosis = format!("the client sent alert {code} ({})", alert::name(code));
    if class == FailureClass::ClientRejectedCert {
        diagnosis.push_str(": ");
        diagnosis.push_str(match code {
            45 => "to it, the certificate that it was sent has expired",
            44 => "to it, the certificate that it was sent is revoked",
            48 => "it does not know the issuer of the certificate that it was sent",
            43 => "it takes no certificates of the kind that it was sent",
            _ => "it does not accept the certificate that it was sent, and does not say why",
        });
        details.undetermined = matches!(code, 42 | 46);
        show_chain(&mut details, &mut diagnosis, scene);
    } else if class == FailureClass::ClientAlert {
        // Which of our messages it did not like is not said in an alert.
        details.undetermined = true;
    }
    let alert = Some(scene.alert_received.unwrap_or(code));
    Failure::new(class, phase, Side::Client, alert, diagnosis).with(details)
}

/// The chain that was sent, and what is wrong with it.
fn show_chain(details: &mut FailureDetails, diagnosis: &mut String, scene: &Scene<'_>) {
    let (Some(hello), Some(site)) = (scene.hello, scene.site) else {
        return;
    };
    let suites = &site.policy().spec().cipher_suites;
    let Some(chain) = site.certificate().chain_for(hello, suites) else {
        return;
    };
    if let Some(leaf) = chain.links.first() {
        let _ = write!(
            diagnosis,
            " (\"{}\", issued by \"{}\", valid until {})",
            leaf.subject, leaf.issuer, leaf.not_after
        );
    }
    if let Some(fault) = &chain.fault {
        let _ = write!(diagnosis, "; {fault}");
    }
    details.chain = Some(chain.links.clone());
    details.chain_fault.clone_from(&chain.fault);
}

/// Both sides' sets, as far as they are known.
fn details(scene: &Scene<'_>) -> FailureDetails {
    match (scene.hello, scene.site) {
        (Some(hello), Some(site)) => comparison::of_offer(hello, site),
        _ => FailureDetails::default(),
    }
}

/// The phase of the work that failed: by the time the error is seen, its alert is written.
const fn work_phase(phase: Phase) -> Phase {
    match phase {
        Phase::ServerFlightWrite => Phase::ServerFlight,
        Phase::ServerFinishWrite | Phase::ClientFlightRead => Phase::ClientFinished,
        phase => phase,
    }
}

/// The first thing that offer and policy do not share.
fn incompatible(scene: &Scene<'_>, details: &FailureDetails) -> Option<(FailureClass, String)> {
    let hello = scene.hello?;
    let site = scene.site?;
    let policy = site.policy().spec();
    let version = match selection::version(hello, policy) {
        Ok(version) => version,
        Err(failure) => return Some((failure.class, failure.diagnosis)),
    };
    let name = &policy.name;
    let mut shared = policy
        .cipher_suites
        .iter()
        .filter(|suite| suite.version == version)
        .filter(|suite| hello.cipher_suites.contains(&suite.code))
        .peekable();
    if shared.peek().is_none() {
        let (offered, allowed) = sets(details.cipher_suites.as_ref());
        let text = format!(
            "no cipher suite of TLS {} in common: the client offers {offered}; policy \"{name}\" \
             allows {allowed}",
            version.name(),
        );
        return Some((FailureClass::NoSharedCipher, text));
    }
    if !shared
        .clone()
        .any(|suite| comparison::fits(suite, site.certificate()))
    {
        let names: Vec<Name> = shared.map(|suite| suite.name.into()).collect();
        let text = format!(
            "the suites in common ({}) need a certificate of another key type; the certificate \
             here is {}",
            comparison::list(&names),
            details.certificate_types.join(" and "),
        );
        return Some((FailureClass::CertTypeMismatch, text));
    }
    let groups = hello.groups.as_deref().unwrap_or_default();
    let usable = |group: &&&Group| group.usable_for(version);
    let mut usable = policy.groups.iter().filter(usable);
    if !usable.any(|group| groups.contains(&group.code)) {
        let (offered, allowed) = sets(details.groups.as_ref());
        let text = format!(
            "no key exchange group of TLS {} in common: the client offers {offered}; policy \
             \"{name}\" allows {allowed}",
            version.name(),
        );
        return Some((FailureClass::NoSharedGroup, text));
    }
    let (offered, allowed) = sets(details.signature_schemes.as_ref());
    Some((
        FailureClass::NoSharedSigalg,
        format!(
            "no signature scheme in common: the client takes {offered}; the certificate's key \
             ({}) makes {allowed}",
            details.certificate_types.join(" and "),
        ),
    ))
}

/// Both sides of a comparison, for people.
fn sets(comparison: Option<&Comparison>) -> (String, String) {
    comparison.map_or_else(Default::default, |both| {
        (
            comparison::list(&both.offered),
            comparison::list(&both.allowed),
        )
    })
}

/// What a handshake waits for in a phase.
const fn awaited(phase: Phase) -> Option<&'static str> {
    Some(match phase {
        Phase::ProxyHeaderWait => "the PROXY header",
        Phase::ClientHelloWait => "the first byte of the ClientHello",
        Phase::ClientHelloRead => "the rest of the ClientHello",
        Phase::Admission => "a free crypto slot",
        Phase::ServerFlightWrite => "the client to take our flight",
        Phase::RetryWait => "the second ClientHello",
        Phase::ClientFlightWait => "the client's answer to our flight",
        Phase::ClientFlightRead => "the rest of the client's flight",
        Phase::ServerFinishWrite => "the client to take our last messages",
        _ => return None,
    })
}
