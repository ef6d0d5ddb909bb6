//! What a manifest says of the kind and the configuration behind a result, read back from its lines. Knows no kind.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::key::Manifest;

/// The kind and the configuration of a result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MadeBy {
    /// The kind's name.
    pub kind: String,
    /// The version of the kind that made it.
    pub version: u32,
    /// The configuration as it stands in the manifest: without what is at its default.
    pub config: Value,
}

impl MadeBy {
    /// Of the text of a record; `None` without a line for the kind.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Option<Self> {
        let mut found = Self {
            config: Value::Object(Map::new()),
            ..Self::default()
        };
        for (path, value) in manifest.lines() {
            if path == "kind" {
                let (kind, version) = value.split_once(' ')?;
                kind.clone_into(&mut found.kind);
                found.version = version.split_whitespace().next()?.parse().ok()?;
            } else if let Some(path) = path.strip_prefix("config.") {
                let value = serde_json::from_str(value).ok()?;
                put(&mut found.config, &steps(path)?, value);
            }
        }
        lists(&mut found.config);
        (!found.kind.is_empty()).then_some(found)
    }
}

/// The steps of a path: plain words, and others as JSON.
fn steps(path: &str) -> Option<Vec<String>> {
    let mut steps = Vec::new();
    let mut rest = path;
    loop {
        let step = if rest.starts_with('"') {
            let mut read = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let step = read.next()?.ok()?;
            rest = rest.get(read.byte_offset()..)?;
            step
        } else {
            let (step, _) = rest.split_once('.').unwrap_or((rest, ""));
            rest = &rest[step.len()..];
            step.to_owned()
        };
        steps.push(step);
        match rest.strip_prefix('.') {
            Some(more) => rest = more,
            None if rest.is_empty() => return Some(steps),
            None => return None,
        }
    }
}

fn put(into: &mut Value, steps: &[String], value: Value) {
    let Some((step, rest)) = steps.split_first() else {
        *into = value;
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    if let Some(map) = into.as_object_mut() {
        let inner = map.entry(step.clone()).or_insert(Value::Null);
        put(inner, rest, value);
    }
}

/// Maps of 0, 1, 2 … were lists. A map that a person wrote so is taken for one too: its lines are the same.
fn lists(value: &mut Value) {
    let Value::Object(map) = value else {
        return;
    };
    map.values_mut().for_each(lists);
    let is_list = !map.is_empty() && (0..map.len()).all(|at| map.contains_key(&at.to_string()));
    if is_list {
        let items = (0..map.len()).filter_map(|at| map.remove(&at.to_string()));
        *value = Value::Array(items.collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::manifest_lines;

    #[test]
    fn lines_are_read_back_as_the_configuration_they_are_of() {
        let config = serde_json::json!({
            "rate": 5e-5, "name": "a = b", "many": (0..12).collect::<Vec<_>>(),
            "deep": {"k.1": true, "say \"x\"": [{"a": null}], "empty": {}}, "none": [],
        });
        let (before, after) = manifest_lines(Some(&config), &[], &[], &[]);
        let manifest = Manifest(format!(
            "{before}input.x = file aa\nkind = finetune 2\n{after}"
        ));
        let made = MadeBy::of(&manifest).expect("a kind");
        assert_eq!((made.kind.as_str(), made.version), ("finetune", 2));
        assert_eq!(made.config, config);
        assert_eq!(MadeBy::of(&Manifest("config.a = 1\n".to_owned())), None);
        assert_eq!(steps("a.\"b"), None);
    }
}
