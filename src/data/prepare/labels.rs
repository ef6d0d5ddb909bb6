//! The labels of a data set that is being read: renamed, noted, and held against those that were asked for. Knows no files.

use std::collections::BTreeSet;

use super::{TagStyle, Work};
use crate::error::{DataError, excerpt, listed, nearest};
use crate::example::{Example, Task};
use crate::labels::each_label;
use crate::tags::{self, Encoding};

impl Work<'_> {
    /// Renames types and classes, and writes tags in the style wanted. Chunks are read before types are renamed.
    pub(super) fn rename(&mut self, example: &mut Example) {
        let names = &self.settings.rename_labels;
        let renamed = &mut self.renamed;
        let mut new_name = |label: &str| {
            let new = names.get(label)?;
            if !renamed.contains(label) {
                renamed.insert(label.to_owned());
            }
            Some(new.clone())
        };
        match example {
            Example::Tagging(example) => {
                let encoding = match self.settings.tags {
                    TagStyle::AsRead => {
                        if !names.is_empty() {
                            tags::rename(&mut example.tags, new_name);
                        }
                        return;
                    }
                    TagStyle::Iob2 => Encoding::Iob2,
                    TagStyle::Iobes => Encoding::Iobes,
                };
                let mut spans = tags::decode(&example.tags);
                for span in &mut spans {
                    if let Some(new) = new_name(&span.label) {
                        span.label = new;
                    }
                }
                example.tags = tags::encode(encoding, &spans, example.tokens.len());
            }
            Example::Spans(example) => {
                let spans = example.spans.iter_mut().map(|span| &mut span.label);
                let relations = example.relations.iter_mut().map(|one| &mut one.label);
                for label in spans.chain(relations) {
                    if let Some(new) = new_name(label) {
                        *label = new;
                    }
                }
            }
            Example::Classification(example) => {
                if let Some(new) = new_name(&example.label) {
                    example.label = new;
                }
            }
            Example::MultiLabel(example) => {
                for label in &mut example.labels {
                    if let Some(new) = new_name(label) {
                        *label = new;
                    }
                }
                // Two may have become one.
                let mut seen = BTreeSet::new();
                example.labels.retain(|label| seen.insert(label.clone()));
            }
            Example::Regression(_) | Example::QuestionAnswering(_) => {}
        }
    }

    pub(super) fn note_labels(&mut self, example: &Example, split: &str) -> Result<(), DataError> {
        let allowed = &self.settings.labels;
        let mut strange = None;
        each_label(example, |label| {
            if !self.labels.contains(label) {
                self.labels.insert(label.to_owned());
                if !allowed.is_empty() && !allowed.iter().any(|name| name == label) {
                    strange.get_or_insert_with(|| label.to_owned());
                }
            }
        });
        if let Example::Regression(example) = example {
            self.texts.get_or_insert(example.texts.len());
        }
        if let Example::Spans(document) = example {
            for relation in &document.relations {
                if !self.relations.contains(&relation.label) {
                    self.relations.insert(relation.label.clone());
                }
            }
        }
        let Some(label) = strange else {
            return Ok(());
        };
        let known = || allowed.iter().map(String::as_str);
        let help = match nearest(&label, known()) {
            Some(near) => {
                let tags = matches!(example, Example::Tagging(_));
                let named = |label: &str| match tags {
                    true => label
                        .split_once('-')
                        .map_or("", |(_, name)| name)
                        .to_owned(),
                    false => label.to_owned(),
                };
                format!(
                    "add it to `labels`, or set `rename_labels: {{{}: {}}}`",
                    named(&label),
                    named(near)
                )
            }
            None => format!("add it to `labels`, now {}", listed(known())),
        };
        Err(DataError::mismatch(
            format!(
                "the label `{}` of example `{}` in split `{split}` is not in `labels`",
                excerpt(&label),
                excerpt(example.id())
            ),
            help,
        ))
    }

    pub(super) fn unused(&self) -> Vec<String> {
        let settings = self.settings;
        let renames = settings.rename_labels.keys();
        let mut unused: Vec<String> = renames
            .filter(|name| !self.renamed.contains(*name))
            .map(|name| format!("rename_labels.{name}"))
            .collect();
        if settings.reader.task() == Task::Classification {
            let negative = settings.counting.negative_labels.iter();
            unused.extend(
                negative
                    .filter(|name| !self.labels.contains(*name))
                    .map(|name| format!("negative_labels: {name}")),
            );
        }
        unused
    }
}
