//! Where the body of a response ends, and what of the bytes is body (RFC 9112 sections 6 and 7).

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::response_head::{self, HeadError};

/// The most that the line of a chunk may take, its extensions included.
const LONGEST_LINE: usize = 4 * 1024;
/// The most that the extensions of all chunks of a body may take together: they are thrown away.
const EXTENSIONS: usize = 16 * 1024;
/// The most that a trailer section may take.
const TRAILERS: usize = 16 * 1024;

/// How the body of a response is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// There is none, or of so many bytes.
    Known(u64),
    Chunked,
    /// Its end is that of the connection.
    UntilClose,
}

/// Why what came is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodySyntaxError {
    /// Neither a size nor an extension, or too long.
    #[error("the line of a chunk is not valid")]
    ChunkLine,
    /// A chunk is longer or shorter than it says.
    #[error("a chunk has no end where it says")]
    ChunkEnd,
    /// More than 16 KiB of extensions.
    #[error("the extensions of chunks are too large")]
    Extensions,
    /// More than 16 KiB or 100 fields, or no fields at all.
    #[error("the trailer section is not valid")]
    Trailers(#[source] HeadError),
}

/// Takes the body out of what came.
#[derive(Debug)]
pub(super) struct BodyDecoder(State);

#[derive(Debug)]
enum State {
    /// So much is to come.
    Left(u64),
    Chunked(Chunked),
    UntilClose,
    /// All was taken.
    Ended,
}

#[derive(Debug)]
struct Chunked {
    place: Place,
    /// Bytes of extensions that came.
    extensions: usize,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Before the line of a chunk.
    Line,
    /// In the data of a chunk: so much is to come.
    Data(u64),
    /// After it.
    DataEnd,
    /// After the last chunk.
    Trailers,
}

/// What was taken.
#[derive(Debug)]
pub(super) enum Decoded {
    Data(Bytes),
    /// They are the end.
    Trailers(HeaderMap),
    End,
    /// Nothing: so many bytes more would be welcome.
    More(u64),
}

impl BodyDecoder {
    /// A body that is delimited by `length`.
    pub(super) const fn new(length: BodyLength) -> Self {
        Self(match length {
            BodyLength::Known(0) => State::Ended,
            BodyLength::Known(length) => State::Left(length),
            BodyLength::Chunked => State::Chunked(Chunked {
                place: Place::Line,
                extensions: 0,
            }),
            BodyLength::UntilClose => State::UntilClose,
        })
    }

    /// Takes what it can out of `inbox`.
    ///
    /// # Errors
    /// What came is not valid. So it is at the next call.
    pub(super) fn decode(&mut self, inbox: &mut BytesMut) -> Result<Decoded, BodySyntaxError> {
        match &mut self.0 {
            State::Ended => Ok(Decoded::End),
            State::UntilClose if inbox.is_empty() => Ok(Decoded::More(u64::MAX)),
            State::UntilClose => Ok(Decoded::Data(inbox.split().freeze())),
            State::Left(left) if inbox.is_empty() => Ok(Decoded::More(*left)),
            State::Left(left) => {
                let data = take(left, inbox);
                if *left == 0 {
                    self.0 = State::Ended;
                }
                Ok(Decoded::Data(data))
            }
            State::Chunked(chunked) => {
                let decoded = chunked.decode(inbox)?;
                match decoded {
                    // The end is often there with the last data: then nobody has to ask for it.
                    // An error shows again when they do.
                    Decoded::Data(_) => {
                        if let Ok(Step::End) = chunked.step(inbox) {
                            self.0 = State::Ended;
                        }
                    }
                    Decoded::End | Decoded::Trailers(_) => self.0 = State::Ended,
                    Decoded::More(_) => {}
                }
                Ok(decoded)
            }
        }
    }

    /// Whether all was taken.
    pub(super) const fn is_ended(&self) -> bool {
        matches!(self.0, State::Ended)
    }

    /// Whether the end of the connection is the end of the body.
    pub(super) const fn ends_with_connection(&self) -> bool {
        matches!(self.0, State::UntilClose)
    }

    /// How much is to come, where that is known.
    pub(super) const fn left(&self) -> Option<u64> {
        match self.0 {
            State::Ended => Some(0),
            State::Left(left) => Some(left),
            State::Chunked(_) | State::UntilClose => None,
        }
    }
}

/// How far the framing of chunks could be read.
enum Step {
    /// To data that is there.
    Data,
    /// To the end.
    End,
    /// To trailers, or what may become some.
    Trailers,
    More(u64),
}

impl Chunked {
    fn decode(&mut self, inbox: &mut BytesMut) -> Result<Decoded, BodySyntaxError> {
        Ok(match self.step(inbox)? {
            Step::Data => match &mut self.place {
                Place::Data(left) => {
                    let data = take(left, inbox);
                    if *left == 0 {
                        self.place = Place::DataEnd;
                    }
                    Decoded::Data(data)
                }
                Place::Line | Place::DataEnd | Place::Trailers => Decoded::More(1),
            },
            Step::End => Decoded::End,
            Step::Trailers => trailers(inbox)?,
            Step::More(length) => Decoded::More(length),
        })
    }

    /// Goes on as far as possible without taking data or trailers. Nothing is taken before an
    /// error.
    fn step(&mut self, inbox: &mut BytesMut) -> Result<Step, BodySyntaxError> {
        loop {
            match self.place {
                Place::Data(left) if inbox.is_empty() => return Ok(Step::More(left)),
                Place::Data(_) => return Ok(Step::Data),
                Place::DataEnd => {
                    match inbox.get(..2) {
                        Some(b"\r\n") => inbox.advance(2),
                        None if inbox.is_empty() || inbox[..] == *b"\r" => {
                            return Ok(Step::More(2));
                        }
                        Some(_) | None => return Err(BodySyntaxError::ChunkEnd),
                    }
                    self.place = Place::Line;
                }
                Place::Line => {
                    let window = &inbox[..inbox.len().min(LONGEST_LINE)];
                    let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
                        return match inbox.len() < LONGEST_LINE {
                            true => Ok(Step::More(2)),
                            false => Err(BodySyntaxError::ChunkLine),
                        };
                    };
                    let (size, extensions) = chunk_line(&inbox[..end])?;
                    if self.extensions + extensions > EXTENSIONS {
                        return Err(BodySyntaxError::Extensions);
                    }
                    self.extensions += extensions;
                    inbox.advance(end + 1);
                    self.place = match size {
                        0 => Place::Trailers,
                        size => Place::Data(size),
                    };
                }
                Place::Trailers => {
                    if inbox.starts_with(b"\r\n") {
                        inbox.advance(2);
                        return Ok(Step::End);
                    }
                    return Ok(Step::Trailers);
                }
            }
        }
    }
}

/// The trailer section, with the empty line that is the end of the body.
fn trailers(inbox: &mut BytesMut) -> Result<Decoded, BodySyntaxError> {
    let window = &inbox[..inbox.len().min(TRAILERS)];
    let Some(end) = window.windows(4).position(|four| four == b"\r\n\r\n") else {
        return match inbox.len() < TRAILERS {
            true => Ok(Decoded::More(2)),
            false => Err(BodySyntaxError::Trailers(HeadError::TooLarge)),
        };
    };
    let section = Bytes::copy_from_slice(&inbox[..end + 4]);
    let before = std::iter::once(&0).chain(section.iter());
    let is_bare = |(byte, before): (&u8, &u8)| *byte == b'\n' && *before != b'\r';
    let fields = match section.iter().zip(before).any(is_bare) {
        true => Err(HeadError::Syntax(httparse::Error::NewLine)),
        false => response_head::trailers(&section),
    };
    let fields = fields.map_err(BodySyntaxError::Trailers)?;
    inbox.advance(end + 4);
    Ok(Decoded::Trailers(fields))
}

/// At most `left` bytes of `inbox`, which then has less to come.
fn take(left: &mut u64, inbox: &mut BytesMut) -> Bytes {
    let length = usize::try_from(*left).map_or(inbox.len(), |left| left.min(inbox.len()));
    *left -= length as u64;
    inbox.split_to(length).freeze()
}

/// The size that the line of a chunk states, and how long its extensions are; `line` is without
/// its LF (RFC 9112 section 7.1).
fn chunk_line(line: &[u8]) -> Result<(u64, usize), BodySyntaxError> {
    let line = line.strip_suffix(b"\r").ok_or(BodySyntaxError::ChunkLine)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let digits = digits.count();
    let extensions = &line[digits..];
    let is_text = |&byte: &u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    let begins = extensions.trim_ascii_start();
    let is_valid = (begins.is_empty() || begins[0] == b';') && extensions.iter().all(is_text);
    if !is_valid || digits == 0 || digits > 16 {
        return Err(BodySyntaxError::ChunkLine);
    }
    let size = line[..digits].iter().fold(0_u64, |size, &digit| {
        let digit = char::from(digit).to_digit(16).unwrap_or_default();
        size << 4 | u64::from(digit)
    });
    Ok((size, extensions.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body, its trailers, whether it has ended, and what is left.
    type Taken = (Vec<u8>, Option<HeaderMap>, bool, Vec<u8>);

    /// What is taken of `text` when it comes in pieces of `size`.
    fn decode(length: BodyLength, text: &[u8], size: usize) -> Result<Taken, BodySyntaxError> {
        let mut decoder = BodyDecoder::new(length);
        let mut pieces = text.chunks(size);
        let mut inbox = BytesMut::new();
        let (mut body, mut trailers) = (Vec::new(), None);
        loop {
            match decoder.decode(&mut inbox)? {
                Decoded::Data(data) => {
                    assert!(!data.is_empty());
                    body.extend_from_slice(&data);
                }
                Decoded::Trailers(fields) => trailers = Some(fields),
                Decoded::End => break,
                Decoded::More(_) => match pieces.next() {
                    Some(piece) => inbox.extend_from_slice(piece),
                    None => break,
                },
            }
        }
        let mut left = inbox.to_vec();
        left.extend(pieces.flatten());
        Ok((body, trailers, decoder.is_ended(), left))
    }

    #[test]
    fn bodies_end_where_they_say() {
        for size in [1, 2, 3, 7, 1000] {
            let known = decode(BodyLength::Known(5), b"hellomore", size).unwrap();
            assert_eq!(known, (b"hello".to_vec(), None, true, b"more".to_vec()));
            let none = decode(BodyLength::Known(0), b"more", size).unwrap();
            assert_eq!(none, (vec![], None, true, b"more".to_vec()));
            let open = decode(BodyLength::UntilClose, b"hello", size).unwrap();
            assert_eq!(open, (b"hello".to_vec(), None, false, vec![]));
            for chunks in [
                "5\r\nhello\r\n0\r\n\r\nmore",
                "00002\r\nhe\r\n3 ;a=\"b\tc\";d\r\nllo\r\n000\r\n\r\nmore",
                "1\r\nh\r\n1\r\ne\r\n3;\r\nllo\r\n0;last\r\n\r\nmore",
            ] {
                let taken = decode(BodyLength::Chunked, chunks.as_bytes(), size).unwrap();
                assert_eq!(taken, (b"hello".to_vec(), None, true, b"more".to_vec()));
            }
            let with = b"A\r\n0123456789\r\n0\r\nx: y\r\nz: \r\n\r\nmore";
            let (body, trailers, ended, left) = decode(BodyLength::Chunked, with, size).unwrap();
            assert_eq!(
                (&body[..], ended, &left[..]),
                (&b"0123456789"[..], true, &b"more"[..])
            );
            assert_eq!(trailers.unwrap()["x"], "y");
        }
    }

    #[test]
    fn the_end_is_seen_with_the_last_data() {
        let mut decoder = BodyDecoder::new(BodyLength::Chunked);
        let mut inbox = BytesMut::from("5\r\nhello\r\n0\r\n\r\n");
        assert!(matches!(decoder.decode(&mut inbox), Ok(Decoded::Data(_))));
        assert!(decoder.is_ended() && inbox.is_empty());
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let long = format!("1;{}\r\n", "x".repeat(LONGEST_LINE));
        let many = format!("1;{}\r\nx\r\n", "y".repeat(4000)).repeat(5);
        let trailers = format!("0\r\na: {}\r\n\r\n", "x".repeat(TRAILERS));
        for bad in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            "1\n",
            "1 2\r\n",
            "1\r\r\n",
            ";\r\n",
            " 1\r\n",
            "11111111111111111\r\n",
            "1;\0\r\n",
            "1;\r\r\nx",
            "1\r\nxx\r\n",
            "1\r\nx\n",
            "2\r\nx\r\n\r\n0\r\n\r\n",
            "0\r\na b\r\n\r\n",
            "0\r\na: b\nc: d\r\n\r\n",
            &long,
            &many,
            &trailers,
        ] {
            for size in [1, 1 << 20] {
                let decoded = decode(BodyLength::Chunked, bad.as_bytes(), size);
                assert!(decoded.is_err(), "{bad:.40?}: {decoded:?}");
            }
        }
        let most = decode(BodyLength::Chunked, b"ffffffffffffffff\r\nx", 1).unwrap();
        assert_eq!(most.0, b"x");
    }
}
