//! Admission to computing: how many handshakes compute at once, and who waits for it.
//!
//! The server's flight is computed in one piece, for half a millisecond with RSA. When many
//! ClientHellos are ready at once, their tasks would fill a worker's queue with such pieces, and a
//! request on an open connection would wait behind all of them. So there is one slot a worker, and
//! a slot is given back only after its worker has looked for IO, twice, and run what was ready:
//! between two pieces all other tasks have their turn.
//!
//! Those that wait are bounded (`limits.handshakes`). Resumptions go first, because they cost a
//! tenth of a full handshake and their clients were here before; each class is sure of a share.
//! Within a class it is first come, first served: the bound is a fraction of a second's work, less
//! than clients' patience, and one whose client has given up leaves the queue by itself, so no
//! flight is computed for nobody.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

/// The slots of a process and the queue for them. Waiting counts as
/// [`crate::report::Phase::Admission`] and is bounded by the handshake's deadline.
#[derive(Debug)]
pub struct Admission {
    desk: Mutex<Desk>,
}

/// What a handshake is going to cost, as far as that is known before it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A session was offered that opens.
    Resumption,
    /// All others.
    Full,
}

/// `limits.handshakes` compute or wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limits.handshakes compute or wait already")]
pub(super) struct Overload;

/// The right to compute one flight.
#[derive(Debug)]
pub(super) struct Slot(Arc<Admission>);

/// A place in the queue, or at its end. Dropping it leaves the queue.
#[derive(Debug)]
pub(super) enum Place {
    /// There was no queue.
    Served(Option<Slot>),
    /// In the queue.
    Waiting(Waiting),
}

#[derive(Debug)]
pub(super) struct Waiting {
    admission: Arc<Admission>,
    class: Class,
    arrival: u64,
    ruling: oneshot::Receiver<Ruling>,
}

type Ruling = Result<Slot, Overload>;
/// In order of arrival.
type Queue = BTreeMap<u64, oneshot::Sender<Ruling>>;

#[derive(Debug)]
struct Desk {
    /// Slots that are not taken; where there are any, nobody waits.
    free: usize,
    taken: usize,
    limit: usize,
    arrivals: u64,
    resumptions: Queue,
    full: Queue,
    /// Resumptions served since a full handshake was, while one waited.
    row: u32,
}

/// So many resumptions go before one full handshake that waits: about the ratio of their costs,
/// so that neither gets more than half of the time when there is too much of both.
const ROW: u32 = 8;

/// So few places left is crowded: more than an accept loop lets in before it lets others run.
const NEARLY: usize = 16;

impl Admission {
    /// One slot for each of `workers`, at least one, for at most `limit` handshakes.
    #[must_use]
    pub fn new(workers: usize, limit: usize) -> Arc<Self> {
        Arc::new(Self {
            desk: Mutex::new(Desk {
                free: workers.max(1),
                taken: 0,
                limit,
                arrivals: 0,
                resumptions: Queue::new(),
                full: Queue::new(),
                row: 0,
            }),
        })
    }

    /// Changes the limit. Those who wait beyond a lower one are served in their time.
    pub fn resize(&self, limit: usize) {
        self.desk().limit = limit;
    }

    /// Whether [`Admission::enter`] would refuse now: asked before anything is spent on a
    /// ClientHello, when `coming` others will have entered. `class` is asked for only where the
    /// limit is reached.
    pub(super) fn refuses(&self, coming: usize, class: impl FnOnce() -> Class) -> bool {
        let full = |desk: &Desk| desk.free == 0 && desk.places() <= coming;
        if !full(&self.desk()) {
            return false;
        }
        let class = class();
        let desk = self.desk();
        full(&desk) && !desk.makes_room(class)
    }

    /// Whether the limit is reached, or will be if those come that are on their way from the door:
    /// then it is worth while to look at a ClientHello before anything else is done for it.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        let desk = self.desk();
        desk.free == 0 && desk.places() < NEARLY
    }

    /// Asks for a slot. `class` is asked for only where there is a queue.
    ///
    /// # Errors
    /// The limit is reached. A place may also be taken away later in favour of the other class.
    pub(super) fn enter(
        self: &Arc<Self>,
        class: impl FnOnce() -> Class,
    ) -> Result<Place, Overload> {
        if self.desk().take_free() {
            return Ok(Place::Served(Some(Slot(self.clone()))));
        }
        // Opening a ticket takes microseconds: not under the lock.
        let class = class();
        let mut desk = self.desk();
        if desk.take_free() {
            return Ok(Place::Served(Some(Slot(self.clone()))));
        }
        let displaced = match desk.is_full() {
            true => Some(desk.displace(class).ok_or(Overload)?),
            false => None,
        };
        let (sender, ruling) = oneshot::channel();
        let arrival = desk.arrivals;
        desk.arrivals += 1;
        desk.queue(class).insert(arrival, sender);
        drop(desk);
        if let Some(displaced) = displaced {
            // One that has just left needs no refusal.
            let _ = displaced.send(Err(Overload));
        }
        Ok(Place::Waiting(Waiting {
            admission: self.clone(),
            class,
            arrival,
            ruling,
        }))
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        // No panic is possible while it is held.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn take_free(&mut self) -> bool {
        let free = self.free > 0;
        if free {
            self.free -= 1;
            self.taken += 1;
        }
        free
    }

    fn is_full(&self) -> bool {
        self.places() == 0
    }

    /// How many may still come.
    fn places(&self) -> usize {
        let come = self.taken + self.resumptions.len() + self.full.len();
        self.limit.saturating_sub(come)
    }

    const fn queue(&mut self, class: Class) -> &mut Queue {
        match class {
            Class::Resumption => &mut self.resumptions,
            Class::Full => &mut self.full,
        }
    }

    /// Whether one of `class` gets a place though all are taken: a class that has less than half of
    /// the places takes one from the other, which then has more than half.
    fn makes_room(&self, class: Class) -> bool {
        let half = self.limit / 2;
        let (own, other) = match class {
            Class::Resumption => (&self.resumptions, &self.full),
            Class::Full => (&self.full, &self.resumptions),
        };
        own.len() < half && other.len() >= half
    }

    /// Makes room for one of `class`. The newest of the other goes, it has waited least.
    fn displace(&mut self, class: Class) -> Option<oneshot::Sender<Ruling>> {
        if !self.makes_room(class) {
            return None;
        }
        let other = match class {
            Class::Resumption => &mut self.full,
            Class::Full => &mut self.resumptions,
        };
        other.pop_last().map(|(_, sender)| sender)
    }

    /// Takes a slot back: who gets it, or nobody.
    fn next(&mut self) -> Option<oneshot::Sender<Ruling>> {
        let turn_of_full = self.resumptions.is_empty() || self.row >= ROW;
        let next = match turn_of_full {
            true => self
                .full
                .pop_first()
                .or_else(|| self.resumptions.pop_first()),
            false => self.resumptions.pop_first(),
        };
        self.row = match turn_of_full || self.full.is_empty() {
            true => 0,
            false => self.row + 1,
        };
        if next.is_none() {
            self.free += 1;
            self.taken -= 1;
        }
        next.map(|(_, sender)| sender)
    }
}

impl Slot {
    /// Whether another waits for it.
    fn is_awaited(&self) -> bool {
        let desk = self.0.desk();
        !(desk.full.is_empty() && desk.resumptions.is_empty())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let next = self.0.desk().next();
        if let Some(next) = next {
            // The slot comes back with the message when its receiver has just left, and is dropped
            // once more: then the next one has it.
            let _ = next.send(Ok(Self(self.0.clone())));
        }
    }
}

impl Place {
    /// The slot, once it is this one's turn.
    ///
    /// # Errors
    /// The place was taken away.
    pub(super) fn poll_slot(&mut self, cx: &mut Context<'_>) -> Poll<Ruling> {
        match self {
            Self::Served(slot) => Poll::Ready(slot.take().ok_or(Overload)),
            // A sender is never dropped unused but with the desk, which this place keeps.
            Self::Waiting(waiting) => Pin::new(&mut waiting.ruling)
                .poll(cx)
                .map(|ruling| ruling.unwrap_or(Err(Overload))),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.admission
            .desk()
            .queue(self.class)
            .remove(&self.arrival);
    }
}

thread_local! {
    /// A slot got in the middle of a poll of [`drive`]'s future, for `drive` to keep.
    static HANDED: Cell<Option<Slot>> = const { Cell::new(None) };
}

/// Gives `slot` to the [`drive`] whose future is being polled on this thread.
pub(super) fn hand(slot: Slot) {
    HANDED.set(Some(slot));
}

/// Drives `future` with `slot`, and gives the slot back when its worker has gone around: once, or
/// twice where another waits for the slot. An upstream on the same network answers within the first
/// time, so a request is delayed by one piece and not by a second one on the way back. So with every
/// slot that the future gets later.
pub(super) async fn drive<F: Future>(slot: Slot, future: F) -> F::Output {
    let mut future = pin!(future);
    let mut slot = Some(slot);
    loop {
        let result = poll_fn(|cx| {
            let result = future.as_mut().poll(cx).map(Some);
            if let Some(another) = HANDED.take() {
                slot = Some(another);
            }
            match result.is_pending() && slot.is_some() {
                true => Poll::Ready(None),
                false => result,
            }
        })
        .await;
        if let Some(result) = result {
            return result;
        }
        once_around().await;
        if slot.as_ref().is_some_and(Slot::is_awaited) {
            once_around().await;
        }
        slot = None;
    }
}

/// Waits until the worker has looked for IO and run what that made ready.
///
/// A task that yields is woken after the look, but as the last one, which tokio runs first: so it
/// goes to the end of the queue once more, or the next piece would be computed before all others.
async fn once_around() {
    tokio::task::yield_now().await;
    let mut again = true;
    poll_fn(|cx| match mem::take(&mut again) {
        // Woken while it runs, a task is queued and does not run next.
        true => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        false => Poll::Ready(()),
    })
    .await;
}

#[cfg(test)]
impl Admission {
    /// A slot, if nobody has to wait.
    pub(super) fn try_slot(self: &Arc<Self>) -> Option<Slot> {
        self.desk().take_free().then(|| Slot(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    async fn slot(admission: &Arc<Admission>) -> Slot {
        let mut place = admission.enter(|| Class::Full).unwrap();
        poll_fn(|cx| place.poll_slot(cx)).await.unwrap()
    }

    fn poll(place: &mut Place) -> Poll<Ruling> {
        place.poll_slot(&mut Context::from_waker(std::task::Waker::noop()))
    }

    /// Whether it is its turn; keeps the slot.
    fn served(place: &mut Place) -> Option<Slot> {
        match poll(place) {
            Poll::Ready(ruling) => ruling.ok(),
            Poll::Pending => None,
        }
    }

    fn places<const N: usize>(admission: &Arc<Admission>, class: Class) -> [Place; N] {
        std::array::from_fn(|_| admission.enter(|| class).unwrap())
    }

    #[tokio::test]
    async fn others_have_a_turn_between_two_pieces() {
        let admission = Admission::new(1, 10);
        let log = RefCell::new(Vec::new());
        let piece = async |name| {
            let slot = slot(&admission).await;
            log.borrow_mut().push(name);
            drive(slot, tokio::task::yield_now()).await;
        };
        let light = async {
            for _ in 0..3 {
                log.borrow_mut().push("light");
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(piece("a"), piece("b"), light);
        let log = log.into_inner();
        let (a, b) = (
            log.iter().position(|name| *name == "a").unwrap(),
            log.iter().position(|name| *name == "b").unwrap(),
        );
        assert!(log[a..b].contains(&"light"), "{log:?}");
        assert_eq!(admission.desk().free, 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_became_ready_goes_before_the_next_piece() {
        let admission = Admission::new(1, 10);
        let log = Arc::new(Mutex::new(Vec::new()));
        let (mut ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        let (waits, waiting) = oneshot::channel();
        let reader = tokio::spawn({
            let log = log.clone();
            async move {
                waits.send(()).unwrap();
                ours.read_u8().await.unwrap();
                log.lock().unwrap().push("request");
            }
        });
        waiting.await.unwrap();
        let pieces = tokio::spawn({
            let log = log.clone();
            async move {
                theirs.writable().await.unwrap();
                // Both are asked for before the first is computed.
                let [mut first, mut second] = places(&admission, Class::Full);
                let first = served(&mut first).unwrap();
                let next = tokio::spawn({
                    let log = log.clone();
                    async move {
                        let slot = poll_fn(|cx| second.poll_slot(cx)).await.unwrap();
                        log.lock().unwrap().push("piece");
                        drive(slot, tokio::task::yield_now()).await;
                    }
                });
                assert_eq!(theirs.try_write(b"r").unwrap(), 1);
                drive(first, tokio::task::yield_now()).await;
                next.await.unwrap();
            }
        });
        pieces.await.unwrap();
        reader.await.unwrap();
        assert_eq!(*log.lock().unwrap(), ["request", "piece"]);
    }

    #[tokio::test]
    async fn no_slot_is_held_while_a_client_is_awaited() {
        let admission = Admission::new(1, 10);
        let (sender, receiver) = oneshot::channel::<()>();
        let retried = async {
            // The client's second ClientHello.
            receiver.await.unwrap();
            hand(slot(&admission).await);
            tokio::task::yield_now().await;
        };
        let first = slot(&admission).await;
        let handshake = drive(first, retried);
        let others = async {
            drop(slot(&admission).await);
            sender.send(()).unwrap();
        };
        tokio::join!(handshake, others);
        assert_eq!(admission.desk().free, 1);
    }

    #[test]
    fn resumptions_go_first_and_do_not_starve_the_others() {
        let admission = Admission::new(1, 100);
        let [mut first] = places(&admission, Class::Full);
        let mut slot = served(&mut first).unwrap();
        let mut full = Vec::from(places::<2>(&admission, Class::Full));
        let mut resumptions = Vec::from(places::<20>(&admission, Class::Resumption));
        let turn = |places: &mut Vec<Place>| {
            let slot = places.first_mut().and_then(served)?;
            places.remove(0);
            Some(slot)
        };
        let mut order = String::new();
        for _ in 0..22 {
            drop(slot);
            slot = match (turn(&mut resumptions), turn(&mut full)) {
                (Some(slot), None) => {
                    order.push('r');
                    slot
                }
                (None, Some(slot)) => {
                    order.push('f');
                    slot
                }
                other => panic!("{other:?} after {order}"),
            };
        }
        assert_eq!(order, "rrrrrrrrfrrrrrrrrfrrrr");
    }

    #[test]
    fn each_class_is_sure_of_half_of_the_places() {
        let admission = Admission::new(1, 5);
        let [mut computing] = places(&admission, Class::Full);
        let slot = served(&mut computing).unwrap();
        let mut full: [Place; 4] = places(&admission, Class::Full);
        assert!(admission.enter(|| Class::Full).is_err());
        let _resumptions: [Place; 2] = places(&admission, Class::Resumption);
        // The newest two gave way.
        assert!(matches!(poll(&mut full[3]), Poll::Ready(Err(Overload))));
        assert!(matches!(poll(&mut full[2]), Poll::Ready(Err(Overload))));
        assert!(poll(&mut full[1]).is_pending());
        assert!(admission.enter(|| Class::Resumption).is_err());
        admission.resize(6);
        let _third: [Place; 1] = places(&admission, Class::Resumption);
        drop(slot);
    }

    #[test]
    fn who_leaves_gives_up_place_and_slot() {
        let admission = Admission::new(1, 3);
        let [mut first] = places(&admission, Class::Full);
        let slot = served(&mut first).unwrap();
        let [second, mut third] = places(&admission, Class::Full);
        assert!(admission.enter(|| Class::Full).is_err());
        drop(second);
        let [fourth] = places(&admission, Class::Full);
        drop(slot);
        // Granted and never used.
        let slot = served(&mut third).unwrap();
        drop(slot);
        drop(fourth);
        let desk = admission.desk();
        assert_eq!((desk.free, desk.taken), (1, 0));
        assert!(desk.full.is_empty());
    }

    #[test]
    fn nobody_is_asked_for_a_class_where_nobody_waits() {
        let admission = Admission::new(1, 1);
        let place = admission.enter(|| panic!("asked")).unwrap();
        drop(place);
        assert_eq!(admission.desk().free, 1);
    }
}
