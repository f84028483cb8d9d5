//! What rustls asks of tickets and stored sessions, answered for one policy.
//!
//! rustls leaves to us how long a session lives, where it may be resumed, and why one was not.
//! What each look-up found is noted for the report (see [`super::work`]).

use std::sync::Arc;

use tokio_rustls::rustls::server::{ProducesTickets, StoresServerSessions};

use super::offer::Offer;
use super::scope::Scope;
use super::session_store::{Demand, SessionStore};
use super::ticket_key::Opened;
use super::ticket_ring::{TicketKeyError, TicketRing};
use super::timestamp::Timestamp;
use super::work::{self, Verdict, note, timed};
use crate::config::{Resumption, ResumptionMode};
use crate::report::{Part, ProtocolVersion};

/// The ticket keys and the stored sessions of one policy.
#[derive(Debug)]
pub(super) struct Sessions {
    spec: Resumption,
    scope: Scope,
    ring: Option<TicketRing>,
    store: Option<Arc<SessionStore>>,
}

/// As many tickets of one ClientHello as are opened: clients offer one or two, and each costs a
/// decryption.
const MOST_OFFERED: u8 = 8;

impl Sessions {
    /// Keys and a store for sessions of `scope`. Keys in memory and stored sessions are those of
    /// `previous`, the policy as it was before a reload: what it does not permit any more is then
    /// refused for its own reason.
    ///
    /// # Errors
    /// There is no ticket key.
    pub(super) fn new(
        spec: Resumption,
        scope: Scope,
        previous: Option<&Self>,
    ) -> Result<Self, TicketKeyError> {
        let ring = match &spec.mode {
            ResumptionMode::Tickets(keys) => Some(TicketRing::new(
                keys.clone(),
                spec.lifetime,
                scope,
                Timestamp::now(),
                previous.and_then(|previous| previous.ring.as_ref()),
            )?),
            ResumptionMode::Cache | ResumptionMode::Off => None,
        };
        let store = match spec.mode {
            ResumptionMode::Tickets(_) | ResumptionMode::Cache => {
                let kept = previous.and_then(|previous| previous.store.clone());
                let kept = kept.filter(|store| store.has_size(spec.cache_size));
                Some(kept.unwrap_or_else(|| Arc::new(SessionStore::new(spec.cache_size))))
            }
            ResumptionMode::Off => None,
        };
        Ok(Self {
            spec,
            scope,
            ring,
            store,
        })
    }

    /// Whether sessions of these are good for a policy with `spec` in `scope`.
    pub(super) fn serve(&self, spec: &Resumption, scope: &Scope) -> bool {
        self.spec == *spec && self.scope == *scope
    }

    /// Tickets after each full TLS 1.3 handshake; a resumed one has [one](wanted).
    pub(super) const fn tickets(&self) -> usize {
        match self.spec.mode {
            ResumptionMode::Off => 0,
            ResumptionMode::Tickets(_) | ResumptionMode::Cache => self.spec.tickets,
        }
    }

    /// When the key that seals was made; `None` without tickets.
    pub(super) fn newest_key(&self) -> Option<Timestamp> {
        self.ring.as_ref().and_then(TicketRing::newest)
    }

    /// Whether the ticket keys could be read anew.
    ///
    /// # Errors
    /// What is wrong with the directory.
    pub(super) fn check(&self) -> Result<(), TicketKeyError> {
        self.ring.as_ref().map_or(Ok(()), TicketRing::check)
    }

    /// Changes keys if it is time, and forgets sessions that are over. Blocks on files.
    pub(super) fn upkeep(&self, policy: &str) {
        let now = Timestamp::now();
        if let Some(ring) = &self.ring {
            ring.refresh(policy, now);
        }
        if let Some(store) = &self.store {
            store.expire(self.spec.lifetime, now);
        }
    }

    /// Whether a session of `offer` could be resumed: it is opened, with scope and age, and left
    /// where it is.
    pub(super) fn know(&self, version: ProtocolVersion, offer: &Offer<'_>) -> bool {
        let now = Timestamp::now();
        let ticket = |ticket: &[u8]| {
            let ring = self.ring.as_ref();
            ring.is_some_and(|ring| ring.open(ticket, now).is_ok())
        };
        let stored = |id: &[u8]| {
            let demand = self.demand(now);
            let store = self.store.as_ref();
            store.is_some_and(|store| store.has(id, &demand))
        };
        match version {
            ProtocolVersion::Tls13 if self.ring.is_some() => offer.identities().any(ticket),
            ProtocolVersion::Tls13 => offer.identities().any(stored),
            ProtocolVersion::Tls12 => offer.ticket().is_some_and(ticket) || stored(offer.id()),
        }
    }

    const fn demand(&self, now: Timestamp) -> Demand {
        Demand {
            scope: self.scope,
            lifetime: self.spec.lifetime,
            now,
        }
    }

    fn look_up(
        &self,
        find: impl FnOnce(&SessionStore, &Demand) -> Result<Opened, Verdict>,
    ) -> Option<Vec<u8>> {
        let store = self.store.as_ref()?;
        let now = Timestamp::now();
        let demand = self.demand(now);
        noted(timed(Part::Ticket, || find(store, &demand)), now)
    }
}

impl ProducesTickets for Sessions {
    fn enabled(&self) -> bool {
        self.ring.is_some()
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.spec.lifetime.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let ring = self.ring.as_ref().filter(|_| wanted())?;
        // The ticket of a resumed session lives no longer than the one it came with (RFC 8446
        // section 4.6.1): else a session could be resumed for ever.
        let issued = work::session().began.unwrap_or_else(Timestamp::now);
        timed(Part::Ticket, || ring.seal(plain, issued))
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let Some(ring) = &self.ring else {
            return noted(Err(Verdict::UnknownKey), Timestamp::default());
        };
        let mut offered = 0;
        note(|work| {
            work.tickets = work.tickets.saturating_add(1);
            offered = work.tickets;
        });
        if offered > MOST_OFFERED {
            return None;
        }
        let now = Timestamp::now();
        noted(timed(Part::Ticket, || ring.open(cipher, now)), now)
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let Some(store) = self.store.as_ref().filter(|_| wanted()) else {
            return false;
        };
        let session = work::session();
        // Who gets a ticket needs no place in the store, but rustls would use both.
        if self.ring.is_some() && session.takes_tickets {
            return false;
        }
        let issued = session.began.unwrap_or_else(Timestamp::now);
        timed(Part::Ticket, || store.put(&key, value, issued, self.scope))
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.look_up(|store, demand| store.get(key, demand))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        if self.store.is_none() {
            // A ticket of TLS 1.3, where there are neither tickets nor sessions.
            return noted(Err(Verdict::UnknownKey), Timestamp::default());
        }
        self.look_up(|store, demand| store.take(key, demand))
    }

    fn can_cache(&self) -> bool {
        self.store.is_some()
    }
}

/// Whether another session is to be made of this handshake: a resumed one makes one, for the one
/// that it used up (RFC 8446 appendix C.4), as OpenSSL does. All tickets of a handshake are made
/// in one piece of work.
fn wanted() -> bool {
    let mut wanted = false;
    note(|work| {
        wanted = work.session.began.is_none() || !work.made;
        work.made = true;
    });
    wanted
}

fn noted(found: Result<Opened, Verdict>, now: Timestamp) -> Option<Vec<u8>> {
    match found {
        Ok(opened) => {
            note(|work| {
                work.sessions.saw(Verdict::Opened);
                work.sessions.age = Some(now.since(opened.issued));
                work.session.began = Some(opened.issued);
            });
            Some(opened.session)
        }
        Err(verdict) => {
            note(|work| work.sessions.saw(verdict));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::TicketKeys;
    use crate::tls::work::SessionContext;

    fn sessions(mode: ResumptionMode) -> Sessions {
        let spec = Resumption {
            mode,
            lifetime: Duration::from_secs(3600),
            tickets: 2,
            cache_size: 1 << 20,
        };
        Sessions::new(spec, Scope::named("a"), None).unwrap()
    }

    fn tickets() -> Sessions {
        sessions(ResumptionMode::Tickets(TicketKeys::rotated(
            Duration::from_secs(3600),
        )))
    }

    #[test]
    fn a_resumed_session_keeps_its_age() {
        let sessions = tickets();
        let began = Timestamp::from_millis(Timestamp::now().millis() - 1_800_000);
        work::begin(SessionContext {
            began: Some(began),
            ..SessionContext::default()
        });
        let ticket = sessions.encrypt(b"x").unwrap();
        work::begin(SessionContext::default());
        assert!(sessions.decrypt(&ticket).is_some());
        let work = work::take();
        assert_eq!(work.session.began, Some(began));
        assert_eq!(work.sessions.verdict, Some(Verdict::Opened));
        assert!(work.sessions.age.unwrap() >= Duration::from_secs(1800));
    }

    #[test]
    fn a_resumed_session_makes_one_again() {
        for (mode, began, made) in [
            (tickets(), None, 3),
            (tickets(), Some(Timestamp::now()), 1),
            (sessions(ResumptionMode::Cache), None, 3),
            (sessions(ResumptionMode::Cache), Some(Timestamp::now()), 1),
        ] {
            work::begin(SessionContext {
                began,
                ..SessionContext::default()
            });
            let make = |id: u8| match mode.enabled() {
                true => mode.encrypt(b"x").is_some(),
                false => mode.put(vec![id; 32], b"x".to_vec()),
            };
            assert_eq!((0..3).filter(|&id| make(id)).count(), made);
        }
    }

    #[test]
    fn who_takes_tickets_is_not_stored() {
        let id = vec![7; 32];
        for (sessions, takes_tickets, stored) in [
            (tickets(), true, false),
            (tickets(), false, true),
            (sessions(ResumptionMode::Cache), true, true),
            (sessions(ResumptionMode::Off), false, false),
        ] {
            work::begin(SessionContext {
                takes_tickets,
                ..SessionContext::default()
            });
            assert_eq!(sessions.put(id.clone(), b"x".to_vec()), stored);
            assert_eq!(sessions.get(&id).is_some(), stored);
        }
    }

    #[test]
    fn a_hello_full_of_tickets_costs_no_more_than_a_few() {
        let sessions = tickets();
        work::begin(SessionContext::default());
        let good = sessions.encrypt(b"x").unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        for _ in 0..MOST_OFFERED {
            assert_eq!(sessions.decrypt(&bad), None);
        }
        assert_eq!(sessions.decrypt(&good), None);
        assert_eq!(work::take().sessions.verdict, Some(Verdict::Corrupt));
    }
}
