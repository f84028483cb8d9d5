//! A probe for people: the walk, then what was found, in 80 columns.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::attempt::{Attempt, Step};
use super::certificate::CertificateFacts;
use super::judge::{Verdict, Verification};
use crate::report::{Direction, alert_name};

/// A probe and all of its connections: what `--json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Whom: host and port.
    pub target: String,
    /// The name that was asked for.
    pub server_name: String,
    /// Whether every connection succeeded, and with `--resume` the second resumed.
    pub ok: bool,
    /// The connections in order.
    pub connections: Vec<Attempt>,
}

const WIDTH: usize = 80;
/// Where the text of a row begins.
const COLUMN: usize = 18;

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
struct Ink(bool);

impl Ink {
    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        match self.0 {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// The report as text, with the colours of a terminal or without.
#[must_use]
pub fn render(report: &Report, colour: bool) -> String {
    let ink = Ink(colour);
    let mut out = String::new();
    let [first, rest @ ..] = report.connections.as_slice() else {
        return out;
    };
    let title = format!("Probe of {} as {}", report.target, report.server_name);
    line(&mut out, &ink.bold(&title));
    line(&mut out, "");
    walk(&mut out, first, "The handshake, step by step", ink);
    found(&mut out, first, ink);
    for second in rest {
        walk(&mut out, second, "The second connection", ink);
        if second.failure.is_some() {
            found(&mut out, second, ink);
        } else {
            beside(&mut out, first, second, ink);
        }
    }
    out
}

fn walk(out: &mut String, attempt: &Attempt, title: &str, ink: Ink) {
    line(out, &ink.bold(title));
    line(out, "");
    if let Some((time, address)) = attempt.tcp_connect.zip(attempt.address) {
        let text = format!("TCP connect to {address}: {}", millis(time));
        line(out, &format!("      {text}"));
    }
    for step in &attempt.messages {
        line(out, &headline(step, ink));
        for text in wrapped(&step.what, WIDTH - 6) {
            line(out, &format!("      {}", ink.dim(&text)));
        }
    }
    line(out, "");
}

fn headline(step: &Step, ink: Ink) -> String {
    let arrow = match step.direction {
        Direction::In => "→",
        Direction::Out => "←",
    };
    let lock = match step.encrypted {
        true => "encrypted",
        false => "",
    };
    // Padded before it is coloured: what colours needs no room.
    let name = ink.bold(&format!("{:<24}", step.name));
    format!(
        "{:>3} {arrow} {name}{:>7} bytes  {:>11}  {lock}",
        step.step,
        step.bytes,
        millis(step.at)
    )
    .trim_end()
    .to_owned()
}

fn found(out: &mut String, attempt: &Attempt, ink: Ink) {
    if let Some(ending) = &attempt.failure {
        row(out, "failed", &ink.bad(ending.class.name()));
        row(out, "ended by", ending.side.name());
        if let Some(code) = ending.alert {
            row(out, "alert", &format!("{code} {}", alert_name(code)));
        }
        row(out, "what it means", &ending.what);
    }
    if let Some(time) = attempt.handshake {
        row(out, "handshake", &ink.good(&millis(time)));
    }
    if !attempt.round_trips.is_empty() {
        row(out, "round trips", &trips(attempt));
    }
    for (name, value) in facts(attempt) {
        row(out, name, &value);
    }
    if let Some(seen) = &attempt.verification {
        verification(out, seen, ink);
        for (index, certificate) in seen.chain.iter().enumerate() {
            self::certificate(out, index, certificate);
        }
    }
    line(out, "");
}

/// What was chosen, in rows.
fn facts(attempt: &Attempt) -> Vec<(&'static str, String)> {
    let chosen = &attempt.negotiated;
    let mut rows = Vec::new();
    if let Some(version) = chosen.version {
        rows.push(("version", format!("TLS {version}")));
    }
    let optional = [
        ("cipher suite", &chosen.cipher),
        ("group", &chosen.group),
        ("signature", &chosen.signature),
        ("protocol", &chosen.alpn),
    ];
    for (name, value) in optional {
        rows.extend(value.clone().map(|value| (name, value)));
    }
    if chosen.hello_retry {
        let text = "a HelloRetryRequest cost a round trip";
        rows.push(("retry", text.to_owned()));
    }
    if chosen.client_certificate_requested {
        rows.push(("client cert", "asked for, none shown".to_owned()));
    }
    if attempt.handshake.is_some() {
        rows.push(("tickets", chosen.tickets.to_string()));
        if let Some(extended) = chosen.extended_master_secret {
            rows.push(("ext. master", yes(extended)));
        }
        if chosen.kind == Some("full") {
            rows.push(("OCSP stapled", yes(chosen.ocsp_stapled)));
        }
    }
    rows
}

/// Both connections in two columns.
fn beside(out: &mut String, first: &Attempt, second: &Attempt, ink: Ink) {
    let kind = |attempt: &Attempt| attempt.negotiated.kind.unwrap_or("-");
    let columns = |name: &str, left: &str, right: &str| format!("{name:<17} {left:<30} {right}");
    line(
        out,
        &ink.bold(columns("", kind(first), kind(second)).trim_end()),
    );
    let time = |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), millis);
    let bytes = |attempt: &Attempt| {
        let all = attempt.messages.iter().map(|step| step.bytes);
        all.sum::<usize>().to_string()
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let (one, two) = (&first.negotiated, &second.negotiated);
    for (name, left, right) in [
        (
            "TCP connect",
            time(first.tcp_connect),
            time(second.tcp_connect),
        ),
        ("handshake", time(first.handshake), time(second.handshake)),
        (
            "round trips",
            first.round_trips.len().to_string(),
            second.round_trips.len().to_string(),
        ),
        ("message bytes", bytes(first), bytes(second)),
        ("cipher suite", text(&one.cipher), text(&two.cipher)),
        ("group", text(&one.group), text(&two.group)),
        ("tickets", one.tickets.to_string(), two.tickets.to_string()),
    ] {
        // A long name of a suite goes below.
        if left.len() > 30 || right.len() > 30 {
            row(out, name, &left);
            row(out, "", &right);
        } else {
            line(out, columns(name, &left, &right).trim_end());
        }
    }
    match (second.negotiated.kind, first.handshake, second.handshake) {
        (Some("resumed"), Some(full), Some(resumed)) => {
            let saved = match full.checked_sub(resumed) {
                Some(saved) => format!("{} saved", millis(saved)),
                None => "nothing saved this time".to_owned(),
            };
            row(out, "resumption", &ink.good(&saved));
        }
        _ => row(
            out,
            "resumption",
            &ink.bad(match one.tickets {
                0 => "the server gave no ticket, and did not resume",
                _ => "the server gave a ticket, and did not resume with it",
            }),
        ),
    }
}

fn verification(out: &mut String, seen: &Verification, ink: Ink) {
    match seen.result {
        Verdict::Trusted => row(out, "certificate", &ink.good("trusted")),
        Verdict::NotChecked => row(out, "certificate", "not checked: there is no trust store"),
        Verdict::NotTrusted => {
            row(out, "certificate", &ink.bad("not trusted"));
            if let Some(reason) = &seen.reason {
                row(out, "  because", reason);
            }
            if let Some(missing) = &seen.missing {
                row(out, "  missing", missing);
            }
        }
    }
}

fn certificate(out: &mut String, index: usize, it: &CertificateFacts) {
    row(out, &format!("chain {index}"), &it.subject);
    row(out, "  issuer", &it.issuer);
    if !it.names.is_empty() {
        row(out, "  names", &it.names.join(", "));
    }
    let left = match it.days_left {
        days @ 0.. => format!("{days} days left"),
        _ => "expired".to_owned(),
    };
    row(out, "  not after", &format!("{} ({left})", it.not_after));
    row(
        out,
        "  key",
        &format!("{}, signed {}", it.key, it.signature),
    );
}

fn trips(attempt: &Attempt) -> String {
    let times: Vec<_> = attempt.round_trips.iter().copied().map(millis).collect();
    format!("{}: {}", times.len(), times.join(", "))
}

fn yes(is: bool) -> String {
    match is {
        true => "yes".to_owned(),
        false => "no".to_owned(),
    }
}

fn millis(time: Duration) -> String {
    let micros = time.as_micros();
    format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10)
}

/// A name and its text, which goes on below itself.
fn row(out: &mut String, name: &str, text: &str) {
    for (index, text) in wrapped(text, WIDTH - COLUMN).iter().enumerate() {
        let name = if index == 0 { name } else { "" };
        line(out, format!("{name:<17} {text}").trim_end());
    }
}

fn line(out: &mut String, text: &str) {
    // Writing to a string does not fail. What a server says may hold anything.
    let _ = writeln!(
        out,
        "{}",
        text.replace(|c: char| c.is_control() && c != '\x1b', "?")
    );
}

/// Lines of at most `width` characters; words that are longer are cut.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        while length > 0 && length + 1 + word.len() > width || word.len() > width {
            if length > 0 {
                lines.push(std::mem::take(&mut current));
                length = 0;
                continue;
            }
            let rest = word.split_off(width);
            lines.push(word.into_iter().collect());
            word = rest;
        }
        if length > 0 {
            current.push(' ');
            length += 1;
        }
        length += word.len();
        current.extend(word);
    }
    if length > 0 || lines.is_empty() {
        lines.push(current);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_wraps_between_words_and_inside_long_ones() {
        assert_eq!(wrapped("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrapped("aa bbbbbbb c", 5), ["aa", "bbbbb", "bb c"]);
        assert_eq!(wrapped("", 5), [""]);
    }

    #[test]
    fn a_report_stays_in_80_columns_and_has_no_controls() {
        let step = |name, what: &str| Step {
            step: 99,
            direction: Direction::Out,
            name,
            bytes: 1_000_000,
            at: Duration::from_secs(10),
            encrypted: true,
            what: what.to_owned(),
        };
        let mut attempt = Attempt {
            address: Some(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
                    .parse()
                    .unwrap(),
            ),
            messages: vec![step("CompressedCertificate", &"word ".repeat(60))],
            handshake: Some(Duration::from_micros(1234)),
            ..Attempt::default()
        };
        attempt.negotiated.alpn = Some("\u{7}\n".repeat(90));
        let report = Report {
            target: "a:443".into(),
            server_name: "a".into(),
            ok: true,
            connections: vec![attempt.clone(), attempt],
        };
        let text = render(&report, false);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert!(!line.contains(char::is_control), "{line:?}");
        }
        assert!(render(&report, true).contains("\x1b[1m"));
    }
}
