//! False Start (RFC 7918): application data of TLS 1.2 that comes before the handshake is complete.
//!
//! What is here before our Finished is written is seen for what it is, and refused where the policy
//! says so; what comes after it, but sooner than an answer can, has probably not waited either.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::facts::TELLING_RTT;
use super::record::{Handshake, Life, RecordIo};
use super::transport::Transport;
use crate::report::{Confidence, ExtraRoundTrip, FalseStart, HandshakeReport};

/// Application data of TLS 1.2 that comes before our Finished is written: False Start (RFC 7918).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EarlyData {
    /// None came; it would be accepted.
    Accept,
    /// None came; it would end the handshake.
    Refuse,
    /// It came and was accepted.
    Accepted,
    /// It came and ends the handshake.
    Refused,
}

/// What came soon after our Finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sequel {
    /// Application data, sooner than an answer to our Finished can come.
    TooSoon,
    /// Something, but no such data.
    Other,
    /// Nothing.
    Nothing,
}

/// The longest that is waited for what may be False Start, whatever the client's network claims.
const LONGEST_RTT: Duration = Duration::from_secs(1);
/// The record type of application data.
const APPLICATION_DATA: u8 = 23;

impl<S: Transport> RecordIo<S> {
    /// After our Finished of TLS 1.2: waits for the client's next bytes, no longer than `rtt` from
    /// the start of the write. Nobody loses by it: what answers our Finished cannot come sooner,
    /// and what comes ends the wait, and stays here for rustls.
    pub(super) async fn sequel(&mut self, rtt: Duration) -> Sequel {
        let Self {
            io,
            life: Life::Handshake(handshake),
        } = self
        else {
            return Sequel::Nothing;
        };
        let Some(begin) = handshake.finishing else {
            return Sequel::Nothing;
        };
        let until = begin + rtt;
        handshake.deadline.reset(until);
        let mut came = begin;
        let read = std::future::poll_fn(|cx| {
            let read = handshake.fill(io, cx);
            came = handshake.inbox.came.unwrap_or_else(Instant::now);
            read
        });
        match read.await {
            Ok(false) => match handshake.inbox.bytes.get(handshake.inbox.head) {
                Some(&APPLICATION_DATA) if came < until => Sequel::TooSoon,
                _ => Sequel::Other,
            },
            // Also what broke will be found again by whoever reads next.
            Ok(true) | Err(_) => Sequel::Nothing,
        }
    }
}

impl Handshake {
    /// Looks whether the next record, whole or not, is application data before our Finished.
    /// rustls always asks for more between checking the client's Finished and writing ours, so
    /// what lies in the kernel by then is seen too.
    pub(super) fn watch_early_data(&mut self) -> io::Result<()> {
        let next = self.inbox.bytes.get(self.inbox.head);
        if self.inbox.record_left > 0
            || next != Some(&APPLICATION_DATA)
            || !self.transcript.owes_finished()
        {
            return Ok(());
        }
        match self.early_data {
            EarlyData::Accept | EarlyData::Accepted => {
                self.early_data = EarlyData::Accepted;
                Ok(())
            }
            EarlyData::Refuse | EarlyData::Refused => {
                self.early_data = EarlyData::Refused;
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
    }
}

/// Where the client can have used False Start without our seeing it before our Finished went:
/// looks whether its data came sooner than an answer can.
pub(super) async fn watch_for_false_start<S: Transport>(
    io: &mut RecordIo<S>,
    report: &mut Arc<HandshakeReport>,
) -> Sequel {
    let unseen = matches!(
        report.false_start,
        FalseStart::EligibleUnused | FalseStart::Ineligible(_)
    );
    let rtt = report.network.min_rtt.filter(|&rtt| rtt >= TELLING_RTT);
    let Some(rtt) = rtt.filter(|_| unseen) else {
        return Sequel::Nothing;
    };
    let sequel = io.sequel(rtt.min(LONGEST_RTT)).await;
    if sequel == Sequel::TooSoon {
        let report = Arc::make_mut(report);
        report.false_start = FalseStart::Used(Confidence::Probable);
        report
            .extra_round_trips
            .retain(|&reason| reason != ExtraRoundTrip::NoFalseStart);
    }
    sequel
}
