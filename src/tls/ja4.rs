//! JA4: a fingerprint of the client's TLS stack, from its ClientHello.
//!
//! The TLS client fingerprint of FoxIO's JA4 alone, which is under BSD 3-Clause; the rest of the
//! JA4+ suite is not. GREASE values are left out everywhere (RFC 8701), and the order of suites
//! and extensions, which some clients shuffle, does not count.

use aws_lc_rs::digest::{SHA256, digest};

use super::hello::{ClientHello, is_grease};

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
/// The fingerprint's length: 10, 12 and 12 characters.
const LENGTH: usize = 36;

/// The fingerprint of `hello`, as in `t13d1516h2_8daaf6152771_e5627efa2ab1`.
pub(super) fn ja4(hello: &ClientHello) -> String {
    let mut suites = known(&hello.cipher_suites);
    let mut extensions = known(&hello.extensions);
    let named = extensions.contains(&SERVER_NAME);
    let mut text = String::with_capacity(LENGTH);
    text.push('t');
    text.push_str(version(hello));
    text.push(if named { 'd' } else { 'i' });
    push_count(&mut text, suites.len());
    push_count(&mut text, extensions.len());
    push_alpn(&mut text, hello);

    suites.sort_unstable();
    let mut list = Vec::with_capacity(5 * (suites.len() + extensions.len() + 24));
    push_codes(&mut list, &suites);
    push_hash(&mut text, &list);

    extensions.retain(|&number| number != SERVER_NAME && number != ALPN);
    extensions.sort_unstable();
    list.clear();
    push_codes(&mut list, &extensions);
    let schemes = hello.signature_algorithms.as_deref().unwrap_or_default();
    let schemes = known(schemes);
    if !schemes.is_empty() {
        list.push(b'_');
        // In the client's order, which says something.
        push_codes(&mut list, &schemes);
    }
    push_hash(&mut text, &list);
    text
}

fn known(codes: &[u16]) -> Vec<u16> {
    let codes = codes.iter().copied();
    codes.filter(|&code| !is_grease(code)).collect()
}

fn version(hello: &ClientHello) -> &'static str {
    let best = match &hello.supported_versions {
        Some(versions) => versions.iter().copied().filter(|&it| !is_grease(it)).max(),
        None => None,
    };
    match best.unwrap_or(hello.legacy_version) {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

/// Two digits, at most 99.
fn push_count(text: &mut String, count: usize) {
    let count = u8::try_from(count).unwrap_or(99).min(99);
    text.push(char::from(b'0' + count / 10));
    text.push(char::from(b'0' + count % 10));
}

/// The first and last character of the first protocol; of its hexadecimal form where one of the
/// two is no letter or digit.
fn push_alpn(text: &mut String, hello: &ClientHello) {
    let first = hello.alpn.as_ref().and_then(|protocols| protocols.first());
    let ends = first.and_then(|it| Some((*it.first()?, *it.last()?)));
    match ends {
        None => text.push_str("00"),
        Some((first, last)) if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() => {
            text.push(first.into());
            text.push(last.into());
        }
        Some((first, last)) => {
            text.push(HEX[usize::from(first >> 4)].into());
            text.push(HEX[usize::from(last & 15)].into());
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Codes in hexadecimal, with commas between them.
fn push_codes(list: &mut Vec<u8>, codes: &[u16]) {
    for (index, code) in codes.iter().enumerate() {
        if index > 0 {
            list.push(b',');
        }
        for shift in [12, 8, 4, 0] {
            list.push(HEX[usize::from(code >> shift & 15)]);
        }
    }
}

/// An underscore and the first twelve digits of the list's SHA-256; zeros for an empty list.
fn push_hash(text: &mut String, list: &[u8]) {
    text.push('_');
    if list.is_empty() {
        text.push_str("000000000000");
        return;
    }
    for byte in &digest(&SHA256, list).as_ref()[..6] {
        text.push(HEX[usize::from(byte >> 4)].into());
        text.push(HEX[usize::from(byte & 15)].into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification, with GREASE and in another order.
    fn example() -> ClientHello {
        ClientHello {
            legacy_version: 0x0303,
            cipher_suites: vec![
                0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8,
                0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
            ],
            extensions: vec![
                0x7a7a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005,
                0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015, 0x8a8a,
            ],
            supported_versions: Some(vec![0x9a9a, 0x0304, 0x0303]),
            signature_algorithms: Some(vec![
                0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601,
            ]),
            alpn: Some(vec![b"h2".to_vec(), b"http/1.1".to_vec()]),
            ..ClientHello::default()
        }
    }

    #[test]
    fn the_example_of_the_specification() {
        assert_eq!(ja4(&example()), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn without_signature_algorithms_nothing_stands_for_them() {
        let hello = ClientHello {
            signature_algorithms: None,
            ..example()
        };
        assert_eq!(ja4(&hello), "t13d1516h2_8daaf6152771_6d807ffa2a79");
    }

    #[test]
    fn what_is_absent_is_zero() {
        let hello = ClientHello {
            legacy_version: 0x0301,
            cipher_suites: vec![0x0a0a],
            ..ClientHello::default()
        };
        assert_eq!(ja4(&hello), "t10i000000_000000000000_000000000000");
    }

    #[test]
    fn protocols_are_shortened_as_specified() {
        for (protocol, ends) in [
            (&b"h2"[..], "h2"),
            (b"http/1.1", "h1"),
            (b"a", "aa"),
            (&[0xab], "ab"),
            (&[0xab, 0xcd], "ad"),
            (&[0x30, 0xab], "3b"),
            (&[0x30, 0x31, 0xab, 0xcd], "3d"),
            (&[0x30, 0xab, 0xcd, 0x31], "01"),
        ] {
            let hello = ClientHello {
                alpn: Some(vec![protocol.to_vec()]),
                ..example()
            };
            assert_eq!(&ja4(&hello)[8..10], ends, "{protocol:?}");
        }
    }

    #[test]
    fn counts_have_two_digits() {
        let hello = ClientHello {
            cipher_suites: (1..400).collect(),
            ..example()
        };
        assert!(ja4(&hello).starts_with("t13d9916h2_"));
    }
}
