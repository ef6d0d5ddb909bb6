//! Notes on what differs from DVC. Knows nothing of how stages are written.

use std::path::Path;

use flow::diagnostic::Diagnostic;
use flow::spec::node::{Node, Value};

use super::{Converter, Written};
use crate::import::dvc::numbers::Carried;
use crate::import::dvc::pyyaml::{Otherwise, read_otherwise};
use crate::import::dvc::stages::{Role, left_out};
use crate::import::dvc::text::Piece;

impl Converter<'_> {
    pub(super) fn note(&mut self, note: Diagnostic) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Notes on numbers that a program will find as texts.
    pub(super) fn note_carried(&mut self, file: &str, keys: &str, path: &Path) {
        let carried = self.files.carried(path).iter();
        let below: Vec<Carried> = carried.filter(|c| c.is_below(keys)).cloned().collect();
        for number in below {
            let Carried {
                path,
                written,
                text,
                span,
            } = number;
            let what = format!(
                "`{path}: {written}` of `{file}` is the text `{text}` here: numbers of a pipeline file are finite and of 64 bits"
            );
            let help = "have the program make a number of it, as `float(…)` does, or write a number that fits";
            self.note(
                Diagnostic::warning("import::number", what)
                    .at(span, "")
                    .help(help),
            );
        }
    }

    /// Notes on scalars that a program with PyYAML found otherwise in the file than they are written for it here.
    pub(super) fn note_pyyaml(&mut self, file: &str, keys: &str, node: &Node, path: &Path) {
        let mut scalars = read_otherwise(node, keys, &self.files.sources);
        // They have a note of their own.
        let carried = self.files.carried(path);
        scalars.retain(|scalar| carried.iter().all(|number| number.span != scalar.span));
        for scalar in scalars {
            let Otherwise {
                span,
                what,
                here,
                there,
                help,
            } = scalar;
            let what = format!("{what} of `{file}` is {here} here, and {there} to PyYAML");
            self.note(
                Diagnostic::warning("import::pyyaml", what)
                    .at(span, "")
                    .help(help),
            );
        }
    }

    /// Notes on what no single stage says.
    pub(super) fn left_over(&mut self, stages: &[Written]) {
        for (name, g, _, view) in stages {
            let group = &self.groups[*g];
            for metric in group.members.iter().flat_map(|member| &member.outs) {
                let path = metric.path.plain();
                if metric.role == Role::Metric && view.numbers.is_empty() {
                    let what = format!("`{path}` of stage `{name}` does not become numbers");
                    let help = "the file is kept as an output; numbers are read from JSON, JSON lines and CSV with nothing but numbers in them";
                    self.note(left_out(what, metric.span, help));
                }
            }
            let commands = group.members.iter().flat_map(|member| &member.commands);
            for (command, span) in commands {
                if command.plain().contains("DVC_") {
                    let what = format!("the command of stage `{name}` speaks of a variable of DVC");
                    let help =
                        "`DVC_ROOT` and `DVC_STAGE` are not set here; write what they stand for";
                    self.note(left_out(what, *span, help));
                }
            }
        }
        let written = self.written_out();
        for (name, text, span) in &written {
            let what = format!("the parameter `{name}` is written out as `{text}`");
            let help = "a reference would not give the characters that DVC puts there; change it in the stage";
            self.note(left_out(what, *span, help));
        }
        let unused: Vec<(String, flow::source::Span)> = self
            .parameters
            .unused()
            .into_iter()
            .filter(|(key, _)| !self.is_looped_over(key))
            .filter(|(key, _)| {
                let mut names = written.iter().map(|(name, ..)| name.split('.').next());
                !names.any(|name| name == Some(key))
            })
            .map(|(key, span)| (key.to_owned(), span))
            .collect();
        for (key, span) in unused {
            let what = format!("no stage uses the parameter `{key}`");
            let help = "it is left out; name it in `params` of the stage that reads it";
            self.note(left_out(what, span, help));
        }
    }

    /// Parameters that stand in texts as characters: name, characters, where.
    fn written_out(&self) -> Vec<(String, String, flow::source::Span)> {
        let mut found = Vec::new();
        for member in self.groups.iter().flat_map(|group| &group.members) {
            let texts = member.commands.iter().chain(&member.deps);
            let texts = texts.map(|(text, span)| (text, *span));
            let outs = member.outs.iter().map(|out| (&out.path, out.span));
            for (text, span) in texts.chain(outs) {
                for piece in &text.0 {
                    if let Piece::Written { path, text } = piece {
                        found.push((path.join("."), text.clone(), span));
                    }
                }
            }
        }
        found
    }

    /// Whether the values of a parameter have become axes.
    fn is_looped_over(&self, key: &str) -> bool {
        self.groups.iter().any(|group| {
            let cells = group.members.iter().flat_map(|member| &member.cell);
            let entry = self.global.entries().iter().find(|entry| entry.key == key);
            let holds = |span| entry.is_some_and(|entry| holds(&entry.value, span));
            let mut cells = cells;
            cells.any(|(_, value)| holds(value.span))
                || group
                    .members
                    .iter()
                    .any(|m| m.key.is_some() && m.cell.is_empty())
        })
    }
}

/// Whether a node or something in it stands at a place.
fn holds(node: &Node, span: flow::source::Span) -> bool {
    node.span == span
        || match &node.value {
            Value::Map(entries) => entries
                .iter()
                .any(|entry| entry.key_span == span || holds(&entry.value, span)),
            Value::Sequence(items) => items.iter().any(|item| holds(item, span)),
            _ => false,
        }
}
