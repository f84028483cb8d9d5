//! How faults are worded: names quoted, alternatives listed, near misses found.

/// As many names as are listed in full.
const LISTED: usize = 16;

/// As many characters of a value as are repeated.
const QUOTED: usize = 80;

/// `text` in backticks, cut when long and without characters that disturb a terminal.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(QUOTED)
        .map(|char| {
            if char.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                char
            }
        })
        .collect();
    if text.chars().nth(QUOTED).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// The names in backticks, with commas; the first few when there are many.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().map(quoted).collect();
    match names.len().checked_sub(LISTED) {
        Some(more @ 1..) => format!("{} and {more} more", names[..LISTED].join(", ")),
        _ => names.join(", "),
    }
}

/// The candidate that `name` was probably meant to be.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = fold(name);
    let allowed = match wanted.chars().count() {
        0 => return None,
        1..=3 => 1,
        4..=8 => 2,
        length => length / 3,
    };
    candidates
        .into_iter()
        .map(|candidate| (distance(&wanted, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// ``did you mean `x`? (here: `x`, `y`)``, or only what is possible when nothing is near. `None`
/// when nothing is possible.
pub(super) fn suggestion<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
    possible: &str,
) -> Option<String> {
    let all = listed(candidates.clone());
    if all.is_empty() {
        return None;
    }
    Some(match nearest(name, candidates) {
        Some(near) => format!("did you mean {}? ({possible}: {all})", quoted(near)),
        None => format!("{possible}: {all}"),
    })
}

/// Cases and the spellings `a-b`, `a_b` and `a.b` are alike.
fn fold(name: &str) -> String {
    name.chars()
        .take(QUOTED)
        .map(|char| match char {
            '-' | '.' | ' ' => '_',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

/// Edits between the two; a name that only lacks its plural or its last words is one edit away.
fn distance(wanted: &str, candidate: &str) -> usize {
    let edits = strsim::damerau_levenshtein(wanted, candidate);
    let (short, long) = if wanted.len() < candidate.len() {
        (wanted, candidate)
    } else {
        (candidate, wanted)
    };
    let part = short.len() >= 4
        && long
            .strip_prefix(short)
            .is_some_and(|rest| rest.starts_with('_'))
        || short.len() >= 4
            && long
                .strip_suffix(short)
                .is_some_and(|rest| rest.ends_with('_'));
    if part { edits.min(2) } else { edits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_found() {
        let keys = [
            "address",
            "backlog",
            "certificate",
            "certificates",
            "name",
            "tls",
        ];
        for (typed, meant) in [
            ("adress", "address"),
            ("Address", "address"),
            ("backlgo", "backlog"),
            ("certificatess", "certificates"),
            ("tsl", "tls"),
        ] {
            assert_eq!(nearest(typed, keys), Some(meant), "{typed}");
        }
        for typed in ["", "x", "port", "ssl_protocols", "key"] {
            assert_eq!(nearest(typed, keys), None, "{typed}");
        }
        let keys = ["handshake_timeout", "request_header"];
        assert_eq!(
            nearest("handshake-timeout", keys),
            Some("handshake_timeout")
        );
        assert_eq!(nearest("timeout", keys), Some("handshake_timeout"));
    }

    #[test]
    fn long_lists_and_values_are_cut() {
        let names: Vec<_> = (0..19).map(|index| format!("n{index}")).collect();
        let text = listed(names.iter().map(String::as_str));
        assert!(text.ends_with("`n15` and 3 more"), "{text}");
        assert_eq!(listed(["a", "b"]), "`a`, `b`");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), QUOTED + 3);
        assert_eq!(quoted("a\u{7}b"), "`a\u{fffd}b`");
    }

    #[test]
    fn a_suggestion_names_what_is_possible() {
        assert_eq!(
            suggestion("namr", ["name", "key"], "keys here").as_deref(),
            Some("did you mean `name`? (keys here: `name`, `key`)")
        );
        assert_eq!(
            suggestion("zzz", ["name"], "keys here").as_deref(),
            Some("keys here: `name`")
        );
        assert_eq!(suggestion("zzz", [], "keys here"), None);
    }
}
