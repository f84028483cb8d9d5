//! `handfast explain`: what a failure class means, and what to do about it.

use super::cli::{complain, say};
use super::exit::Exit;
use crate::config::nearest;
use crate::report::{FailureClass, explanation};

/// Prints the section of the class called `name`, or without one a line for every class.
pub(super) fn explain(name: Option<&str>) -> Exit {
    let Some(name) = name else {
        for class in FailureClass::ALL {
            say(&format!(
                "{:24}{}",
                class.name(),
                explanation::summary(*class)
            ));
        }
        return Exit::Ok;
    };
    if let Some(class) = FailureClass::ALL.iter().find(|class| class.name() == name) {
        say(&format!("{class}\n\n{}", explanation::section(*class)));
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
