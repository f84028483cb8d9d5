//! The field blocks of one direction of an HTTP/2 connection (RFC 7541), read as far as it takes to
//! tell a pseudo-header field from another.
//!
//! h2 takes trailers with pseudo-header fields and drops those (RFC 9113 section 8.1 calls such a
//! message malformed). Which field an index means depends on every block before, so each is read;
//! but of the fields no more is kept than their sizes. What h2 ends a connection for is not judged
//! here: the reader only stops.

use std::collections::VecDeque;

/// Reads the blocks of one direction, one after another.
#[derive(Debug)]
pub(super) struct FieldBlocks {
    stage: Stage,
    table: DynamicTable,
    /// The block has a pseudo-header field.
    pseudo: bool,
}

/// What the next octet belongs to.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// It begins a field.
    Field,
    /// A number that goes on.
    Number(Number, u32, u32),
    /// The length of a string.
    Length(Text),
    /// A string of which so many octets are left.
    String(Text, u32, Symbols),
    /// The peer's blocks are no blocks; h2 will say so.
    Lost,
}

/// What a number is.
#[derive(Clone, Copy, Debug)]
enum Number {
    /// The index of a field.
    Field,
    /// The index of a name, 0 for one that follows; whether the field enters the table.
    Name(bool),
    TableSize,
    /// The length of a string, in Huffman's code or not.
    Length(Text, bool),
}

/// Which string of a field.
#[derive(Clone, Copy, Debug)]
enum Text {
    /// A name; whether the field enters the table.
    Name(bool),
    /// The value of a field that does not enter the table.
    Value,
    /// That of one that does, after this name.
    Kept(Name),
}

/// What is kept of a field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    length: u32,
    pseudo: bool,
}

/// How many characters of a string came.
#[derive(Clone, Copy, Debug)]
enum Symbols {
    /// As many as octets.
    Plain { count: u32, pseudo: bool },
    /// In Huffman's code, of which these bits are of no whole character yet.
    Huffman {
        count: u32,
        pseudo: bool,
        code: u32,
        bits: usize,
    },
}

/// The fields that indices mean (RFC 7541 section 2.3.2), newest first.
#[derive(Debug)]
struct DynamicTable {
    entries: VecDeque<(Name, u32)>,
    size: u32,
    most: u32,
}

/// SETTINGS_HEADER_TABLE_SIZE where none is sent, as we send none.
const TABLE_SIZE: u32 = 4096;
/// What an entry counts beside its octets (RFC 7541 section 4.1).
const OVERHEAD: u32 = 32;
/// The lengths of the names in the static table (RFC 7541 appendix A). The first fourteen are
/// pseudo-header fields.
const STATIC: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14,
    16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10,
    25, 17, 10, 4, 3, 16,
];
const STATIC_PSEUDO: usize = 14;
/// How many characters have a code of so many bits (RFC 7541 appendix B). The code is canonical: codes
/// of one length follow each other, and the first follows the last of the length before.
const CODES: [u32; 31] = [
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19,
    29, 0, 4,
];
const FIRST_CODES: [u32; 31] = first_codes();

impl FieldBlocks {
    /// Before the first block.
    pub(super) const fn new() -> Self {
        Self {
            stage: Stage::Field,
            table: DynamicTable {
                entries: VecDeque::new(),
                size: 0,
                most: TABLE_SIZE,
            },
            pseudo: false,
        }
    }

    /// The next octets are of another block.
    pub(super) const fn begin(&mut self) {
        self.pseudo = false;
        self.stage = match self.stage {
            Stage::Field => Stage::Field,
            // h2 ends the connection for a block that breaks off.
            _ => Stage::Lost,
        };
    }

    /// Reads octets of the block, which follow those of the last call.
    pub(super) fn read(&mut self, mut octets: &[u8]) {
        while let Some((&octet, rest)) = octets.split_first() {
            self.stage = match self.stage {
                Stage::Field => {
                    octets = rest;
                    self.field(octet)
                }
                Stage::Number(number, value, shift) => {
                    octets = rest;
                    // Four octets more are any number that makes sense.
                    let more = u32::from(octet & 0x7f) << shift;
                    match (value.checked_add(more), octet & 0x80) {
                        (Some(value), 0) => self.number(number, value),
                        (Some(value), _) if shift < 21 => Stage::Number(number, value, shift + 7),
                        _ => Stage::Lost,
                    }
                }
                Stage::Length(text) => {
                    octets = rest;
                    self.prefixed(Number::Length(text, octet & 0x80 != 0), octet, 0x7f)
                }
                Stage::String(text, left, mut symbols) => {
                    let take = octets
                        .len()
                        .min(usize::try_from(left).unwrap_or(usize::MAX));
                    let (taken, rest) = octets.split_at(take);
                    octets = rest;
                    if !matches!(text, Text::Value) {
                        symbols.read(taken);
                    }
                    // No more than `left`.
                    match left - u32::try_from(take).unwrap_or(left) {
                        0 => self.text(text, symbols),
                        left => Stage::String(text, left, symbols),
                    }
                }
                Stage::Lost => return,
            };
        }
    }

    /// Whether what came of the block has a pseudo-header field.
    pub(super) const fn has_pseudo(&self) -> bool {
        self.pseudo
    }

    /// How many entries the dynamic table has, and their size.
    #[cfg(test)]
    pub(super) fn table(&self) -> (usize, u32) {
        (self.table.entries.len(), self.table.size)
    }

    /// The first octet of a field (RFC 7541 section 6).
    fn field(&mut self, octet: u8) -> Stage {
        match octet {
            0x80.. => self.prefixed(Number::Field, octet, 0x7f),
            0x40..=0x7f => self.prefixed(Number::Name(true), octet, 0x3f),
            0x20..=0x3f => self.prefixed(Number::TableSize, octet, 0x1f),
            _ => self.prefixed(Number::Name(false), octet, 0x0f),
        }
    }

    /// A number that begins in the bits of `mask` (RFC 7541 section 5.1).
    fn prefixed(&mut self, number: Number, octet: u8, mask: u8) -> Stage {
        match octet & mask {
            all if all == mask => Stage::Number(number, u32::from(mask), 0),
            value => self.number(number, value.into()),
        }
    }

    fn number(&mut self, number: Number, value: u32) -> Stage {
        match (number, value) {
            (Number::Name(kept), 0) => Stage::Length(Text::Name(kept)),
            (Number::Field | Number::Name(_), index) => {
                let Some(name) = self.table.name(index) else {
                    return Stage::Lost;
                };
                self.pseudo |= name.pseudo;
                match number {
                    Number::Name(true) => Stage::Length(Text::Kept(name)),
                    Number::Name(false) => Stage::Length(Text::Value),
                    _ => Stage::Field,
                }
            }
            (Number::TableSize, most) if most <= TABLE_SIZE => {
                self.table.resize(most);
                Stage::Field
            }
            (Number::TableSize, _) => Stage::Lost,
            (Number::Length(text, huffman), length) => {
                let symbols = Symbols::none(huffman);
                match length {
                    0 => self.text(text, symbols),
                    length => Stage::String(text, length, symbols),
                }
            }
        }
    }

    /// A string is whole.
    fn text(&mut self, text: Text, symbols: Symbols) -> Stage {
        let (length, pseudo) = symbols.told();
        match text {
            Text::Name(kept) => {
                self.pseudo |= pseudo;
                Stage::Length(match kept {
                    true => Text::Kept(Name { length, pseudo }),
                    false => Text::Value,
                })
            }
            Text::Value => Stage::Field,
            Text::Kept(name) => {
                self.table.insert(name, length);
                Stage::Field
            }
        }
    }
}

impl Symbols {
    const fn none(huffman: bool) -> Self {
        match huffman {
            false => Self::Plain {
                count: 0,
                pseudo: false,
            },
            true => Self::Huffman {
                count: 0,
                pseudo: false,
                code: 0,
                bits: 0,
            },
        }
    }

    fn read(&mut self, octets: &[u8]) {
        match self {
            Self::Plain { count, pseudo } => {
                if *count == 0 {
                    *pseudo = octets.first() == Some(&b':');
                }
                *count = count.saturating_add(u32::try_from(octets.len()).unwrap_or(u32::MAX));
            }
            Self::Huffman {
                count,
                pseudo,
                code,
                bits,
            } => {
                if *count == 0 && *bits == 0 {
                    // The code of the colon is 1011100.
                    *pseudo = octets.first().is_some_and(|first| first & 0xfe == 0xb8);
                }
                for octet in octets {
                    for bit in (0..8).rev() {
                        *code = *code << 1 | u32::from(octet >> bit & 1);
                        *bits += 1;
                        let known = CODES.get(*bits).zip(FIRST_CODES.get(*bits));
                        // No character has a longer code.
                        let Some((codes, first)) = known else {
                            return;
                        };
                        if code.wrapping_sub(*first) < *codes {
                            *count = count.saturating_add(1);
                            (*code, *bits) = (0, 0);
                        }
                    }
                }
            }
        }
    }

    /// How many there were, and whether the first was a colon.
    const fn told(self) -> (u32, bool) {
        match self {
            Self::Plain { count, pseudo } | Self::Huffman { count, pseudo, .. } => (count, pseudo),
        }
    }
}

impl DynamicTable {
    /// The name at an index of both tables.
    fn name(&self, index: u32) -> Option<Name> {
        let index = usize::try_from(index).ok()?.checked_sub(1)?;
        match STATIC.get(index) {
            Some(&length) => Some(Name {
                length: length.into(),
                pseudo: index < STATIC_PSEUDO,
            }),
            None => self.entries.get(index - STATIC.len()).map(|entry| entry.0),
        }
    }

    fn insert(&mut self, name: Name, value: u32) {
        let size = name.length.saturating_add(value).saturating_add(OVERHEAD);
        // One that is larger than the table empties it (RFC 7541 section 4.4).
        self.shrink(self.most.saturating_sub(size));
        if size <= self.most {
            self.size += size;
            self.entries.push_front((name, size));
        }
    }

    fn resize(&mut self, most: u32) {
        self.most = most;
        self.shrink(most);
    }

    fn shrink(&mut self, most: u32) {
        while self.size > most
            && let Some((_, size)) = self.entries.pop_back()
        {
            self.size -= size;
        }
    }
}

const fn first_codes() -> [u32; 31] {
    let mut first = [0; 31];
    let mut bits = 1;
    while bits < first.len() {
        first[bits] = (first[bits - 1] + CODES[bits - 1]) << 1;
        bits += 1;
    }
    first
}
