//! The bracket that was never closed, where TOML finds fault with everything after it.
//!
//! Tables in braces may go over several lines, so the parser looks for their end in what follows,
//! and refuses line by line of it.

/// A bracket without its partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unclosed {
    /// Where it stands.
    pub(super) at: usize,
    /// `{` or `[`.
    pub(super) bracket: char,
}

/// The first bracket of a value in `text` that is still open at the next header of a table, at
/// another kind of closing bracket, or at the end. `None` also where a string has no end: what
/// follows it proves nothing.
pub(super) fn unclosed(text: &str) -> Option<Unclosed> {
    let mut open: Vec<Unclosed> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let line_begins = at == 0 || text[..at].ends_with('\n');
        if line_begins && is_header(rest) {
            if !open.is_empty() {
                break;
            }
            at += line_length(rest);
            continue;
        }
        let c = rest.chars().next()?;
        match c {
            '#' => {
                at += line_length(rest);
                continue;
            }
            '"' | '\'' => {
                at += string_length(rest, c)?;
                continue;
            }
            '{' | '[' => open.push(Unclosed { at, bracket: c }),
            '}' | ']' => {
                let partner = if c == '}' { '{' } else { '[' };
                match open.last() {
                    Some(last) if last.bracket == partner => drop(open.pop()),
                    Some(last) => return Some(*last),
                    // One too many is no open one.
                    None => return None,
                }
            }
            _ => {}
        }
        at += c.len_utf8();
    }
    open.first().copied()
}

/// To the end of the line, without it.
fn line_length(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len()).max(1)
}

/// Whether a line is the header of a table, and no list in a list.
fn is_header(line: &str) -> bool {
    let line = line.lines().next().unwrap_or_default();
    let line = line.split('#').next().unwrap_or_default().trim();
    let Some(inner) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) else {
        return false;
    };
    let inner = inner.trim_start_matches('[').trim_end_matches(']');
    inner.starts_with(|c: char| c.is_ascii_alphabetic())
        && inner
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.\"".contains(c))
}

/// To the end of the string that begins with `quote`, its quotes included.
fn string_length(text: &str, quote: char) -> Option<usize> {
    let long = quote.to_string().repeat(3);
    if let Some(rest) = text.strip_prefix(&long) {
        return Some(rest.find(&long)? + 2 * long.len());
    }
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return None,
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(index + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<(usize, char)> {
        unclosed(text).map(|it| (it.at, it.bracket))
    }

    #[test]
    fn the_open_bracket_is_found() {
        for (text, expected) in [
            ("a = { b = 1\nc = 2\n[d]\n", Some((4, '{'))),
            ("a = [1,\nc = 2\n[[d]]\n", Some((4, '['))),
            ("a = [{ b = 1, { c = 2 }]\n", Some((5, '{'))),
            ("a = { b = [1 }\n", Some((10, '['))),
            ("a = {", Some((4, '{'))),
            ("a = { b = 1 }\n[d]\n", None),
            ("a = [\n  [1],\n  [2]\n]\n", None),
            ("a = [\n  [b]\n", Some((4, '['))),
            ("a = \"{\" # [\n", None),
            ("a = '\\' # '\nb = \"\\\"{\"\n", None),
            ("a = \"\"\"{\n\"\"\"\n", None),
            ("a = \"{\nb = 1\n", None),
            ("a = 1 }\nb = {\n", None),
            ("é = [ü\n", Some((5, '['))),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }
}
