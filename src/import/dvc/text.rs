//! Texts of a `dvc.yaml` with `${}` in them: what they stand for, and how the same is written here. Knows no files.

use std::borrow::Cow;

use flow::spec::decode::scalar_text;
use flow::spec::node::{Node, Value};

use crate::kinds::params_file::float_text;

/// A part of a text as it is written in `dvc.yaml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Characters.
    Text(Cow<'a, str>),
    /// What stands in `${…}`.
    Expression(&'a str),
}

/// Splits a text at its `${…}` as DVC does: up to the next `}` on the same line, and not where a backslash precedes.
pub(super) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, inside) = (&rest[..at], &rest[at + 2..]);
        let end = inside
            .find('}')
            .filter(|end| !inside[..*end].contains('\n'));
        match end {
            _ if before.ends_with('\\') => {
                literal.push_str(&before[..at - 1]);
                literal.push_str("${");
                rest = inside;
            }
            None => {
                literal.push_str(before);
                literal.push_str("${");
                rest = inside;
            }
            Some(end) => {
                literal.push_str(before);
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal).into()));
                }
                parts.push(Part::Expression(&inside[..end]));
                rest = &inside[end + 1..];
            }
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() || parts.is_empty() {
        parts.push(Part::Text(literal.into()));
    }
    parts
}

/// A part of a resolved text. Each knows the characters that DVC puts there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Characters.
    Literal(String),
    /// A parameter, by its path below `params:`.
    Param { path: Vec<String>, text: String },
    /// A parameter that a reference would write otherwise: its characters.
    Written { path: Vec<String>, text: String },
    /// The value of an axis of the stage.
    Axis { axis: String, text: String },
}

impl Piece {
    fn text(&self) -> &str {
        match self {
            Self::Literal(text)
            | Self::Param { text, .. }
            | Self::Written { text, .. }
            | Self::Axis { text, .. } => text,
        }
    }
}

/// A resolved text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text(pub(super) Vec<Piece>);

impl Text {
    pub(super) fn literal(text: impl Into<String>) -> Self {
        Self(vec![Piece::Literal(text.into())])
    }

    /// The characters.
    pub(super) fn plain(&self) -> String {
        self.0.iter().map(Piece::text).collect()
    }

    /// The characters that are no reference.
    pub(super) fn literals(&self) -> String {
        let literal = |piece: &Piece| match piece {
            Piece::Literal(text) | Piece::Written { text, .. } => text.clone(),
            _ => String::new(),
        };
        self.0.iter().map(literal).collect()
    }

    /// One text after the other.
    pub(super) fn then(mut self, other: &Self) -> Self {
        self.0.extend(other.0.iter().cloned());
        self
    }

    pub(super) fn push(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(Piece::Literal(last)) => last.push_str(text),
            _ => self.0.push(Piece::Literal(text.to_owned())),
        }
    }

    /// The text without its first `bytes`; a reference that would be cut becomes characters.
    pub(super) fn without_first(&self, bytes: usize) -> Self {
        let mut left = bytes;
        let mut rest = Self::default();
        for piece in &self.0 {
            let text = piece.text();
            if left >= text.len() {
                left -= text.len();
            } else if left > 0 {
                rest.push(text.get(left..).unwrap_or_default());
                left = 0;
            } else {
                rest.0.push(piece.clone());
            }
        }
        rest
    }

    /// The text as a pipeline file has it. `with_axes` says whether axes are references or their values; `param` names
    /// a parameter, or does not where it is written out.
    pub(super) fn render(
        &self,
        with_axes: bool,
        param: &mut dyn FnMut(&[String]) -> Option<String>,
    ) -> String {
        let mut out = String::new();
        let mut literal = String::new();
        for piece in &self.0 {
            let reference = match piece {
                Piece::Literal(_) | Piece::Written { .. } => None,
                // A `$` before a reference would make it a literal `${`.
                _ if literal.ends_with('$') => None,
                Piece::Param { path, .. } => param(path),
                Piece::Axis { axis, .. } => with_axes.then(|| format!("matrix.{axis}")),
            };
            match reference {
                None => literal.push_str(piece.text()),
                Some(reference) => {
                    out.push_str(&escaped(&literal));
                    literal.clear();
                    out.push_str(&format!("${{{reference}}}"));
                }
            }
        }
        out.push_str(&escaped(&literal));
        out
    }
}

/// Characters as a value of a pipeline file needs them, so that nothing in them is a reference.
pub(super) fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}

/// What DVC writes for a value inside a text; `None` for lists and maps.
pub(super) fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("None".to_owned()),
        Value::Float(number) => Some(float_text(*number)),
        other => scalar_text(other),
    }
}

/// The value with which a reference here gives the characters that DVC gives: itself, else those characters.
pub(super) fn as_axis_value(node: &Node) -> Option<Node> {
    let text = shown(&node.value)?;
    let value = if scalar_text(&node.value).as_ref() == Some(&text) {
        node.value.clone()
    } else {
        Value::String(text)
    };
    Some(Node {
        value,
        span: node.span,
        defined: None,
    })
}

/// A word as `shlex.quote` of Python gives it.
pub(super) fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c));
    if is_plain {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', "'\"'\"'")).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_split_as_in_dvc() {
        let text = |text: &'static str| Part::Text(text.into());
        assert_eq!(
            parts("a ${ b.c } d"),
            [text("a "), Part::Expression(" b.c "), text(" d")]
        );
        assert_eq!(parts(r"a \${b} c"), [text("a ${b} c")]);
        assert_eq!(parts("${open"), [text("${open")]);
        assert_eq!(parts("${a\n}"), [text("${a\n}")]);
        assert_eq!(parts(""), [text("")]);
    }

    #[test]
    fn what_is_rendered_gives_the_same_characters() {
        let text = Text(vec![
            Piece::Literal("cost $".to_owned()),
            Piece::Param {
                path: vec!["a".to_owned()],
                text: "3".to_owned(),
            },
            Piece::Literal(" ${HOME} ".to_owned()),
            Piece::Axis {
                axis: "key".to_owned(),
                text: "us".to_owned(),
            },
        ]);
        assert_eq!(text.plain(), "cost $3 ${HOME} us");
        let mut name = |path: &[String]| Some(format!("params.{}", path.join(".")));
        assert_eq!(
            text.render(true, &mut name),
            "cost $3 $${HOME} ${matrix.key}",
            "a reference after `$` is written out"
        );
        assert_eq!(text.render(false, &mut name), "cost $3 $${HOME} us");
        assert_eq!(text.without_first(7).plain(), " ${HOME} us");
    }

    #[test]
    fn words_are_quoted_as_python_does() {
        assert_eq!(quoted("a-b=c"), "a-b=c");
        assert_eq!(quoted("it's"), "'it'\"'\"'s'");
        assert_eq!(quoted(""), "''");
    }
}
