//! A pipeline file as one text: what it extends, a profile, settings and recipes laid over each other, references as
//! they are. Whoever loads it gets the stages of the file it was made from. Knows nothing of what stages mean.

use super::decode::float_text;
use super::node::{Entry, Node, Value};

/// The document as YAML. `leave_out` names keys at the top that are not written: `profiles` where they are merged in.
pub(super) fn text(document: &Node, leave_out: &[&str]) -> String {
    let mut text = String::new();
    for entry in document.entries() {
        if leave_out.contains(&entry.key.as_str()) {
            continue;
        }
        let is_stages = entry.key == "stages";
        let stages: Vec<Entry>;
        let value = if is_stages {
            stages = entry.value.entries().iter().map(resolved).collect();
            Value::Map(stages)
        } else {
            entry.value.value.clone()
        };
        write_entry(&mut text, &entry.key, &value, 0);
    }
    text
}

/// A stage without its recipe, which stands in it by now, and without secrets, which are in no key.
fn resolved(stage: &Entry) -> Entry {
    let mut stage = stage.clone();
    if let Value::Map(entries) = &mut stage.value.value {
        entries.retain(|entry| entry.key != "use");
        for entry in entries.iter_mut().filter(|entry| entry.key == "env") {
            if let Value::Map(variables) = &mut entry.value.value {
                variables.iter_mut().for_each(from_environment);
            }
        }
    }
    stage
}

fn from_environment(variable: &mut Entry) {
    let is_secret = variable
        .value
        .find("secret")
        .is_some_and(|secret| secret.value.value == Value::Bool(true));
    if let (true, Value::Map(keys)) = (is_secret, &mut variable.value.value) {
        for key in keys.iter_mut().filter(|key| key.key == "value") {
            key.key = "from".to_owned();
            key.value.value = Value::String("environment".to_owned());
        }
    }
}

fn write_entry(text: &mut String, key: &str, value: &Value, depth: usize) {
    indent(text, depth);
    text.push_str(&scalar(key));
    text.push(':');
    write_value(text, value, depth);
}

fn write_value(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Map(entries) if !entries.is_empty() => {
            text.push('\n');
            for entry in entries {
                write_entry(text, &entry.key, &entry.value.value, depth + 1);
            }
        }
        Value::Sequence(items) if !items.is_empty() => {
            text.push('\n');
            for item in items {
                indent(text, depth + 1);
                text.push('-');
                write_value(text, &item.value, depth + 1);
            }
        }
        Value::Map(_) => text.push_str(" {}\n"),
        Value::Sequence(_) => text.push_str(" []\n"),
        Value::Null => text.push_str(" null\n"),
        Value::Bool(value) => text.push_str(&format!(" {value}\n")),
        Value::Int(value) => text.push_str(&format!(" {value}\n")),
        Value::Float(value) => text.push_str(&format!(" {}\n", float_text(*value))),
        Value::String(words) if is_block(words) => {
            text.push_str(" |\n");
            for line in words.lines() {
                if !line.is_empty() {
                    indent(text, depth + 1);
                    text.push_str(line);
                }
                text.push('\n');
            }
        }
        Value::String(words) => {
            text.push(' ');
            text.push_str(&scalar(words));
            text.push('\n');
        }
    }
}

fn indent(text: &mut String, depth: usize) {
    for _ in 0..depth {
        text.push_str("  ");
    }
}

/// Whether a text of several lines can stand as it is.
fn is_block(words: &str) -> bool {
    let body = words.strip_suffix('\n').unwrap_or_default();
    body.contains('\n')
        && !body.ends_with('\n')
        && !body.starts_with([' ', '\n'])
        && body
            .chars()
            .all(|c| c == '\n' || !(c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')))
        // A line of blanks alone would end the block elsewhere.
        && body.lines().all(|line| line.is_empty() || !line.trim().is_empty())
}

/// A text as a scalar that stays one: bare where it can be taken for nothing else.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 10] = [
        "null", "true", "false", "yes", "no", "on", "off", "y", "n", "inf",
    ];
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./$".contains(c);
    let is_bare = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(plain)
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if is_bare {
        text.to_owned()
    } else {
        // Quoted text of JSON is text of YAML, too.
        serde_json::to_string(text)
            .expect("strings serialise")
            .replace('\u{7f}', "\\x7f")
            .replace('\u{85}', "\\x85")
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029")
            .replace('\u{feff}', "\\ufeff")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceId;
    use crate::spec::decode::to_json;
    use crate::spec::yaml;
    use proptest::prelude::*;

    fn read(text: &str) -> Node {
        let parsed = yaml::parse(text, SourceId(0));
        assert!(parsed.problems.is_empty(), "{:?}\n{text}", parsed.problems);
        parsed.node.expect("a document")
    }

    #[test]
    fn secrets_recipes_and_profiles_are_not_written() {
        let node = read(
            "about: { title: T }\nprofiles: { smoke: {} }\nstages:\n  a:\n    use: stages/x.yaml\n    kind: t\n    env: { A: { value: hidden, secret: true }, B: plain }\n",
        );
        assert_eq!(
            text(&node, &["about", "profiles"]),
            "stages:\n  a:\n    kind: t\n    env:\n      A:\n        from: environment\n        secret: true\n      B: plain\n"
        );
    }

    fn words() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[a-z ]{0,8}(\n ?[a-z#:-]{0,6}){0,4}\n{0,2}",
            prop::sample::select(vec![
                "1e3",
                "08",
                "1_000",
                "~",
                "null",
                "- a",
                "a: b",
                "#x",
                "yes",
                "'",
                "${params.a}"
            ])
            .prop_map(str::to_owned),
        ]
    }

    fn values() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            words().prop_map(Into::into),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            (-1e300..1e300_f64)
                .prop_filter("no -0", |x| *x != 0.0)
                .prop_map(Into::into),
            Just(serde_json::Value::Null),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::Array),
                prop::collection::btree_map(words(), inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in values()) {
            let json = serde_json::json!({ "params": { "value": value } });
            let node = read(&json.to_string());
            let again = read(&text(&node, &[]));
            prop_assert_eq!(to_json(&again), to_json(&node));
        }
    }
}
