//! Paths of requests and routes: what they mean, however they are spelt.

use std::borrow::Cow;

/// `path` as it is compared with others: without escapes that no URI needs, those of letters,
/// digits and `-._~` (RFC 3986 section 6.2.2.2), and with one slash where there are several. Escaped
/// slashes stay: what they separate only the application knows. Allocates only where something
/// changes or another escape is there.
#[must_use]
pub fn comparable(path: &str) -> Cow<'_, str> {
    if !path.contains('%') && !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let escaped = rest.strip_prefix('%').and_then(|rest| rest.get(..2));
        let hex = escaped.filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let octet = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let (next, length) = match octet.map(char::from) {
            Some(octet) if octet.is_ascii_alphanumeric() || "-._~".contains(octet) => (octet, 3),
            _ => (first, first.len_utf8()),
        };
        if next != '/' || !plain.ends_with('/') {
            plain.push(next);
        }
        rest = &rest[length..];
    }
    Cow::Owned(plain)
}

/// Whether a segment is `.` or `..` (RFC 3986 section 5.2.4), also where dots and separators are
/// escaped, as a server may read them after it has unescaped the path, and before a parameter
/// (`..;x`).
#[must_use]
pub fn has_dot_segment(path: &str) -> bool {
    let is_dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    if !path.contains(['%', '\\']) {
        return path.contains("/.") && path.split('/').any(is_dots);
    }
    path.to_ascii_lowercase()
        .replace("%2e", ".")
        .replace("%2f", "/")
        .replace("%5c", "/")
        .replace("%3b", ";")
        .replace('\\', "/")
        .split('/')
        .any(is_dots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_path_compare_equal() {
        for (path, meant) in [
            ("/a/b", "/a/b"),
            ("/a%2Fb", "/a%2Fb"),
            ("/%61dmin/%7Ex", "/admin/~x"),
            ("//admin///x//", "/admin/x/"),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("/%+1", "/%+1"),
            ("/%c3%a4", "/%c3%a4"),
            ("/%ä", "/%ä"),
            ("/%2561", "/%2561"),
        ] {
            assert_eq!(comparable(path), meant, "{path}");
        }
    }

    #[test]
    fn dot_segments_are_found_in_every_spelling() {
        for path in [
            "/api/..",
            "/api/../x",
            "/./x",
            "/api/%2e%2E/x",
            "/api/.%2e",
            "/api/..%2fx",
            "/api/x/..%5cy",
            "/api/..;a=b/x",
            "/api/..%3Ba/x",
            "/api/..\\x",
        ] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in [
            "/api/...",
            "/api/.x",
            "/api/x..",
            "/.well-known/a",
            "/a%20b.c",
        ] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }
}
