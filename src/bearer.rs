//! A bearer token (RFC 6750): one secret in a file, shown with each request.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};

/// What has to be shown. Only a digest of it is kept.
#[derive(Debug)]
pub struct BearerToken(Digest);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum BearerTokenError {
    /// The file cannot be read.
    #[error("the token cannot be read")]
    Read(#[source] std::io::Error),
    /// Fewer than 16 characters: it could be guessed.
    #[error("a token has at least {MIN} characters: `openssl rand -hex 32` makes one")]
    Short,
    /// More than 512 bytes.
    #[error("a token has at most {MAX} characters")]
    Long,
    /// Spaces, control characters, or none of ASCII.
    #[error("a token has only visible ASCII characters")]
    Characters,
}

const MIN: usize = 16;
const MAX: usize = 512;

impl BearerToken {
    /// Reads the token that a file holds; white space around it does not count.
    ///
    /// # Errors
    /// The file cannot be read, or what is in it is no token.
    pub fn read(path: &Path) -> Result<Self, BearerTokenError> {
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(4 * MAX as u64).read_to_end(&mut text))
            .map_err(BearerTokenError::Read)?;
        let text = str::from_utf8(&text).map_err(|_| BearerTokenError::Characters)?;
        Self::new(text.trim())
    }

    /// The token `text`.
    ///
    /// # Errors
    /// It is none: 16 to 512 visible ASCII characters are.
    pub fn new(text: &str) -> Result<Self, BearerTokenError> {
        match text.len() {
            ..MIN => Err(BearerTokenError::Short),
            MIN..=MAX if text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Self(digest(&SHA256, text.as_bytes())))
            }
            MIN..=MAX => Err(BearerTokenError::Characters),
            _ => Err(BearerTokenError::Long),
        }
    }

    /// Whether the value of an `Authorization` field shows the token: as `Bearer TOKEN`, or as the
    /// password of `Basic` (RFC 7617), which is how browsers ask for it; the user is any. The time that it takes says
    /// nothing of the token: digests are compared, in constant time.
    #[must_use]
    pub fn is_shown_by(&self, authorization: &[u8]) -> bool {
        let credentials = |scheme: &[u8]| {
            let (name, rest) = authorization.split_at_checked(scheme.len())?;
            name.eq_ignore_ascii_case(scheme).then_some(rest)
        };
        if let Some(token) = credentials(b"Bearer ") {
            return self.is(token);
        }
        let pair = credentials(b"Basic ").and_then(decode_base64);
        let Some(pair) = pair else { return false };
        let colon = pair.iter().position(|&byte| byte == b':');
        colon.is_some_and(|colon| self.is(&pair[colon + 1..]))
    }

    fn is(&self, token: &[u8]) -> bool {
        let shown = digest(&SHA256, token);
        verify_slices_are_equal(shown.as_ref(), self.0.as_ref()).is_ok()
    }
}

/// What base64 with padding (RFC 4648 section 4) says; `None` where it is none. What `Basic` holds
/// is short: the head that it came in is bounded.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"="));
    let digits = digits.unwrap_or(text);
    if !text.len().is_multiple_of(4) || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for &digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_show_it_as_a_password() {
        let token = BearerToken::new("0123456789abcdef").unwrap();
        // "x:0123456789abcdef", ":…", "x:y0123…", "0123…" without a colon
        assert!(token.is_shown_by(b"Basic eDowMTIzNDU2Nzg5YWJjZGVm"));
        assert!(token.is_shown_by(b"basic OjAxMjM0NTY3ODlhYmNkZWY="));
        for wrong in [
            &b"Basic eDp5MDEyMzQ1Njc4OWFiY2RlZg=="[..],
            b"Basic MDEyMzQ1Njc4OWFiY2RlZg==",
            b"Basic eDowMTIzNDU2Nzg5YWJjZGV",
            b"Basic !!!!",
            b"Basic ",
            b"Basic =",
            b"Basic A===",
        ] {
            assert!(!token.is_shown_by(wrong), "{wrong:?}");
        }
        assert_eq!(decode_base64(b"+/8=").unwrap(), [0xfb, 0xff]);
    }

    #[test]
    fn tokens_are_read_from_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            BearerToken::read(&path)
        };
        let token = read("0123456789abcdef\n").unwrap();
        assert!(token.is_shown_by(b"Bearer 0123456789abcdef"));
        assert!(token.is_shown_by(b"bearer 0123456789abcdef"));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcdeF",
            "Basic 0123456789abcdef",
        ] {
            assert!(!token.is_shown_by(wrong.as_bytes()), "{wrong}");
        }
        assert!(matches!(
            read("0123456789abcde"),
            Err(BearerTokenError::Short)
        ));
        assert!(matches!(read(""), Err(BearerTokenError::Short)));
        assert!(matches!(
            read(&"x".repeat(513)),
            Err(BearerTokenError::Long)
        ));
        assert!(matches!(
            read("0123456789 abcdef"),
            Err(BearerTokenError::Characters)
        ));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(
            BearerToken::read(&path),
            Err(BearerTokenError::Read(_))
        ));
    }
}
