//! `handfast explain`: what a failure class means, and what to do about it.
//!
//! The text is the documentation itself, `docs/failures.md`: one source for both.

use super::cli::{complain, say};
use super::exit::Exit;
use crate::config::nearest;
use crate::report::FailureClass;

const TEXT: &str = include_str!("../../docs/failures.md");

/// Prints the section of the class called `name`, or without one a line for every class.
pub(super) fn explain(name: Option<&str>) -> Exit {
    let Some(name) = name else {
        for class in FailureClass::ALL {
            say(&format!("{:24}{}", class.name(), summary(*class)));
        }
        return Exit::Ok;
    };
    if let Some(class) = FailureClass::ALL.iter().find(|class| class.name() == name) {
        say(&format!("{class}\n\n{}", section(*class)));
        return Exit::Ok;
    }
    let names = FailureClass::ALL.iter().map(|class| class.name());
    let hint = match nearest(name, names.clone()) {
        Some(near) => format!("; is `{near}` meant?"),
        None => String::new(),
    };
    complain(&format!("there is no failure class {name:?}{hint}"));
    let all: Vec<&str> = names.collect();
    complain(&format!("the classes are: {}", all.join(", ")));
    Exit::Usage
}

/// What the documentation says of `class`, without its heading.
fn section(class: FailureClass) -> &'static str {
    let heading = format!("\n## `{class}`\n");
    let text = TEXT.split_once(&*heading).map_or("", |(_, text)| text);
    text.split("\n## `").next().unwrap_or_default().trim()
}

fn summary(class: FailureClass) -> &'static str {
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
