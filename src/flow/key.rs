//! The manifest: the text that decides a stage's result, from which both its key and its explanation come.
//!
//! Lines `path = value`, sorted by path. What does not decide the result never gets here.

use serde::{Deserialize, Serialize};

use crate::content::Content;
use crate::digest::{Digest, Use};
use crate::notes::Notes;
use crate::spec::{Axis, Origin, StageSpec};

/// The content of one input port, as planned.
#[derive(Clone, Debug, PartialEq)]
pub enum PortContent {
    /// One thing.
    One(PlannedItem),
    /// Fan-in, in order; all come from the same output of the same stage.
    Many {
        /// The file name each item has in its instance's folder; `None` when they are trees.
        file: Option<String>,
        /// The instances.
        items: Vec<PlannedItem>,
    },
    /// A file that counts but is not placed in the folder.
    KeyOnly(PlannedItem),
}

/// One thing an input is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedItem {
    /// What it holds.
    pub content: Content,
    /// Axes of the producing stage.
    pub axes: Vec<Axis>,
    /// The record it comes from; `None` for files.
    pub record: Option<ItemRecord>,
}

/// What is known of the record an item comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemRecord {
    /// Its key.
    pub key: Digest,
    /// The device it was made on.
    pub device: String,
    /// Its notes and those it inherits.
    pub notes: Notes,
}

/// The text that decides a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest(pub String);

impl Manifest {
    /// The manifest of a stage whose inputs are known. `extra` are strict `environment` lines; `with_records` says
    /// that keys and devices of producing records count ([`crate::kind::StageKind::READS_RECORDS`]).
    #[must_use]
    pub fn new(
        stage: &StageSpec,
        inputs: &[PortContent],
        extra: &[(String, String)],
        with_records: bool,
    ) -> Self {
        let mut lines: Vec<(String, String)> = extra.to_vec();
        for (input, content) in stage.inputs.iter().zip(inputs) {
            let port = &input.port;
            match content {
                PortContent::KeyOnly(item) => {
                    let group = match input.origin {
                        Origin::Put(_) => "input",
                        _ => "environment",
                    };
                    lines.push((format!("{group}.{port}"), item.content.line()));
                }
                PortContent::One(item) => {
                    push_item(&mut lines, format!("input.{port}"), item, with_records);
                    // Such kinds see the axes of a single item too, as columns of its numbers.
                    if with_records && !item.axes.is_empty() {
                        lines.push((format!("input.{port}.axes"), axes_json([item])));
                    }
                }
                PortContent::Many { file, items } => {
                    if let Some(file) = file {
                        lines.push((format!("input.{port}.file"), json(file)));
                    }
                    // Order, types and the axis of repetition stand in `index.jsonl`, which the stage reads.
                    let index = Use::File.digest(axes_json(items).as_bytes());
                    lines.push((format!("input.{port}.index"), index.to_string()));
                    for item in items {
                        push_item(
                            &mut lines,
                            format!("input.{port}[{}]", axes_text(&item.axes)),
                            item,
                            with_records,
                        );
                    }
                }
            }
            if input.place != *port && !matches!(content, PortContent::KeyOnly(_)) {
                lines.push((format!("input.{port}.as"), json(&input.place)));
            }
        }
        lines.sort();
        let mut text = String::with_capacity(
            stage.lines_before.len() + stage.lines_after.len() + 100 * lines.len(),
        );
        text.push_str(&stage.lines_before);
        for (path, value) in lines {
            text.push_str(&path);
            text.push_str(" = ");
            text.push_str(&value);
            text.push('\n');
        }
        text.push_str(&stage.lines_after);
        Self(text)
    }

    /// Its digest: the key.
    #[must_use]
    pub fn key(&self) -> Digest {
        Use::Manifest.digest(self.0.as_bytes())
    }

    /// Its lines as (path, value).
    pub fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .lines()
            .map(|line| line.split_once(" = ").unwrap_or((line, "")))
    }

    /// What changed from `old` to this one, sorted by path.
    #[must_use]
    pub fn changes_from(&self, old: &Self) -> Vec<Change> {
        use std::collections::BTreeMap;
        let before: BTreeMap<_, _> = old.lines().collect();
        let after: BTreeMap<_, _> = self.lines().collect();
        let mut paths: Vec<_> = before.keys().chain(after.keys()).copied().collect();
        paths.sort_unstable();
        paths.dedup();
        let mut changes = Vec::new();
        for path in paths {
            let (old, new) = (before.get(path), after.get(path));
            if old != new {
                changes.push(Change {
                    path: path.to_owned(),
                    old: old.map(|value| (*value).to_owned()),
                    new: new.map(|value| (*value).to_owned()),
                });
            }
        }
        changes
    }
}

fn json(text: &str) -> String {
    serde_json::to_string(text).expect("strings serialise")
}

/// The axes of items as they stand in an index: names, typed values, which one is of repetition; in order.
fn axes_json<'a>(items: impl IntoIterator<Item = &'a PlannedItem>) -> String {
    let axes: Vec<Vec<(&str, &str, bool)>> = items
        .into_iter()
        .map(|item| {
            item.axes
                .iter()
                .map(|axis| (axis.name.as_str(), axis.json.as_str(), axis.replicate))
                .collect()
        })
        .collect();
    serde_json::to_string(&axes).expect("axes serialise")
}

fn push_item(
    lines: &mut Vec<(String, String)>,
    path: String,
    item: &PlannedItem,
    with_records: bool,
) {
    if with_records && let Some(record) = &item.record {
        lines.push((format!("{path}.device"), json(&record.device)));
        lines.push((format!("{path}.record"), record.key.to_string()));
        if !record.notes.is_empty() {
            let notes = serde_json::to_string(&record.notes).expect("notes serialise");
            lines.push((format!("{path}.notes"), notes));
        }
    }
    lines.push((path, item.content.line()));
}

/// Axes as in a stage's name: `task=ddi,seed=1`. A value that could be misread is quoted as JSON.
#[must_use]
pub fn axes_text(axes: &[Axis]) -> String {
    let mut text = String::new();
    for axis in axes {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&axis.name);
        text.push('=');
        let is_plain = axis
            .text
            .chars()
            .all(|c| !matches!(c, ',' | '=' | '[' | ']' | '"' | ' ') && !c.is_control());
        if is_plain {
            text.push_str(&axis.text);
        } else {
            text.push_str(&json(&axis.text));
        }
    }
    text
}

/// One changed line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The line's path, such as `config.epochs`.
    pub path: String,
    /// Its value before, if it was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// Its value now, if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

impl Change {
    /// In a few words: `config.epochs: 3 -> 5`.
    #[must_use]
    pub fn words(&self) -> String {
        let path = &self.path;
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => format!("{path}: {} -> {}", shorten(old), shorten(new)),
            (None, Some(new)) => format!("{path}: new, {}", shorten(new)),
            (Some(old), None) => format!("{path}: gone, was {}", shorten(old)),
            (None, None) => path.clone(),
        }
    }
}

/// A manifest value for people: digests cut to 10 digits, long texts in the middle.
#[must_use]
pub fn shorten(value: &str) -> String {
    if let Some((word, digest)) = value.split_once(' ')
        && let Ok(digest) = digest.parse::<Digest>()
    {
        return format!("{word} {}", digest.short());
    }
    if let Ok(digest) = value.parse::<Digest>() {
        return digest.short();
    }
    const LONGEST: usize = 72;
    if value.chars().count() <= LONGEST {
        return value.to_owned();
    }
    let head: String = value.chars().take(LONGEST / 2).collect();
    let tail: Vec<char> = value.chars().rev().take(LONGEST / 2 - 1).collect();
    format!("{head}…{}", tail.into_iter().rev().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Form;

    #[test]
    fn changes_name_the_line_and_digests_are_short() {
        let old = Manifest("config.epochs = 3\ninput.x = file aa\nkind = t 1\n".into());
        let new = Manifest("config.epochs = 5\nenv.A = \"1\"\nkind = t 1\n".into());
        let words: Vec<_> = new.changes_from(&old).iter().map(Change::words).collect();
        assert_eq!(
            words,
            [
                "config.epochs: 3 -> 5",
                "env.A: new, \"1\"",
                "input.x: gone, was file aa"
            ]
        );
        let content = Content {
            form: Form::Tree,
            digest: Use::Tree.digest(b"t"),
            bytes: 0,
        };
        assert_eq!(
            shorten(&content.line()),
            format!("tree {}", content.digest.short())
        );
        assert_eq!(shorten(&"x".repeat(100)).chars().count(), 72);
    }

    #[test]
    fn axis_values_that_could_be_misread_are_quoted() {
        let axis = |name: &str, text: &str| Axis {
            name: name.into(),
            text: text.into(),
            json: String::new(),
            replicate: false,
        };
        assert_eq!(axes_text(&[axis("a", "1"), axis("b", "x")]), "a=1,b=x");
        assert_ne!(
            axes_text(&[axis("a", "1,b=x")]),
            axes_text(&[axis("a", "1"), axis("b", "x")])
        );
    }
}
