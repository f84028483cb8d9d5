//! `handfast config schema`: a JSON Schema of the configuration, for editors.
//!
//! Types and bounds are in `src/config/schema.json`. What a key means is taken from the tables of
//! `docs/configuration.md`: one text for both. A table of the schema names its section in
//! `$comment`.

use serde_json::Value;

use super::cli::say;
use super::exit::Exit;

const TYPES: &str = include_str!("../config/schema.json");
const REFERENCE: &str = include_str!("../../docs/configuration.md");

/// Prints the schema.
pub(super) fn schema() -> Exit {
    say(&format!("{:#}", described()));
    Exit::Ok
}

/// The schema with what the reference says of each key.
fn described() -> Value {
    let mut schema = serde_json::from_str(TYPES).expect("a test reads the schema");
    describe(&mut schema);
    schema
}

fn describe(schema: &mut Value) {
    match schema {
        Value::Object(words) => {
            let section = words.remove("$comment");
            if let Some(section) = section.as_ref().and_then(Value::as_str)
                && let Some(Value::Object(keys)) = words.get_mut("properties")
            {
                for (key, schema) in keys {
                    if let Some(words) = schema.as_object_mut()
                        && !words.contains_key("description")
                        && let Some(text) = meaning(section, key)
                    {
                        words.insert("description".to_owned(), text.into());
                    }
                }
            }
            words.values_mut().for_each(describe);
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(describe),
        _ => {}
    }
}

/// What the reference says of `key` in the table of `section`, as plain text.
fn meaning(section: &str, key: &str) -> Option<String> {
    let mut here = false;
    for line in REFERENCE.lines() {
        if let Some(heading) = line.strip_prefix("##") {
            here = heading.trim_start_matches('#').trim().trim_matches('`') == section;
        } else if here
            && let Some((name, default, text)) = row(line)
            && name == key
        {
            let text = match default {
                "" | "required" => text.to_owned(),
                default => format!("{text} Default: {default}."),
            };
            return Some(plain(text.trim()));
        }
    }
    None
}

/// Key, default and meaning of a line of a key table.
fn row(line: &str) -> Option<(&str, &str, &str)> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    match cells[..] {
        ["", name, _type, default, text, ""] => {
            let name = name.strip_prefix('`')?.strip_suffix('`')?;
            Some((name, default, text))
        }
        _ => None,
    }
}

/// `text` without the marks of Markdown.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        let target = link
            .split_once("](")
            .and_then(|(name, target)| Some((name, target.split_once(')')?.1)));
        let Some((name, after)) = target else { break };
        plain.push_str(before);
        plain.push_str(name);
        rest = after;
    }
    plain.push_str(rest);
    plain.replace('`', "")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Map;

    use super::*;
    use crate::config;

    /// Every table of `schema` with the TOML that leads into it, and its words.
    fn tables(schema: &Value) -> Vec<(Way, Map<String, Value>)> {
        let mut found = Vec::new();
        walk(schema, schema, &Way::default(), &mut found);
        found
    }

    /// How a key of a table is written in a file of its own.
    #[derive(Clone, Default)]
    struct Way {
        /// In front of the key.
        before: String,
        after: String,
    }

    impl Way {
        fn inside(&self, before: &str, after: &str) -> Self {
            Self {
                before: format!("{}{before}", self.before),
                after: format!("{after}{}", self.after),
            }
        }
    }

    fn walk(root: &Value, schema: &Value, way: &Way, found: &mut Vec<(Way, Map<String, Value>)>) {
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = root.pointer(target.trim_start_matches('#')).unwrap();
            walk(root, target, way, found);
        }
        let choices = schema.get("anyOf").and_then(Value::as_array);
        for choice in choices.into_iter().flatten() {
            walk(root, choice, way, found);
        }
        if let Some(items) = schema.get("items") {
            walk(root, items, &way.inside("[", "]"), found);
        }
        match schema.get("additionalProperties") {
            Some(more @ Value::Object(_)) if more.get("type").is_none() => {
                walk(root, more, &way.inside("{ x = ", " }"), found);
            }
            Some(Value::Bool(false)) => {
                let words = schema.as_object().unwrap().clone();
                let inside = if way.before.is_empty() {
                    way.clone()
                } else {
                    way.inside("{ ", " }")
                };
                for (key, schema) in schema["properties"].as_object().unwrap() {
                    let way = inside.inside(&format!("{key} = "), "");
                    walk(root, schema, &way, found);
                }
                found.push((inside, words));
            }
            _ => {}
        }
    }

    /// The keys that the loader knows where `way` leads.
    fn known(way: &Way) -> Vec<String> {
        // What is read only beside something that gives it a meaning.
        let inside = way.before.replace(
            "client_auth = { ",
            "client_auth = { mode = \"required\", ca = \"ca.pem\", ",
        );
        let inside = inside.replace(
            "listeners = [{ redirect",
            "listeners = [{ tls = false, redirect",
        );
        let text = format!("{inside}zzzzzzzz = 1{}\n", way.after);
        let faults = config::parse(&text, Path::new("x.toml")).unwrap_err();
        let unknown = faults
            .items
            .iter()
            .find(|fault| fault.message.starts_with("unknown key `zzzzzzzz`"))
            .unwrap_or_else(|| panic!("{text}: {faults}"));
        let help = unknown.help.as_deref().unwrap();
        assert!(!help.contains(" more"), "not all keys are named: {help}");
        let list = help.strip_prefix("known here: ").unwrap();
        let keys = list.split(", ").map(|key| key.trim_matches('`').to_owned());
        keys.collect()
    }

    #[test]
    fn the_schema_has_the_keys_that_the_loader_knows() {
        let schema: Value = serde_json::from_str(TYPES).unwrap();
        let tables = tables(&schema);
        assert!(tables.len() > 30, "{}", tables.len());
        let mut faults = Vec::new();
        for (way, words) in tables {
            let mut known = known(&way);
            known.sort();
            let keys: Vec<_> = words["properties"].as_object().unwrap().keys().collect();
            if !keys.iter().copied().eq(&known) {
                faults.push(format!("{}: {keys:?} is {known:?}", way.before));
            }
        }
        assert!(faults.is_empty(), "src/config/schema.json: {faults:#?}");
    }

    #[test]
    fn every_key_is_described_and_every_described_key_is_there() {
        let types: Value = serde_json::from_str(TYPES).unwrap();
        let mut count = 0;
        let mut faults = Vec::new();
        for (way, words) in tables(&types) {
            let Some(section) = words.get("$comment").and_then(Value::as_str) else {
                continue;
            };
            for (key, schema) in words["properties"].as_object().unwrap() {
                count += 1;
                if schema.get("description").is_none() && meaning(section, key).is_none() {
                    faults.push(format!("{}: {key}", way.before));
                }
            }
        }
        assert!(faults.is_empty(), "docs/configuration.md: {faults:#?}");
        assert!(count > 100, "{count}");

        let schema = described().to_string();
        let mut rows = 0;
        let mut keys = false;
        for line in REFERENCE.lines() {
            keys = line == "| key | type | default | |" || keys && line.starts_with('|');
            if let Some((name, ..)) = row(line).filter(|_| keys) {
                assert!(schema.contains(&format!("\"{name}\":")), "{name}");
                rows += 1;
            }
        }
        assert!(rows > 100, "{rows}");
    }

    #[test]
    fn descriptions_are_plain_text() {
        assert_eq!(
            meaning("[limits]", "h2_streams").unwrap().split('.').next(),
            Some("At once on one HTTP/2 connection")
        );
        let schema = described();
        let backlog = &schema["$defs"]["listener"]["properties"]["backlog"]["description"];
        let backlog = backlog.as_str().unwrap();
        assert!(backlog.contains("net.core.somaxconn"), "{backlog}");
        assert!(backlog.ends_with("Default: 4096."), "{backlog}");
        assert!(!schema.to_string().contains("$comment"));
    }
}
