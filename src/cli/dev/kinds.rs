//! Tables of every key of a kind's `with:` as Markdown, from its JSON Schema. Knows no kind.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::kinds::KINDS;

/// The tables of the kind of this name: its own keys, then those of maps inside it.
pub(super) fn tables(kind: &str) -> Option<String> {
    let entry = KINDS.iter().find(|entry| entry.name == kind)?;
    let schema = (entry.schema)();
    let none = Map::new();
    let book = Book {
        definitions: schema
            .get("$defs")
            .and_then(Value::as_object)
            .unwrap_or(&none),
    };
    let mut text = book.table(&schema, &format!("`{kind}` key"));
    let mut seen = BTreeSet::new();
    let mut names = book.maps_of(&schema);
    while let Some(name) = names.pop() {
        if seen.insert(name.clone()) {
            names.extend(book.maps_of(&book.definitions[&name]));
        }
    }
    for name in seen {
        let _ = write!(
            text,
            "\n{}",
            book.table(&book.definitions[&name], &format!("{} key", words(&name)))
        );
    }
    Some(text)
}

/// `TableOptions` as people say it: `table`.
fn words(name: &str) -> String {
    let name = name.trim_end_matches("Options").trim_end_matches("Spec");
    name.to_lowercase()
}

struct Book<'a> {
    definitions: &'a Map<String, Value>,
}

impl Book<'_> {
    fn table(&self, schema: &Value, title: &str) -> String {
        let mut text = format!("| {title} | form | meaning |\n| --- | --- | --- |\n");
        let required: Vec<&str> = schema["required"]
            .as_array()
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let must = if required.contains(&name.as_str()) {
                ", required"
            } else {
                ""
            };
            let doc = property["description"].as_str().unwrap_or_default();
            let _ = writeln!(
                text,
                "| `{name}` | {}{must} | {} |",
                self.form(property),
                cell(doc)
            );
        }
        text
    }

    fn definition(&self, schema: &Value) -> Option<(&str, &Value)> {
        let name = schema["$ref"].as_str()?.strip_prefix("#/$defs/")?;
        let (name, definition) = self.definitions.get_key_value(name)?;
        Some((name, definition))
    }

    /// What may be written there.
    fn form(&self, schema: &Value) -> String {
        if let Some((name, definition)) = self.definition(schema) {
            return match definition["properties"].is_object() {
                true => format!("map ({})", words(name)),
                false => self.form(definition),
            };
        }
        if let Some(value) = schema.get("const") {
            return format!("`{}`", plain(value));
        }
        for key in ["oneOf", "anyOf"] {
            if let Some(forms) = schema[key].as_array() {
                let forms: Vec<String> = forms
                    .iter()
                    .filter(|form| form["type"] != "null")
                    .map(|form| self.form(form))
                    .collect();
                return forms.join(" or ");
            }
        }
        if let Some(values) = schema["enum"].as_array() {
            let values: Vec<String> = values
                .iter()
                .filter(|value| !value.is_null())
                .map(|value| format!("`{}`", plain(value)))
                .collect();
            return values.join(" or ");
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds
                .iter()
                .filter_map(Value::as_str)
                .find(|k| *k != "null"),
            kind => kind.as_str(),
        };
        match kind {
            Some("array") => format!("list of {}", self.form(&schema["items"])),
            Some("object") if schema["additionalProperties"].is_object() => {
                format!("map of {}", self.form(&schema["additionalProperties"]))
            }
            Some("object") => "map".to_owned(),
            Some("string") => "text".to_owned(),
            Some("integer") => "whole number".to_owned(),
            Some("boolean") => "`true` or `false`".to_owned(),
            Some(other) => other.to_owned(),
            None => "any value".to_owned(),
        }
    }

    /// Names of the definitions with keys of their own that a schema mentions.
    fn maps_of(&self, schema: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.collect(schema, &mut found);
        found
    }

    fn collect(&self, schema: &Value, found: &mut Vec<String>) {
        if let Some((name, definition)) = self.definition(schema) {
            if definition["properties"].is_object() {
                found.push(name.to_owned());
            } else {
                self.collect(definition, found);
            }
        }
        match schema {
            Value::Array(items) => items.iter().for_each(|item| self.collect(item, found)),
            Value::Object(map) => map
                .iter()
                .filter(|(key, _)| *key != "$defs")
                .for_each(|(_, value)| self.collect(value, found)),
            _ => {}
        }
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}
