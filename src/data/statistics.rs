//! What a data set holds, as plain rows. Knows nothing of files, formats or reports.
//!
//! Rows with a `split` are of that split, rows without one of all splits together; rows with a `class` are of one
//! type, class or relation. Metrics:
//!
//! | metric | meaning |
//! | --- | --- |
//! | `examples` | examples of any task |
//! | `sentences`, `tokens` | of tagging |
//! | `documents` | of spans; of other tasks where the file marks documents (articles of SQuAD, `-DOCSTART-`) |
//! | `entities` | chunks of tagging by [`crate::tags::decode`], mentions of spans; by type and in all |
//! | `concepts` | distinct concepts as the source writes them (`D1\|D2` is one), by type and in all; `-1` is none |
//! | `concept_identifiers` | distinct single identifiers ([`crate::example::Span::concepts`]) |
//! | `document_concepts` | distinct pairs of a document and a single identifier, by type and in all: what annotators call annotated concepts |
//! | `mentions_without_concept` | mentions whose concept is missing or `-1` |
//! | `labels` | examples a class; of multi-label examples also labels in all |
//! | `relations` | by class and in all: relations of spans, or examples of classes that are not negative |
//! | `pairs` | pairs of a question and a context |
//! | `questions`, `question_texts`, `contexts` | distinct questions by [`question_id`], distinct texts of questions and of contexts |
//! | `answers`, `unanswered` | accepted answers, pairs without any |
//! | `duplicate_examples` | examples whose input (not id, not label) stood before in the same split |
//! | `conflicting_duplicates` | those of them whose labels differ from the first one's |
//! | `shared_examples` | examples whose input also stands in the earlier split named by `class` |
//! | `shared_documents` | documents with examples in this split and in the earlier one named by `class`; where both know documents |
//!
//! A metric that a task has is always there over all classes, be it 0; a class that does not occur has no row.
//! Over all splits, distinct things are counted once, and `duplicate_examples` is the sum of the splits' own.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::example::{Document, Example, Question};
use crate::tags::decode;

/// One number about a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The data set's name.
    pub dataset: String,
    /// The split; `None` over all.
    pub split: Option<String>,
    /// What was counted.
    pub metric: String,
    /// The class it is for; `None` over all.
    pub class: Option<String>,
    /// The count.
    pub value: f64,
    /// The number of examples it was counted over.
    pub n: u64,
}

/// How the counting is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counting {
    /// Classes that stand for "no relation"; when empty, classification gives `labels` only.
    pub negative_labels: Vec<String>,
    /// Texts before a trailing number that is no part of a question's id: with `_`, the pairs `q1_000` and `q1_001` are one question.
    pub question_id_separators: Vec<String>,
}

/// The first 128 bits of a digest.
pub(crate) type Hash = [u8; 16];

/// The first 128 bits of a digest: chance does not bring two inputs together.
pub(crate) fn hash<'a>(parts: impl IntoIterator<Item = &'a str>) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut hash = Hash::default();
    hasher.finalize_xof().fill(&mut hash);
    hash
}

/// What stands in front of a model, without id and labels: examples with the same input are duplicates.
pub(crate) fn input(example: &Example) -> Hash {
    match example {
        Example::Tagging(example) => hash(example.tokens.iter().map(String::as_str)),
        Example::Spans(example) => hash([example.text.as_str()]),
        Example::Classification(example) => hash([example.text.as_str()]),
        Example::MultiLabel(example) => hash([example.text.as_str()]),
        Example::Regression(example) => hash(example.texts.iter().map(String::as_str)),
        Example::QuestionAnswering(example) => {
            hash([example.question.as_str(), example.context.as_str()])
        }
    }
}

type Name = (&'static str, Option<String>);

#[derive(Debug, Default)]
struct Split {
    name: String,
    examples: u64,
    counts: BTreeMap<Name, u64>,
    distinct: BTreeMap<Name, BTreeSet<Hash>>,
    /// Input to labels, of the first example with that input.
    inputs: BTreeMap<Hash, Hash>,
    documents: BTreeSet<Hash>,
    /// The first example whose input also stands in this earlier split.
    first_shared: BTreeMap<String, String>,
}

/// Examples of a split whose input also stands in an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Where they stand again.
    pub split: String,
    /// Where they stood before.
    pub earlier: String,
    /// How many.
    pub examples: u64,
    /// The first one's id.
    pub first: String,
}

impl Split {
    fn add(&mut self, metric: &'static str, class: Option<&str>, count: u64) {
        *self
            .counts
            .entry((metric, class.map(str::to_owned)))
            .or_default() += count;
    }

    fn add_class(&mut self, metric: &'static str, class: &str) {
        self.add(metric, None, 1);
        self.add(metric, Some(class), 1);
    }

    fn add_distinct(&mut self, metric: &'static str, class: Option<&str>, item: &str) {
        self.distinct
            .entry((metric, class.map(str::to_owned)))
            .or_default()
            .insert(hash([item]));
    }
}

/// Counts examples split by split. Memory grows by about 100 bytes an example, whatever its length.
#[derive(Debug, Default)]
pub struct Statistics {
    counting: Counting,
    splits: Vec<Split>,
}

impl Statistics {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(counting: Counting) -> Self {
        Self {
            counting,
            splits: Vec::new(),
        }
    }

    /// What is added from now on belongs to this split.
    pub fn start_split(&mut self, name: &str) {
        self.splits.push(Split {
            name: name.to_owned(),
            ..Split::default()
        });
    }

    /// Examples of the current split so far.
    #[must_use]
    pub fn examples(&self) -> u64 {
        self.splits.last().map_or(0, |split| split.examples)
    }

    /// Adds documents that a file marks without their being examples.
    ///
    /// # Panics
    /// Before the first [`Statistics::start_split`].
    pub fn add_documents(&mut self, documents: u64) {
        if documents > 0 {
            self.current().add("documents", None, documents);
        }
    }

    fn current(&mut self) -> &mut Split {
        self.splits.last_mut().expect("a split was started")
    }

    /// Documents that examples of the current split are of, where they are known.
    #[must_use]
    pub fn documents(&self) -> u64 {
        let split = self.splits.last();
        split.map_or(0, |split| split.documents.len() as u64)
    }

    /// What splits share, in the order of the splits.
    pub fn shared(&self) -> impl Iterator<Item = Shared> {
        self.splits.iter().flat_map(|split| {
            split.first_shared.iter().map(|(earlier, first)| Shared {
                split: split.name.clone(),
                earlier: earlier.clone(),
                examples: split.counts[&("shared_examples", Some(earlier.clone()))],
                first: first.clone(),
            })
        })
    }

    /// Counts one example, and the document it is of, where that is known.
    ///
    /// # Panics
    /// Before the first [`Statistics::start_split`].
    pub fn add(&mut self, example: &Example, document: Option<&str>) {
        let counting = std::mem::take(&mut self.counting);
        let split = self.current();
        split.examples += 1;
        split.add("examples", None, 1);
        let input = input(example);
        let labels = match example {
            Example::Tagging(example) => {
                split.add("sentences", None, 1);
                split.add("tokens", None, example.tokens.len() as u64);
                split.add("entities", None, 0);
                for span in decode(&example.tags) {
                    split.add_class("entities", &span.label);
                }
                hash(example.tags.iter().map(String::as_str))
            }
            Example::Spans(example) => count_document(split, example),
            Example::Classification(example) => {
                let label = example.label.as_str();
                split.add("labels", Some(label), 1);
                if !counting.negative_labels.is_empty() {
                    split.add("relations", None, 0);
                    if !counting.negative_labels.iter().any(|name| name == label) {
                        split.add_class("relations", label);
                    }
                }
                hash([label])
            }
            Example::MultiLabel(example) => {
                split.add("labels", None, 0);
                for label in &example.labels {
                    split.add_class("labels", label);
                }
                hash(example.labels.iter().map(String::as_str))
            }
            Example::Regression(example) => hash([example.value.to_string().as_str()]),
            Example::QuestionAnswering(example) => {
                count_question(split, example, &counting.question_id_separators)
            }
        };
        split.add("duplicate_examples", None, 0);
        split.add("conflicting_duplicates", None, 0);
        match split.inputs.get(&input) {
            None => {
                split.inputs.insert(input, labels);
            }
            Some(first) => {
                let conflict = *first != labels;
                split.add("duplicate_examples", None, 1);
                split.add("conflicting_duplicates", None, u64::from(conflict));
            }
        }
        if let [earlier @ .., split] = self.splits.as_mut_slice() {
            for before in earlier.iter() {
                let shared = before.inputs.contains_key(&input);
                split.add("shared_examples", Some(&before.name), u64::from(shared));
                if shared && !split.first_shared.contains_key(&before.name) {
                    let first = example.id().to_owned();
                    split.first_shared.insert(before.name.clone(), first);
                }
            }
            let document = document.map(|name| hash([name]));
            if let Some(document) = document.filter(|one| split.documents.insert(*one)) {
                for before in earlier.iter().filter(|one| !one.documents.is_empty()) {
                    let shared = u64::from(before.documents.contains(&document));
                    split.add("shared_documents", Some(&before.name), shared);
                }
            }
        }
        self.counting = counting;
    }

    /// All numbers: split by split in the order they were started, then all splits together; in each by metric, then class.
    #[must_use]
    pub fn rows(&self, dataset: &str) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut all = Split::default();
        for split in &self.splits {
            push_rows(&mut rows, dataset, Some(&split.name), split);
            all.examples += split.examples;
            for (name, count) in &split.counts {
                if !name.0.starts_with("shared_") {
                    *all.counts.entry(name.clone()).or_default() += count;
                }
            }
            for (name, items) in &split.distinct {
                all.distinct.entry(name.clone()).or_default().extend(items);
            }
        }
        push_rows(&mut rows, dataset, None, &all);
        rows
    }
}

fn push_rows(rows: &mut Vec<Row>, dataset: &str, name: Option<&str>, split: &Split) {
    let distinct = split
        .distinct
        .iter()
        .map(|(name, items)| (name, items.len() as u64));
    let counts = split.counts.iter().map(|(name, count)| (name, *count));
    let mut all: Vec<(&Name, u64)> = counts.chain(distinct).collect();
    all.sort();
    rows.extend(all.into_iter().map(|((metric, class), count)| Row {
        dataset: dataset.to_owned(),
        split: name.map(str::to_owned),
        metric: (*metric).to_owned(),
        class: class.clone(),
        value: count as f64,
        n: split.examples,
    }));
}

fn count_document(split: &mut Split, document: &Document) -> Hash {
    split.add("documents", None, 1);
    for metric in [
        "document_concepts",
        "entities",
        "mentions_without_concept",
        "relations",
    ] {
        split.add(metric, None, 0);
    }
    let mut labels = Vec::new();
    let mut of_document: BTreeSet<(&str, &str)> = BTreeSet::new();
    for span in &document.spans {
        split.add_class("entities", &span.label);
        of_document.extend(span.concepts().map(|one| (span.label.as_str(), one)));
        match span.concept.as_deref() {
            Some(concept) if concept.trim() != "-1" && !concept.trim().is_empty() => {
                split.add_distinct("concepts", None, concept);
                split.add_distinct("concepts", Some(&span.label), concept);
                for identifier in span.concepts() {
                    split.add_distinct("concept_identifiers", None, identifier);
                    split.add_distinct("concept_identifiers", Some(&span.label), identifier);
                }
            }
            _ => split.add("mentions_without_concept", None, 1),
        }
        labels.push(format!("{}\t{}\t{}", span.start, span.end, span.label));
    }
    for (label, _) in of_document {
        split.add_class("document_concepts", label);
    }
    for relation in &document.relations {
        split.add_class("relations", &relation.label);
        labels.push(format!(
            "{}\t{}\t{}",
            relation.label, relation.head, relation.tail
        ));
    }
    hash(labels.iter().map(String::as_str))
}

fn count_question(split: &mut Split, question: &Question, separators: &[String]) -> Hash {
    split.add("pairs", None, 1);
    split.add("answers", None, question.answers.len() as u64);
    let unanswered = u64::from(question.answers.is_empty());
    split.add("unanswered", None, unanswered);
    split.add_distinct("questions", None, question_id(&question.id, separators));
    split.add_distinct("question_texts", None, &question.question);
    split.add_distinct("contexts", None, &question.context);
    hash(question.answers.iter().map(|answer| answer.text.as_str()))
}

/// The id of the question in the id of a pair: without a trailing number behind one of `separators`.
#[must_use]
pub fn question_id<'a>(id: &'a str, separators: &[String]) -> &'a str {
    let question = id.trim_end_matches(|c: char| c.is_ascii_digit());
    if question.len() == id.len() {
        return id;
    }
    separators
        .iter()
        .filter_map(|separator| question.strip_suffix(separator.as_str()))
        .find(|question| !question.is_empty())
        .unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::Classification;

    fn find(rows: &[Row], split: Option<&str>, metric: &str, class: Option<&str>) -> Option<f64> {
        rows.iter()
            .find(|row| {
                row.split.as_deref() == split
                    && row.metric == metric
                    && row.class.as_deref() == class
            })
            .map(|row| row.value)
    }

    #[test]
    fn question_ids_lose_a_trailing_number_only() {
        let separators = ["_".to_owned(), ":".to_owned()];
        assert_eq!(question_id("5c5f_001", &separators), "5c5f");
        assert_eq!(question_id("5c5f:12", &separators), "5c5f");
        assert_eq!(question_id("5c5f_001", &[]), "5c5f_001");
        assert_eq!(question_id("5c5f_x", &separators), "5c5f_x");
        assert_eq!(question_id("_12", &separators), "_12");
    }

    #[test]
    fn counts_classes_duplicates_and_what_splits_share() {
        let mut statistics = Statistics::new(Counting {
            negative_labels: vec!["false".to_owned()],
            ..Counting::default()
        });
        let mut add = |split: Option<&str>, text: &str, label: &str| {
            if let Some(split) = split {
                statistics.start_split(split);
            }
            statistics.add(
                &Example::Classification(Classification {
                    id: "x".to_owned(),
                    text: text.to_owned(),
                    label: label.to_owned(),
                }),
                text.strip_prefix("doc-"),
            );
        };
        add(Some("train"), "a", "false");
        add(None, "a", "yes");
        add(None, "b", "false");
        add(Some("test"), "b", "false");
        add(None, "c", "yes");
        let rows = statistics.rows("toy");
        assert_eq!(find(&rows, Some("train"), "examples", None), Some(3.0));
        assert_eq!(
            find(&rows, Some("train"), "labels", Some("false")),
            Some(2.0)
        );
        assert_eq!(find(&rows, Some("train"), "relations", None), Some(1.0));
        assert_eq!(find(&rows, None, "relations", None), Some(2.0));
        assert_eq!(find(&rows, None, "relations", Some("false")), None);
        assert_eq!(
            find(&rows, Some("train"), "duplicate_examples", None),
            Some(1.0)
        );
        assert_eq!(
            find(&rows, Some("train"), "conflicting_duplicates", None),
            Some(1.0)
        );
        assert_eq!(
            find(&rows, Some("test"), "duplicate_examples", None),
            Some(0.0)
        );
        assert_eq!(
            find(&rows, Some("test"), "shared_examples", Some("train")),
            Some(1.0)
        );
    }
}
