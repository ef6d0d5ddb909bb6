//! Reads a labelled corpus into canonical examples and counts what it holds. Knows nothing of formats, caching or scheduling.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use data::divide::{Divide, USUAL_SPLITS};
use data::error::DataError;
use data::example::Task;
use data::prepare::{Duplicates, Prepared, Settings, TagStyle, prepare};
use data::readers::{Columns, ODDITIES, Options, Quoting, READERS, Reader, Separator, find_reader};
use data::statistics::{Counting, Row};
use data::tags::Encoding;
use flow::cost::{Cost, Known};
use flow::diagnostic::Diagnostic;
use flow::event::Progress;
use flow::kind::{
    BindContext, ConfigProblem, Ports, StageContext, StageError, StageKind, StageReport,
};
use flow::metric::MetricRow;
use flow::notes::NUMBERS_BY_INPUT;

use super::facts;

mod check;
mod inputs;

pub(super) use inputs::files_below;

/// `with:` of a stage of kind `dataset`.
///
/// `needs` names a file (or a folder, see `files`) for each split: `train`, `dev`, `test`, or those of `splits`.
/// The output `examples` is a folder with `SPLIT.jsonl` for each split and `labels.json`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// The format of the files.
    #[schemars(schema_with = "reader_schema")]
    pub reader: String,
    /// The data set's name in every number, such as `ncbi-disease`.
    pub name: String,
    /// Names of the splits, where they are not `train`, `dev` and `test`; each is an input, read in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<String>,
    /// Where an input is a folder, the file in it for each split; without it all files of the folder are read, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Cuts one input into splits, where the set brings none: `{split: all, into: {train: 0.8, dev: 0.1, test: 0.1}, seed: 1}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divide: Option<Divide>,
    /// What follows the document's name in ids, such as `.s` in `d1.s0.p2`; for `divide` and `shared_documents`. Unless
    /// given: the document as the reader knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_id_end: Option<String>,
    /// What becomes of inputs that stand in several splits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub duplicates: Duplicates,
    /// `conll`, tables: which column holds what, by index or, where there is a header, by name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub columns: Columns,
    /// `conll`, tables: what stands between columns; `whitespace` for `conll` and `tab` for tables unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<Separator>,
    /// `conll`, tables: whether the first line names the columns; `false` for `conll` and `true` for tables unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// Tables: what a `"` means.
    #[serde(default, skip_serializing_if = "is_default")]
    pub quoting: Quoting,
    /// `conll`: what tags are allowed; others are errors, irregular ones are counted and read as `conlleval` does.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encoding: Encoding,
    /// `conll`: the type of tags that name none, such as `B`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity_type: Option<String>,
    /// `conll`: lines before a sentence that start with this text are remarks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// `tokens`: the names of tags that are written as numbers, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tag_names: Vec<String>,
    /// `tsv_labels`: what stands between the labels of a text; `,` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_separator: Option<String>,
    /// `tsv_labels`: the names of labels that are written as numbers (`3`, `3_1`, and `3_0` for not), in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub label_names: Vec<String>,
    /// `conll`: how tags are written; `as_read` keeps the file's, however odd.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: TagStyle,
    /// All labels (tags for `conll`) in the order wanted; others are errors. Unless given: those that occur, by name, `O` last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Types and classes by the file's name to the name wanted, such as `DDI-advise: advice`; comes before `labels` and `negative_labels`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rename_labels: BTreeMap<String, String>,
    /// `tsv`: classes that stand for "no relation"; with them `relations` counts the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub negative_labels: Vec<String>,
    /// `squad`: with `_`, the pairs `q1_000` and `q1_001` count as one question.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub question_id_separators: Vec<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn reader_schema(_: &mut SchemaGenerator) -> Schema {
    let choices: Vec<serde_json::Value> = READERS
        .iter()
        .map(|reader| json!({"const": reader.name(), "description": reader.doc()}))
        .collect();
    json_schema!({"oneOf": choices})
}

impl StageKind for Dataset {
    const NAME: &'static str = "dataset";
    /// 1: first. 2: counts `document_concepts`. 3: counts `shared_documents`. 4: `labels.json` has the number of `texts`.
    const VERSION: u32 = 4;
    const COSTS: bool = true;
    const DOC: &'static str =
        "read a labelled corpus into canonical examples and count what it holds";

    fn ports(&self) -> Ports {
        let ports = Ports::default().outputs(["examples"]);
        if self.splits.is_empty() {
            USUAL_SPLITS.into_iter().fold(ports, Ports::optional)
        } else {
            Ports {
                any_input: true,
                ..ports
            }
        }
    }

    fn check(&self) -> Vec<ConfigProblem> {
        self.problems()
    }

    /// Drops what the reader does anyway, so that it does not enter the key.
    fn complete(&mut self, _context: &BindContext<'_>) {
        if let Some(reader) = find_reader(&self.reader) {
            let options = self.options().without(&reader.defaults());
            self.columns = options.columns;
            self.separator = options.separator;
            self.header = options.header;
            self.label_separator = options.label_separator;
        }
    }

    /// What it holds is what others want to know.
    fn cost(&self, known: &Known<'_>) -> Cost {
        let task = find_reader(&self.reader).map(Reader::task);
        let asks = task == Some(Task::QuestionAnswering);
        let facts = facts::of_dataset(&known.numbers(), asks);
        Cost {
            gives: [("examples".to_owned(), facts)].into(),
            ..Cost::default()
        }
    }

    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError> {
        let reader = find_reader(&self.reader).ok_or_else(|| {
            StageError::new(
                "data::reader",
                format!("there is no reader `{}`", self.reader),
            )
            .bug()
        })?;
        let splits = self.find_splits(stage, reader).map_err(stage_error)?;
        let settings = Settings {
            name: self.name.clone(),
            reader,
            options: self.options(),
            tags: self.tags,
            rename_labels: self.rename_labels.clone(),
            labels: self.labels.clone(),
            counting: Counting {
                negative_labels: self.negative_labels.clone(),
                question_id_separators: self.question_id_separators.clone(),
            },
            divide: self.divide.clone(),
            document_id_end: self.document_id_end.clone(),
            duplicates: self.duplicates,
        };
        let folder = stage.output("examples");
        fs_err::create_dir_all(&folder)?;
        let mut progress = |done| {
            stage.progress(&Progress {
                done,
                unit: "example".to_owned(),
                ..Progress::default()
            });
        };
        let prepared = prepare(&splits, &settings, &folder, &mut progress).map_err(stage_error)?;
        Ok(StageReport {
            notes: [(NUMBERS_BY_INPUT.to_owned(), json!(true))].into(),
            warnings: self.warnings(&prepared),
            numbers: prepared.rows.into_iter().map(metric_row).collect(),
            ..StageReport::default()
        })
    }
}

impl Dataset {
    fn options(&self) -> Options {
        Options {
            columns: self.columns.clone(),
            separator: self.separator.clone(),
            header: self.header,
            quoting: self.quoting,
            encoding: self.encoding,
            entity_type: self.entity_type.clone(),
            comment: self.comment.clone(),
            tag_names: self.tag_names.clone(),
            label_separator: self.label_separator.clone(),
            label_names: self.label_names.clone(),
        }
    }

    fn split_names(&self) -> impl Iterator<Item = &str> {
        let usual = if self.splits.is_empty() {
            USUAL_SPLITS.as_slice()
        } else {
            &[]
        };
        let given = self.splits.iter().map(String::as_str);
        usual.iter().copied().chain(given)
    }

    /// One warning for everything odd, one for settings that met nothing.
    fn warnings(&self, prepared: &Prepared) -> Vec<Diagnostic> {
        let mut warnings = Vec::new();
        if !prepared.oddities.is_empty() {
            let mut warning = Diagnostic::warning(
                "data::odd",
                format!(
                    "`{}` holds things that are odd; they were read and counted",
                    self.name
                ),
            )
            .help("each count is a number of this stage; look at the first place to judge it");
            for (what, odd) in &prepared.oddities {
                let meaning = ODDITIES
                    .iter()
                    .find(|(name, _)| name == what)
                    .map_or("", |(_, meaning)| meaning);
                warning = warning.detail(format!(
                    "{what} {}: {meaning} (first: {})",
                    odd.count, odd.first
                ));
            }
            warnings.push(warning);
        }
        for setting in &prepared.unused {
            let warning = Diagnostic::warning(
                "data::unused",
                format!("`{setting}` met no label of `{}`", self.name),
            );
            let known = prepared.labels.labels.iter().map(String::as_str);
            warnings.push(warning.help(format!(
                "remove it or mend it; labels are {}",
                listed(known)
            )));
        }
        warnings
    }
}

pub(super) fn mismatch(message: impl Into<String>, help: impl Into<String>) -> DataError {
    DataError::Mismatch {
        message: message.into(),
        help: help.into(),
    }
}

pub(super) fn stage_error(error: DataError) -> StageError {
    let code = match &error {
        DataError::Broken { .. } => "data::broken",
        DataError::Mismatch { .. } => "data::mismatch",
        DataError::Io(_) => "",
    };
    match error {
        DataError::Io(error) => error.into(),
        error => {
            let help = error.help().unwrap_or_default().to_owned();
            StageError::new(code, error.to_string()).help(help)
        }
    }
}

fn metric_row(row: Row) -> MetricRow {
    MetricRow {
        dataset: Some(row.dataset),
        split: row.split,
        metric: row.metric,
        class: row.class,
        value: row.value,
        n: Some(row.n),
    }
}

pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "nothing".to_owned(),
        1..=12 => names.join(", "),
        _ => format!("{}, …", names[..12].join(", ")),
    }
}

#[cfg(test)]
mod tests;
