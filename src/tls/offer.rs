//! The sessions that a ClientHello offers, as bytes: read only where somebody asks.

use super::wire::Reader;

/// What a ClientHello offers to resume.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer<'a> {
    id: &'a [u8],
    ticket: Option<&'a [u8]>,
    identities: Option<Reader<'a>>,
}

/// So many pre-shared keys are looked at: opening each takes two microseconds, and clients offer
/// one or two.
const MOST: usize = 2;

impl<'a> Offer<'a> {
    /// Reads a whole ClientHello; `None` where it does not decode.
    pub(super) fn read(message: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(message);
        // Header, version and random.
        reader.take(4 + 2 + 32)?;
        let mut offer = Self {
            id: reader.vec8()?.rest(),
            ticket: None,
            identities: None,
        };
        reader.vec16()?;
        reader.vec8()?;
        if reader.is_empty() {
            return Some(offer);
        }
        let mut extensions = reader.vec16()?;
        while !extensions.is_empty() {
            let number = extensions.u16()?;
            let mut body = extensions.vec16()?;
            match number {
                // RFC 5077 section 3.2
                35 => offer.ticket = Some(body.rest()).filter(|ticket| !ticket.is_empty()),
                // RFC 8446 section 4.2.11
                41 => offer.identities = Some(body.vec16()?),
                _ => {}
            }
        }
        Some(offer)
    }

    /// The session ID.
    pub(super) const fn id(&self) -> &'a [u8] {
        self.id
    }

    /// The ticket of TLS 1.2.
    pub(super) const fn ticket(&self) -> Option<&'a [u8]> {
        self.ticket
    }

    /// The first pre-shared keys of TLS 1.3.
    pub(super) fn identities(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.identities;
        std::iter::from_fn(move || {
            let rest = rest.as_mut()?;
            let identity = rest.vec16()?.rest();
            // The obfuscated age.
            rest.take(4)?;
            Some(identity)
        })
        .take(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello with a session ID and these extensions.
    fn message(id: &[u8], extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut message = vec![1, 0, 0, 0, 3, 3];
        message.extend([7; 32]);
        message.push(u8::try_from(id.len()).unwrap());
        message.extend(id);
        message.extend([0, 2, 0x13, 0x01, 1, 0]);
        let all: Vec<u8> = extensions
            .iter()
            .flat_map(|(number, body)| [&number.to_be_bytes(), &*vec16(body)].concat())
            .collect();
        message.extend(vec16(&all));
        message
    }

    fn vec16(bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).unwrap();
        [&length.to_be_bytes(), bytes].concat()
    }

    #[test]
    fn each_kind_of_session_is_found() {
        let identity = |name: &[u8]| [vec16(name), vec![0; 4]].concat();
        let identities = [identity(b"one"), identity(b"two"), identity(b"three")].concat();
        let psk = [vec16(&identities), vec16(&[32; 33])].concat();
        let hello = message(b"id", &[(35, b"ticket".to_vec()), (41, psk)]);
        let offer = Offer::read(&hello).unwrap();
        assert_eq!(offer.id(), b"id");
        assert_eq!(offer.ticket(), Some(&b"ticket"[..]));
        let found: Vec<_> = offer.identities().collect();
        assert_eq!(found, [&b"one"[..], b"two"]);
    }

    #[test]
    fn nothing_is_offered_by_default() {
        let hello = message(b"", &[(35, Vec::new())]);
        let offer = Offer::read(&hello).unwrap();
        assert_eq!((offer.id(), offer.ticket()), (&b""[..], None));
        assert_eq!(offer.identities().count(), 0);
        assert!(Offer::read(&hello[..20]).is_none());
    }
}
