//! What the diagnosis of a failed handshake rests on.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

/// The facts behind a failure's diagnosis. What does not apply is left out of the JSON.
///
/// The lists come from the wire and are bounded: [`Comparison::MOST`] entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FailureDetails {
    /// Whether the wire does not tell why: a client that closes says nothing.
    pub undetermined: bool,
    /// Server names: the one that was sent, and those that the listener serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_names: Option<Comparison>,
    /// TLS versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versions: Option<Comparison>,
    /// Cipher suites by their IANA names, of all versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher_suites: Option<Comparison>,
    /// Those of the shared suites that a certificate of the site can be used with; left out where
    /// all can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usable_cipher_suites: Option<Vec<Name>>,
    /// The key types of the site's certificates: `ecdsa`, `rsa`, `ed25519`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificate_types: Vec<&'static str>,
    /// Key exchange groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Comparison>,
    /// Signature schemes; allowed are those that the site's keys can make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_schemes: Option<Comparison>,
    /// Application protocols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<Comparison>,
    /// The certificates that were sent, leaf first, where the client refused them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<Arc<[ChainLink]>>,
    /// What is wrong with the order or completeness of that chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_fault: Option<Arc<str>>,
    /// What was waited for when the handshake ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited_for: Option<&'static str>,
    /// Clients whose default is to give up after the time that this handshake took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gave_up_like: Option<&'static str>,
}

/// The name of a parameter, or its code point where it has none (`0x6a6a`).
pub type Name = Cow<'static, str>;

/// What the client offers beside what the policy allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The client's, sorted by code point; without GREASE (RFC 8701) and signalling values.
    pub offered: Vec<Name>,
    /// How many more it offers than are listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub offered_more: usize,
    /// The policy's, sorted alike.
    pub allowed: Vec<Name>,
    /// How many more are allowed than are listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub allowed_more: usize,
    /// What both have.
    pub shared: Vec<Name>,
}

impl Comparison {
    /// The longest list of offers.
    pub const MOST: usize = 128;
}

impl FailureDetails {
    /// What it takes on the heap, itself included; a chain is its certificate's.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let comparisons = [
            &self.server_names,
            &self.versions,
            &self.cipher_suites,
            &self.groups,
            &self.signature_schemes,
            &self.alpn,
        ];
        let lists = comparisons
            .into_iter()
            .flatten()
            .flat_map(|both| [&both.offered, &both.allowed, &both.shared])
            .chain(&self.usable_cipher_suites);
        size_of::<Self>()
            + lists.map(list_bytes).sum::<usize>()
            + self.certificate_types.capacity() * size_of::<&str>()
    }
}

fn list_bytes(list: &Vec<Name>) -> usize {
    let owned = list.iter().map(|name| match name {
        Cow::Owned(text) => text.capacity(),
        Cow::Borrowed(_) => 0,
    });
    list.capacity() * size_of::<Name>() + owned.sum::<usize>()
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// One certificate of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainLink {
    /// Its subject, as a distinguished name.
    pub subject: String,
    /// Its issuer.
    pub issuer: String,
    /// When it expires, in RFC 3339.
    pub not_after: String,
}

/// Clients that give up by themselves, with the time after which they do by default.
const DEFAULTS: &[(f64, &str)] = &[
    (5.0, "Envoy's default connect timeout"),
    (10.0, "Go's default handshake timeout (and Netty's)"),
    (30.0, "the handshake timeout of Chromium and Firefox"),
    (60.0, "nginx's default timeout towards upstreams"),
    (100.0, "the default timeout of .NET's HttpClient"),
    (180.0, "the default connect timeout of Apache HttpClient"),
    (300.0, "curl's default connect timeout"),
];

/// The clients whose default it is to give up after `elapsed`: within 50 ms before and 250 ms
/// after, as the two ends do not start their clocks together.
#[must_use]
pub fn gave_up_like(elapsed: Duration) -> Option<&'static str> {
    let elapsed = elapsed.as_secs_f64();
    DEFAULTS
        .iter()
        .find(|(default, _)| (-0.05..=0.25).contains(&(elapsed - default)))
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_round_times_are_somebodys_default() {
        let like = |millis| gave_up_like(Duration::from_millis(millis));
        assert_eq!(
            like(10_031),
            Some("Go's default handshake timeout (and Netty's)")
        );
        assert_eq!(like(9_960), like(10_000));
        assert_eq!(like(300_200), Some("curl's default connect timeout"));
        for millis in [0, 2_000, 9_900, 10_300, 4_900] {
            assert_eq!(like(millis), None, "{millis}");
        }
    }

    #[test]
    fn what_is_kept_is_counted() {
        let empty = FailureDetails::default().heap_bytes();
        let details = FailureDetails {
            alpn: Some(Comparison {
                offered: vec!["h2".into(), "x".repeat(100).into()],
                ..Comparison::default()
            }),
            ..FailureDetails::default()
        };
        let names = 2 * size_of::<Name>() + 100;
        assert_eq!(details.heap_bytes(), empty + names);
    }

    #[test]
    fn what_does_not_apply_is_left_out() {
        let details = FailureDetails {
            waited_for: Some("the first byte"),
            groups: Some(Comparison {
                offered: vec!["X448".into()],
                allowed: vec!["X25519".into()],
                ..Comparison::default()
            }),
            ..FailureDetails::default()
        };
        assert_eq!(
            serde_json::to_string(&details).unwrap(),
            r#"{"undetermined":false,"groups":{"offered":["X448"],"allowed":["X25519"],"shared":[]},"waited_for":"the first byte"}"#
        );
    }
}
