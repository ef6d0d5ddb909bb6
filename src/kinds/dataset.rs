//! Reads a labelled corpus into canonical examples and counts what it holds. Knows nothing of formats, caching or scheduling.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use data::divide::{Divide, USUAL_SPLITS};
use data::error::DataError;
use data::example::Task;
use data::prepare::{Duplicates, Prepared, Settings, SplitFiles, TagStyle, prepare};
use data::readers::{
    Column, Columns, ODDITIES, Options, Quoting, READERS, Reader, Separator, find_reader,
};
use data::statistics::{Counting, Row};
use data::tags::{Encoding, Tag};
use flow::cost::{Cost, Known};
use flow::diagnostic::Diagnostic;
use flow::event::Progress;
use flow::kind::{
    BindContext, ConfigProblem, Ports, StageContext, StageError, StageInput, StageKind, StageReport,
};
use flow::metric::MetricRow;
use flow::notes::NUMBERS_BY_INPUT;

use super::facts;

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
        let mut problems = Problems::default();
        match find_reader(&self.reader) {
            Some(reader) => {
                self.check_use(reader, &mut problems);
                self.check_columns(reader, &mut problems);
                self.check_labels(reader, &mut problems);
            }
            None => {
                let names = || READERS.iter().map(|reader| reader.name());
                let near = names().find(|name| strsim::osa_distance(name, &self.reader) <= 2);
                let help = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("readers are {}", listed(names())),
                };
                problems.add(
                    &["reader"],
                    format!("there is no reader `{}`", self.reader),
                    help,
                );
            }
        }
        self.check_names(&mut problems);
        problems.0
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

/// Problems of a configuration, collected.
#[derive(Default)]
struct Problems(Vec<ConfigProblem>);

impl Problems {
    fn add(&mut self, path: &[&str], message: impl Into<String>, help: impl Into<String>) {
        self.0.push(ConfigProblem {
            path: path.iter().map(|key| (*key).to_owned()).collect(),
            message: message.into(),
            help: Some(help.into()),
        });
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

    /// Options that are given although nothing would read them.
    fn check_use(&self, reader: &dyn Reader, problems: &mut Problems) {
        let task = reader.task();
        let of_task: &[&str] = match task {
            Task::Tagging => &["tags", "labels", "rename_labels"],
            Task::Spans => &["labels", "rename_labels"],
            Task::Classification | Task::MultiLabel => {
                &["labels", "rename_labels", "negative_labels"]
            }
            Task::Regression => &[],
            Task::QuestionAnswering => &["question_id_separators"],
        };
        let given = [
            ("separator", self.separator.is_some()),
            ("header", self.header.is_some()),
            ("quoting", !is_default(&self.quoting)),
            ("encoding", !is_default(&self.encoding)),
            ("entity_type", self.entity_type.is_some()),
            ("comment", self.comment.is_some()),
            ("tag_names", !self.tag_names.is_empty()),
            ("label_separator", self.label_separator.is_some()),
            ("label_names", !self.label_names.is_empty()),
            ("tags", !is_default(&self.tags)),
            ("labels", !self.labels.is_empty()),
            ("rename_labels", !self.rename_labels.is_empty()),
            ("negative_labels", !self.negative_labels.is_empty()),
            (
                "question_id_separators",
                !self.question_id_separators.is_empty(),
            ),
        ];
        let used = || reader.options().iter().chain(of_task).copied();
        let columns = self
            .columns
            .named()
            .map(|(what, column)| (format!("columns.{what}"), column.is_some()));
        let given = given.map(|(option, given)| (option.to_owned(), given));
        for (option, given) in columns.into_iter().chain(given) {
            if given && used().all(|name| name != option) {
                let path: Vec<&str> = option.split('.').collect();
                problems.add(
                    &path,
                    format!("`{option}` means nothing to the reader `{}`", reader.name()),
                    format!("remove it; `{}` knows {}", reader.name(), listed(used())),
                );
            }
        }
    }

    fn check_columns(&self, reader: &dyn Reader, problems: &mut Problems) {
        let options = self.options().or(&reader.defaults());
        if reader.options().contains(&"quoting") && options.separator == Some(Separator::Whitespace)
        {
            problems.add(
                &["separator"],
                "a table cannot be separated by `whitespace`: its texts hold spaces",
                "set `separator: tab`, or the character that stands between columns",
            );
        }
        if options.header == Some(true) {
            return;
        }
        for (what, column) in options.columns.named() {
            if let Some(Column::Name(name)) = column
                && reader
                    .options()
                    .contains(&format!("columns.{what}").as_str())
            {
                problems.add(
                    &["columns", what],
                    format!("the {what} column `{name}` has a name, but the files have no header"),
                    "set `header: true`, or give the column's index",
                );
            }
        }
    }

    fn check_labels(&self, reader: &dyn Reader, problems: &mut Problems) {
        let mut seen = BTreeSet::new();
        for (i, label) in self.labels.iter().enumerate() {
            let path = ["labels", &i.to_string()];
            if !seen.insert(label) {
                problems.add(
                    &path,
                    format!("`{label}` stands twice in `labels`"),
                    "remove one",
                );
            }
            if reader.task() == Task::Tagging && Tag::parse(label).is_none() {
                problems.add(
                    &path,
                    format!("`{label}` is not a tag"),
                    format!("list tags, such as `B-{label}`, `I-{label}`, `O`"),
                );
            }
        }
        for (i, label) in self.negative_labels.iter().enumerate() {
            if !self.labels.is_empty() && !self.labels.contains(label) {
                problems.add(
                    &["negative_labels", &i.to_string()],
                    format!("`{label}` is not in `labels`"),
                    "add it to `labels`, or leave `labels` out",
                );
            }
        }
        for (from, to) in &self.rename_labels {
            if to.is_empty() {
                problems.add(
                    &["rename_labels", from],
                    "a label cannot become empty",
                    "give it a name",
                );
            }
        }
        for (i, separator) in self.question_id_separators.iter().enumerate() {
            if separator.is_empty() || separator.ends_with(|c: char| c.is_ascii_digit()) {
                problems.add(
                    &["question_id_separators", &i.to_string()],
                    format!("`{separator}` cannot be told from the number behind it"),
                    "give what stands before the number, such as `_`",
                );
            }
        }
    }

    fn check_names(&self, problems: &mut Problems) {
        if self.name.trim().is_empty() {
            problems.add(
                &["name"],
                "`name` is empty",
                "name the data set, such as `ncbi-disease`",
            );
        }
        for (option, text) in [
            ("entity_type", &self.entity_type),
            ("comment", &self.comment),
            ("label_separator", &self.label_separator),
            ("document_id_end", &self.document_id_end),
        ] {
            if text.as_deref() == Some("") {
                problems.add(
                    &[option],
                    format!("`{option}` is empty"),
                    "remove it or give a text",
                );
            }
        }
        let mut seen = BTreeSet::new();
        for (i, split) in self.splits.iter().enumerate() {
            let path = ["splits", &i.to_string()];
            if !is_name(split) {
                problems.add(
                    &path,
                    format!("`{split}` is not a name"),
                    "names match `[a-z][a-z0-9_-]*`",
                );
            } else if !seen.insert(split) {
                problems.add(
                    &path,
                    format!("the split `{split}` is listed twice"),
                    "remove one",
                );
            }
        }
        self.check_divide(problems);
        for (split, file) in &self.files {
            if !self.split_names().any(|name| name == split) {
                problems.add(
                    &["files", split],
                    format!("there is no split `{split}`"),
                    format!("splits are {}", listed(self.split_names())),
                );
            }
            let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
            if file.is_empty() || !Path::new(file).components().all(inside) {
                problems.add(
                    &["files", split],
                    format!("`{file}` is not a path inside the input's folder"),
                    "give a relative path without `..`",
                );
            }
        }
    }

    fn check_divide(&self, problems: &mut Problems) {
        let Some(divide) = &self.divide else {
            return;
        };
        if !self.split_names().any(|name| name == divide.split) {
            problems.add(
                &["divide", "split"],
                format!("there is no split `{}` to divide", divide.split),
                format!("splits are {}", listed(self.split_names())),
            );
        }
        let mut sum = 0.0;
        for (name, share) in &divide.into {
            sum += share;
            if !is_name(name) {
                problems.add(
                    &["divide", "into", name],
                    format!("`{name}` is not a name"),
                    "names match `[a-z][a-z0-9_-]*`",
                );
            }
            if !(*share > 0.0 && *share < 1.0) {
                problems.add(
                    &["divide", "into", name],
                    format!("the share of `{name}` is {share}"),
                    "give a share between 0 and 1",
                );
            }
        }
        if divide.into.len() < 2 || (sum - 1.0).abs() > 1e-9 {
            problems.add(
                &["divide", "into"],
                format!("the {} shares sum to {sum}", divide.into.len()),
                "give two or more shares that sum to 1, such as `{train: 0.8, dev: 0.1, test: 0.1}`",
            );
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

    /// The splits that have an input, in order, with their files.
    fn find_splits(
        &self,
        stage: &StageContext,
        reader: &dyn Reader,
    ) -> Result<Vec<SplitFiles>, DataError> {
        let names: Vec<&str> = self.split_names().collect();
        if let Some(port) = stage
            .inputs
            .keys()
            .find(|port| !names.contains(&port.as_str()))
        {
            return Err(mismatch(
                format!("the input `{port}` is no split of `{}`", self.name),
                format!(
                    "add it to `with.splits`, now {}, or rename it in `needs`",
                    listed(names)
                ),
            ));
        }
        let mut splits = Vec::new();
        for name in names {
            match stage.inputs.get(name) {
                Some(input) => splits.push(SplitFiles {
                    name: name.to_owned(),
                    files: self.find_files(stage, name, input, reader)?,
                }),
                None if self.splits.is_empty() => {}
                None => {
                    return Err(mismatch(
                        format!("the split `{name}` of `{}` has no input", self.name),
                        format!("add `{name}: FILE` to `needs`, or take it out of `with.splits`"),
                    ));
                }
            }
        }
        if let Some(divide) = &self.divide {
            let taken = |name: &&String| **name != divide.split && stage.inputs.contains_key(*name);
            if let Some(name) = divide.into.keys().find(taken) {
                return Err(mismatch(
                    format!(
                        "the split `{name}` has an input of its own, and `divide` makes it of `{}`",
                        divide.split
                    ),
                    "remove one of the two",
                ));
            }
            if !stage.inputs.contains_key(&divide.split) {
                return Err(mismatch(
                    format!("`divide` has no input `{}` to divide", divide.split),
                    format!("add `{}: FILE` to `needs`", divide.split),
                ));
            }
        }
        if splits.is_empty() {
            return Err(mismatch(
                format!("`{}` has no input to read", self.name),
                "add `train: FILE`, `dev: FILE` or `test: FILE` to `needs`",
            ));
        }
        if let Some(split) = self
            .files
            .keys()
            .find(|split| !stage.inputs.contains_key(*split))
        {
            return Err(mismatch(
                format!("`with.files.{split}` is given, but the stage has no input `{split}`"),
                format!("add `{split}: …` to `needs`, or remove it from `files`"),
            ));
        }
        Ok(splits)
    }

    fn find_files(
        &self,
        stage: &StageContext,
        split: &str,
        input: &StageInput,
        reader: &dyn Reader,
    ) -> Result<Vec<(String, PathBuf)>, DataError> {
        let places: Vec<&str> = if input.many {
            input.items.iter().map(|item| item.path.as_str()).collect()
        } else {
            vec![input.place.as_str()]
        };
        let mut files = Vec::new();
        for place in places {
            let path = stage.folder.join(place);
            match (path.is_dir(), self.files.get(split)) {
                (true, Some(inner)) => {
                    let file = path.join(inner);
                    if !file.is_file() {
                        return Err(missing(&path, place, inner));
                    }
                    files.push((format!("{place}/{inner}"), file));
                }
                (true, None) => {
                    let wanted = files_below(&path)?
                        .into_iter()
                        .filter(|inner| reader.wants(inner));
                    for inner in wanted {
                        files.push((format!("{place}/{inner}"), path.join(&inner)));
                    }
                }
                (false, Some(_)) => {
                    return Err(mismatch(
                        format!("`with.files.{split}` is given, but the input `{place}` is a file"),
                        "remove it: `files` picks from inputs that are folders",
                    ));
                }
                (false, None) => files.push((place.to_owned(), path)),
            }
        }
        if files.is_empty() {
            return Err(mismatch(
                format!(
                    "the input `{split}` is a folder without files for `{}`",
                    reader.name()
                ),
                "name a file, or a folder that holds some",
            ));
        }
        Ok(files)
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

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
}

/// Every file below a folder, by its path there, sorted.
pub(super) fn files_below(folder: &Path) -> Result<Vec<String>, DataError> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(folder)
        .follow_links(true)
        .sort_by_file_name()
    {
        let entry = entry.map_err(std::io::Error::from)?;
        if entry.file_type().is_file() {
            let inner = entry.path().strip_prefix(folder).expect("it lies below");
            files.push(inner.display().to_string());
        }
    }
    Ok(files)
}

fn missing(folder: &Path, place: &str, inner: &str) -> DataError {
    let files = files_below(folder).unwrap_or_default();
    mismatch(
        format!("the input `{place}` holds no file `{inner}`"),
        format!("it holds {}", listed(files.iter().map(String::as_str))),
    )
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
