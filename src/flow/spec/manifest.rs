//! Manifest lines that a specification decides: `path = value`. Knows nothing of inputs' contents.

use serde_json::Value;

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
