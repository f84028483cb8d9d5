//! `[tls.NAME]`: versions, cipher suites, groups and the rest of a TLS policy.

use super::client_auth::client_auth;
use super::defaults::{self, DEADLINE};
use super::diagnostic::Diagnostic;
use super::names::{
    CipherSuite, Group, Impossible, Preset, impossible_group, impossible_suite, impossible_version,
};
use super::policy::{Alpn, FalseStartMode, Policy, SniAction};
use super::references::References;
use super::resumption;
use super::table::{Named, Table};
use super::value::Value;
use super::wording::{quoted, suggestion};
use crate::report::ProtocolVersion;

const FALSE_START_MODES: &[(&str, FalseStartMode)] = &[
    ("allow", FalseStartMode::Allow),
    ("discourage", FalseStartMode::Discourage),
    ("refuse", FalseStartMode::Refuse),
];

const SNI_ACTIONS: &[(&str, SniAction)] = &[
    ("reject", SniAction::Reject),
    ("default-certificate", SniAction::DefaultCertificate),
];

/// Reads `[tls.NAME]`. The built-in policy comes first, changed by `[tls.default]` if that is
/// there.
pub(super) fn policies(root: &mut Table<'_>) -> (Vec<Policy>, References) {
    let mut references = References::new("tls policy", "tls");
    references.insert(defaults::POLICY, 0);
    let mut policies = vec![built_in()];
    for Named { name, table, .. } in root.named_tables("tls", "default") {
        let policy = policy(name, table);
        if name == defaults::POLICY {
            policies[0] = policy;
        } else {
            references.insert(name, policies.len());
            policies.push(policy);
        }
    }
    (policies, references)
}

fn built_in() -> Policy {
    Policy {
        name: defaults::POLICY.into(),
        versions: defaults::PRESET.versions().to_vec(),
        cipher_suites: defaults::PRESET.cipher_suites(),
        groups: defaults::PRESET.groups(),
        alpn: defaults::ALPN.to_vec(),
        unknown_sni: defaults::UNKNOWN_SNI,
        missing_sni: defaults::MISSING_SNI,
        handshake_timeout: defaults::HANDSHAKE_TIMEOUT,
        resumption: resumption::built_in(),
        client_auth: None,
        false_start: defaults::FALSE_START,
        certificate_compression: defaults::CERTIFICATE_COMPRESSION,
    }
}

fn policy(name: &str, mut table: Table<'_>) -> Policy {
    let preset = table.choice("preset", defaults::PRESET, Preset::ALL, &[]);
    let versions_given = table.value("versions");
    let suites_given = table.value("cipher_suites");
    let groups_given = table.value("groups");
    if preset == Preset::Custom {
        for (key, value, example) in [
            ("versions", versions_given, "[\"1.2\", \"1.3\"]"),
            (
                "cipher_suites",
                suites_given,
                "[\"TLS_AES_128_GCM_SHA256\"]",
            ),
            ("groups", groups_given, "[\"X25519\"]"),
        ] {
            if value.is_none() {
                let message = format!(
                    "missing key `{key}` in {}: the preset `custom` sets nothing",
                    table.name()
                );
                let diagnostic = Diagnostic::at(table.location, message);
                table
                    .reading
                    .absent(diagnostic.help(format!("add {key} = {example}")));
            }
        }
    }

    let versions =
        versions_given.map(|value| set(value, "versions such as [\"1.2\", \"1.3\"]", version));
    let suites = suites_given.map(|value| set(value, "the names of cipher suites", cipher_suite));
    let groups = groups_given.map(|value| set(value, "the names of groups", group));
    let given = [versions_given, suites_given, groups_given];
    let missing = preset == Preset::Custom && given.iter().any(Option::is_none);
    let refused = matches!(versions, Some(None))
        || matches!(suites, Some(None))
        || matches!(groups, Some(None));

    let versions = versions
        .flatten()
        .unwrap_or_else(|| preset.versions().to_vec());
    let policy = Policy {
        name: name.into(),
        cipher_suites: suites.flatten().unwrap_or_else(|| {
            let mut suites = preset.cipher_suites();
            suites.retain(|suite| versions.contains(&suite.version));
            suites
        }),
        groups: groups.flatten().unwrap_or_else(|| preset.groups()),
        versions,
        alpn: table
            .value("alpn")
            .and_then(alpn)
            .unwrap_or_else(|| defaults::ALPN.to_vec()),
        unknown_sni: table.choice("unknown_sni", defaults::UNKNOWN_SNI, SNI_ACTIONS, &[]),
        missing_sni: table.choice("missing_sni", defaults::MISSING_SNI, SNI_ACTIONS, &[]),
        handshake_timeout: table.duration(
            "handshake_timeout",
            defaults::HANDSHAKE_TIMEOUT,
            &DEADLINE,
        ),
        resumption: resumption::resumption(table.table("resumption")),
        client_auth: client_auth(&mut table),
        false_start: table.choice("false_start", defaults::FALSE_START, FALSE_START_MODES, &[]),
        certificate_compression: table
            .value("certificate_compression")
            .and_then(|value| value.boolean())
            .unwrap_or(defaults::CERTIFICATE_COMPRESSION),
    };
    // A list that was refused is reported already and proves nothing about the others.
    if !missing && !refused {
        agreement(&policy, &table, given);
    }
    table.finish();
    policy
}

/// Reports versions that nothing of the policy serves, and what no version of the policy uses.
fn agreement(policy: &Policy, table: &Table<'_>, given: [Option<Value<'_>>; 3]) {
    let [versions, suites, groups] = given;
    let refuse = |places: &[Option<Value<'_>>], message: String, help: String| {
        let place = places.iter().find_map(|place| *place);
        let location = place.map_or(table.location, |value| value.location);
        let diagnostic = Diagnostic::at(location, message).help(help);
        table.reading.refuse(diagnostic);
    };
    for &version in &policy.versions {
        let number = version.name();
        if !policy.cipher_suites.iter().any(|it| it.version == version) {
            let first = CipherSuite::ALL.iter().find(|it| it.version == version);
            let example = first.map_or_else(String::new, |suite| quoted(suite.name));
            refuse(
                &[suites, versions],
                format!("no cipher suite of this policy works with TLS {number}"),
                format!("add {example}, say, or leave \"{number}\" out of `versions`"),
            );
        }
        if !policy.groups.iter().any(|group| group.usable_for(version)) {
            refuse(
                &[groups, versions],
                format!("no group of this policy works with TLS {number}"),
                format!("add `X25519`, or leave \"{number}\" out of `versions`"),
            );
        }
    }
    if suites.is_some() {
        for suite in &policy.cipher_suites {
            if !policy.versions.contains(&suite.version) {
                let number = suite.version.name();
                refuse(
                    &[suites],
                    format!(
                        "{} works with TLS {number} only, which this policy does not offer",
                        quoted(suite.name)
                    ),
                    format!("leave it out, or add \"{number}\" to `versions`"),
                );
            }
        }
    }
}

/// A list whose elements `read` understands, without repetition and not empty. `None` when
/// anything was refused.
pub(super) fn set<'t, T: PartialEq>(
    value: Value<'t>,
    expected: &str,
    read: impl Fn(Value<'t>) -> Option<T>,
) -> Option<Vec<T>> {
    let elements = value.list(expected)?;
    if elements.is_empty() {
        value.refuse(Diagnostic::new(format!(
            "expected {expected}, found an empty list"
        )));
        return None;
    }
    distinct(elements, read)
}

fn distinct<'t, T: PartialEq>(
    elements: Vec<Value<'t>>,
    read: impl Fn(Value<'t>) -> Option<T>,
) -> Option<Vec<T>> {
    let mut found: Vec<T> = Vec::with_capacity(elements.len());
    let mut whole = true;
    for element in elements {
        match read(element) {
            Some(item) if found.contains(&item) => {
                let name = element.raw.as_str().unwrap_or_default();
                element.refuse(Diagnostic::new(format!("{} is given twice", quoted(name))));
                whole = false;
            }
            Some(item) => found.push(item),
            None => whole = false,
        }
    }
    whole.then_some(found)
}

pub(super) fn version(value: Value<'_>) -> Option<ProtocolVersion> {
    let text = value.text("a version such as \"1.3\"")?;
    let versions = ProtocolVersion::ALL;
    let found = versions.iter().find(|it| it.name() == text.text).copied();
    if found.is_none() {
        text.refuse(match impossible_version(text.text) {
            Some(impossible) => never("TLS version", text.text, impossible),
            None => unknown(
                "TLS version",
                text.text,
                versions.map(ProtocolVersion::name),
            ),
        });
    }
    found
}

pub(super) fn cipher_suite(value: Value<'_>) -> Option<&'static CipherSuite> {
    let text = value.text("the name of a cipher suite")?;
    let found = CipherSuite::by_name(text.text);
    if found.is_none() {
        // An OpenSSL name is answered with OpenSSL names.
        let openssl = !text.text.contains('_');
        let names = CipherSuite::ALL.iter().map(|suite| match openssl {
            true => suite.openssl,
            false => suite.name,
        });
        // One letter off is a slip, but for static ECDH beside ECDHE.
        let is_static = text.text.contains("ECDH_") || text.text.contains("ECDH-");
        let slip = !is_static
            && names
                .clone()
                .any(|name| strsim::damerau_levenshtein(name, text.text) == 1);
        text.refuse(match impossible_suite(text.text) {
            Some(impossible) if !slip => never("cipher suite", text.text, impossible),
            _ => unknown("cipher suite", text.text, names),
        });
    }
    found
}

pub(super) fn group(value: Value<'_>) -> Option<&'static Group> {
    let text = value.text("the name of a group")?;
    let found = Group::by_name(text.text);
    if found.is_none() {
        let names = Group::ALL.iter().map(|group| group.name);
        text.refuse(match impossible_group(text.text) {
            Some(impossible) => never("group", text.text, impossible),
            None => unknown("group", text.text, names),
        });
    }
    found
}

pub(super) fn alpn(value: Value<'_>) -> Option<Vec<Alpn>> {
    let elements = value.list("a list such as [\"h2\", \"http/1.1\"]")?;
    distinct(elements, |element| {
        element.choice(&[("h2", Alpn::H2), ("http/1.1", Alpn::Http11)], &["h3"])
    })
}

fn never(kind: &str, name: &str, impossible: Impossible) -> Diagnostic {
    let message = format!(
        "{kind} {} can never be negotiated: {}",
        quoted(name),
        impossible.reason
    );
    Diagnostic::new(message).help(format!(
        "the nearest that works is {}",
        quoted(impossible.nearest)
    ))
}

fn unknown<'a>(
    kind: &str,
    name: &str,
    names: impl IntoIterator<Item = &'a str> + Clone,
) -> Diagnostic {
    Diagnostic {
        help: suggestion(name, names, "possible"),
        ..Diagnostic::new(format!("unknown {kind} {}", quoted(name)))
    }
}
