//! YAML as a person would have written it: short things on one line, the rest in blocks. Knows nothing of stages.

use flow::source::SourceId;
use flow::spec::node::{Node, Value};
use flow::spec::yaml;

use crate::kinds::params_file::{double_quoted, float_text, is_printable};

/// What fits on a line.
const WIDTH: usize = 100;

/// A value to be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Yaml {
    /// A scalar that is no text, as it is written.
    Bare(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Yaml>),
    /// A map.
    Map(Vec<(String, Yaml)>),
}

impl Yaml {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A value with every `${` of its texts kept from being a reference.
    pub(super) fn of(node: &Node) -> Self {
        match &node.value {
            Value::Null => Self::Bare("null".to_owned()),
            Value::Bool(truth) => Self::Bare(truth.to_string()),
            Value::Int(number) => Self::Bare(number.to_string()),
            Value::Float(number) => Self::Bare(float_text(*number)),
            Value::String(text) => Self::Text(super::text::escaped(text)),
            Value::Sequence(items) => Self::List(items.iter().map(Self::of).collect()),
            Value::Map(entries) => Self::Map(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), Self::of(&entry.value)))
                    .collect(),
            ),
        }
    }

    /// On one line.
    pub(super) fn inline(&self) -> String {
        match self {
            Self::Bare(text) => text.clone(),
            Self::Text(text) => scalar(text),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::inline).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Map(entries) if entries.is_empty() => "{}".to_owned(),
            Self::Map(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{}: {}", scalar(key), value.inline()))
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }
        }
    }

    fn has_block_text(&self) -> bool {
        match self {
            Self::Bare(_) => false,
            Self::Text(text) => block(text).is_some(),
            Self::List(items) => items.iter().any(Self::has_block_text),
            Self::Map(entries) => entries.iter().any(|(_, value)| value.has_block_text()),
        }
    }

    /// Writes `key: value` at an indent, on one line where it fits.
    pub(super) fn entry(&self, out: &mut String, key: &str, indent: usize) {
        let head = format!("{:indent$}{}:", "", scalar(key));
        self.after(out, &head, indent);
    }

    fn after(&self, out: &mut String, head: &str, indent: usize) {
        let line = self.inline();
        let fits = head.chars().count() + 1 + line.chars().count() <= WIDTH;
        out.push_str(head);
        match self {
            Self::Text(text) if block(text).is_some() => {
                let sign = block(text).unwrap_or_default();
                out.push_str(&format!(" {sign}\n"));
                let pad = " ".repeat(indent + 2);
                for line in text.lines() {
                    if !line.is_empty() {
                        out.push_str(&pad);
                        out.push_str(line);
                    }
                    out.push('\n');
                }
            }
            Self::Map(entries) if !entries.is_empty() && (!fits || self.has_block_text()) => {
                out.push('\n');
                for (key, value) in entries {
                    value.entry(out, key, indent + 2);
                }
            }
            Self::List(items) if !items.is_empty() && (!fits || self.has_block_text()) => {
                out.push('\n');
                for item in items {
                    let head = format!("{:width$}-", "", width = indent + 2);
                    match item {
                        // A list or map in a list stays on its line, however long.
                        Self::List(_) | Self::Map(_) => {
                            out.push_str(&format!("{head} {}\n", item.inline()));
                        }
                        _ => item.after(out, &head, indent + 2),
                    }
                }
            }
            _ => out.push_str(&format!(" {line}\n")),
        }
    }
}

/// How a text of several lines begins as a block; `None` where it has to be quoted.
fn block(text: &str) -> Option<&'static str> {
    let is_plain = text.trim_end_matches('\n').contains('\n')
        && text.chars().all(|c| c == '\n' || is_printable(c))
        && !text.starts_with([' ', '\n'])
        && text.lines().all(|line| line.trim_end() == line);
    if !is_plain {
        return None;
    }
    let body = text.trim_end_matches('\n');
    match text.len() - body.len() {
        0 => Some("|-"),
        1 => Some("|"),
        _ => None,
    }
}

/// A text on one line: plain where a reader takes it for this text and nothing else, quoted otherwise.
fn scalar(text: &str) -> String {
    let is_simple = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_./+@%=- ".contains(c))
        && text.trim() == text
        && !text.starts_with(['@', '%', '=', '+'])
        && !text.starts_with("- ")
        && !text.starts_with("--- ")
        && !matches!(
            text,
            "-" | "---" | "..." | "y" | "n" | "yes" | "no" | "on" | "off" | "<<"
        );
    let means_itself = || {
        let parsed = yaml::parse(&format!("- {text}"), SourceId(0));
        let same = |node: &Node| matches!(&node.value, Value::Sequence(items) if items.len() == 1 && items[0].as_str() == Some(text));
        parsed.problems.is_empty() && parsed.node.as_ref().is_some_and(same)
    };
    if is_simple && means_itself() {
        text.to_owned()
    } else {
        double_quoted(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Node {
        let parsed = yaml::parse(text, SourceId(0));
        assert_eq!(parsed.problems, [], "{text}");
        parsed.node.expect("a tree")
    }

    #[test]
    fn short_things_stand_on_a_line() {
        let long = "x".repeat(100);
        let value = Yaml::Map(vec![
            (
                "argv".to_owned(),
                Yaml::List(vec![
                    Yaml::text("sh"),
                    Yaml::text("-c"),
                    Yaml::text("a\n  b\n"),
                ]),
            ),
            (
                "flag".to_owned(),
                Yaml::List(vec![Yaml::text("no"), Yaml::Bare("1".to_owned())]),
            ),
            (
                long.clone(),
                Yaml::Map(vec![("b".to_owned(), Yaml::text("${params.x}"))]),
            ),
        ]);
        let mut out = String::new();
        value.entry(&mut out, "with", 2);
        assert_eq!(
            out,
            format!(
                "  with:\n    argv:\n      - sh\n      - -c\n      - |\n        a\n          b\n    flag: [\"no\", 1]\n    {long}:\n      b: \"${{params.x}}\"\n"
            )
        );
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in "\\PC{0,20}|[a-z0-9 :#\\-\\n\\[{\"'!&*%@`|>~?,.$=<]{0,20}|\\p{Any}{0,8}", key in "[a-zA-Z0-9 :\\-]{1,8}") {
            let mut out = String::new();
            let value = Yaml::Map(vec![(key.clone(), Yaml::List(vec![Yaml::text(text.clone())])), ("zzzzzzzzz".to_owned(), Yaml::text(text.clone()))]);
            value.entry(&mut out, "top", 0);
            let tree = read(&out);
            let top = &tree.find("top").expect("the key").value;
            let list = &top.find(&key).expect("the inner key").value;
            prop_assert!(matches!(&list.value, Value::Sequence(items) if items[0].as_str() == Some(text.as_str())), "{out}");
            prop_assert_eq!(top.find("zzzzzzzzz").expect("there").value.as_str(), Some(text.as_str()), "{}", out);
        }
    }
}
