//! How the handshakes for one server name ended.

use std::sync::atomic::{AtomicU64, Ordering};

use super::counts::Counts;
use super::exposition::Family;
use super::shard::Block;
use crate::report::{FailureClass, HandshakeKind, ProtocolVersion, ServerNameLabel, Side};

/// Counters of one listener and server name.
#[derive(Debug)]
pub(super) struct ServerNameMetrics {
    /// By version and kind.
    complete: Block,
    /// By class and side. Failures are no hot path, so one copy serves all threads and a thousand
    /// names stay cheap.
    failed: Box<[[AtomicU64; Side::ALL.len()]]>,
}

impl ServerNameMetrics {
    /// All at zero.
    pub(super) fn new() -> Self {
        Self {
            complete: Block::new(ProtocolVersion::ALL.len() * HandshakeKind::ALL.len()),
            failed: FailureClass::ALL
                .iter()
                .map(|_| <[AtomicU64; Side::ALL.len()]>::default())
                .collect(),
        }
    }

    /// Counts a complete handshake.
    pub(super) fn complete(&self, version: ProtocolVersion, kind: HandshakeKind) {
        self.complete.lane().add(counter(version, kind), 1);
    }

    /// Counts a failed handshake.
    pub(super) fn failed(&self, class: FailureClass, side: Side) {
        self.failed[class as usize][side as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Complete handshakes of every version and kind.
    pub(super) fn complete_sum(&self) -> u64 {
        (0..ProtocolVersion::ALL.len() * HandshakeKind::ALL.len())
            .map(|counter| self.complete.sum(counter))
            .sum()
    }

    /// Failed handshakes of every class.
    pub(super) fn failed_sum(&self) -> u64 {
        self.failed
            .iter()
            .flatten()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// Adds what was counted here.
    pub(super) fn add_to(&self, counts: &mut Counts) {
        for version in ProtocolVersion::ALL {
            counts.full += self.complete.sum(counter(version, HandshakeKind::Full));
            counts.resumed += self.complete.sum(counter(version, HandshakeKind::Resumed));
        }
        for (sum, sides) in counts.classes.iter_mut().zip(&self.failed) {
            *sum += sides
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
                .sum::<u64>();
        }
    }

    /// Writes the samples of `tls_handshakes_total`.
    pub(super) fn write_complete(
        &self,
        family: &mut Family,
        listener: &str,
        name: &ServerNameLabel,
    ) {
        for version in ProtocolVersion::ALL {
            for kind in HandshakeKind::ALL {
                let value = self.complete.sum(counter(version, kind));
                if value > 0 || *name == ServerNameLabel::None {
                    let labels = [
                        ("listener", listener),
                        ("server_name", name.as_str()),
                        ("version", version.name()),
                        ("kind", kind.name()),
                    ];
                    family.sample(&labels, value);
                }
            }
        }
    }

    /// Writes the samples of `tls_handshake_failures_total`. Under `none` every class stands with
    /// its usual side from the start, so that `increase()` sees the first failure; other names
    /// show what happened, which keeps the series of a thousand names few.
    pub(super) fn write_failed(&self, family: &mut Family, listener: &str, name: &ServerNameLabel) {
        for &class in FailureClass::ALL {
            for side in Side::ALL {
                let value = self.failed[class as usize][side as usize].load(Ordering::Relaxed);
                let initial = *name == ServerNameLabel::None && side == usual_side(class);
                if value > 0 || initial {
                    let labels = [
                        ("listener", listener),
                        ("server_name", name.as_str()),
                        ("class", class.name()),
                        ("side", side.name()),
                    ];
                    family.sample(&labels, value);
                }
            }
        }
    }
}

const fn counter(version: ProtocolVersion, kind: HandshakeKind) -> usize {
    version as usize * HandshakeKind::ALL.len() + kind as usize
}

/// Who ends a handshake of this class as a rule.
const fn usual_side(class: FailureClass) -> Side {
    match class {
        FailureClass::ClientRejectedCert
        | FailureClass::ClientClosed
        | FailureClass::ClientCancelled
        | FailureClass::ClientAlert => Side::Client,
        FailureClass::Reset => Side::Network,
        FailureClass::NoSharedVersion
        | FailureClass::NoSharedCipher
        | FailureClass::CertTypeMismatch
        | FailureClass::NoSharedGroup
        | FailureClass::NoSharedSigalg
        | FailureClass::NoSharedAlpn
        | FailureClass::UnknownSni
        | FailureClass::MissingSni
        | FailureClass::ClientCertMissing
        | FailureClass::ClientCertExpired
        | FailureClass::ClientCertRevoked
        | FailureClass::ClientCertUnknownCa
        | FailureClass::ClientCertInvalid
        | FailureClass::ClientCertNotAllowed
        | FailureClass::PlainHttp
        | FailureClass::NotTls
        | FailureClass::Malformed
        | FailureClass::ProxyHeader
        | FailureClass::Timeout
        | FailureClass::DecryptError
        | FailureClass::ProtocolViolation
        | FailureClass::RefusedOverload
        | FailureClass::FalseStartRefused
        | FailureClass::Internal => Side::Server,
    }
}
