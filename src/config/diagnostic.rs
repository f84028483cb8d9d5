//! Diagnostics: what is wrong with a configuration, and exactly where.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A place in a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Location {
    /// Index into [`Sources`].
    pub source: usize,
    /// Byte offsets of the first byte and the one past the last.
    pub span: (usize, usize),
}

/// One file of a configuration.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path as given.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// The files of a configuration, which locations point into.
#[derive(Clone, Debug, Default)]
pub struct Sources(pub Arc<Vec<Source>>);

impl Sources {
    /// One file alone.
    #[must_use]
    pub fn single(path: &Path, text: &str) -> Self {
        Self(Arc::new(vec![Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }]))
    }

    /// Where `location` is for a reader; `None` when there is no such file.
    #[must_use]
    pub fn position(&self, location: Location) -> Option<Position<'_>> {
        let source = self.0.get(location.source)?;
        let line = Line::at(&source.text, location.span.0);
        Some(Position {
            path: &source.path,
            line: line.number,
            column: line.column(location.span.0),
        })
    }
}

/// A place as a reader counts; displayed as `path:line:column`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position<'a> {
    /// The file's path as given.
    pub path: &'a Path,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

impl fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where; `None` for faults of no place in a file.
    pub location: Option<Location>,
    /// What, in lower case and without a final stop.
    pub message: String,
    /// What to do about it, e.g. ``did you mean `address`?``.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A fault of no place in a file.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            location: None,
            message: message.into(),
            help: None,
        }
    }

    /// A fault at a place.
    #[must_use]
    pub fn at(location: Location, message: impl Into<String>) -> Self {
        Self {
            location: Some(location),
            message: message.into(),
            help: None,
        }
    }

    /// The same with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All that is wrong, with the files it is wrong in.
///
/// Displayed as one block a fault, in the order of files and places, with an empty line between:
/// `path:line:column: message`, the line with the place marked, and the advice. A fault without
/// a place is one line and comes last.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    /// The files.
    pub sources: Sources,
    /// The faults, in the order of the text.
    pub items: Vec<Diagnostic>,
}

impl Diagnostics {
    /// No fault yet.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        Self {
            sources,
            items: Vec::new(),
        }
    }

    /// Adds a fault.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.items.push(diagnostic);
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How much is wrong.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Brings the faults into the order of files and places; those without a place come last.
    pub fn sort(&mut self) {
        self.items.sort_by_key(order);
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut items: Vec<_> = self.items.iter().collect();
        items.sort_by_key(|item| order(item));
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            self.write_item(item, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl Diagnostics {
    fn write_item(&self, item: &Diagnostic, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = item.location.and_then(|location| {
            let source = self.sources.0.get(location.source)?;
            Some((location, source, self.sources.position(location)?))
        });
        let Some((location, source, position)) = place else {
            f.write_str(&item.message)?;
            return match &item.help {
                Some(help) => write!(f, " (help: {help})"),
                None => Ok(()),
            };
        };
        let line = Line::at(&source.text, location.span.0);
        let number = line.number.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "{position}: {}", item.message)?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {}", printable(line.text))?;
        write!(f, "{gutter} | {}", line.marker(location.span))?;
        if let Some(help) = &item.help {
            write!(f, "\n{gutter} help: {help}")?;
        }
        Ok(())
    }
}

fn order(item: &Diagnostic) -> (bool, usize, usize) {
    item.location.map_or((true, 0, 0), |location| {
        (false, location.source, location.span.0)
    })
}

/// One line of a text.
struct Line<'a> {
    number: usize,
    /// Its offset in the text, past a byte order mark.
    start: usize,
    /// Without its end.
    text: &'a str,
}

impl<'a> Line<'a> {
    fn at(text: &'a str, offset: usize) -> Self {
        let bytes = text.as_bytes();
        let offset = offset.min(bytes.len());
        let number = bytes[..offset]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        let start = bytes[..offset]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |newline| newline + 1);
        let end = bytes[offset..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(bytes.len(), |newline| offset + newline);
        // Both ends stand at a newline or at an end of the text, hence on character boundaries.
        let line = text.get(start..end).unwrap_or_default();
        let marked = if start == 0 {
            line.strip_prefix('\u{feff}')
        } else {
            None
        };
        let start = if marked.is_some() { start + 3 } else { start };
        let line = marked.unwrap_or(line);
        Self {
            number,
            start,
            text: line.strip_suffix('\r').unwrap_or(line),
        }
    }

    /// The characters before `offset`.
    fn before(&self, offset: usize) -> usize {
        let offset = offset.saturating_sub(self.start);
        self.text
            .char_indices()
            .take_while(|(index, _)| *index < offset)
            .count()
    }

    fn column(&self, offset: usize) -> usize {
        self.before(offset) + 1
    }

    /// Carets under `span` as far as it lies in this line, one at least. Tabs are kept so that
    /// the carets stand where the text does, however wide a tab is.
    fn marker(&self, span: (usize, usize)) -> String {
        let first = self.before(span.0);
        let last = self.before(span.1.max(span.0));
        let lead = self
            .text
            .chars()
            .take(first)
            .map(|char| if char == '\t' { '\t' } else { ' ' });
        let carets = last.saturating_sub(first).max(1);
        lead.chain(std::iter::repeat_n('^', carets)).collect()
    }
}

/// A line fit for a terminal: a control character could rewrite what stands above it.
fn printable(line: &str) -> String {
    line.chars()
        .map(|char| {
            if char.is_control() && char != '\t' {
                char::REPLACEMENT_CHARACTER
            } else {
                char
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(span: (usize, usize)) -> Location {
        Location { source: 0, span }
    }

    fn show(text: &str, item: Diagnostic) -> String {
        let mut diagnostics = Diagnostics::new(Sources::single(Path::new("a.toml"), text));
        diagnostics.push(item);
        diagnostics.to_string()
    }

    #[test]
    fn a_fault_is_shown_in_its_line() {
        let text = "[a]\nadress = 1\n";
        let item = Diagnostic::at(at((4, 10)), "unknown key `adress`").help("did you mean that?");
        assert_eq!(
            show(text, item),
            "a.toml:2:1: unknown key `adress`\n  |\n2 | adress = 1\n  | ^^^^^^\n  help: did you mean that?"
        );
    }

    #[test]
    fn columns_are_characters_and_tabs_are_kept() {
        let text = "\tä = \"ß€\" # x";
        let start = text.find('"').unwrap();
        let end = text.rfind('"').unwrap() + 1;
        assert_eq!(
            show(text, Diagnostic::at(at((start, end)), "bad")),
            "a.toml:1:6: bad\n  |\n1 | \tä = \"ß€\" # x\n  | \t    ^^^^"
        );
    }

    #[test]
    fn the_ends_of_lines_and_of_the_text_are_places() {
        let text = "a = \r\nb = ";
        assert_eq!(
            show(text, Diagnostic::at(at((4, 4)), "no value")),
            "a.toml:1:5: no value\n  |\n1 | a = \n  |     ^"
        );
        assert_eq!(
            show(text, Diagnostic::at(at((10, 10)), "no value")),
            "a.toml:2:5: no value\n  |\n2 | b = \n  |     ^"
        );
        assert_eq!(
            show(text, Diagnostic::at(at((999, 9999)), "beyond")),
            "a.toml:2:5: beyond\n  |\n2 | b = \n  |     ^"
        );
        assert_eq!(
            show("", Diagnostic::at(at((0, 0)), "empty")),
            "a.toml:1:1: empty\n  |\n1 | \n  | ^"
        );
    }

    #[test]
    fn a_span_over_lines_is_marked_in_its_first() {
        assert_eq!(
            show("a = [\n1,\n]\n", Diagnostic::at(at((4, 10)), "bad")),
            "a.toml:1:5: bad\n  |\n1 | a = [\n  |     ^"
        );
    }

    #[test]
    fn a_byte_order_mark_has_no_column() {
        let text = "\u{feff}x = 1";
        assert_eq!(
            show(text, Diagnostic::at(at((3, 4)), "bad")),
            "a.toml:1:1: bad\n  |\n1 | x = 1\n  | ^"
        );
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let shown = show("a = \"\u{1b}[2J\"", Diagnostic::at(at((4, 5)), "bad"));
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }

    #[test]
    fn the_gutter_grows_with_the_line_number() {
        let text = "\n".repeat(99) + "x = 1";
        assert_eq!(
            show(&text, Diagnostic::at(at((99, 100)), "bad").help("h")),
            "a.toml:100:1: bad\n    |\n100 | x = 1\n    | ^\n    help: h"
        );
    }

    #[test]
    fn faults_come_in_the_order_of_places() {
        let mut diagnostics = Diagnostics::new(Sources(Arc::new(vec![
            Source {
                path: "a".into(),
                text: "x\ny".into(),
            },
            Source {
                path: "b".into(),
                text: "z".into(),
            },
        ])));
        diagnostics.push(Diagnostic::new("nowhere").help("look"));
        let second = Location {
            source: 1,
            span: (0, 1),
        };
        diagnostics.push(Diagnostic::at(second, "third"));
        diagnostics.push(Diagnostic::at(at((2, 3)), "second"));
        diagnostics.push(Diagnostic::at(at((0, 1)), "first"));
        let shown = diagnostics.to_string();
        let heads: Vec<_> = shown
            .split("\n\n")
            .map(|block| block.lines().next().unwrap())
            .collect();
        assert_eq!(
            heads,
            [
                "a:1:1: first",
                "a:2:1: second",
                "b:1:1: third",
                "nowhere (help: look)"
            ]
        );
        diagnostics.sort();
        assert_eq!(diagnostics.items[0].message, "first");
        assert_eq!(diagnostics.items[3].message, "nowhere");
    }
}
