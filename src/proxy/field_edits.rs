//! The changes that a route makes to fields.

use http::{HeaderMap, HeaderName};

use crate::config::FieldEdits;

/// Removes, sets and adds fields, in this order.
///
/// A field that is removed or set is also gone where underscores and hyphens are exchanged, which
/// many applications read as the same name: a client could otherwise put its own beside it.
pub(super) fn apply(edits: &FieldEdits, headers: &mut HeaderMap) {
    if edits.is_empty() {
        return;
    }
    let ours = edits
        .remove
        .iter()
        .chain(edits.set.iter().map(|(name, _)| name));
    let twins: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            ours.clone()
                .any(|own| own != *name && is_alike(own.as_str(), name.as_str()))
        })
        .cloned()
        .collect();
    for name in edits.remove.iter().chain(&twins) {
        headers.remove(name);
    }
    for (name, value) in &edits.set {
        headers.insert(name, value.clone());
    }
    for (name, value) in &edits.add {
        headers.append(name, value.clone());
    }
}

fn is_alike(one: &str, other: &str) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte };
    one.bytes().map(fold).eq(other.bytes().map(fold))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn pairs(list: &[(&'static str, &'static str)]) -> Vec<(HeaderName, HeaderValue)> {
        list.iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let edits = FieldEdits {
            remove: vec![
                HeaderName::from_static("cookie"),
                HeaderName::from_static("x_debug"),
            ],
            set: pairs(&[("x-team", "payments")]),
            add: pairs(&[("x-more", "2%")]),
        };
        let mut headers: HeaderMap = pairs(&[
            ("cookie", "a"),
            ("x-team", "evil"),
            ("x_team", "evil too"),
            ("x-more", "1"),
            ("x_more", "kept"),
            ("x-debug", "evil"),
            ("x-kept", "yes"),
        ])
        .into_iter()
        .collect();
        headers.append("cookie", HeaderValue::from_static("b"));
        apply(&edits, &mut headers);
        let mut shown: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        shown.sort();
        assert_eq!(
            shown,
            [
                "x-kept: yes",
                "x-more: 1",
                "x-more: 2%",
                "x-team: payments",
                "x_more: kept"
            ]
        );
    }
}
