//! What kinds say of their outputs to kinds that read them, before either ran, and what is assumed where nobody says.
//! Knows no stage and no device.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use data::example::Task;
use data::labels::LabelSet;
use engine::config::{ElectraConfig, Size};
use flow::cost::{Given, Known};
use flow::metric::MetricRow;

use super::tasks::READING;

/// Entries of SciVocab, the paper's vocabulary. Spec B.3.
const USUAL_ENTRIES: usize = 31_090;
/// Examples of a data set that nobody has read yet.
const USUAL_EXAMPLES: u64 = 10_000;
/// Pieces a word of biomedical text is spelt with, about.
pub(super) const PIECES_A_WORD: f64 = 1.3;
/// Bytes of text a piece stands for, about, the space after a word counted.
pub(super) const BYTES_A_PIECE: f64 = 5.0;
/// Bytes of a number as models are written.
pub(super) const BYTES_A_WEIGHT: u64 = 4;
/// Bytes of a parameter in a checkpoint: its value and two moments.
pub(super) const BYTES_IN_CHECKPOINT: u64 = 3 * BYTES_A_WEIGHT;

/// The value of a number over all classes.
pub(super) fn number(rows: &[MetricRow], split: Option<&str>, metric: &str) -> Option<f64> {
    class_number(rows, split, metric, None)
}

/// The value of a number of a class.
pub(super) fn class_number(
    rows: &[MetricRow],
    split: Option<&str>,
    metric: &str,
    class: Option<&str>,
) -> Option<f64> {
    let is_it = |row: &&MetricRow| {
        row.split.as_deref() == split && row.metric == metric && row.class.as_deref() == class
    };
    rows.iter().find(is_it).map(|row| row.value)
}

/// What a vocabulary's stage says of it.
pub(super) fn of_vocabulary(entries: Option<usize>) -> Value {
    json!({ "entries": entries })
}

/// Entries of a vocabulary: as its stage says, as lines of the file, or as usual.
pub(super) fn entries(vocabulary: Option<&Given<'_>>, assumed: &mut Vec<String>) -> usize {
    let told = vocabulary.and_then(|given| given.facts()["entries"].as_u64());
    let counted = || {
        let path = vocabulary?.file("vocab.txt")?;
        let text = fs_err::read_to_string(path).ok()?;
        // A `tokenizer.json` is no list of lines.
        (!text.starts_with('{')).then(|| text.lines().count() as u64)
    };
    match told.or_else(counted) {
        Some(entries) => usize::try_from(entries).unwrap_or(usize::MAX),
        None => {
            assumed.push(format!("a vocabulary of {USUAL_ENTRIES} entries"));
            USUAL_ENTRIES
        }
    }
}

/// What a model's stage says of it.
pub(super) fn of_model(config: &ElectraConfig) -> Value {
    json!({ "config": config })
}

/// The same of a model for a task, which reads rows of at most `longest` pieces.
pub(super) fn of_task_model(config: &ElectraConfig, longest: usize) -> Value {
    json!({ "config": config, "row_length": longest })
}

/// Pieces of the longest row that a model for a task reads, where its stage says or a file of its own.
pub(super) fn row_length(model: Option<&Given<'_>>) -> Option<usize> {
    let model = model?;
    let by_file = || {
        let text = fs_err::read(model.file(READING)?).ok()?;
        serde_json::from_slice::<Value>(&text).ok()?["max_length"].as_u64()
    };
    let told = model.facts()["row_length"].as_u64().or_else(by_file)?;
    usize::try_from(told).ok()
}

/// Sizes in a `config.json`.
pub(super) fn sizes_in(path: &std::path::Path) -> Option<ElectraConfig> {
    let config: ElectraConfig = serde_json::from_slice(&fs_err::read(path).ok()?).ok()?;
    config.check().is_ok().then_some(config)
}

/// Sizes of a model: those in its `config.json`, or as its stage says, which may rest on assumptions, or those of the
/// published base model.
pub(super) fn model(given: Option<&Given<'_>>, assumed: &mut Vec<String>) -> ElectraConfig {
    let told = given.and_then(|given| {
        let by_file = given.file("config.json").and_then(|path| sizes_in(&path));
        by_file.or_else(|| ElectraConfig::deserialize(&given.facts()["config"]).ok())
    });
    told.unwrap_or_else(|| {
        assumed.push("a model of the base size".to_owned());
        Size::Base.config(USUAL_ENTRIES)
    })
}

/// What is known of a split of a labelled set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Split {
    /// Its examples.
    pub(super) examples: u64,
    /// Their words, where they are counted.
    pub(super) words: Option<f64>,
}

/// What a data set's stage says of it: whether it asks questions, and of each split what is counted.
pub(super) fn of_dataset(rows: &[MetricRow], asks: bool) -> Value {
    let splits = rows.iter().filter(|row| row.metric == "examples");
    let splits = splits.filter_map(|row| {
        let split = row.split.clone()?;
        let counted = Split {
            examples: row.value as u64,
            words: number(rows, Some(&split), "tokens"),
        };
        Some((split, json!(counted)))
    });
    json!({ "asks": asks, "splits": splits.collect::<serde_json::Map<_, _>>() })
}

/// Whether examples are questions, which are read in longer rows: as the set's stage says or its labels; `None` where
/// neither is there.
pub(super) fn asks(data: Option<&Given<'_>>) -> Option<bool> {
    let data = data?;
    let by_labels = || {
        let text = fs_err::read(data.file("labels.json")?).ok()?;
        let labels: LabelSet = serde_json::from_slice(&text).ok()?;
        Some(labels.task == Task::QuestionAnswering)
    };
    data.facts()["asks"].as_bool().or_else(by_labels)
}

/// What is known of a split; `None` where the set was read and has no such split.
pub(super) fn split(
    data: Option<&Given<'_>>,
    name: &str,
    assumed: &mut Vec<String>,
) -> Option<Split> {
    let facts = data.map_or(&Value::Null, Given::facts);
    let is_read = facts["splits"].as_object().is_some_and(|it| !it.is_empty());
    if is_read {
        return Split::deserialize(&facts["splits"][name]).ok();
    }
    assumed.push(format!("{USUAL_EXAMPLES} examples in `{name}`"));
    Some(Split {
        examples: USUAL_EXAMPLES,
        words: None,
    })
}

/// Rows as models read them: how many, and how many pieces they have in all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rows {
    pub(super) count: f64,
    pub(super) pieces: f64,
    /// Pieces of the longest.
    pub(super) longest: f64,
}

impl Rows {
    /// Those of a split; without a count of words all are taken to be as long as the longest.
    pub(super) fn of(split: Split, longest: usize, assumed: &mut Vec<String>) -> Self {
        let (count, longest) = (split.examples as f64, longest as f64);
        let pieces = match split.words {
            Some(words) => {
                assumed.push(format!("{PIECES_A_WORD} pieces a word"));
                // With a token before each row and one behind it.
                (words * PIECES_A_WORD + 2.0 * count).min(count * longest)
            }
            None => {
                assumed.push(format!("rows of {longest} pieces"));
                count * longest
            }
        };
        Self {
            count,
            pieces,
            longest,
        }
    }

    /// Pieces of a row.
    pub(super) fn length(&self) -> f64 {
        self.pieces / self.count.max(1.0)
    }

    /// The same rows with padding.
    pub(super) fn padded(&self) -> Self {
        Self {
            pieces: self.count * self.longest,
            ..*self
        }
    }
}

/// Says each thing that is assumed once.
pub(super) fn once(mut assumed: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    assumed.retain(|words| seen.insert(words.clone()));
    assumed
}

/// Bytes of the text behind a port, where it is there and is no archive.
pub(super) fn text_bytes(known: &Known<'_>, port: &str) -> Option<u64> {
    let texts = known.inputs(port);
    let all: Option<u64> = texts.iter().map(Given::bytes).sum();
    all.filter(|_| !texts.is_empty())
}
