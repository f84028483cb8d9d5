//! `handfast explain`: the failure classes in words.

use crate::support::Tool;

fn explain(class: &str) -> crate::support::Output {
    Tool::new(env!("CARGO_BIN_EXE_handfast"))
        .words("explain")
        .words(class)
        .run()
}

#[test]
fn a_class_is_explained() {
    let output = explain("no_shared_group").success();
    assert!(
        output
            .stdout
            .starts_with("no_shared_group\n\nClient and policy have no key exchange")
    );
    for part in ["Meaning", "Usual causes", "How to confirm", "How to fix"] {
        assert!(
            output.stdout.contains(&format!("\n\n**{part}.** ")),
            "{output}"
        );
    }
    assert!(!output.stdout.contains("no_shared_sigalg"), "{output}");
}

#[test]
fn without_a_class_all_are_listed() {
    let output = explain("").success();
    assert_eq!(output.stdout.lines().count(), 29, "{output}");
    assert!(
        output
            .stdout
            .contains("\ntimeout                 The handshake deadline passed.\n")
    );
}

#[test]
fn a_class_that_there_is_not_gets_the_nearest_and_the_list() {
    let output = explain("no-shared-grop");
    assert_eq!(output.code, 2, "{output}");
    assert!(
        output.stderr.contains("is `no_shared_group` meant?"),
        "{output}"
    );
    assert!(output.stderr.contains("client_rejected_cert, "), "{output}");
    assert!(output.stdout.is_empty(), "{output}");
}
