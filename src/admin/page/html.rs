//! HTML, where only our own text can be markup.

use std::fmt::{self, Display, Write as _};

use bytes::Bytes;

/// A document that grows. Markup is `'static`, so nothing from the wire can become it; all else is
/// escaped.
#[derive(Debug)]
pub(super) struct Html(String);

impl Html {
    pub(super) fn new() -> Self {
        // A page of a busy daemon.
        Self(String::with_capacity(128 * 1024))
    }

    /// Markup.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text, between tags or in a quoted attribute.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing to a string does not fail.
        let _ = write!(Escaped(&mut self.0), "{text}");
        self
    }

    /// A cell of a table.
    pub(super) fn cell(&mut self, text: impl Display) -> &mut Self {
        self.raw("<td>").text(text).raw("</td>")
    }

    /// A cell with a number.
    pub(super) fn number(&mut self, text: impl Display) -> &mut Self {
        self.raw("<td class=\"n\">").text(text).raw("</td>")
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.0.into()
    }
}

struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // No text of ours has control characters but these, and HTML forbids the others.
                '\n' | '\t' => self.0.push(character),
                _ if character.is_control() => self.0.push('\u{fffd}'),
                // What turns the direction of a line could show a name as another.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.0.push('\u{fffd}'),
                _ => self.0.push(character),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        let mut out = Html::new();
        out.raw("<b title=\"").text("\"><script>'&").raw("\">");
        out.cell("a\u{0}\u{202e}\n");
        assert_eq!(
            out.0,
            "<b title=\"&quot;&gt;&lt;script&gt;&#39;&amp;\"><td>a\u{fffd}\u{fffd}\n</td>"
        );
    }
}
