//! Arbitrary text: nothing panics, and every fault can be shown.

use std::path::Path;

use proptest::prelude::*;

use super::texts::FULL;
use crate::config::parse;

#[test]
fn deep_and_long_texts_are_refused() {
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("{} = 1", vec!["a"; 100_000].join(".")),
        format!("[{}]", vec!["a"; 100_000].join(".")),
        "[[a]]\n".repeat(10_000),
    ] {
        assert!(parse(&text, Path::new("t")).is_err());
    }
}

/// A text without one of its characters, or with one more, or with a line twice or gone.
fn mutated() -> impl Strategy<Value = String> {
    let change = (0..FULL.len(), 0..4_u8, any::<char>());
    proptest::collection::vec(change, 1..4).prop_map(|changes| {
        let mut text = FULL.to_owned();
        for (at, kind, char) in changes {
            let mut at = at.min(text.len().saturating_sub(1));
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            let line_end = text[at..].find('\n').map_or(text.len(), |end| at + end);
            match kind {
                0 => drop(text.remove(at)),
                1 => text.insert(at, char),
                2 => text.replace_range(at..line_end, ""),
                _ => {
                    let rest = text[at..line_end].to_owned();
                    text.insert_str(line_end, &rest);
                }
            }
        }
        text
    })
}

/// Whatever comes, every fault can be shown and stands inside the text.
fn check(text: &str) -> Result<(), TestCaseError> {
    if let Err(faults) = parse(text, Path::new("t.toml")) {
        prop_assert!(!faults.is_empty());
        prop_assert!(!faults.to_string().is_empty());
        for item in &faults.items {
            if let Some(location) = item.location {
                prop_assert!(location.span.0 <= location.span.1, "{item:?}");
                prop_assert!(location.span.1 <= text.len(), "{item:?}");
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "(?s).{0,200}") {
        check(&text)?;
    }

    #[test]
    fn arbitrary_toml_never_panics(
        text in "((\\[\\[?(tls|routes|listeners|a)(\\.[a-z\"])?\\]?\\]|(address|tls|a|\"\"|names)(\\.a)? ?= ?([0-9.-]{1,3}|\"[ -~é]{0,9}\"|\\[(\"x\",?)*\\]?|\\{a=1,?\\}?|true|1979-05-27))?\r?\n?){0,12}"
    ) {
        check(&text)?;
    }

    #[test]
    fn a_damaged_configuration_never_panics(text in mutated()) {
        check(&text)?;
    }
}
