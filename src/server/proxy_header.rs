//! The wait for the PROXY header of a connection from `proxy_protocol_from`.
//!
//! The header is looked at in the kernel's buffer and only as much of it is taken as belongs to
//! it, so that what follows is read by whoever reads the connection.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::time::timeout_at;

use super::socket::ClientSocket;
use crate::proxy_protocol::{MAX_HEADER, ProxyHeader, ProxyHeaderError};
use crate::report::{Failure, FailureClass, Outcome, Phase, Side};

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderFault {
    /// Nothing came until the peer closed or the deadline passed.
    #[error("nothing came")]
    Nothing,
    /// The deadline passed inside of the header.
    #[error("the deadline passed inside of the PROXY header")]
    Late,
    /// The peer closed inside of the header.
    #[error("closed inside of the PROXY header")]
    Closed,
    /// What came is no header.
    #[error("no PROXY header, which proxy_protocol_from requires of this peer")]
    Bad(#[source] ProxyHeaderError),
    /// The connection broke.
    #[error("the connection broke inside of the PROXY header")]
    Broken(#[source] io::Error),
}

/// Looked at in one go: more than a header without extras has.
const LOOK: usize = 256;

/// Takes the header off `stream`, at most `patience` after `accepted`.
///
/// # Errors
/// See [`HeaderFault`].
pub(super) async fn take(
    stream: &mut ClientSocket,
    accepted: Instant,
    patience: Duration,
) -> Result<ProxyHeader, HeaderFault> {
    let mut held = Vec::new();
    let deadline = (accepted + patience).into();
    let taken = timeout_at(deadline, read(stream, &mut held)).await;
    taken.unwrap_or(match held.is_empty() {
        true => Err(HeaderFault::Nothing),
        false => Err(HeaderFault::Late),
    })
}

async fn read(stream: &mut ClientSocket, held: &mut Vec<u8>) -> Result<ProxyHeader, HeaderFault> {
    // A header that is longer is refused before so much of it has come.
    while held.len() <= MAX_HEADER {
        let before = held.len();
        let mut chunk = [0; LOOK];
        let seen = match stream.peek(&mut chunk).await {
            Ok(0) if held.is_empty() => return Err(HeaderFault::Nothing),
            Ok(0) => return Err(HeaderFault::Closed),
            Ok(seen) => seen,
            Err(error) => return Err(HeaderFault::Broken(error)),
        };
        held.extend_from_slice(&chunk[..seen]);
        let header = ProxyHeader::parse(held).map_err(HeaderFault::Bad)?;
        let ours = header.map_or(seen, |header| header.length - before);
        // They are there: this does not wait.
        let taken = stream.read_exact(&mut chunk[..ours]).await;
        taken.map_err(HeaderFault::Broken)?;
        if let Some(header) = header {
            return Ok(header);
        }
    }
    Err(HeaderFault::Bad(ProxyHeaderError::LongHeader))
}

impl HeaderFault {
    /// How the handshake ended that never began.
    pub(super) fn outcome(&self) -> Outcome {
        let (class, side) = match self {
            Self::Nothing => return Outcome::Probe,
            Self::Late => (FailureClass::Timeout, Side::Server),
            Self::Closed => (FailureClass::ClientClosed, Side::Client),
            Self::Bad(_) => (FailureClass::ProxyHeader, Side::Server),
            Self::Broken(_) => (FailureClass::Reset, Side::Network),
        };
        let diagnosis = match self {
            Self::Bad(error) => format!("{self}: {error}"),
            other => other.to_string(),
        };
        let phase = Phase::ProxyHeaderWait;
        Outcome::Failed(Failure::new(class, phase, side, None, diagnosis))
    }
}
