//! What a failure class means, its causes, how to confirm and to fix it.
//!
//! The text is the documentation itself, `docs/failures.md`: one source for `handfast explain`,
//! the page and the reader.

use super::failure::FailureClass;

const TEXT: &str = include_str!("../../docs/failures.md");

/// What the documentation says of `class`, in Markdown without its heading: a sentence, then
/// meaning, usual causes, how to confirm and how to fix.
#[must_use]
pub fn section(class: FailureClass) -> &'static str {
    let heading = format!("\n## `{class}`\n");
    let text = TEXT.split_once(&*heading).map_or("", |(_, text)| text);
    text.split("\n## `").next().unwrap_or_default().trim()
}

/// Its first sentence.
#[must_use]
pub fn summary(class: FailureClass) -> &'static str {
    section(class).lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_explained_in_four_parts() {
        for class in FailureClass::ALL {
            let text = section(*class);
            let parts: Vec<&str> = text.split("\n\n").collect();
            assert_eq!(parts.len(), 5, "{class}: {parts:#?}");
            assert!(
                parts[0].ends_with('.') && !parts[0].contains('\n'),
                "{class}"
            );
            for (part, title) in parts[1..].iter().zip([
                "**Meaning.** ",
                "**Usual causes.** ",
                "**How to confirm.** ",
                "**How to fix.** ",
            ]) {
                assert!(part.starts_with(title), "{class}: {part}");
                assert!(part.len() > title.len() + 20, "{class}: {part}");
            }
        }
        let headings = TEXT.matches("\n## ").count();
        assert_eq!(headings, FailureClass::ALL.len());
    }
}
