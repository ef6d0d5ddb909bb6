//! What decoding says about a value that is not accepted, and what to write instead. Knows no kind and no stage.

use super::decode::{Context, Kind, scalar_text};
use super::node::{Entry, Node, Value};
use super::suggest;
use crate::diagnostic::Diagnostic;

impl Context<'_> {
    /// A key that does not belong.
    pub(super) fn unknown_key(
        &self,
        path: &[String],
        entry: &Entry,
        expected: &[&'static str],
    ) -> Diagnostic {
        let inside = path.last().map(String::as_str);
        let label = match inside.or(self.owner) {
            Some(owner) => format!("not a key of `{owner}`"),
            None => "not a key here".to_owned(),
        };
        let free = expected
            .iter()
            .copied()
            .filter(|key| self.root_of(path).is_none_or(|map| map.find(key).is_none()));
        let help = suggest::nearest(&entry.key, free)
            .map(|found| format!("did you mean `{found}`?"))
            .unwrap_or_else(|| {
                if expected.is_empty() {
                    "nothing may stand here; remove it".to_owned()
                } else {
                    format!("the keys are {}", suggest::list(expected))
                }
            });
        Diagnostic::error(
            "spec::unknown_key",
            format!("unknown key `{}` in {}", entry.key, self.inside(path)),
        )
        .at(entry.key_span, label)
        .help(help)
    }

    /// A key that is not there.
    pub(super) fn missing(&self, node: &Node, path: &[String], field: &str) -> Diagnostic {
        let help = match path.last() {
            Some(_) => format!("add `{field}: …` to `{}`", joined(path)),
            None => format!("add `{field}: …`"),
        };
        Diagnostic::error(
            "spec::missing_key",
            format!("`{field}` is missing in {}", self.inside(path)),
        )
        .at(node.span, format!("has no `{field}`"))
        .at_if(node.defined, "defined here")
        .help(help)
    }

    fn inside(&self, path: &[String]) -> String {
        if path.is_empty() {
            self.what.to_owned()
        } else {
            format!("`{}` of {}", joined(path), self.what)
        }
    }

    /// A value of the wrong type, or out of range, or no choice.
    pub(super) fn unaccepted(&self, node: &Node, path: &[String], kind: &Kind) -> Diagnostic {
        let place = |problem: Diagnostic, label: String| {
            problem
                .at(node.span, label)
                .at_if(node.defined, "defined here")
        };
        let subject = self.inside(path);
        match kind {
            Kind::Type(expected) => {
                let expected = in_words(expected);
                let problem = place(
                    Diagnostic::error(
                        "spec::wrong_type",
                        format!("{subject} is {}, not {expected}", node.type_name()),
                    ),
                    format!("expected {expected}"),
                );
                match type_help(node, &expected) {
                    Some(help) => problem.help(help),
                    None => problem.help(format!("write {expected} here")),
                }
            }
            Kind::Value(expected) => {
                let expected = range_in_words(expected);
                place(
                    Diagnostic::error(
                        "spec::wrong_value",
                        format!("{subject} has a value that is not accepted"),
                    ),
                    format!("expected {expected}"),
                )
                .help(format!("write {expected}"))
            }
            Kind::UnknownVariant { variant, expected } => {
                let help = match suggest::nearest(variant, expected.iter().copied()) {
                    Some(found) => format!("did you mean `{found}`?"),
                    None => format!("write one of {}", suggest::list(expected)),
                };
                place(
                    Diagnostic::error(
                        "spec::wrong_value",
                        format!("`{variant}` is no choice for {subject}"),
                    ),
                    format!("expected one of {}", suggest::list(expected)),
                )
                .help(help)
            }
            Kind::Custom(message) => {
                let message = if message.starts_with("data did not match any variant") {
                    format!("{subject} has none of the accepted forms")
                } else {
                    format!("{subject}: {message}")
                };
                place(
                    Diagnostic::error("spec::wrong_value", message),
                    format!("this is {}", node.type_name()),
                )
                .help("see `pipeline schema` for what may stand here")
            }
            Kind::MissingField(field) => self.missing(node, path, field),
            Kind::UnknownField { field, .. } => Diagnostic::error(
                "spec::unknown_key",
                format!("unknown key `{field}` in {subject}"),
            )
            .at(node.span, ""),
        }
    }
}

fn joined(path: &[String]) -> String {
    let mut text = String::new();
    for step in path {
        if step.bytes().all(|b| b.is_ascii_digit()) {
            text.push_str(&format!("[{step}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(step);
        }
    }
    text
}

fn in_words(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize" => {
            "a whole number".to_owned()
        }
        "f32" | "f64" => "a number".to_owned(),
        other if other.starts_with("a nonzero ") => "a whole number above 0".to_owned(),
        "a sequence" => "a list".to_owned(),
        "unit" => "nothing".to_owned(),
        other if other.starts_with("struct ") || other.starts_with("internally tagged enum") => {
            "a map".to_owned()
        }
        other => other.to_owned(),
    }
}

fn range_in_words(expected: &str) -> String {
    let (low, high) = match expected {
        "u8" => ("0".to_owned(), u8::MAX.to_string()),
        "u16" => ("0".to_owned(), u16::MAX.to_string()),
        "u32" => ("0".to_owned(), u32::MAX.to_string()),
        "u64" | "usize" => ("0".to_owned(), i64::MAX.to_string()),
        "i8" => (i8::MIN.to_string(), i8::MAX.to_string()),
        "i16" => (i16::MIN.to_string(), i16::MAX.to_string()),
        "i32" => (i32::MIN.to_string(), i32::MAX.to_string()),
        other if other.starts_with("a nonzero ") => return "a whole number above 0".to_owned(),
        other => return in_words(other),
    };
    format!("a whole number from {low} to {high}")
}

/// What to write instead, for the mistakes people make.
fn type_help(node: &Node, expected: &str) -> Option<String> {
    match &node.value {
        Value::String(text) if expected.contains("number") => {
            let plain = text.replace('_', "");
            if text.contains('_') && plain.parse::<f64>().is_ok() {
                return Some(format!("write `{plain}`; digits are not grouped"));
            }
            let trimmed = text.trim_start_matches('0');
            if text.starts_with('0') && trimmed.parse::<u64>().is_ok() {
                return Some(format!("write `{trimmed}`; a leading zero makes it text"));
            }
            text.parse::<f64>()
                .is_ok()
                .then(|| format!("write `{text}` without quotes"))
        }
        Value::String(text) if expected == "a boolean" => {
            match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" => Some("write `true`".to_owned()),
                "no" | "off" | "n" => Some("write `false`".to_owned()),
                _ => Some("write `true` or `false`".to_owned()),
            }
        }
        Value::Int(_) | Value::Float(_) | Value::Bool(_) if expected == "a string" => {
            scalar_text(&node.value).map(|text| format!("quote it: `\"{text}\"`"))
        }
        Value::Null => Some(format!(
            "write {expected} after the colon, or remove the key"
        )),
        Value::String(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_)
            if expected == "a list" =>
        {
            scalar_text(&node.value).map(|text| {
                let items: Vec<&str> = text.split_whitespace().collect();
                format!("write a list: `[{}]`", items.join(", "))
            })
        }
        _ => None,
    }
}
