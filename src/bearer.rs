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

    /// Whether the value of an `Authorization` field shows the token. The time that it takes says
    /// nothing of the token: digests are compared, in constant time.
    #[must_use]
    pub fn is_shown_by(&self, authorization: &[u8]) -> bool {
        const SCHEME: &[u8] = b"Bearer ";
        let Some((scheme, token)) = authorization.split_at_checked(SCHEME.len()) else {
            return false;
        };
        let shown = digest(&SHA256, token);
        scheme.eq_ignore_ascii_case(SCHEME)
            && verify_slices_are_equal(shown.as_ref(), self.0.as_ref()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
