//! A client, where it goes, and what the report says of it; a remedy is tried.

use std::fmt::Write as _;

use super::clients::Run;
use super::policies::{daemon, settings};
use crate::support::Handshake;

/// What becomes of the search for a remedy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Remedy {
    Proven,
    None,
    NotSought,
}
use Remedy::{NotSought, Proven};

/// A client, where it goes, and what is to be said of it.
pub(super) struct Case {
    name: &'static str,
    listener: &'static str,
    run: Run,
    class: &'static str,
    phase: &'static str,
    side: &'static str,
    alert: Option<u8>,
    remedy: Remedy,
}

pub(super) fn server(
    name: &'static str,
    listener: &'static str,
    run: Run,
    (class, phase, alert): (&'static str, &'static str, u8),
    remedy: Remedy,
) -> Case {
    Case {
        name,
        listener,
        run,
        class,
        phase,
        side: "server",
        alert: Some(alert),
        remedy,
    }
}

pub(super) fn other(
    name: &'static str,
    listener: &'static str,
    run: Run,
    (class, phase, side, alert): (&'static str, &'static str, &'static str, Option<u8>),
) -> Case {
    Case {
        name,
        listener,
        run,
        class,
        phase,
        side,
        alert,
        remedy: NotSought,
    }
}

/// What is wrong with what is said of `case`.
fn faults(case: &Case, handshake: &Handshake) -> Vec<String> {
    let said = |field: &str| handshake.failure(field).clone();
    let remedy = match case.remedy {
        Proven => "proven",
        Remedy::None => "none",
        NotSought => "not_sought",
    };
    let mut faults = Vec::new();
    for (field, expected) in [
        ("class", serde_json::json!(case.class)),
        ("phase", serde_json::json!(case.phase)),
        ("side", serde_json::json!(case.side)),
        ("alert", serde_json::json!(case.alert)),
        ("remedy", serde_json::json!(remedy)),
    ] {
        if said(field) != expected {
            faults.push(format!(
                "{}: {field} is {}, not {expected}: {}",
                case.name,
                said(field),
                said("diagnosis")
            ));
        }
    }
    let proven = said("would_succeed_with").is_string();
    if proven != (remedy == "proven") {
        faults.push(format!(
            "{}: remedy {remedy} and text do not agree",
            case.name
        ));
    }
    faults
}

/// The configuration with the lines of a remedy instead of those that it replaces.
fn applied(text: &str, remedy: &str) -> String {
    let mut lines = remedy.lines();
    let table = lines.next().unwrap();
    let lines: Vec<&str> = lines.collect();
    let keys: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let mut out = String::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line == table;
        }
        let replaced = line
            .split(' ')
            .next()
            .is_some_and(|key| keys.contains(&key));
        if !(inside && replaced) {
            let _ = writeln!(out, "{line}");
        }
        if line == table {
            let _ = writeln!(out, "{}", lines.join("\n"));
        }
    }
    out
}

pub(super) fn assert_all(cases: &[Case]) {
    let settings = settings();
    let daemon = daemon(&settings);
    let text = settings.render(daemon.dir());
    let mut all = Vec::new();
    for case in cases {
        let address = daemon.address(case.listener);
        let (_, handshake) = daemon.new_handshake(|| (case.run)(&daemon, address));
        handshake.assert_sum();
        let faults = faults(case, &handshake);
        let remedy = handshake.failure("would_succeed_with").as_str();
        if faults.is_empty()
            && let Some(remedy) = remedy
        {
            daemon.rewrite(&applied(&text, remedy));
            let reload = daemon.command("reload").run();
            let (_, after) = daemon.new_handshake(|| (case.run)(&daemon, address));
            let connects = after.text("outcome") == Some("ok");
            if reload.code != 0 || !connects {
                all.push(format!(
                    "{}: {remedy}does not help: {reload}\n{after}",
                    case.name
                ));
            }
            daemon.rewrite(&text);
            daemon.command("reload").run().success();
        }
        all.extend(faults);
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}
