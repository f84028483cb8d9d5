//! How a handshake waits on its stream for a slot to compute: first, and after a HelloRetryRequest.
//!
//! The client is watched meanwhile: one that leaves gives its place up.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::admission::{self, Admission, Class, Place, Slot};
use super::first_flight::{Assembly, FirstFlight};
use super::inbox::skip_change_cipher_spec;
use super::record::{Handshake, Life, MAX_AHEAD, RecordIo};
use super::transport::Transport;
use crate::report::Phase;

/// How a ClientHello is admitted that follows a HelloRetryRequest.
#[derive(Debug, Default)]
pub(super) enum Readmission {
    /// None is expected.
    #[default]
    None,
    /// It asks once it is whole, and as the first one did: a round trip was spent on it.
    Ask(Arc<Admission>, Class, Assembly),
    /// It is here and waits.
    Waiting(Place),
}

impl<S> RecordIo<S> {
    /// Waits for the slot of `place` (phase [`Phase::Admission`]), and watches that the client is
    /// still there.
    ///
    /// # Errors
    /// The deadline has passed, the client has closed or broken the connection, or the place was
    /// taken away ([`admission::Overload`]).
    pub(super) fn poll_admitted(
        &mut self,
        place: &mut Place,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Slot>>
    where
        S: Transport,
    {
        let Life::Handshake(handshake) = &mut self.life else {
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        };
        handshake.poll_admitted(place, &mut self.io, cx)
    }
}

impl Handshake {
    /// See [`RecordIo::poll_admitted`].
    fn poll_admitted<S: Transport>(
        &mut self,
        place: &mut Place,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Slot>> {
        if let Poll::Ready(ruling) = place.poll_slot(cx) {
            return Poll::Ready(ruling.map_err(io::Error::other));
        }
        // The client's next words follow ours, so this is its end, or early data: then it is read
        // no further. Without news this costs no call to the kernel.
        let ahead = self.inbox.bytes.len();
        if ahead < MAX_AHEAD && !self.inbox.watched && ready!(self.fill(io, cx))? {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.inbox.watched = true;
        self.pending(cx)
    }

    /// Whether what has come after a HelloRetryRequest may be handed out: a ClientHello once it is
    /// whole and admitted, anything else at once.
    pub(super) fn poll_readmitted<S: Transport>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let mut place = match std::mem::take(&mut self.readmission) {
            Readmission::None => return Poll::Ready(Ok(true)),
            Readmission::Waiting(place) => place,
            Readmission::Ask(admission, class, mut assembly) => {
                let ahead = self.inbox.bytes.get(self.inbox.head..).unwrap_or_default();
                let flight = assembly.advance(skip_change_cipher_spec(ahead));
                if !matches!(flight, Some(FirstFlight::ClientHello(_))) {
                    // An alert, or what rustls refuses.
                    let other = flight.is_some();
                    let assembly = if other { Assembly::default() } else { assembly };
                    self.readmission = Readmission::Ask(admission, class, assembly);
                    return Poll::Ready(Ok(other));
                }
                self.clock.enter(Phase::Admission, Instant::now());
                self.inbox.watched = false;
                match admission.enter(|| class) {
                    Ok(place) => place,
                    Err(overload) => return Poll::Ready(Err(io::Error::other(overload))),
                }
            }
        };
        match self.poll_admitted(&mut place, io, cx) {
            Poll::Pending => {
                self.readmission = Readmission::Waiting(place);
                Poll::Pending
            }
            Poll::Ready(Ok(slot)) => {
                admission::hand(slot);
                Poll::Ready(Ok(true))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}
