//! Where the counters of a listener lie in its block.
//!
//! Counters, gauges and histograms lie one behind the other, so that whoever records looks up its
//! lane of the block once.

use super::histogram::{HANDSHAKE, Histogram};
use crate::report::{
    ExtraRoundTrip, FalseStart, HandshakeKind, Http2Limit, Part, Phase, ProtocolVersion, Resumption,
};

const KINDS: usize = HandshakeKind::ALL.len();
/// The phases of the total and `first_request_wait`.
const PHASES: usize = Phase::COUNTED + 1;

pub(super) const CONNECTIONS: usize = 0;
pub(super) const STARTED: usize = 1;
pub(super) const IN_FLIGHT: usize = 2;
pub(super) const PROBES: usize = 3;
pub(super) const HELLO_RETRY: usize = 4;
pub(super) const HTTP2_ABUSE: usize = 5;
pub(super) const UNDETERMINED: usize = HTTP2_ABUSE + Http2Limit::ALL.len();
pub(super) const TUNNELS: usize = UNDETERMINED + 1;
pub(super) const WEBSOCKETS: usize = TUNNELS + 1;
pub(super) const HTTP2_OPEN: usize = WEBSOCKETS + 1;
pub(super) const REQUESTS_OPEN: usize = HTTP2_OPEN + 1;
pub(super) const FALSE_START: usize = REQUESTS_OPEN + 1;
pub(super) const RESUMPTION: usize = FALSE_START + FalseStart::NAMES.len();
/// The histograms of durations: one for each version and kind.
pub(super) const DURATIONS: usize = ProtocolVersion::ALL.len() * KINDS;
pub(super) const DURATION: usize = RESUMPTION + ProtocolVersion::ALL.len() * Resumption::ALL.len();
pub(super) const PART: usize = DURATION + DURATIONS * HANDSHAKE.counters();
pub(super) const PHASE: usize = PART + Part::ALL.len() * HANDSHAKE.counters();
pub(super) const UNKNOWN_KIND: usize = PHASE + KINDS * PHASES * HANDSHAKE.counters();
pub(super) const AVOIDABLE: usize = UNKNOWN_KIND + HANDSHAKE.counters();
/// How many had them, beside the nanoseconds in [`AVOIDABLE`].
pub(super) const AVOIDED: usize = AVOIDABLE + ExtraRoundTrip::ALL.len();
pub(super) const COUNTERS: usize = AVOIDED + ExtraRoundTrip::ALL.len();

pub(super) static FIRST_REQUEST_WAIT: Histogram = Histogram::at(&HANDSHAKE, UNKNOWN_KIND);

pub(super) const fn duration(version: ProtocolVersion, kind: HandshakeKind) -> Histogram {
    let index = duration_index(version, kind);
    Histogram::at(&HANDSHAKE, DURATION + index * HANDSHAKE.counters())
}

pub(super) const fn duration_index(version: ProtocolVersion, kind: HandshakeKind) -> usize {
    version as usize * KINDS + kind as usize
}

pub(super) const fn phase(kind: HandshakeKind, phase: Phase) -> Histogram {
    let index = kind as usize * PHASES + phase as usize;
    Histogram::at(&HANDSHAKE, PHASE + index * HANDSHAKE.counters())
}

pub(super) const fn part(part: Part) -> Histogram {
    Histogram::at(&HANDSHAKE, PART + part as usize * HANDSHAKE.counters())
}

pub(super) const fn resumption(version: ProtocolVersion, result: Resumption) -> usize {
    RESUMPTION + version as usize * Resumption::ALL.len() + result as usize
}
