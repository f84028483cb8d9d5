//! Field blocks: what indices mean, and whether a pseudo-header field is among them.

use proptest::prelude::*;

use crate::server::h2_fields::FieldBlocks;

/// The blocks of three responses with a table of 256 octets (RFC 7541 appendix C.5), ...
const PLAIN: [&[u8]; 3] = [
    b"\x3f\xe1\x01\x48\x03302\x58\x07private\x61\x1dMon, 21 Oct 2013 20:13:21 GMT\x6e\x17https://www.example.com",
    b"\x48\x03307\xc1\xc0\xbf",
    b"\x88\xc1\x61\x1dMon, 21 Oct 2013 20:13:22 GMT\xc0\x5a\x04gzip\x77\x38foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
];
/// ... and in Huffman's code (C.6).
const HUFFMAN: [&str; 3] = [
    "3fe101488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
    "4883640effc1c0bf",
    "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
];

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn has_pseudo(blocks: &mut FieldBlocks, block: &[u8]) -> bool {
    blocks.begin();
    blocks.read(block);
    blocks.has_pseudo()
}

#[test]
fn the_examples_of_the_rfc_leave_its_tables() {
    let huffman = HUFFMAN.map(octets);
    let huffman = [&huffman[0][..], &huffman[1], &huffman[2]];
    for examples in [PLAIN, huffman] {
        let mut blocks = FieldBlocks::new();
        for (block, (entries, size)) in examples.iter().zip([(4, 222), (4, 222), (3, 215)]) {
            assert!(has_pseudo(&mut blocks, block));
            assert_eq!(blocks.table(), (entries, size));
        }
    }
}

#[test]
fn pseudo_fields_are_told_from_others_however_they_are_written() {
    for (block, expected) in [
        // Indexed, with an indexed name, with a name of its own, and that in Huffman's code.
        (&b"\x82"[..], true),
        (b"\x04\x02/x", true),
        (b"\x44\x02/x", true),
        (b"\x00\x05:path\x02/x", true),
        (b"\x40\x84\xb9\x58\xd3\x3f\x02/x", true),
        (b"\x20\x3f\xe1\x1f\x82", true),
        (b"\x00\x03x-a\x01b\x82", true),
        (b"\x8f", false),
        (b"\x00\x03x-a\x01b", false),
        (b"\x00\x00\x00", false),
        (b"", false),
    ] {
        let mut blocks = FieldBlocks::new();
        assert_eq!(has_pseudo(&mut blocks, block), expected, "{block:?}");
    }
}

#[test]
fn what_an_index_means_depends_on_the_blocks_before() {
    let mut blocks = FieldBlocks::new();
    // `:path: /c` becomes 62, then `x-a: b`, which moves it to 63.
    assert!(has_pseudo(&mut blocks, b"\x44\x02/c"));
    assert!(has_pseudo(&mut blocks, b"\xbe"));
    assert!(has_pseudo(&mut blocks, b"\x7e\x02/z"));
    assert!(!has_pseudo(&mut blocks, b"\x40\x03x-a\x01b"));
    assert!(!has_pseudo(&mut blocks, b"\xbe"));
    assert!(!has_pseudo(&mut blocks, b"\x0f\x2f\x01b"));
    assert!(has_pseudo(&mut blocks, b"\xc0"));
    // Nothing is left of a table without a size.
    assert!(!has_pseudo(&mut blocks, b"\x20"));
    assert_eq!(blocks.table(), (0, 0));
    assert!(!has_pseudo(&mut blocks, b"\xbe\x82"));
}

#[test]
fn an_entry_that_does_not_fit_empties_the_table() {
    let mut blocks = FieldBlocks::new();
    assert!(!has_pseudo(&mut blocks, b"\x40\x03x-a\x01b"));
    let mut large = b"\x40\x03x-b\x7f\x81\x1f".to_vec();
    large.extend([b'x'; 4096]);
    assert!(!has_pseudo(&mut blocks, &large));
    assert_eq!(blocks.table(), (0, 0));
    assert!(has_pseudo(&mut blocks, b"\x82"));
}

proptest! {
    #[test]
    fn no_octets_make_it_panic_and_splits_change_nothing(
        read in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
    ) {
        let mut whole = FieldBlocks::new();
        let mut split = FieldBlocks::new();
        for block in &read {
            has_pseudo(&mut whole, block);
            split.begin();
            block.chunks(1).for_each(|octet| split.read(octet));
            prop_assert_eq!(whole.has_pseudo(), split.has_pseudo());
            prop_assert_eq!(whole.table(), split.table());
            prop_assert!(whole.table().1 <= 4096);
        }
    }
}
