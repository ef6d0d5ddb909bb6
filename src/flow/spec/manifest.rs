//! Manifest lines that a specification decides: `path = value`. Knows nothing of inputs' contents.

use serde_json::Value;

use super::{EnvVar, OutputSpec};

/// Lines on their way into a manifest: path and text of the value.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<(String, String)>);

impl Lines {
    /// One line; `value` is already in its written form.
    pub(crate) fn push(&mut self, path: impl Into<String>, value: impl Into<String>) {
        self.0.push((path.into(), value.into()));
    }

    /// A line with text, JSON-encoded.
    pub(crate) fn text(&mut self, path: impl Into<String>, value: &str) {
        self.push(path, json_text(value));
    }

    /// A value flattened into one line a leaf; empty lists and maps are leaves.
    pub(crate) fn flatten(&mut self, path: &str, value: &Value) {
        match value {
            Value::Array(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    self.flatten(&format!("{path}.{index}"), item);
                }
            }
            Value::Object(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    self.flatten(&format!("{path}.{}", step(key)), value);
                }
            }
            leaf => self.push(path, leaf.to_string()),
        }
    }

    /// Outputs and the metric files of a program.
    pub(crate) fn outputs(&mut self, outputs: &[OutputSpec], numbers: &[String]) {
        for output in outputs {
            self.text(format!("output.{}", step(&output.name)), &output.path);
        }
        for (index, file) in numbers.iter().enumerate() {
            self.text(format!("output.numbers.{index}"), file);
        }
    }

    /// The text: sorted by the bytes of the paths, each line ending in a newline.
    pub(crate) fn into_text(mut self) -> String {
        self.0.sort();
        let mut text = String::new();
        for (path, value) in self.0 {
            text.push_str(&path);
            text.push_str(" = ");
            text.push_str(&value);
            text.push('\n');
        }
        text
    }
}

/// The lines of a manifest before and after its inputs, but for kind, numerics and device: of a configuration as it
/// enters the manifest, of variables, of outputs and of metric files.
#[must_use]
pub fn manifest_lines(
    config: Option<&Value>,
    env: &[EnvVar],
    outputs: &[OutputSpec],
    numbers: &[String],
) -> (String, String) {
    let (mut before, mut after) = (Lines::default(), Lines::default());
    if let Some(config) = config.filter(|config| **config != serde_json::json!({})) {
        before.flatten("config", config);
    }
    for variable in env.iter().filter(|variable| !variable.secret) {
        match &variable.value {
            Some(value) => before.text(format!("env.{}", variable.name), value),
            None => before.push(format!("env.{}", variable.name), "null"),
        }
    }
    after.outputs(outputs, numbers);
    (before.into_text(), after.into_text())
}

/// A key as one step of a path: as it is when it is a plain word, else JSON-encoded, so that no two paths coincide.
pub(crate) fn step(key: &str) -> String {
    let plain = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if plain {
        key.to_owned()
    } else {
        json_text(key)
    }
}

fn json_text(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_and_flat() {
        let mut lines = Lines::default();
        lines.flatten(
            "config",
            &serde_json::json!({"b": 1e-4, "a": ["x\n", {"k.1": true}], "e": {}, "n": null}),
        );
        lines.text("env.HOME", "/x");
        assert_eq!(
            lines.into_text(),
            "config.a.0 = \"x\\n\"\nconfig.a.1.\"k.1\" = true\nconfig.b = 0.0001\nconfig.e = {}\nconfig.n = null\nenv.HOME = \"/x\"\n"
        );
    }
}
