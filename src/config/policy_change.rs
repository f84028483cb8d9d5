//! A change of tls policies that is tried, not made: the same names and the same errors as in a
//! file.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use super::diagnostic::{Diagnostic, Diagnostics, Source, Sources};
use super::names::{CipherSuite, Group};
use super::policies;
use super::policy::{Alpn, Policy};
use super::reading::Reading;
use super::table::Table;
use crate::report::ProtocolVersion;

/// A change as it is asked for, in the names of the configuration. What is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyChangeText {
    /// The policy to change; without it, every one.
    pub policy: Option<String>,
    /// Versions below this one go, and with them suites and groups that only they use.
    pub min_version: Option<String>,
    /// `cipher_suites`
    pub cipher_suites: Option<Vec<String>>,
    /// `groups`
    pub groups: Option<Vec<String>>,
    /// `alpn`
    pub alpn: Option<Vec<String>>,
}

/// A change that makes sense by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyChange {
    policy: Option<String>,
    min_version: Option<ProtocolVersion>,
    cipher_suites: Option<Vec<&'static CipherSuite>>,
    groups: Option<Vec<&'static Group>>,
    alpn: Option<Vec<Alpn>>,
}

/// Why a policy cannot be changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyChangeError {
    /// There is no such policy.
    #[error("there is no tls policy `{0}`")]
    NoPolicy(String),
    /// A version is left without a cipher suite.
    #[error("the tls policy `{policy}` would have no cipher suite for TLS {version}")]
    NoSuite {
        /// The policy.
        policy: String,
        /// The version.
        version: &'static str,
    },
    /// A version is left without a group.
    #[error("the tls policy `{policy}` would have no group for TLS {version}")]
    NoGroup {
        /// The policy.
        policy: String,
        /// The version.
        version: &'static str,
    },
}

/// What messages call the text that the change is.
const NAME: &str = "what-if";

impl PolicyChange {
    /// Reads a change.
    ///
    /// # Errors
    /// Everything that is wrong with it, located in the lines that it would be in a file.
    pub fn read(change: &PolicyChangeText) -> Result<Self, Diagnostics> {
        let sources = [Source {
            path: NAME.into(),
            text: change.render(),
        }];
        let text = &sources[0].text;
        let reading = Reading::new(&sources);
        let (parsed, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            reading.syntax(Diagnostic::new(error.message()));
        }
        let mut table = Table::root(parsed.get_ref(), &reading);
        let min_version = table.value("min_version").and_then(policies::version);
        let cipher_suites = table.value("cipher_suites");
        let groups = table.value("groups");
        let read = Self {
            policy: change.policy.clone(),
            min_version,
            cipher_suites: cipher_suites.and_then(|value| {
                policies::set(value, "the names of cipher suites", policies::cipher_suite)
            }),
            groups: groups
                .and_then(|value| policies::set(value, "the names of groups", policies::group)),
            alpn: table.value("alpn").and_then(policies::alpn),
        };
        table.finish();
        if text.is_empty() {
            let help = "give --min-version, --cipher-suites, --groups or --alpn";
            reading.refuse(Diagnostic::new("nothing is to change").help(help));
        }
        let items = reading.into_faults();
        if items.is_empty() {
            Ok(read)
        } else {
            let sources = Sources(Arc::new(sources.into()));
            Err(Diagnostics { sources, items })
        }
    }

    /// Whether it is for the policy of this name.
    #[must_use]
    pub fn concerns(&self, policy: &str) -> bool {
        self.policy.as_deref().is_none_or(|own| own == policy)
    }

    /// The name of the one policy that it is for.
    #[must_use]
    pub fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// `policy` as it would be.
    ///
    /// # Errors
    /// A version would have no suite or no group: a configuration could not say so either.
    pub fn apply(&self, policy: &Policy) -> Result<Policy, PolicyChangeError> {
        let mut policy = policy.clone();
        if let Some(least) = self.min_version {
            policy.versions.retain(|version| *version >= least);
            if policy.versions.is_empty() {
                policy.versions.push(least);
            }
        }
        if let Some(suites) = &self.cipher_suites {
            policy.cipher_suites.clone_from(suites);
        }
        if let Some(groups) = &self.groups {
            policy.groups.clone_from(groups);
        }
        if let Some(alpn) = &self.alpn {
            policy.alpn.clone_from(alpn);
        }
        let versions = &policy.versions;
        policy
            .cipher_suites
            .retain(|suite| versions.contains(&suite.version));
        for version in versions {
            let suites = &policy.cipher_suites;
            if !suites.iter().any(|suite| suite.version == *version) {
                return Err(PolicyChangeError::NoSuite {
                    policy: policy.name.to_string(),
                    version: version.name(),
                });
            }
            if !policy.groups.iter().any(|it| it.usable_for(*version)) {
                return Err(PolicyChangeError::NoGroup {
                    policy: policy.name.to_string(),
                    version: version.name(),
                });
            }
        }
        Ok(policy)
    }
}

impl PolicyChangeText {
    /// The change as the lines that it would be in a file.
    fn render(&self) -> String {
        let mut text = String::new();
        if let Some(version) = &self.min_version {
            text.push_str(&format!("min_version = {}\n", string(version)));
        }
        for (key, list) in [
            ("cipher_suites", &self.cipher_suites),
            ("groups", &self.groups),
            ("alpn", &self.alpn),
        ] {
            if let Some(list) = list {
                let items: Vec<_> = list.iter().map(|item| string(item)).collect();
                text.push_str(&format!("{key} = [{}]\n", items.join(", ")));
            }
        }
        text
    }
}

/// A basic string of TOML.
fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    fn built_in() -> Policy {
        let text = "[[listeners]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n\
                    certificates = [\"c\"]\n[certificates.c]\nchain = \"c\"\nkey = \"k\"\n\
                    [[routes]]\nupstream = \"u\"\n[upstreams.u]\n\
                    servers = [{ address = \"127.0.0.1:2\" }]\n";
        parse(text, Path::new("a")).unwrap().config.policies[0].clone()
    }

    fn list(items: &[&str]) -> Option<Vec<String>> {
        Some(items.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_change_is_made_to_what_it_names() {
        let change = PolicyChange::read(&PolicyChangeText {
            min_version: Some("1.3".into()),
            groups: list(&["P-256"]),
            alpn: list(&["h2"]),
            ..PolicyChangeText::default()
        })
        .unwrap();
        let policy = change.apply(&built_in()).unwrap();
        assert_eq!(policy.versions, [ProtocolVersion::Tls13]);
        assert!(
            policy
                .cipher_suites
                .iter()
                .all(|it| it.version == ProtocolVersion::Tls13)
        );
        assert_eq!(policy.groups[0].name, "secp256r1");
        assert_eq!((policy.groups.len(), policy.alpn.len()), (1, 1));
        assert!(change.concerns("any"));
    }

    #[test]
    fn all_that_is_wrong_is_told_with_its_place() {
        let text = PolicyChangeText {
            min_version: Some("1.1".into()),
            cipher_suites: list(&["ECDHE-RSA-AES128-GCM-SHA257", "a\"\n"]),
            groups: list(&[]),
            ..PolicyChangeText::default()
        };
        let error = PolicyChange::read(&text).unwrap_err();
        let told = error.to_string();
        assert_eq!(error.items.len(), 4, "{told}");
        assert!(told.contains("what-if:1:15: "), "{told}");
        assert!(told.contains("what-if:2:"), "{told}");
        let nothing = PolicyChange::read(&PolicyChangeText::default()).unwrap_err();
        assert!(nothing.to_string().contains("nothing is to change"));
    }

    #[test]
    fn no_version_is_left_without_suite_or_group() {
        let suites = PolicyChangeText {
            cipher_suites: list(&["TLS_AES_128_GCM_SHA256"]),
            ..PolicyChangeText::default()
        };
        let error = PolicyChange::read(&suites).unwrap().apply(&built_in());
        let error = error.unwrap_err();
        assert!(matches!(
            error,
            PolicyChangeError::NoSuite { version: "1.2", .. }
        ));
    }
}
