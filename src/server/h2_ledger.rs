//! The account of an HTTP/2 connection: what its frames cost, and when that is too much.
//!
//! Kept from frame heads and field blocks, before hyper sees a frame of the client and after it has
//! written one of ours, so that no frame goes uncounted, whatever it makes hyper do.

use std::time::{Duration, Instant};

use super::h2_fields::FieldBlocks;
use super::h2_frames::{Found, Frame, FrameScanner, flag, kind};
use super::h2_meter::Meter;
use super::h2_windows::SendWindows;
use crate::config::Limits;
use crate::report::Http2Limit;

/// Counts the frames of both directions.
#[derive(Debug)]
pub(super) struct Ledger {
    inbound: FrameScanner,
    outbound: FrameScanner,
    accounts: Accounts,
}

/// Why a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum H2Fault {
    /// The client went past a budget.
    #[error("the client went past the limit {}", .0.name())]
    Limit(Http2Limit),
    /// RFC 9113 section 8.1: trailers have no pseudo-header fields. h2 drops them.
    #[error("a pseudo-header field in trailers")]
    PseudoFieldInTrailers,
    /// RFC 9113 section 3.4: the preface of a client ends with SETTINGS. h2 does without.
    #[error("a first frame that is not SETTINGS")]
    NoSettings,
    /// RFC 9113 section 8.5: a CONNECT whose content has a length is malformed. hyper lets go of the
    /// whole connection for it, and says nothing.
    #[error("a request that hyper ends the connection for")]
    Malformed,
}

/// Which wait on the client is due when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waits {
    /// Since when the preface, the first SETTINGS or the rest of a header block is waited for.
    pub(super) head: Option<Instant>,
    /// Since when at the earliest a window is shut that a response needs.
    pub(super) window: Option<Instant>,
}

#[derive(Debug)]
struct Accounts {
    client_resets: Meter,
    server_resets: Meter,
    control_frames: Meter,
    /// WINDOW_UPDATE frames that are owed for what was sent and received.
    updates: u32,
    windows: SendWindows,
    most: BlockSize,
    /// The header block of the client that is not whole.
    block: Option<BlockSize>,
    /// What is in the client's header blocks, ...
    fields: FieldBlocks,
    /// ... of which the last are trailers.
    trailers: bool,
    /// Our header block is not whole.
    sending_block: bool,
    /// Since when the client's preface or header block is not whole.
    head_since: Option<Instant>,
    /// A frame has come.
    greeted: bool,
    /// One side has said that it ends the connection.
    parting: bool,
    /// The highest stream the client has opened, ...
    last_stream: u32,
    /// ... that whose header block is whole, ...
    last_whole: u32,
    /// ... and that among what hyper has got.
    passed: u32,
    frames_in: u64,
    frames_out: u64,
}

/// The size of a header block.
#[derive(Clone, Copy, Debug, Default)]
struct BlockSize {
    octets: usize,
    /// CONTINUATION frames without its end.
    frames: usize,
}

/// The frame size of a peer that has asked for no other (RFC 9113 section 6.5.2), as we do not.
const FRAME: usize = 16_384;
/// Most WINDOW_UPDATE frames that are owed at once.
const MOST_UPDATES: u32 = 1000;
/// A DATA frame of this many octets is no dribble.
const PIECE: usize = 256;
/// Error codes of RFC 9113 section 7.
const NO_ERROR: u32 = 0x0;
const PROTOCOL_ERROR: u32 = 0x1;
const INTERNAL_ERROR: u32 = 0x2;
const ENHANCE_YOUR_CALM: u32 = 0xb;
/// The parameter SETTINGS_INITIAL_WINDOW_SIZE.
const INITIAL_WINDOW_SIZE: u16 = 0x4;

impl Ledger {
    /// The account of a connection that begins now.
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        // What h2 takes of a block too: as many frames as its octets need and a quarter more.
        let frames = (limits.request_headers / FRAME).max(1);
        let streams = usize::try_from(limits.h2_streams).unwrap_or(usize::MAX);
        Self {
            inbound: FrameScanner::of_client(),
            outbound: FrameScanner::of_server(),
            accounts: Accounts {
                client_resets: Meter::new(Http2Limit::ClientResets, limits.h2_resets),
                server_resets: Meter::new(Http2Limit::ServerResets, limits.h2_resets),
                control_frames: Meter::new(Http2Limit::ControlFrames, limits.h2_control_frames),
                updates: 0,
                // Beside those that are open, those that are being refused.
                windows: SendWindows::new(streams.saturating_mul(2)),
                most: BlockSize {
                    // A block that is only somewhat too large is answered with 431.
                    octets: limits.request_headers.saturating_mul(2),
                    frames: (frames + frames / 4).max(5),
                },
                block: None,
                fields: FieldBlocks::new(),
                trailers: false,
                sending_block: false,
                head_since: Some(now),
                greeted: false,
                parting: false,
                last_stream: 0,
                last_whole: 0,
                passed: 0,
                frames_in: 0,
                frames_out: 0,
            },
        }
    }

    /// Bytes of the client have come; hyper may have them unless this fails.
    ///
    /// # Errors
    /// The connection has to end.
    pub(super) fn received(&mut self, bytes: &[u8], now: Instant) -> Result<(), H2Fault> {
        let accounts = &mut self.accounts;
        self.inbound
            .scan(bytes, |found| accounts.received(found, now))?;
        accounts.passed = accounts.last_whole;
        let in_block = accounts.block.is_some()
            || matches!(
                self.inbound.open_kind(),
                Some(kind::HEADERS | kind::CONTINUATION)
            );
        if in_block || !accounts.greeted {
            accounts.head_since.get_or_insert(now);
        } else {
            accounts.head_since = None;
        }
        Ok(())
    }

    /// Bytes of hyper's were written.
    ///
    /// # Errors
    /// The connection has to end.
    pub(super) fn sent(&mut self, bytes: &[u8], now: Instant) -> Result<(), H2Fault> {
        let accounts = &mut self.accounts;
        self.outbound.scan(bytes, |found| accounts.sent(found, now))
    }

    /// What is waited for.
    pub(super) const fn waits(&self) -> Waits {
        Waits {
            head: self.accounts.head_since,
            window: self.accounts.windows.shut_since(),
        }
    }

    /// Whether a response is on its way.
    pub(super) const fn is_answering(&self) -> bool {
        self.accounts.windows.is_answering()
    }

    /// Makes [`Self::waits`] exact.
    pub(super) fn look(&mut self) {
        self.accounts.windows.look();
    }

    /// The GOAWAY frame that says so (RFC 9113 section 6.8); `None` in the midst of a frame or a
    /// header block of ours, where nothing can be said.
    pub(super) fn goaway(&self, fault: H2Fault) -> Option<[u8; 17]> {
        if !self.outbound.is_between_frames() || self.accounts.sending_block {
            return None;
        }
        let mut frame = [0; 17];
        frame[2] = 8;
        frame[3] = kind::GOAWAY;
        frame[9..13].copy_from_slice(&self.accounts.passed.to_be_bytes());
        frame[13..].copy_from_slice(&fault.code().to_be_bytes());
        Some(frame)
    }

    /// Whether one side has said that it ends the connection.
    pub(super) const fn is_parting(&self) -> bool {
        self.accounts.parting
    }

    /// Frames of the client and of ours so far.
    pub(super) const fn frames(&self) -> (u64, u64) {
        (self.accounts.frames_in, self.accounts.frames_out)
    }
}

impl H2Fault {
    /// The error code that the client is told.
    const fn code(self) -> u32 {
        match self {
            Self::Limit(_) => ENHANCE_YOUR_CALM,
            Self::PseudoFieldInTrailers | Self::NoSettings | Self::Malformed => PROTOCOL_ERROR,
        }
    }
}

impl Accounts {
    fn received(&mut self, found: Found<'_>, now: Instant) -> Result<(), H2Fault> {
        let frame = match found {
            Found::Setting(INITIAL_WINDOW_SIZE, octets) => {
                self.windows.set_initial(octets, now);
                // Each moves the window of every stream, and a frame has room for 2,730.
                self.control_frames.count(now)?;
                return Ok(());
            }
            Found::Setting(..) => return Ok(()),
            Found::Fields(octets) => {
                self.fields.read(octets);
                return match self.trailers && self.fields.has_pseudo() {
                    true => Err(H2Fault::PseudoFieldInTrailers),
                    false => Ok(()),
                };
            }
            Found::Frame(frame) => frame,
        };
        self.frames_in += 1;
        if !self.greeted {
            self.greeted = true;
            // The end of the preface.
            return if frame.kind == kind::SETTINGS && !frame.has(flag::ACK) {
                Ok(())
            } else {
                Err(H2Fault::NoSettings)
            };
        }
        if frame.length > FRAME {
            // h2 ends the connection at its head, with FRAME_SIZE_ERROR.
            return Ok(());
        }
        match frame.kind {
            kind::DATA => {
                if frame.has(flag::END_STREAM) {
                    self.windows.request_ended(frame.stream);
                } else if frame.data() == 0 {
                    self.control_frames.count(now)?;
                }
            }
            kind::HEADERS => self.head(frame)?,
            kind::CONTINUATION => self.continuation(frame)?,
            kind::RST_STREAM => {
                self.windows.closed(frame.stream);
                self.client_resets.count(now)?;
            }
            kind::WINDOW_UPDATE => {
                self.windows
                    .given(frame.stream, frame.number() & 0x7fff_ffff, now);
                match self.updates.checked_sub(1) {
                    Some(rest) => self.updates = rest,
                    None => self.control_frames.count(now)?,
                }
            }
            // SETTINGS, PING, PRIORITY, GOAWAY, and what is unknown and ignored.
            other => {
                self.parting |= other == kind::GOAWAY;
                self.control_frames.count(now)?;
            }
        }
        Ok(())
    }

    fn head(&mut self, frame: &Frame) -> Result<(), H2Fault> {
        let ends = frame.has(flag::END_STREAM);
        self.fields.begin();
        self.trailers = false;
        if frame.stream > self.last_stream {
            self.last_stream = frame.stream;
            self.windows.opened(frame.stream, !ends);
            // Many clients open the window of each stream at once.
            self.owe(1);
        } else if self.windows.is_request_open(frame.stream) {
            self.trailers = true;
            if ends {
                self.windows.request_ended(frame.stream);
            }
        }
        if frame.has(flag::END_HEADERS) {
            self.last_whole = self.last_stream;
        } else {
            self.block = Some(BlockSize {
                octets: frame.length,
                frames: 0,
            });
        }
        Ok(())
    }

    fn continuation(&mut self, frame: &Frame) -> Result<(), H2Fault> {
        // Without a block hyper ends the connection.
        let Some(block) = &mut self.block else {
            return Ok(());
        };
        block.octets += frame.length;
        let ends = frame.has(flag::END_HEADERS);
        block.frames += usize::from(!ends);
        if block.octets > self.most.octets || block.frames > self.most.frames {
            return Err(H2Fault::Limit(Http2Limit::HeaderBlock));
        }
        if ends {
            self.block = None;
            self.last_whole = self.last_stream;
        }
        Ok(())
    }

    fn sent(&mut self, found: Found<'_>, now: Instant) -> Result<(), H2Fault> {
        let Found::Frame(frame) = found else {
            return Ok(());
        };
        self.frames_out += 1;
        match frame.kind {
            kind::DATA => {
                let moves = self.windows.sent(frame.stream, frame.length, now);
                let ends = frame.has(flag::END_STREAM);
                // A small piece that shuts the window is what a dribbling client makes us send.
                if moves || ends || frame.length >= PIECE {
                    self.owe(2);
                }
                if ends {
                    self.windows.closed(frame.stream);
                }
            }
            kind::HEADERS => {
                if frame.has(flag::END_STREAM) {
                    self.windows.closed(frame.stream);
                } else {
                    self.windows.responding(frame.stream, now);
                }
                self.sending_block = !frame.has(flag::END_HEADERS);
            }
            kind::CONTINUATION => self.sending_block = !frame.has(flag::END_HEADERS),
            kind::GOAWAY => self.parting = true,
            kind::RST_STREAM => {
                self.windows.closed(frame.stream);
                // Neither an answer that did not need its request's body nor a response that broke
                // off upstream is the client's doing.
                if !matches!(frame.number(), NO_ERROR | INTERNAL_ERROR) {
                    self.server_resets.count(now)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn owe(&mut self, updates: u32) {
        self.updates = (self.updates + updates).min(MOST_UPDATES);
    }
}

impl Waits {
    /// The first deadline, and what it is for.
    pub(super) fn due(self, head: Duration, window: Duration) -> Option<(Instant, Http2Limit)> {
        let head = self
            .head
            .map(|since| (since + head, Http2Limit::RequestHeader));
        let window = self
            .window
            .map(|since| (since + window, Http2Limit::ResponseIdle));
        match (head, window) {
            (Some(head), Some(window)) => Some(if head.0 <= window.0 { head } else { window }),
            (head, window) => head.or(window),
        }
    }
}
