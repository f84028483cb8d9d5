//! Where the messages of an HTTP/1.1 connection begin and end, strictly.
//!
//! hyper reads what HTTP/1.1 lets a recipient read; an intermediary has to refuse what others may
//! read in another way. hyper hides some of that: it takes bare line feeds, drops a
//! `Content-Length` beside `Transfer-Encoding`, and cuts fragments off targets. So the same bytes
//! are read here before it gets them, and what is refused here never reaches it. What only
//! decides over the fields' contents is left to hyper.

use super::h1_refusal::Refusal;
use crate::upstream::MOST_CONTENT;

/// Bounds of a head (`limits`).
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    /// Bytes of the request line, without its end.
    pub(super) request_line: usize,
    /// Bytes of all field lines with their ends.
    pub(super) fields: usize,
    /// Field lines.
    pub(super) count: usize,
}

/// Empty lines that may stand before a request line (RFC 9112 section 2.2 asks for one).
pub(super) const EMPTY_LINES: usize = 8;

/// Follows the bytes that a client sends, in pieces of any size.
#[derive(Debug)]
pub(super) struct H1Framing {
    limits: HeadLimits,
    state: State,
    head: Head,
    /// The line that has begun, where it lies in several pieces.
    partial: Vec<u8>,
    heads: usize,
}

/// Why no further byte is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A request is refused.
    Refused(Refusal),
    /// The chunks of a body are not valid; its request is being answered already.
    Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing of a head but empty lines.
    Start,
    RequestLine,
    Fields,
    /// So many bytes of a body to come.
    Body(u64),
    Chunked(Chunked),
    Stopped(Stop),
}

/// The next byte of a chunked body (RFC 9112 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunked {
    FirstDigit,
    Digit(u64),
    /// Blanks before an extension; old software also sends them before the end of the line.
    Blank(u64),
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
}

/// What is known of the head that is being read.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    empty_lines: usize,
    fields: usize,
    count: usize,
    http10: bool,
    length: Option<u64>,
    chunked: bool,
}

impl H1Framing {
    /// Before the first byte of a connection.
    pub(super) const fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            state: State::Start,
            head: Head {
                empty_lines: 0,
                fields: 0,
                count: 0,
                http10: false,
                length: None,
                chunked: false,
            },
            partial: Vec::new(),
            heads: 0,
        }
    }

    /// Whether a head has begun and is not whole.
    pub(super) const fn in_head(&self) -> bool {
        matches!(self.state, State::RequestLine | State::Fields)
    }

    /// Whether the last message is whole and nothing of another has come.
    pub(super) const fn between_messages(&self) -> bool {
        matches!(self.state, State::Start)
    }

    /// How many heads were whole.
    pub(super) const fn heads(&self) -> usize {
        self.heads
    }

    /// Reads on. How many of `bytes` may be passed on, and why not all where so: then nothing of
    /// a refused head is among them, and nothing may follow.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (usize, Option<Stop>) {
        let mut at = 0;
        // Where the head begins that is being read; a head of earlier pieces was passed on.
        let mut head = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let step = match self.state {
                State::Start | State::RequestLine | State::Fields => {
                    if self.state == State::Start && self.partial.is_empty() {
                        head = at;
                    }
                    self.line(rest)
                }
                State::Body(left) => {
                    let taken = take(rest, left);
                    self.state = match left - taken {
                        0 => State::Start,
                        left => State::Body(left),
                    };
                    Ok(usize::try_from(taken).unwrap_or(rest.len()))
                }
                State::Chunked(Chunked::Data(left)) => {
                    let taken = take(rest, left);
                    self.state = State::Chunked(match left - taken {
                        0 => Chunked::DataCr,
                        left => Chunked::Data(left),
                    });
                    Ok(usize::try_from(taken).unwrap_or(rest.len()))
                }
                State::Chunked(chunked) => match chunked.next(rest[0]) {
                    Some(Some(next)) => {
                        self.state = State::Chunked(next);
                        Ok(1)
                    }
                    Some(None) => {
                        self.state = State::Start;
                        Ok(1)
                    }
                    None => {
                        head = at;
                        Err(Stop::Body)
                    }
                },
                State::Stopped(stop) => {
                    head = at;
                    Err(stop)
                }
            };
            match step {
                Ok(taken) => at += taken,
                Err(stop) => {
                    self.state = State::Stopped(stop);
                    self.partial = Vec::new();
                    return (head, Some(stop));
                }
            }
        }
        (at, None)
    }

    /// Reads to the end of the line, or all of `rest`.
    fn line(&mut self, rest: &[u8]) -> Result<usize, Stop> {
        let end = rest.iter().position(|&byte| byte == b'\n');
        let piece = &rest[..end.unwrap_or(rest.len())];
        let length = self.partial.len() + piece.len();
        // One byte more for the carriage return that may be the last.
        if self.state == State::Fields {
            if self.head.fields + length > self.limits.fields + 1 {
                return Err(Stop::Refused(Refusal::FieldsTooLarge));
            }
        } else if length > self.limits.request_line + 1 {
            return Err(Stop::Refused(Refusal::RequestLineTooLong));
        }
        if self.state == State::Start && length > 0 && self.first_byte(piece) != b'\r' {
            self.state = State::RequestLine;
        }
        if end.is_none() {
            self.partial.extend_from_slice(piece);
            return match early_refusal(self.state, &self.partial, piece.len()) {
                Some(refusal) => Err(Stop::Refused(refusal)),
                None => Ok(piece.len()),
            };
        }
        let read = if self.partial.is_empty() {
            self.whole_line(piece)
        } else {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(piece);
            let read = self.whole_line(&line);
            // Used again by the next line of a head that comes in pieces.
            if self.in_head() {
                line.clear();
                self.partial = line;
            }
            read
        };
        read.map(|()| piece.len() + 1).map_err(Stop::Refused)
    }

    fn first_byte(&self, piece: &[u8]) -> u8 {
        let first = self.partial.first().or_else(|| piece.first());
        first.copied().unwrap_or_default()
    }

    fn whole_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let Some(line) = line.strip_suffix(b"\r") else {
            return Err(Refusal::BareLineFeed);
        };
        match (self.state, line) {
            (State::Fields, b"") => self.end_of_head(),
            (State::Fields, line) => self.field(line),
            (_, b"") => {
                self.head.empty_lines += 1;
                if self.head.empty_lines > EMPTY_LINES {
                    return Err(Refusal::RequestLine);
                }
                Ok(())
            }
            (_, line) => self.request_line(line).map_err(|refusal| match refusal {
                // Version 1, and what is left of version 2 after its empty lines.
                Refusal::RequestLine if line.starts_with(b"PROXY ") || line == b"\0" => {
                    Refusal::ProxyHeader
                }
                refusal => refusal,
            }),
        }
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if line.len() > self.limits.request_line {
            return Err(Refusal::RequestLineTooLong);
        }
        let mut parts = line.splitn(3, |&byte| byte == b' ');
        let (Some(method), Some(target), Some(version)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::RequestLine);
        };
        if method.is_empty() || target.is_empty() {
            return Err(Refusal::RequestLine);
        }
        self.head.http10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(Refusal::Version);
            }
            _ => return Err(Refusal::RequestLine),
        };
        let is_visible = |byte: &u8| (b'!'..=b'~').contains(byte) && *byte != b'#';
        if !target.iter().all(is_visible) {
            return Err(Refusal::Target);
        }
        self.state = State::Fields;
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.head.fields += line.len() + 2;
        self.head.count += 1;
        if self.head.fields > self.limits.fields || self.head.count > self.limits.count {
            return Err(Refusal::FieldsTooLarge);
        }
        if let Some(value) = value_of(line, b"content-length") {
            if self.head.length.is_some() {
                return Err(Refusal::ContentLength);
            }
            self.head.length = Some(number(value).ok_or(Refusal::ContentLength)?);
        } else if let Some(value) = value_of(line, b"transfer-encoding") {
            if self.head.chunked || self.head.http10 {
                return Err(Refusal::Framing);
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                let last = value.rsplit(|&byte| byte == b',').next().unwrap_or(value);
                return Err(if last.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    Refusal::TransferEncoding
                } else {
                    Refusal::Framing
                });
            }
            self.head.chunked = true;
        }
        Ok(())
    }

    fn end_of_head(&mut self) -> Result<(), Refusal> {
        self.state = match (self.head.length, self.head.chunked) {
            (Some(_), true) => return Err(Refusal::Framing),
            (None, true) => State::Chunked(Chunked::FirstDigit),
            (None | Some(0), false) => State::Start,
            (Some(length), false) => State::Body(length),
        };
        self.heads += 1;
        self.head = Head::default();
        Ok(())
    }
}

impl Chunked {
    /// What follows `byte`: `Some(None)` at the end of the body, `None` where it cannot stand.
    fn next(self, byte: u8) -> Option<Option<Self>> {
        let end_of_size = |size| match byte {
            b';' => Some(Self::Extension(size)),
            b'\r' => Some(Self::SizeLf(size)),
            b' ' | b'\t' => Some(Self::Blank(size)),
            _ => None,
        };
        Some(Some(match self {
            Self::FirstDigit => Self::Digit(hex_digit(byte)?),
            Self::Digit(size) => match hex_digit(byte) {
                Some(digit) => Self::Digit(size.checked_mul(16)?.checked_add(digit)?),
                None => end_of_size(size)?,
            },
            Self::Blank(size) => end_of_size(size)?,
            Self::Extension(size) => match byte {
                b'\r' => Self::SizeLf(size),
                byte if is_text(byte) => Self::Extension(size),
                _ => return None,
            },
            Self::SizeLf(0) if byte == b'\n' => Self::TrailerStart,
            Self::SizeLf(size) if byte == b'\n' => Self::Data(size),
            Self::DataCr if byte == b'\r' => Self::DataLf,
            Self::DataLf if byte == b'\n' => Self::FirstDigit,
            Self::TrailerStart if byte == b'\r' => Self::EndLf,
            Self::TrailerStart | Self::Trailer if is_text(byte) => Self::Trailer,
            Self::Trailer if byte == b'\r' => Self::TrailerLf,
            Self::TrailerLf if byte == b'\n' => Self::TrailerStart,
            Self::EndLf if byte == b'\n' => return Some(None),
            _ => return None,
        }))
    }
}

/// What may stand in a field or an extension: no controls but the tab.
const fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn hex_digit(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

/// The value of a field line, if it has this `name` (in lower case).
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    // Most lines differ in their length or first byte.
    if line.get(name.len()) != Some(&b':') {
        return None;
    }
    let (field, value) = line.split_at(name.len());
    field
        .eq_ignore_ascii_case(name)
        .then(|| trim_blanks(&value[1..]))
}

fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// `1*DIGIT` of no more than [`MOST_CONTENT`].
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (number <= MOST_CONTENT).then_some(number)
}

/// How many of `rest` belong to a run of `left` bytes.
fn take(rest: &[u8], left: u64) -> u64 {
    u64::try_from(rest.len()).unwrap_or(u64::MAX).min(left)
}

/// What is wrong with the version of a request line that is not whole yet. hyper does not wait for
/// the end of the line either, and would answer first, without a reason. The last `new` bytes came
/// just now: where the version does not begin near them it was looked at, or is not there yet, and
/// a line that comes byte by byte is not read again for each.
fn early_refusal(state: State, line: &[u8], new: usize) -> Option<Refusal> {
    let near = line.len().saturating_sub(new + b" HTTP/1.1".len());
    if state != State::RequestLine || !line[near..].contains(&b' ') {
        return None;
    }
    let version = line.splitn(3, |&byte| byte == b' ').nth(2)?;
    let good = |known: &[u8]| known.iter().zip(version).all(|(a, b)| a == b);
    if good(b"HTTP/1.1") || good(b"HTTP/1.0") {
        return None;
    }
    let is_version = b"HTTP/1.1".iter().zip(version).all(|(like, byte)| {
        if like.is_ascii_digit() {
            byte.is_ascii_digit()
        } else {
            like == byte
        }
    });
    Some(if is_version {
        Refusal::Version
    } else if line.starts_with(b"PROXY ") {
        Refusal::ProxyHeader
    } else {
        Refusal::RequestLine
    })
}
