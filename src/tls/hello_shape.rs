//! What makes two ClientHellos those of the same kind of client, and a ClientHello without what is
//! its client's own.

use std::hash::{BuildHasher, Hash, Hasher};

use super::hello::is_grease;
use super::wire::Reader;

/// `server_name`: clients of one kind ask for many names.
const SERVER_NAME: u16 = 0;
/// `padding` (RFC 7685).
const PADDING: u16 = 21;
/// `session_ticket` (RFC 5077).
const SESSION_TICKET: u16 = 35;
/// `pre_shared_key`
const PRE_SHARED_KEY: u16 = 41;
/// `early_data`
const EARLY_DATA: u16 = 42;
/// `cookie`
const COOKIE: u16 = 44;
/// `key_share`
const KEY_SHARE: u16 = 51;
/// `encrypted_client_hello` (RFC 9849): random bytes, or looks like it.
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// The parts of a ClientHello with its four-byte header.
struct Parts<'a> {
    version: u16,
    session_id: &'a [u8],
    suites: Reader<'a>,
    compression: &'a [u8],
    extensions: Reader<'a>,
}

impl<'a> Parts<'a> {
    fn of(message: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(message);
        reader.take(4)?;
        let version = reader.u16()?;
        reader.take(32)?;
        Some(Self {
            version,
            session_id: reader.vec8()?.rest(),
            suites: reader.vec16()?,
            compression: reader.vec8()?.rest(),
            extensions: match reader.is_empty() {
                true => reader,
                false => reader.vec16()?,
            },
        })
    }

    /// The extensions in order, with their content.
    fn extensions(&self) -> impl Iterator<Item = (u16, Reader<'a>)> + use<'a> {
        let mut rest = self.extensions;
        std::iter::from_fn(move || Some((rest.u16()?, rest.vec16()?)))
    }
}

/// What two ClientHellos are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// The same for all of one kind of client.
    pub(super) kind: u64,
    /// Which of the extensions that do not make another kind are there, a bit each. Fingerprints
    /// count them.
    pub(super) passing: u8,
}

/// A number that all ClientHellos of one kind of client have in common: of what decides about a
/// full handshake. Left out are random bytes, names, sessions, keys, padding, values that keep
/// servers tolerant (RFC 8701) and the order of extensions, which some clients shuffle.
/// `None` for what is no ClientHello.
pub(super) fn shape(message: &[u8], keys: &impl BuildHasher) -> Option<Shape> {
    let parts = Parts::of(message)?;
    let mut head = keys.build_hasher();
    parts.version.hash(&mut head);
    codes(parts.suites, &mut head)?;
    parts.compression.hash(&mut head);
    let mut kind = head.finish();
    let mut passing = 0;
    for (number, content) in parts.extensions() {
        if is_grease(number) {
            continue;
        }
        let mut hasher = keys.build_hasher();
        number.hash(&mut hasher);
        match number {
            PADDING => passing |= 1,
            PRE_SHARED_KEY => passing |= 2,
            EARLY_DATA => passing |= 4,
            COOKIE => passing |= 8,
            SERVER_NAME | SESSION_TICKET | ENCRYPTED_CLIENT_HELLO => {}
            // supported_groups, signature_algorithms
            10 | 13 => codes(content.clone().vec16()?, &mut hasher)?,
            // supported_versions
            43 => codes(content.clone().vec8()?, &mut hasher)?,
            KEY_SHARE => {
                let mut shares = content.clone().vec16()?;
                while !shares.is_empty() {
                    let group = shares.u16()?;
                    shares.vec16()?;
                    if !is_grease(group) {
                        group.hash(&mut hasher);
                    }
                }
            }
            _ => content.rest().hash(&mut hasher),
        }
        if !matches!(number, PADDING | PRE_SHARED_KEY | EARLY_DATA | COOKIE) {
            // A sum, so that their order does not matter; nobody outside knows the keys.
            kind = kind.wrapping_add(hasher.finish());
        }
    }
    Some(Shape { kind, passing })
}

fn codes(mut list: Reader<'_>, hasher: &mut impl Hasher) -> Option<()> {
    // Many at a time: for a keyed hash each write is a call.
    let mut many = [0; 64];
    let mut filled = 0;
    while !list.is_empty() {
        let code = list.u16()?;
        if is_grease(code) {
            continue;
        }
        many[filled..filled + 2].copy_from_slice(&code.to_be_bytes());
        filled += 2;
        if filled == many.len() {
            hasher.write(&many);
            filled = 0;
        }
    }
    hasher.write(&many[..filled]);
    hasher.write_u8(0xff);
    Some(())
}

/// The same ClientHello without random bytes, session ID and sessions: what a client of its kind
/// says that comes for the first time. `None` for what is no ClientHello.
pub(super) fn without_session(message: &[u8]) -> Option<Vec<u8>> {
    let parts = Parts::of(message)?;
    let mut body = Vec::with_capacity(message.len());
    body.extend(parts.version.to_be_bytes());
    body.extend([0; 32]);
    body.push(u8::try_from(parts.session_id.len()).ok()?);
    body.resize(body.len() + parts.session_id.len(), 0);
    push_vec16(&mut body, parts.suites.rest())?;
    body.push(u8::try_from(parts.compression.len()).ok()?);
    body.extend(parts.compression);
    if !parts.extensions.is_empty() {
        let mut extensions = Vec::with_capacity(parts.extensions.rest().len());
        for (number, content) in parts.extensions() {
            let content = match number {
                PRE_SHARED_KEY | EARLY_DATA => continue,
                SESSION_TICKET => &[],
                _ => content.rest(),
            };
            extensions.extend(number.to_be_bytes());
            push_vec16(&mut extensions, content)?;
        }
        push_vec16(&mut body, &extensions)?;
    }
    let [0, length @ ..] = u32::try_from(body.len()).ok()?.to_be_bytes() else {
        return None;
    };
    let kind = *message.first()?;
    Some([&[kind], &length[..], &body].concat())
}

fn push_vec16(out: &mut Vec<u8>, content: &[u8]) -> Option<()> {
    out.extend(u16::try_from(content.len()).ok()?.to_be_bytes());
    out.extend(content);
    Some(())
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use proptest::prelude::*;
    use tokio_rustls::rustls::crypto::aws_lc_rs::kx_group;

    use super::super::fixture::{hello_of, old_hello};
    use super::super::hello::ClientHello;
    use super::*;

    fn message(id: &[u8], suites: &[u16], extensions: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.push(u8::try_from(id.len()).unwrap());
        body.extend(id);
        let suites: Vec<u8> = suites.iter().flat_map(|it| it.to_be_bytes()).collect();
        push_vec16(&mut body, &suites).unwrap();
        body.extend([1, 0]);
        let mut all = Vec::new();
        for (number, content) in extensions {
            all.extend(number.to_be_bytes());
            push_vec16(&mut all, content).unwrap();
        }
        push_vec16(&mut body, &all).unwrap();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[1], &length[1..], &body].concat()
    }

    #[test]
    fn one_kind_of_client_has_one_shape() {
        let keys = RandomState::new();
        let of = |message: &[u8]| shape(message, &keys).unwrap();
        let first = message(
            b"id",
            &[0x0a0a, 0x1301, 0xc02b],
            &[
                (0x1a1a, b""),
                (0, b"\0\x06\0\0\x03a.b"),
                (10, &[0, 4, 0x2a, 0x2a, 0, 29]),
                (35, b"ticket"),
                (43, &[4, 0x3a, 0x3a, 3, 4]),
                (51, &[0, 6, 0, 29, 0, 2, 9, 9]),
                (21, &[0; 40]),
                (41, b"psk"),
            ],
        );
        let second = message(
            &[5; 32],
            &[0x1301, 0x4a4a, 0xc02b],
            &[
                (51, &[0, 11, 0x5a, 0x5a, 0, 1, 0, 0, 29, 0, 2, 1, 2]),
                (43, &[4, 0xaa, 0xaa, 3, 4]),
                (35, b""),
                (0, b"\0\x06\0\0\x03x.y"),
                (10, &[0, 4, 0xba, 0xba, 0, 29]),
            ],
        );
        assert_eq!(of(&first).kind, of(&second).kind);
        // Yet a list of their extensions would differ.
        assert_ne!(of(&first).passing, of(&second).passing);
        for other in [
            message(&[], &[0xc02b, 0x1301], &[]),
            message(&[], &[0x1301, 0xc02b], &[]),
            message(&[], &[0x1301, 0xc02b], &[(10, &[0, 2, 0, 29])]),
            message(&[], &[0x1301, 0xc02b], &[(10, &[0, 2, 0, 23])]),
            message(&[], &[0x1301, 0xc02b], &[(13, &[0, 2, 0, 29])]),
            message(&[], &[0x1301, 0xc02b], &[(16, b"\0\x03\x02h2")]),
        ]
        .windows(2)
        {
            assert_ne!(of(&other[0]).kind, of(&other[1]).kind);
        }
        let bare = of(&message(b"id", &[0x1301, 0xc02b], &[]));
        assert_ne!(of(&first).kind, bare.kind);
    }

    #[test]
    fn a_session_is_taken_out_and_nothing_else() {
        let with = message(
            &[5; 32],
            &[0x1301],
            &[
                (35, b"ticket"),
                (42, b""),
                (16, b"\0\x03\x02h2"),
                (41, b"psk"),
            ],
        );
        let without = message(&[0; 32], &[0x1301], &[(35, b""), (16, b"\0\x03\x02h2")]);
        let mut taken = without_session(&with).unwrap();
        assert_eq!(taken[6..38], [0; 32]);
        taken[6..38].fill(7);
        assert_eq!(taken, without);
        let keys = RandomState::new();
        for hello in [
            hello_of(&["1.2", "1.3"], &[kx_group::X25519], "localhost"),
            old_hello(0xc02b, 29, "localhost"),
        ] {
            let taken = without_session(&hello).unwrap();
            assert!(ClientHello::parse(&taken).is_ok());
            assert_eq!(shape(&taken, &keys), shape(&hello, &keys));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = shape(&bytes, &RandomState::new());
            let _ = without_session(&bytes);
        }
    }
}
