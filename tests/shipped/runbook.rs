//! `docs/runbook.md` has a line for every class of failure, in the words of `handfast explain`.

use std::process::Command;

use crate::text::read;

#[test]
fn the_runbook_says_what_explain_says() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handfast"));
    let output = command.arg("explain").output().unwrap();
    let explained = String::from_utf8(output.stdout).unwrap();
    let expected = explained.lines().map(|line| {
        let (class, summary) = line.split_once(' ').unwrap();
        format!("| [`{class}`](failures.md#{class}) | {} |", summary.trim())
    });
    let expected: Vec<_> = expected.collect();
    assert!(expected.len() > 20, "{explained}");
    let runbook = read("docs/runbook.md");
    let rows = runbook.lines().filter(|line| line.starts_with("| [`"));
    assert_eq!(rows.collect::<Vec<_>>(), expected);
}

#[test]
fn links_between_documents_lead_somewhere() {
    for path in crate::text::files("docs", ".md") {
        let text = read(path.to_str().unwrap());
        for link in text.split("](").skip(1) {
            let (target, _) = link.split_once(')').unwrap();
            let (file, _) = target.split_once('#').unwrap_or((target, ""));
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let file = path.parent().unwrap().join(file);
            assert!(file.exists(), "{}: {target}", path.display());
        }
    }
}
