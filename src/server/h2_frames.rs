//! The frames of one direction of an HTTP/2 connection, read over any split of its bytes.
//!
//! Payloads are counted and skipped, but for the few bytes at their beginning that the budgets of
//! a connection depend on, and field blocks, which are handed on. Nothing is allocated.

/// Frame types (RFC 9113 section 6).
pub(super) mod kind {
    pub(in crate::server) const DATA: u8 = 0x0;
    pub(in crate::server) const HEADERS: u8 = 0x1;
    pub(in crate::server) const RST_STREAM: u8 = 0x3;
    pub(in crate::server) const SETTINGS: u8 = 0x4;
    pub(in crate::server) const GOAWAY: u8 = 0x7;
    pub(in crate::server) const WINDOW_UPDATE: u8 = 0x8;
    pub(in crate::server) const CONTINUATION: u8 = 0x9;
}

/// Flags of frames; which of them a frame has depends on its type.
pub(super) mod flag {
    pub(in crate::server) const END_STREAM: u8 = 0x1;
    pub(in crate::server) const ACK: u8 = 0x1;
    pub(in crate::server) const END_HEADERS: u8 = 0x4;
    pub(in crate::server) const PADDED: u8 = 0x8;
    pub(in crate::server) const PRIORITY: u8 = 0x20;
}

/// What a connection of a client begins with (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;
/// The length of the padding, and priority: what a field block comes after.
const PREFIX: usize = 6;
/// One setting: an identifier of 16 and a value of 32 bits.
const SETTING: usize = 6;

/// The reader of one direction.
#[derive(Debug)]
pub(super) struct FrameScanner {
    stage: Stage,
    frame: Frame,
    /// Octets of the preface, a head or a setting that came so far.
    partial: [u8; HEAD],
    got: usize,
}

/// A frame: its head, and the beginning of its payload.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frame {
    /// Its type.
    pub(super) kind: u8,
    /// Its flags.
    pub(super) flags: u8,
    /// Its stream, 0 for the connection.
    pub(super) stream: u32,
    /// The length of its payload.
    pub(super) length: usize,
    prefix: [u8; PREFIX],
    held: usize,
    /// Octets of a field block that are still to come.
    block: usize,
}

/// What a scanner has found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    /// A frame has begun: all of [`Frame::prefix`] is there, the rest of its payload may follow.
    Frame(&'a Frame),
    /// Octets of the field block of the frame, which is HEADERS or CONTINUATION.
    Fields(&'a [u8]),
    /// One parameter of a SETTINGS frame.
    Setting(u16, u32),
}

/// What the next octet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Preface,
    Head,
    /// The beginning of a payload, of which so many octets are kept, then the rest.
    Prefix(usize),
    Settings(usize),
    Skip(usize),
    /// The peer does not speak HTTP/2; hyper will say so.
    Lost,
}

impl FrameScanner {
    /// What a client sends: the preface, then frames.
    pub(super) const fn of_client() -> Self {
        Self::at(Stage::Preface)
    }

    /// What a server sends: frames.
    pub(super) const fn of_server() -> Self {
        Self::at(Stage::Head)
    }

    const fn at(stage: Stage) -> Self {
        Self {
            stage,
            frame: Frame {
                kind: 0,
                flags: 0,
                stream: 0,
                length: 0,
                prefix: [0; PREFIX],
                held: 0,
                block: 0,
            },
            partial: [0; HEAD],
            got: 0,
        }
    }

    /// Reads `bytes`, which follow those of the last call, and tells `on` what is in them. After an
    /// error of `on` the scanner must not be used again.
    ///
    /// # Errors
    /// The first error of `on`.
    pub(super) fn scan<E>(
        &mut self,
        mut bytes: &[u8],
        mut on: impl FnMut(Found<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            match self.stage {
                Stage::Preface => {
                    let rest = &PREFACE[self.got..];
                    let take = rest.len().min(bytes.len());
                    if rest[..take] != bytes[..take] {
                        self.stage = Stage::Lost;
                        return Ok(());
                    }
                    bytes = &bytes[take..];
                    self.got += take;
                    if self.got == PREFACE.len() {
                        self.enter(Stage::Head);
                    }
                }
                Stage::Head => {
                    if self.gather(&mut bytes, HEAD) {
                        self.begin(&mut on)?;
                    }
                }
                Stage::Prefix(want) => {
                    let take = (want - self.frame.held).min(bytes.len());
                    let held = self.frame.held;
                    self.frame.prefix[held..held + take].copy_from_slice(&bytes[..take]);
                    self.frame.held += take;
                    bytes = &bytes[take..];
                    if self.frame.held == want {
                        self.enter_rest(self.frame.length - want);
                        on(Found::Frame(&self.frame))?;
                        if self.frame.kind == kind::HEADERS {
                            let ahead = self.frame.begin_block();
                            on(Found::Fields(ahead))?;
                        }
                    }
                }
                Stage::Settings(left) => {
                    let before = self.got;
                    let whole = self.gather(&mut bytes, SETTING.min(left + before));
                    let left = left - (self.got - before);
                    self.stage = Stage::Settings(left);
                    if whole {
                        let [a, b, c, d, e, f, ..] = self.partial;
                        let full = self.got == SETTING;
                        self.got = 0;
                        if left == 0 {
                            self.enter(Stage::Head);
                        }
                        if full {
                            let value = u32::from_be_bytes([c, d, e, f]);
                            on(Found::Setting(u16::from_be_bytes([a, b]), value))?;
                        }
                    }
                }
                Stage::Skip(left) => {
                    let take = left.min(bytes.len());
                    let fields = self.frame.block.min(take);
                    let taken = &bytes[..fields];
                    bytes = &bytes[take..];
                    self.enter_rest(left - take);
                    if fields > 0 {
                        self.frame.block -= fields;
                        on(Found::Fields(taken))?;
                    }
                }
                Stage::Lost => return Ok(()),
            }
        }
        Ok(())
    }

    /// Whether the next octet begins a frame.
    pub(super) fn is_between_frames(&self) -> bool {
        self.stage == Stage::Head && self.got == 0
    }

    /// The type of the frame whose payload is not whole yet.
    pub(super) fn open_kind(&self) -> Option<u8> {
        match self.stage {
            Stage::Prefix(_) | Stage::Settings(_) | Stage::Skip(_) => Some(self.frame.kind),
            Stage::Preface | Stage::Head | Stage::Lost => None,
        }
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.got = 0;
    }

    fn enter_rest(&mut self, left: usize) {
        self.enter(match left {
            0 => Stage::Head,
            left => Stage::Skip(left),
        });
    }

    /// Takes from `bytes` until `want` octets are there; whether they are.
    fn gather(&mut self, bytes: &mut &[u8], want: usize) -> bool {
        let take = (want - self.got).min(bytes.len());
        self.partial[self.got..self.got + take].copy_from_slice(&bytes[..take]);
        self.got += take;
        *bytes = &bytes[take..];
        self.got == want
    }

    /// A head is whole.
    fn begin<E>(&mut self, on: &mut impl FnMut(Found<'_>) -> Result<(), E>) -> Result<(), E> {
        let [a, b, c, kind, flags, s, t, u, v, ..] = self.partial;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.frame = Frame {
            kind,
            flags,
            // The first bit is reserved.
            stream: u32::from_be_bytes([s, t, u, v]) & 0x7fff_ffff,
            length,
            block: if kind == kind::CONTINUATION {
                length
            } else {
                0
            },
            ..Frame::default()
        };
        let want = match kind {
            kind::DATA if flags & flag::PADDED != 0 => 1,
            kind::HEADERS => PREFIX,
            kind::RST_STREAM | kind::WINDOW_UPDATE => 4,
            _ => 0,
        };
        match want.min(length) {
            0 if kind == kind::SETTINGS && length > 0 => self.enter(Stage::Settings(length)),
            0 => self.enter_rest(length),
            want => {
                self.enter(Stage::Prefix(want));
                return Ok(());
            }
        }
        on(Found::Frame(&self.frame))
    }
}

impl Frame {
    /// Whether a flag is set.
    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The first 32 bits of the payload, without the reserved one: an error code, or an increment.
    pub(super) fn number(&self) -> u32 {
        let [a, b, c, d, ..] = self.prefix;
        u32::from_be_bytes([a, b, c, d])
    }

    /// How many octets of a DATA frame are neither padding nor its length.
    pub(super) fn data(&self) -> usize {
        if self.has(flag::PADDED) {
            self.length.saturating_sub(1 + usize::from(self.prefix[0]))
        } else {
            self.length
        }
    }

    /// The prefix of a HEADERS frame is whole: what of it belongs to the field block.
    fn begin_block(&mut self) -> &[u8] {
        let (padded, padding) = match self.has(flag::PADDED) {
            true => (1, usize::from(self.prefix[0])),
            false => (0, 0),
        };
        let before = padded + if self.has(flag::PRIORITY) { 5 } else { 0 };
        // Where there is more padding than payload h2 ends the connection.
        let block = self.length.saturating_sub(before + padding);
        let ahead = self.prefix.get(before..self.held).unwrap_or_default();
        let ahead = &ahead[..ahead.len().min(block)];
        self.block = block - ahead.len();
        ahead
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    /// What a scanner finds in `bytes`, cut at `cuts`.
    fn found(scanner: &mut FrameScanner, bytes: &[u8], cuts: &[usize]) -> Vec<String> {
        let mut found = Vec::new();
        let mut start = 0;
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        for cut in cuts {
            let done: Result<(), ()> = scanner.scan(&bytes[start..cut], |what| {
                found.push(match what {
                    Found::Frame(frame) => format!(
                        "{} {} {} {} {} {}",
                        frame.kind,
                        frame.flags,
                        frame.stream,
                        frame.length,
                        frame.number(),
                        frame.data()
                    ),
                    Found::Setting(id, value) => format!("{id}={value}"),
                    // These come as the bytes do.
                    Found::Fields(_) => return Ok(()),
                });
                Ok(())
            });
            done.unwrap();
            start = cut;
        }
        found
    }

    proptest! {
        #[test]
        fn every_split_finds_the_same_frames(
            frames in prop::collection::vec(
                (0..12_u8, any::<u8>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..60)),
                0..20,
            ),
            cuts in prop::collection::vec(any::<usize>(), 0..20),
        ) {
            let mut bytes = PREFACE.to_vec();
            let mut heads = 0;
            let mut settings = 0;
            for (kind, flags, stream, payload) in &frames {
                bytes.extend(frame(*kind, *flags, *stream, payload));
                heads += 1;
                if *kind == kind::SETTINGS {
                    settings += payload.len() / SETTING;
                }
            }
            let mut whole = FrameScanner::of_client();
            let expected = found(&mut whole, &bytes, &[]);
            prop_assert!(whole.is_between_frames());
            prop_assert_eq!(expected.len(), heads + settings);
            let mut split = FrameScanner::of_client();
            prop_assert_eq!(&found(&mut split, &bytes, &cuts), &expected);
            let each: Vec<usize> = (0..bytes.len()).collect();
            let mut octets = FrameScanner::of_client();
            prop_assert_eq!(found(&mut octets, &bytes, &each), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            cuts in prop::collection::vec(any::<usize>(), 0..20),
        ) {
            let _ = found(&mut FrameScanner::of_server(), &bytes, &cuts);
            let _ = found(&mut FrameScanner::of_client(), &bytes, &cuts);
            let flags = bytes.first().copied().unwrap_or(0);
            let headers = frame(kind::HEADERS, flags, 1, &bytes);
            let _ = found(&mut FrameScanner::of_server(), &headers, &cuts);
        }
    }

    #[test]
    fn a_field_block_is_what_is_neither_padding_nor_priority() {
        let block = |kind: u8, flags: u8, payload: &[u8], piece: usize| {
            let mut block = Vec::new();
            let mut scanner = FrameScanner::of_server();
            for bytes in frame(kind, flags, 1, payload).chunks(piece) {
                let done: Result<(), ()> = scanner.scan(bytes, |what| {
                    if let Found::Fields(fields) = what {
                        block.extend_from_slice(fields);
                    }
                    Ok(())
                });
                done.unwrap();
            }
            assert!(scanner.is_between_frames());
            String::from_utf8(block).unwrap()
        };
        for piece in [1, 3, 100] {
            let headers = |flags, payload| block(kind::HEADERS, flags, payload, piece);
            assert_eq!(headers(0, b"abc"), "abc");
            assert_eq!(headers(0, b"abcdefghijk"), "abcdefghijk");
            assert_eq!(headers(0, b""), "");
            assert_eq!(headers(flag::PADDED, b"\x02abcdefgh.."), "abcdefgh");
            assert_eq!(headers(flag::PADDED, b"\x02a.."), "a");
            assert_eq!(headers(flag::PADDED, b"\x09a.."), "");
            assert_eq!(headers(flag::PRIORITY, b"12345a"), "a");
            assert_eq!(headers(flag::PRIORITY, b"123"), "");
            let both = flag::PADDED | flag::PRIORITY;
            assert_eq!(headers(both, b"\x0112345abc."), "abc");
            assert_eq!(headers(both, b"\x0112345."), "");
            assert_eq!(block(kind::CONTINUATION, 0, b"abcdefgh", piece), "abcdefgh");
            assert_eq!(block(kind::DATA, 0, b"abcdefgh", piece), "");
        }
    }
}
