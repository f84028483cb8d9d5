//! A check against a JSON Schema: the words that the schemas here use, and no others.

use regex_lite::Regex;
use serde_json::Value;

/// Words that say nothing of a value.
const SILENT: [&str; 5] = ["$schema", "$defs", "$comment", "title", "description"];

/// Checks `value`, which is called `at`, against `schema`, of which `root` is the whole.
pub(crate) fn check(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    for (word, argument) in schema.as_object().unwrap() {
        let choices = || {
            let choices = argument.as_array().unwrap().iter();
            choices.map(|choice| check(root, choice, value, at))
        };
        let fits = match word.as_str() {
            "$ref" => {
                let pointer = argument.as_str().unwrap().strip_prefix('#').unwrap();
                let target = root.pointer(pointer);
                let target = target.unwrap_or_else(|| panic!("{at}: there is no {pointer}"));
                check(root, target, value, at)?;
                true
            }
            "anyOf" => choices().any(|checked| checked.is_ok()),
            "oneOf" => choices().filter(Result::is_ok).count() == 1,
            "const" => value == argument,
            "enum" => argument.as_array().unwrap().contains(value),
            "type" => is_of(value, argument),
            "minimum" => value.as_f64() >= argument.as_f64(),
            "maximum" => value.as_f64() <= argument.as_f64(),
            "minLength" => value.as_str().map(|text| text.len() as u64) >= argument.as_u64(),
            "minItems" => value.as_array().map(|items| items.len() as u64) >= argument.as_u64(),
            "pattern" => {
                let pattern = Regex::new(argument.as_str().unwrap()).unwrap();
                value.as_str().is_none_or(|text| pattern.is_match(text))
            }
            "required" => {
                let mut names = argument.as_array().unwrap().iter();
                names.all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, argument, item, &format!("{at}[{index}]"))?;
                }
                true
            }
            "propertyNames" => {
                for (name, _) in value.as_object().into_iter().flatten() {
                    check(root, argument, &name.as_str().into(), at)?;
                }
                true
            }
            "properties" | "additionalProperties" => true,
            silent if SILENT.contains(&silent) => true,
            unknown => panic!("unknown word {unknown} in the schema"),
        };
        if !fits {
            return Err(format!("{at}: {value} is not {word} {argument}"));
        }
    }
    let (known, more) = (schema.get("properties"), schema.get("additionalProperties"));
    for (name, value) in value.as_object().into_iter().flatten() {
        let own = known.and_then(|known| known.get(name)).or(more);
        let at = format!("{at}.{name}");
        match own {
            None | Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err(format!("{at} is not in the schema")),
            Some(schema) => check(root, schema, value, &at)?,
        }
    }
    Ok(())
}

fn is_of(value: &Value, name: &Value) -> bool {
    match name.as_str() {
        None => name.as_array().unwrap().iter().any(|one| is_of(value, one)),
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some(other) => panic!("unknown type {other} in the schema"),
    }
}
