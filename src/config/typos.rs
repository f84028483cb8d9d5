//! One token of a full configuration goes wrong, as by a slip of the hand, 300 times: the fault is
//! found, on its line, with what was meant.

use std::fmt;
use std::path::Path;

use super::{Diagnostics, parse};

const FULL: &str = include_str!("../../config/handfast.toml");
const SLIPS: usize = 300;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A key, or a table in a header, that the loader knows.
    Key,
    /// A name that the user gives: of a table, of a header field.
    Name,
    /// One of a fixed list of values.
    Choice,
    /// The name of a table elsewhere.
    Reference,
    /// Any other string.
    Text,
    /// A number or a boolean.
    Scalar,
    /// `[` `]` `{` `}` `=` `,` `.`
    Mark,
}

#[derive(Clone, Copy, Debug)]
struct Token<'t> {
    kind: Kind,
    /// As it stands in the file, quotes included.
    text: &'t str,
    at: usize,
    line: usize,
}

/// A slip, and what became of it.
struct Slip<'t> {
    what: &'static str,
    token: Token<'t>,
    /// What stands before it.
    before: &'t str,
    /// The line of what follows it.
    next: usize,
    text: String,
    /// What it put in the token's place.
    written: String,
}

/// Strings of a fixed list that the file has.
const CHOICES: [&str; 30] = [
    "intermediate-5.8",
    "modern-5.8",
    "1.2",
    "1.3",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "X25519MLKEM768",
    "X25519",
    "secp256r1",
    "secp384r1",
    "h2",
    "http/1.1",
    "reject",
    "default-certificate",
    "tickets",
    "off",
    "allow",
    "required",
    "http1",
    "round-robin",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "info",
    "auto",
    "json",
    "failures",
    "full",
    "configured",
];
const REFERENCES: [&str; 6] = ["web", "strict", "example", "apps", "api", "https"];
/// Names of the user's that stand where keys do.
const NAMES: [&str; 6] = ["web", "strict", "example", "apps", "api", "X-Team"];

struct Dice(u64);

impl Dice {
    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        // xorshift64*: as good as random, and the same every time.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % end
    }
}

/// The tokens of `text`, comments left out. Strings have no escapes but `\n`.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let length = match c {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' => rest[1..].find('"').unwrap() + 2,
            c if is_bare(c) => {
                // A dot divides keys, and is a part of numbers.
                let number = c.is_ascii_digit();
                rest.find(|c| !(is_bare(c) || number && c == '.'))
                    .unwrap_or(rest.len())
            }
            c => c.len_utf8(),
        };
        let token = &rest[..length];
        if !c.is_whitespace() && c != '#' {
            let names_a_listener = tokens
                .iter()
                .rev()
                .nth(1)
                .is_some_and(|it| it.text == "name");
            let kind = match c {
                '"' if names_a_listener => Kind::Text,
                '"' if REFERENCES.contains(&token.trim_matches('"')) => Kind::Reference,
                '"' if CHOICES.contains(&token.trim_matches('"')) => Kind::Choice,
                '"' => Kind::Text,
                _ if token == "true" || token == "false" || c.is_ascii_digit() => Kind::Scalar,
                c if is_bare(c)
                    && (NAMES.contains(&token) || token.starts_with(char::is_uppercase)) =>
                {
                    Kind::Name
                }
                c if is_bare(c) => Kind::Key,
                _ => Kind::Mark,
            };
            tokens.push(Token {
                kind,
                text: token,
                at,
                line,
            });
        }
        line += token.matches('\n').count();
        at += length;
    }
    tokens
}

fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// `word` with two letters swapped, one dropped, one twice, or one that is its neighbour.
fn misspelt(word: &str, dice: &mut Dice) -> String {
    loop {
        let mut letters: Vec<char> = word.chars().collect();
        let place = dice.below(letters.len());
        match dice.below(4) {
            0 if place + 1 < letters.len() => letters.swap(place, place + 1),
            1 if letters.len() > 3 => drop(letters.remove(place)),
            2 => letters.insert(place, letters[place]),
            3 if letters[place].is_ascii_lowercase() => {
                letters[place] = if letters[place] == 'z' {
                    'y'
                } else {
                    char::from(letters[place] as u8 + 1)
                };
            }
            _ => continue,
        }
        let slip: String = letters.into_iter().collect();
        if slip != word {
            return slip;
        }
    }
}

/// What went wrong with the token at `index`.
fn slip<'t>(tokens: &[Token<'t>], index: usize, dice: &mut Dice) -> Slip<'t> {
    let token = tokens[index];
    let inner = token.text.trim_matches('"');
    let quoted = token.text.starts_with('"');
    let (what, written) = match (token.kind, dice.below(4)) {
        (Kind::Key | Kind::Choice | Kind::Reference, 0..=2) => {
            let word = misspelt(inner, dice);
            (
                "misspelt",
                if quoted { format!("\"{word}\"") } else { word },
            )
        }
        (Kind::Text | Kind::Choice | Kind::Reference, 3) => ("without quotes", inner.to_owned()),
        (Kind::Scalar, 0..=2) => ("in quotes", format!("\"{inner}\"")),
        (Kind::Mark, 0) => ("twice", token.text.repeat(2)),
        _ => ("left out", String::new()),
    };
    let end = token.at + token.text.len();
    Slip {
        what,
        token,
        before: index
            .checked_sub(1)
            .map_or("", |before| tokens[before].text),
        next: tokens.get(index + 1).map_or(token.line, |next| next.line),
        text: [&FULL[..token.at], &written, &FULL[end..]].concat(),
        written,
    }
}

impl Slip<'_> {
    /// Whether TOML and the loader have nothing to object to it.
    fn is_harmless(&self) -> bool {
        let after = self.text[self.token.at + self.written.len()..].trim_start();
        match (self.what, self.token.text) {
            // The last one of a list need not be there.
            ("left out", ",") => after.starts_with([']', '#', '\n']),
            // A list with one name less is a list.
            ("left out", _) if self.token.kind == Kind::Text => {
                self.before == "," && after.starts_with(']')
                    || self.before == "[" && after.starts_with(']')
            }
            _ => false,
        }
    }

    /// Whether a fault stands on its line, or, where something is missing, at what follows, or where
    /// something else is referred to by this name.
    fn is_located(&self, faults: &Diagnostics) -> bool {
        let name = self.written.trim_matches('"');
        faults.items.iter().any(|item| {
            let place = item.location.and_then(|at| faults.sources.position(at));
            let line = place.map(|place| place.line);
            let help = item.help.as_deref().unwrap_or_default();
            line == Some(self.token.line)
                || self.what != "misspelt" && line == Some(self.next)
                || name.len() > 1 && help.contains(&format!("`{name}`"))
        })
    }

    /// Whether what was meant is named; `None` where nobody could.
    fn is_suggested(&self, faults: &Diagnostics) -> Option<bool> {
        let meant = self.token.text.trim_matches('"');
        let named = |item: &super::Diagnostic| {
            let help = item.help.as_deref().unwrap_or_default();
            help.contains(&format!("did you mean `{meant}`"))
                || help.contains(&format!("write \"{meant}\""))
                || help == format!("write {meant} without quotes")
        };
        (self.what != "left out" && self.token.kind != Kind::Mark)
            .then(|| faults.items.iter().any(named))
    }
}

impl fmt::Display for Slip<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Token {
            kind, text, line, ..
        } = self.token;
        write!(
            f,
            "line {line}: {kind:?} {text} {}: {:?}",
            self.what, self.written
        )
    }
}

#[test]
fn slips_are_found_where_they_are_with_what_was_meant() {
    let tokens = tokens(FULL);
    assert!(tokens.len() > 700, "{}", tokens.len());
    let mut dice = Dice(0x68616e6466617374);
    let (mut accepted, mut misplaced, mut unnamed) = (Vec::new(), Vec::new(), Vec::new());
    let (mut refused, mut nameable) = (0, 0);
    let mut slips = 0;
    while slips < SLIPS {
        let index = dice.below(tokens.len());
        let slip = slip(&tokens, index, &mut dice);
        if slip.text == FULL || slip.is_harmless() {
            continue;
        }
        slips += 1;
        let Err(faults) = parse(&slip.text, Path::new("handfast.toml")) else {
            accepted.push(slip.to_string());
            continue;
        };
        refused += 1;
        if !slip.is_located(&faults) {
            misplaced.push(format!("{slip}\n{faults}"));
        }
        if let Some(named) = slip.is_suggested(&faults) {
            nameable += 1;
            if !named {
                unnamed.push(format!("{slip}\n{faults}"));
            }
        }
    }
    eprintln!(
        "{slips} slips: {refused} refused, {} misplaced; of {nameable} with something to suggest, {} without",
        misplaced.len(),
        unnamed.len()
    );
    assert!(accepted.is_empty(), "{}", accepted.join("\n"));
    assert!(misplaced.len() * 100 <= refused, "{}", misplaced.join("\n"));
    assert!(unnamed.len() * 10 <= nameable, "{}", unnamed.join("\n"));
}
