//! Why a handshake failed, from the raw ClientHello, the policy and what rustls says.
//!
//! rustls's own reason is often misleading (a client with static RSA suites alone fails for its
//! groups there), so an incompatible offer is compared with the policy in a fixed order: version,
//! suites, certificate type, groups, signature algorithms, ALPN.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, SignatureAlgorithm};

use super::alert;
use super::client_auth::take_refused;
use super::hello::{ClientHello, HelloError, is_grease};
use super::sites::Site;
use crate::config::{CipherSuite, Group, Policy};
use crate::report::{Failure, FailureClass, Phase, ProtocolVersion, Side};

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
    let diagnosis = format!(
        "{text} in phase {} after {:.3} s",
        phase.name(),
        scene.elapsed.as_secs_f64()
    );
    Failure {
        class,
        phase,
        side,
        alert: scene.alert_sent,
        diagnosis,
    }
}

/// The failure of a connection whose first bytes are no ClientHello.
pub(super) fn of_first_bytes(class: FailureClass, alert: Option<u8>, diagnosis: String) -> Failure {
    Failure {
        class,
        phase: Phase::ClientHelloRead,
        side: Side::Server,
        alert,
        diagnosis,
    }
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
    let offered = list(hello.versions().into_iter().map(version_name));
    Failure {
        class: FailureClass::NoSharedVersion,
        phase: Phase::Select,
        side: Side::Server,
        alert: Some(alert::PROTOCOL_VERSION),
        diagnosis: format!(
            "the client offers {offered}; policy \"{}\" allows {}",
            policy.name,
            list(
                policy
                    .versions
                    .iter()
                    .map(|version| format!("TLS {}", version.name()))
            ),
        ),
    }
}

/// The failure of a handshake that is refused because too many compute or wait.
///
/// The alert is internal_error, "unrelated to the peer or the correctness of the protocol" (RFC
/// 8446 section 6.2): clients take it as final for this connection, while on handshake_failure and
/// protocol_version some come back at once with another offer.
pub(super) fn overload() -> Failure {
    Failure {
        class: FailureClass::RefusedOverload,
        phase: Phase::Admission,
        side: Side::Server,
        alert: Some(alert::INTERNAL_ERROR),
        diagnosis: "as many handshakes as limits.handshakes compute or wait already".into(),
    }
}

/// The failure of a client whose server name is not served.
pub(super) fn no_such_name(hello: &ClientHello) -> Failure {
    let (class, diagnosis) = match (hello.name(), &hello.server_name) {
        (Some(name), _) => (
            FailureClass::UnknownSni,
            format!("server name {name:?} is not configured here"),
        ),
        (None, super::hello::ServerName::Invalid) => (
            FailureClass::UnknownSni,
            "the server name sent is no host name".into(),
        ),
        (None, _) => (FailureClass::MissingSni, "no server name was sent".into()),
    };
    Failure {
        class,
        phase: Phase::Select,
        side: Side::Server,
        alert: Some(alert::UNRECOGNIZED_NAME),
        diagnosis,
    }
}

/// The failure of a client that says it offers less than it can, where the policy has more.
pub(super) fn needless_fallback() -> Failure {
    Failure {
        class: FailureClass::NoSharedVersion,
        phase: Phase::Select,
        side: Side::Server,
        alert: Some(alert::INAPPROPRIATE_FALLBACK),
        diagnosis: "the client fell back to TLS 1.2 after an attempt that failed \
                    (TLS_FALLBACK_SCSV), and the policy has TLS 1.3: somebody may be forcing it"
            .into(),
    }
}

/// The failure of a client that sent application data before our Finished, where that is refused.
pub(super) fn false_start() -> Failure {
    Failure {
        class: FailureClass::FalseStartRefused,
        phase: Phase::ClientFinished,
        side: Side::Server,
        alert: Some(alert::UNEXPECTED_MESSAGE),
        diagnosis: "the client sent application data before the handshake was complete (False \
                    Start), which the policy refuses"
            .into(),
    }
}

/// The failure that rustls's `error` means.
pub(super) fn of_tls(error: &Error, scene: &Scene<'_>) -> Failure {
    use FailureClass as C;

    if let Error::AlertReceived(description) = error {
        return of_client_alert(u8::from(*description), scene);
    }
    if let Some((class, alert, diagnosis)) = client_certificate(error) {
        return Failure {
            class,
            phase: Phase::ClientAuth,
            side: Side::Server,
            alert: Some(scene.alert_sent.unwrap_or(alert)),
            diagnosis,
        };
    }
    let (class, alert) = match error {
        Error::PeerIncompatible(_) => {
            let (class, diagnosis) = incompatible(scene)
                .unwrap_or_else(|| (C::ProtocolViolation, format!("rustls: {error}")));
            return Failure {
                class,
                phase: work_phase(scene.phase),
                side: Side::Server,
                alert: Some(scene.alert_sent.unwrap_or(alert::HANDSHAKE_FAILURE)),
                diagnosis,
            };
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
    let diagnosis = match class {
        C::NoSharedAlpn => alpn_difference(scene),
        _ => format!("rustls: {error}"),
    };
    Failure {
        class,
        phase: work_phase(scene.phase),
        side: Side::Server,
        alert: scene.alert_sent.or(alert),
        diagnosis,
    }
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
    let mut diagnosis = format!("the client sent alert {code} ({})", alert::name(code));
    if class == FailureClass::ClientRejectedCert {
        diagnosis.push_str(": it does not accept the certificate that it was sent");
    }
    let alert = Some(scene.alert_received.unwrap_or(code));
    Failure {
        class,
        phase,
        side: Side::Client,
        alert,
        diagnosis,
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
fn incompatible(scene: &Scene<'_>) -> Option<(FailureClass, String)> {
    let hello = scene.hello?;
    let site = scene.site?;
    let policy = site.policy().spec();
    let allows = |version| policy.versions.contains(&version);
    let tls13 = hello.offers_tls13() && allows(ProtocolVersion::Tls13);
    let tls12 = hello.offers_tls12() && allows(ProtocolVersion::Tls12);
    if !(tls12 || tls13) {
        let failure = no_shared_version(hello, policy);
        return Some((failure.class, failure.diagnosis));
    }
    let shared: Vec<&&CipherSuite> = policy
        .cipher_suites
        .iter()
        .filter(|suite| (suite.code >> 8 == 0x13) == tls13)
        .filter(|suite| hello.cipher_suites.contains(&suite.code))
        .collect();
    if shared.is_empty() {
        let text = format!(
            "no cipher suite in common: the client offers {}; policy \"{}\" allows {}",
            list(known(&hello.cipher_suites).map(suite_name)),
            policy.name,
            list(
                policy
                    .cipher_suites
                    .iter()
                    .map(|suite| suite.name.to_owned())
            ),
        );
        return Some((FailureClass::NoSharedCipher, text));
    }
    if !tls13 {
        let mut algorithms = site.certificate().algorithms();
        let serves = algorithms.any(|algorithm| {
            let kind = if algorithm == SignatureAlgorithm::RSA {
                "_RSA_"
            } else {
                "_ECDSA_"
            };
            shared.iter().any(|suite| suite.name.contains(kind))
        });
        if !serves {
            let text = format!(
                "the suites in common ({}) need a certificate of the other key type",
                list(shared.iter().map(|suite| suite.name.to_owned())),
            );
            return Some((FailureClass::CertTypeMismatch, text));
        }
    }
    let groups = hello.groups.as_deref().unwrap_or_default();
    if !policy
        .groups
        .iter()
        .any(|group| groups.contains(&group.code))
    {
        let text = format!(
            "no key exchange group in common: the client offers {}; policy \"{}\" allows {}",
            list(known(groups).map(group_name)),
            policy.name,
            list(policy.groups.iter().map(|group| group.name.to_owned())),
        );
        return Some((FailureClass::NoSharedGroup, text));
    }
    let schemes = hello.signature_algorithms.as_deref().unwrap_or_default();
    Some((
        FailureClass::NoSharedSigalg,
        format!(
            "no signature scheme of the client ({}) can be made with the certificate's key",
            list(known(schemes).map(|scheme| format!("0x{scheme:04x}"))),
        ),
    ))
}

fn alpn_difference(scene: &Scene<'_>) -> String {
    let offered = scene
        .hello
        .and_then(|hello| hello.alpn.as_ref())
        .map_or_else(String::new, |alpn| {
            list(
                alpn.iter()
                    .map(|protocol| protocol.escape_ascii().to_string()),
            )
        });
    let allowed = scene.site.map_or_else(String::new, |site| {
        list(
            site.policy()
                .spec()
                .alpn
                .iter()
                .map(|protocol| protocol.name().to_owned()),
        )
    });
    format!(
        "no application protocol in common: the client offers {offered}; the policy allows {allowed}"
    )
}

fn known(values: &[u16]) -> impl Iterator<Item = u16> + '_ {
    values.iter().copied().filter(|&value| !is_grease(value))
}

fn suite_name(code: u16) -> String {
    CipherSuite::by_code(code).map_or_else(|| format!("0x{code:04x}"), |suite| suite.name.into())
}

fn group_name(code: u16) -> String {
    Group::by_code(code).map_or_else(|| format!("0x{code:04x}"), |group| group.name.into())
}

fn version_name(version: u16) -> String {
    match version {
        0x0300 => "SSL 3.0".into(),
        0x0301..=0x0304 => format!("TLS 1.{}", version - 0x0301),
        _ => format!("0x{version:04x}"),
    }
}

/// At most sixteen names: an offer can have thousands.
fn list(names: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for (index, name) in names.enumerate() {
        if index == 16 {
            text.push_str(", …");
            break;
        }
        let _ = write!(text, "{}{name}", if index == 0 { "" } else { ", " });
    }
    if text.is_empty() {
        "nothing".into()
    } else {
        text
    }
}
