//! The JSON Schema of pipeline files and recipes, for completion and checking in editors. Knows the kinds by their table.

use serde_json::{Map, Value, json};

use super::keys::STAGE_KEYS;
use crate::kind::KindEntry;

/// A JSON Schema (2020-12) that describes a pipeline file, or a recipe when it has a `kind` at its top.
///
/// A value may also be a reference such as `${params.x}`, so every typed place admits text of that form.
#[must_use]
pub fn schema(kinds: &[KindEntry]) -> Value {
    let mut definitions = Map::new();
    let mut conditions = Vec::new();
    for kind in kinds {
        let mut config = (kind.schema)();
        let nested = config
            .as_object_mut()
            .and_then(|config| config.remove("$defs"));
        if let Some(Value::Object(nested)) = nested {
            for (name, mut definition) in nested {
                open(&mut definition, kind.name);
                definitions.insert(format!("{}.{name}", kind.name), definition);
            }
        }
        if let Some(config) = config.as_object_mut() {
            config.remove("$schema");
        }
        open(&mut config, kind.name);
        // A recipe fills in what a stage leaves out, and the other way round: presence is checked after merging.
        if let Some(config) = config.as_object_mut() {
            config.remove("required");
        }
        definitions.insert(format!("with.{}", kind.name), config);
        conditions.push(json!({
            "if": {"properties": {"kind": {"const": kind.name}}, "required": ["kind"]},
            "then": {"properties": {"with": {"$ref": format!("#/$defs/with.{}", kind.name)}}}
        }));
    }
    let kind_choices: Vec<Value> = kinds
        .iter()
        .map(|kind| json!({"const": kind.name, "description": kind.doc}))
        .collect();
    definitions.insert("stage".to_owned(), stage(&kind_choices, &conditions));
    definitions.insert("source".to_owned(), source());
    definitions.insert("axes".to_owned(), axes());
    definitions.insert(
        "reference".to_owned(),
        json!({"type": "string", "pattern": "\\$\\{"}),
    );
    definitions.insert("claim".to_owned(), claim());
    definitions.insert("pipeline".to_owned(), pipeline());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A pipeline file or a recipe",
        "if": {"required": ["kind"]},
        "then": {"$ref": "#/$defs/stage"},
        "else": {"$ref": "#/$defs/pipeline"},
        "$defs": definitions
    })
}

/// Rewrites references to nested definitions, closes objects, and admits `${…}` beside every simple type.
fn open(schema: &mut Value, kind: &str) {
    match schema {
        Value::Object(entries) => {
            if let Some(Value::String(target)) = entries.get_mut("$ref")
                && let Some(name) = target.strip_prefix("#/$defs/")
            {
                *target = format!("#/$defs/{kind}.{name}");
            }
            if entries.contains_key("properties") && !entries.contains_key("additionalProperties") {
                entries.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            for (key, value) in entries.iter_mut() {
                if key != "properties" {
                    open(value, kind);
                }
            }
            if let Some(Value::Object(properties)) = entries.get_mut("properties") {
                for property in properties.values_mut() {
                    open(property, kind);
                    admit_reference(property);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| open(item, kind)),
        _ => {}
    }
}

/// `{…, "type": "integer"}` becomes either that or a reference; documentation stays outside.
fn admit_reference(property: &mut Value) {
    let Value::Object(entries) = property else {
        return;
    };
    let mut outer = Map::new();
    for key in ["description", "default", "title"] {
        if let Some(value) = entries.remove(key) {
            outer.insert(key.to_owned(), value);
        }
    }
    let inner = Value::Object(std::mem::take(entries));
    outer.insert(
        "anyOf".to_owned(),
        json!([inner, {"$ref": "#/$defs/reference"}]),
    );
    *entries = outer;
}

const NAME: &str = "^[a-z][a-z0-9_-]*$";

fn pipeline() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "extends": {"type": "string", "description": "A file this one changes: maps merge, lists replace, null removes. Relative to this file."},
            "doc": {"type": "string", "description": "One line, shown in the report."},
            "about": {
                "type": "object",
                "description": "Who made the experiment, how to cite it, under which terms: title, authors, licence, citation, doi, url, year, language, and whatever else is worth knowing.",
                "properties": {
                    "title": {"type": "string"},
                    "authors": {
                        "description": "Names, or maps with `name`, `orcid`, `affiliation`, `email`, `url`.",
                        "items": {
                            "type": ["string", "object"],
                            "required": ["name"],
                            "properties": {
                                "name": {"type": "string"},
                                "orcid": {"type": "string", "pattern": "^(https?://orcid.org/)?([0-9]{4}-){3}[0-9]{3}[0-9X]$"},
                                "affiliation": {"type": "string"},
                                "email": {"type": "string"},
                                "url": {"type": "string"}
                            },
                            "additionalProperties": false
                        }
                    },
                    "licence": {"type": "string", "description": "The terms of what you made, such as `CC BY 4.0`."},
                    "citation": {"type": "string", "description": "How to cite it, such as BibTeX."}
                }
            },
            "params": {"type": "object", "description": "Values for `${params.NAME}`; `--set NAME=VALUE` changes them."},
            "profiles": {
                "type": "object",
                "description": "Named changes to this file, chosen with `--profile NAME`.",
                "additionalProperties": {"type": ["object", "null"]}
            },
            "stages": {
                "type": "object",
                "description": "The stages by name.",
                "propertyNames": {"pattern": NAME},
                "additionalProperties": {"$ref": "#/$defs/stage"}
            },
            "expect": {
                "description": "Claims, e.g. of a paper, that reports hold against the results; a list, or lists by name.",
                "anyOf": [
                    {"type": "array", "items": {"$ref": "#/$defs/claim"}},
                    {"type": "object", "additionalProperties": {"type": ["array", "null"], "items": {"$ref": "#/$defs/claim"}}}
                ]
            }
        }
    })
}

fn claim() -> Value {
    json!({
        "type": "object",
        "required": ["metric", "value"],
        "additionalProperties": false,
        "properties": {
            "metric": {"type": "string", "description": "The name of the number, such as `f1`."},
            "where": {"type": "object", "description": "Axis and column values that single it out."},
            "value": {"description": "The number claimed."},
            "tolerance": {"description": "The margin: the largest difference that still counts as reproduced."},
            "n": {"description": "How many runs the stated value is the mean of; one unless given."},
            "sd": {"description": "The standard deviation over those runs; ours is taken for it unless given."},
            "source": {"type": "string", "description": "Where the claim stands, such as `Table 7`."},
            "note": {"type": "string", "description": "Explains a known difference."}
        }
    })
}

fn source() -> Value {
    json!({
        "description": "A stage, `stage.output`, or a path with a `/`.",
        "anyOf": [
            {"type": "string"},
            {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "file": {"type": "string", "description": "A path or pattern, relative to the root."},
                    "stage": {"type": "string", "description": "One instance of a stage."},
                    "all": {"type": "string", "description": "Every instance of a stage: a folder with one entry each and `index.jsonl`."},
                    "output": {"type": "string", "description": "Which output; `metrics` holds the numbers."},
                    "where": {"type": "object", "description": "Axis values; a list takes each of them."},
                    "as": {"type": "string", "description": "The place in the stage's folder; the port's name unless said."}
                }
            }
        ]
    })
}

fn axes() -> Value {
    let list = json!({"anyOf": [{"type": "array", "minItems": 1}, {"$ref": "#/$defs/reference"}]});
    json!({
        "anyOf": [
            {"$ref": "#/$defs/reference"},
            {
                "type": "object",
                "properties": {
                    "zip": {"type": "object", "description": "Axes that go in step; lists of one length.", "additionalProperties": list},
                    "include": {"type": "array", "description": "Further cells, each with a value for every axis.", "items": {"type": "object"}},
                    "exclude": {"type": "array", "description": "Cells to leave out; axes not mentioned match any value.", "items": {"type": "object"}},
                    "from": {"type": "string", "description": "A stage whose axes this one has too."}
                },
                "additionalProperties": list
            }
        ]
    })
}

fn stage(kind_choices: &[Value], conditions: &[Value]) -> Value {
    let mut properties = Map::new();
    for (key, doc) in STAGE_KEYS {
        let mut property = stage_key(key, kind_choices);
        or_null(&mut property);
        if let Some(property) = property.as_object_mut() {
            property.insert("description".to_owned(), doc.into());
        }
        properties.insert(key.to_owned(), property);
    }
    json!({
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": properties,
        "not": {"required": ["kind", "use"]},
        "allOf": conditions
    })
}

/// A file that extends another removes a key with `null`.
fn or_null(property: &mut Value) {
    let Value::Object(entries) = property else {
        return;
    };
    if let Some(only) = entries.remove("$ref") {
        let choices = json!([{"$ref": only}, {"type": "null"}]);
        entries.insert("anyOf".to_owned(), choices);
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(Value::Array(choices)) = entries.get_mut(key) {
            choices.push(json!({"type": "null"}));
        }
    }
    if let Some(Value::Array(values)) = entries.get_mut("enum") {
        values.push(Value::Null);
    }
    match entries.get_mut("type") {
        Some(Value::Array(types)) => types.push("null".into()),
        Some(one @ Value::String(_)) => *one = json!([one.clone(), "null"]),
        _ => {}
    }
}

fn stage_key(key: &str, kind_choices: &[Value]) -> Value {
    let text = json!({"type": "string"});
    let amount = json!({"type": ["string", "number"]});
    match key {
        "kind" => json!({"oneOf": kind_choices}),
        "needs" => json!({
            "type": "object",
            "propertyNames": {"pattern": NAME},
            "additionalProperties": {"$ref": "#/$defs/source"}
        }),
        "outputs" => json!({
            "type": "object",
            "propertyNames": {"pattern": NAME},
            "additionalProperties": {"anyOf": [text, {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "path": {"type": "string", "description": "Where the stage leaves it in its folder (command only)."},
                    "keep": {"enum": ["always", "until_used", "never"], "description": "How long the bytes are kept."}
                }
            }]}
        }),
        "matrix" => json!({"$ref": "#/$defs/axes"}),
        "replicate" => json!({
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "propertyNames": {"pattern": NAME}
        }),
        "resources" => json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "cores": {"description": "CPU cores; 1 unless said.", "anyOf": [{"type": "integer", "minimum": 1}, {"$ref": "#/$defs/reference"}]},
                "memory": {"description": "Such as `20GiB`.", "type": ["string", "integer"]},
                "gpu": {"description": "How many, or `{ count, memory }`.", "anyOf": [
                    {"type": ["integer", "string"]},
                    {"type": "object", "additionalProperties": false, "properties": {"count": {"type": "integer"}, "memory": {"type": ["string", "integer"]}}}
                ]},
                "time": {"description": "After this it is stopped: `10m`, `1h30m`, or seconds.", "type": ["string", "number"]},
                "device": {"description": "`auto`, `cpu`, `cuda`, `cuda:N` or `reference`.", "type": "string"},
                "micro_batch": {"description": "Sequences a device takes at once.", "type": ["integer", "string"]},
                "processes": {"description": "Processes that train together, each on a GPU of its own or with its share of the cores (pretrain).", "anyOf": [{"type": "integer", "minimum": 1}, {"$ref": "#/$defs/reference"}]}
            }
        }),
        "env" => json!({
            "type": "object",
            "additionalProperties": {"anyOf": [
                {"type": ["string", "number", "boolean"]},
                {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "value": {"type": "string"},
                        "from": {"const": "environment"},
                        "secret": {"type": "boolean", "description": "Stays out of key, record and messages."}
                    }
                }
            ]}
        }),
        "environment" => json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "files": {"type": "array", "items": text, "description": "Files whose content is in the key, such as `./uv.lock`."},
                "record": {"type": "array", "items": {"type": "array", "items": text}, "description": "Commands whose output goes into the record."},
                "strict": {"type": "boolean", "description": "Whether a change of those outputs changes the key."}
            }
        }),
        "checkpoint" => json!({"anyOf": [text, {
            "type": "object",
            "additionalProperties": false,
            "required": ["dir"],
            "properties": {
                "dir": {"type": "string", "description": "The folder inside the stage's folder."},
                "signal": {"enum": ["SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP", "TERM", "INT", "USR1", "USR2", "HUP"]},
                "grace": amount
            }
        }]}),
        "when" => json!({
            "type": "object",
            "propertyNames": {"pattern": NAME},
            "additionalProperties": {"anyOf": [
                {"type": ["string", "number", "boolean"]},
                {"type": "array", "items": {"type": ["string", "number", "boolean"]}}
            ]}
        }),
        "numbers" => json!({"anyOf": [text, {"type": "array", "items": text}]}),
        "retries" => json!({"type": ["integer", "string"], "minimum": 0}),
        "protect" => json!({"type": ["boolean", "string"]}),
        "sandbox" => json!({"enum": ["strict", "off"]}),
        "with" => json!({"type": "object"}),
        "use" | "doc" | "publish" => text,
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::KINDS;
    use super::*;

    /// Every `$ref` of a schema leads somewhere.
    fn check_references(schema: &Value, within: &Value) {
        match within {
            Value::Object(entries) => {
                if let Some(Value::String(target)) = entries.get("$ref") {
                    let name = target.strip_prefix("#/$defs/").expect("a local reference");
                    assert!(schema["$defs"].get(name).is_some(), "{target}");
                }
                entries
                    .values()
                    .for_each(|value| check_references(schema, value));
            }
            Value::Array(items) => items.iter().for_each(|item| check_references(schema, item)),
            _ => {}
        }
    }

    #[test]
    fn every_stage_key_is_documented_and_with_follows_the_kind() {
        let schema = schema(KINDS);
        check_references(&schema, &schema);
        let stage = &schema["$defs"]["stage"];
        for (key, _) in STAGE_KEYS {
            let property = &stage["properties"][key];
            assert!(property["description"].is_string(), "{key}");
            assert!(property.as_object().expect("a map").len() > 1, "{key}");
        }
        assert_eq!(
            stage["allOf"].as_array().expect("a list").len(),
            KINDS.len()
        );
        let train = &schema["$defs"]["with.train"];
        assert_eq!(train["additionalProperties"], json!(false));
        assert!(train["properties"]["epochs"]["anyOf"].is_array());
        for key in super::super::keys::TOP_KEYS {
            assert!(
                schema["$defs"]["pipeline"]["properties"].get(key).is_some(),
                "{key}"
            );
        }
    }
}
