//! A validator of JSON Schema: the words that `docs/events.schema.json` uses, and no others.

use serde_json::{Map, Value};

/// A schema whose words are all understood.
#[derive(Debug)]
pub(crate) struct Schema(Value);

/// Words that say nothing of a value.
const SILENT: [&str; 5] = ["$schema", "$defs", "title", "description", "format"];

impl Schema {
    /// The schema of the log's events, as it is shipped.
    pub(crate) fn of_events() -> Self {
        let text = include_str!("../../../docs/events.schema.json");
        Self(serde_json::from_str(text).unwrap())
    }

    /// Checks `value` against it, and that the schema knows every field of it.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        self.check_at(&self.0, value, "")
    }

    fn check_at(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let schema = schema.as_object().unwrap();
        for (word, argument) in schema {
            let fits = match word.as_str() {
                "$ref" => {
                    let pointer = argument.as_str().unwrap().strip_prefix('#').unwrap();
                    self.check_at(self.0.pointer(pointer).unwrap(), value, at)?;
                    true
                }
                "oneOf" => {
                    let choices = argument.as_array().unwrap();
                    let faults: Vec<_> = choices
                        .iter()
                        .filter_map(|choice| self.check_at(choice, value, at).err())
                        .collect();
                    if choices.len() - faults.len() != 1 {
                        return Err(faults.join("; "));
                    }
                    true
                }
                "const" => value == argument,
                "enum" => argument.as_array().unwrap().contains(value),
                "type" => match argument {
                    Value::Array(types) => types.iter().any(|one| is_of(value, one)),
                    one => is_of(value, one),
                },
                "minimum" => value.is_null() || value.as_f64() >= argument.as_f64(),
                "maximum" => value.is_null() || value.as_f64() <= argument.as_f64(),
                "pattern" => {
                    assert_eq!(argument, "^[0-9a-f]{16}$", "the only pattern known here");
                    let text = value.as_str().unwrap_or_default();
                    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                    text.len() == 16 && text.bytes().all(hex)
                }
                "required" => {
                    let names = argument.as_array().unwrap();
                    let has = |name: &Value| value.get(name.as_str().unwrap()).is_some();
                    value.is_null() || names.iter().all(has)
                }
                "items" => {
                    for item in value.as_array().unwrap() {
                        self.check_at(argument, item, &format!("{at}[]"))?;
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
        self.check_fields(schema, value, at)
    }

    fn check_fields(
        &self,
        schema: &Map<String, Value>,
        value: &Value,
        at: &str,
    ) -> Result<(), String> {
        let (known, more) = (schema.get("properties"), schema.get("additionalProperties"));
        if known.is_none() && more.is_none() {
            return Ok(());
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            let own = known.and_then(|known| known.get(name)).or(more);
            let at = format!("{at}.{name}");
            match own {
                Some(schema) => self.check_at(schema, value, &at)?,
                None => return Err(format!("{at} is not in the schema")),
            }
        }
        Ok(())
    }
}

fn is_of(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("unknown type {other} in the schema"),
    }
}
