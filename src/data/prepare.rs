//! Reads the splits of a data set, writes them in canonical form with their labels, and counts. Knows nothing of stages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::divide::{Divide, Group, Groups, Unit};
use crate::error::{DataError, Place, excerpt, listed, nearest};
use crate::example::{Example, Task};
use crate::jsonl::Writer;
use crate::labels::{LabelSet, each_label, ordered};
use crate::readers::{Oddity, Options, Reader, Tally, read_file};
use crate::statistics::{self, Counting, Row, Statistics};
use crate::tags::{self, Encoding};

/// How tags are written.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TagStyle {
    /// As BIO (IOB2), whatever the file has: the same chunks, each starting with B.
    #[default]
    #[serde(rename = "bio", alias = "iob2")]
    Iob2,
    /// As IOBES.
    #[serde(alias = "bioes")]
    Iobes,
    /// As the file has them.
    AsRead,
}

/// What becomes of inputs that stand in several splits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// They are numbers: `shared_examples`.
    #[default]
    Count,
    /// The stage fails and names the first.
    Refuse,
}

/// What to make of a data set.
#[derive(Clone)]
pub struct Settings {
    /// The data set's name, in every row.
    pub name: String,
    /// Reads the files.
    pub reader: &'static dyn Reader,
    /// How it reads them.
    pub options: Options,
    /// How tags are written.
    pub tags: TagStyle,
    /// Types and classes by the file's name to the name wanted; two may become one.
    pub rename_labels: BTreeMap<String, String>,
    /// All labels in the order wanted; when empty, those that occur, alphabetically.
    pub labels: Vec<String>,
    /// How the counting is done.
    pub counting: Counting,
    /// The input that is cut into splits.
    pub divide: Option<Divide>,
    /// What stands behind the name of the document in an example's id.
    pub document_id_end: Option<String>,
    /// What becomes of inputs that stand in several splits.
    pub duplicates: Duplicates,
}

/// A split and its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitFiles {
    /// Such as `train`; names the written file and examples without an id.
    pub name: String,
    /// The files in the order to read them, each with its name for messages.
    pub files: Vec<(String, PathBuf)>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// Every number, the oddities among them.
    pub rows: Vec<Row>,
    /// What was odd in all splits together, by metric.
    pub oddities: BTreeMap<&'static str, Oddity>,
    /// As written to `labels.json`.
    pub labels: LabelSet,
    /// Settings that met nothing, such as `rename_labels.X`.
    pub unused: Vec<String>,
}

/// Reads every split and writes `SPLIT.jsonl` for each and `labels.json` into `folder`, which exists.
/// `progress` hears the number of examples every thousand of them. One example is in memory at a time.
///
/// # Errors
/// The first fault of a file; a label that is not in `settings.labels`; a split without examples; with
/// [`Duplicates::Refuse`] an input that stands in two splits.
///
/// An input that is divided is read once more, and once for each split made of it. What was odd in it counts over all
/// splits only.
pub fn prepare(
    splits: &[SplitFiles],
    settings: &Settings,
    folder: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Prepared, DataError> {
    let mut work = Work {
        settings,
        statistics: Statistics::new(settings.counting.clone()),
        labels: BTreeSet::new(),
        relations: BTreeSet::new(),
        texts: None,
        renamed: BTreeSet::new(),
        done: 0,
        progress,
    };
    let mut oddities: BTreeMap<&'static str, Oddity> = BTreeMap::new();
    let mut odd_rows = Vec::new();
    for split in splits {
        let tally = match &settings.divide {
            Some(divide) if divide.split == split.name => work.divided(split, divide, folder)?,
            _ => {
                let tally = work.split(split, &split.name, None, folder)?;
                for (what, odd) in &tally.oddities {
                    odd_rows.push(work.odd_row(Some(&split.name), what, odd.count));
                }
                tally
            }
        };
        for (what, odd) in tally.oddities {
            oddities
                .entry(what)
                .and_modify(|all| all.count += odd.count)
                .or_insert(odd);
        }
    }
    if settings.duplicates == Duplicates::Refuse {
        work.refuse_shared()?;
    }
    for (what, odd) in &oddities {
        odd_rows.push(work.odd_row(None, what, odd.count));
    }
    let unused = work.unused();
    let mut rows = work.statistics.rows(&settings.name);
    rows.extend(odd_rows);
    let labels = LabelSet {
        task: settings.reader.task(),
        labels: if settings.labels.is_empty() {
            ordered(&work.labels)
        } else {
            settings.labels.clone()
        },
        negative: settings.counting.negative_labels.clone(),
        relations: ordered(&work.relations),
        texts: work.texts,
    };
    let mut text = serde_json::to_string_pretty(&labels).expect("labels serialise");
    text.push('\n');
    fs_err::write(folder.join("labels.json"), text)?;
    Ok(Prepared {
        rows,
        oddities,
        labels,
        unused,
    })
}

struct Work<'a> {
    settings: &'a Settings,
    statistics: Statistics,
    labels: BTreeSet<String>,
    relations: BTreeSet<String>,
    /// Of each example of regression; a reader gives all of them as many.
    texts: Option<usize>,
    /// Names of `rename_labels` that occurred.
    renamed: BTreeSet<String>,
    done: u64,
    progress: &'a mut dyn FnMut(u64),
}

/// The groups that go to one of the splits made of an input.
struct Part<'a> {
    places: &'a BTreeMap<Group, usize>,
    place: usize,
    by: Unit,
}

impl Work<'_> {
    /// The document of an example, by its id where the settings say how.
    fn document<'e>(
        &self,
        example: &'e Example,
        known: Option<&'e str>,
    ) -> Result<Option<&'e str>, DataError> {
        let Some(end) = &self.settings.document_id_end else {
            return Ok(known);
        };
        match example.id().split_once(end.as_str()) {
            Some((document, _)) if !document.is_empty() => Ok(Some(document)),
            _ => Err(DataError::mismatch(
                format!(
                    "the id `{}` names no document: nothing stands before a `{end}` in it",
                    excerpt(example.id())
                ),
                "set `document_id_end` to what follows the document's name in ids",
            )),
        }
    }

    fn divided(
        &mut self,
        split: &SplitFiles,
        divide: &Divide,
        folder: &Path,
    ) -> Result<Tally, DataError> {
        let mut groups = Groups::default();
        let mut already = 0;
        for (shown, path) in &split.files {
            let mut read = 0;
            let mut emit = |example: Example, known: Option<&str>| {
                let input = statistics::input(&example);
                let group = group(divide.by, self.document(&example, known)?, input);
                groups.add(group, &input, divide.seed);
                read += 1;
                Ok(())
            };
            let (reader, options) = (self.settings.reader, &self.settings.options);
            read_file(
                reader,
                path,
                shown,
                &split.name,
                already,
                options,
                &mut emit,
            )?;
            already += read;
        }
        let places = groups.divide(divide)?;
        let mut all: Option<Tally> = None;
        for (place, name) in divide.names().into_iter().enumerate() {
            let part = Part {
                places: &places,
                place,
                by: divide.by,
            };
            let mut tally = self.split(split, name, Some(&part), folder)?;
            match &mut all {
                None => all = Some(tally),
                // Each pass meets the same oddities, but ids repeat within a split.
                Some(all) => {
                    if let Some(odd) = tally.oddities.remove("duplicate_ids") {
                        all.add("duplicate_ids", odd);
                    }
                }
            }
        }
        Ok(all.unwrap_or_default())
    }

    fn refuse_shared(&self) -> Result<(), DataError> {
        let Some(shared) = self.statistics.shared().next() else {
            return Ok(());
        };
        let others = self.statistics.shared().skip(1);
        let others: String = others
            .map(|one| format!(", {} of `{}` in `{}`", one.examples, one.split, one.earlier))
            .collect();
        Err(DataError::mismatch(
            format!(
                "{} examples of `{}` also stand in `{}`, the first is `{}`{others}",
                shared.examples,
                shared.split,
                shared.earlier,
                excerpt(&shared.first)
            ),
            "set `duplicates: count` to accept and count them, or repair the files",
        ))
    }

    /// Reads a split, or the part of it that is to be the split `name`.
    fn split(
        &mut self,
        split: &SplitFiles,
        name: &str,
        part: Option<&Part<'_>>,
        folder: &Path,
    ) -> Result<Tally, DataError> {
        let settings = self.settings;
        self.statistics.start_split(name);
        let mut writer = Writer::create(&folder.join(format!("{name}.jsonl")))?;
        let mut ids = BTreeSet::new();
        let mut all = Tally::default();
        let mut already = 0;
        for (shown, path) in &split.files {
            let mut repeated: u64 = 0;
            let mut first_repeated = String::new();
            let mut read = 0;
            let mut emit = |mut example: Example, known: Option<&str>| {
                read += 1;
                let document = self.document(&example, known)?.map(str::to_owned);
                let document = document.as_deref();
                if let Some(part) = part {
                    let group = group(part.by, document, statistics::input(&example));
                    if part.places.get(&group) != Some(&part.place) {
                        return Ok(());
                    }
                }
                self.rename(&mut example);
                self.note_labels(&example, name)?;
                self.statistics.add(&example, document);
                if ids.contains(example.id()) {
                    repeated += 1;
                    if repeated == 1 {
                        example.id().clone_into(&mut first_repeated);
                    }
                    make_unique(example.id_mut(), &ids);
                }
                ids.insert(example.id().to_owned());
                self.done += 1;
                if self.done.is_multiple_of(1000) {
                    (self.progress)(self.done);
                }
                writer.write(&example)
            };
            let tally = read_file(
                settings.reader,
                path,
                shown,
                &split.name,
                already,
                &settings.options,
                &mut emit,
            )?;
            already += read;
            all.documents += tally.documents;
            for (what, odd) in tally.oddities {
                all.add(what, odd);
            }
            if repeated > 0 {
                let first = Place {
                    file: format!("{shown}, id `{}`", excerpt(&first_repeated)),
                    line: 0,
                    column: 0,
                };
                all.add(
                    "duplicate_ids",
                    Oddity {
                        count: repeated,
                        first,
                    },
                );
            }
        }
        writer.finish()?;
        let documents = match part {
            Some(_) if all.documents > 0 => self.statistics.documents(),
            _ => all.documents,
        };
        self.statistics.add_documents(documents);
        if self.statistics.examples() == 0 {
            let files = listed(split.files.iter().map(|(shown, _)| shown.as_str()));
            return Err(DataError::mismatch(
                format!("split `{name}` has no examples in {files}"),
                format!(
                    "the reader `{}` expects {}; is it the right file?",
                    settings.reader.name(),
                    settings.reader.doc()
                ),
            ));
        }
        Ok(all)
    }

    fn odd_row(&self, split: Option<&str>, what: &str, count: u64) -> Row {
        Row {
            dataset: self.settings.name.clone(),
            split: split.map(str::to_owned),
            metric: what.to_owned(),
            class: None,
            value: count as f64,
            n: count,
        }
    }

    /// Renames types and classes, and writes tags in the style wanted. Chunks are read before types are renamed.
    fn rename(&mut self, example: &mut Example) {
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

    fn note_labels(&mut self, example: &Example, split: &str) -> Result<(), DataError> {
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

    fn unused(&self) -> Vec<String> {
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

impl Tally {
    fn add(&mut self, what: &'static str, odd: Oddity) {
        self.oddities
            .entry(what)
            .and_modify(|all| all.count += odd.count)
            .or_insert(odd);
    }
}

/// What an example stays together with.
fn group(by: Unit, document: Option<&str>, input: statistics::Hash) -> Group {
    match (by, document) {
        (Unit::Document, Some(document)) => Group(statistics::hash(["document", document])),
        _ => Group(input),
    }
}

/// Adds the first of `#2`, `#3` … that makes it new.
fn make_unique(id: &mut String, taken: &BTreeSet<String>) {
    let length = id.len();
    for n in 2_u64.. {
        id.truncate(length);
        id.push_str(&format!("#{n}"));
        if !taken.contains(id) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonl;
    use crate::readers::find_reader;

    fn settings(reader: &str) -> Settings {
        Settings {
            name: "toy".to_owned(),
            reader: find_reader(reader).expect("in the table"),
            options: Options::default(),
            tags: TagStyle::default(),
            rename_labels: BTreeMap::new(),
            labels: Vec::new(),
            counting: Counting::default(),
            divide: None,
            document_id_end: None,
            duplicates: Duplicates::Count,
        }
    }

    fn run(
        settings: &Settings,
        texts: &[(&str, &str)],
    ) -> Result<(Prepared, Vec<Example>), DataError> {
        let folder = tempfile::tempdir().expect("a folder");
        let splits: Vec<SplitFiles> = texts
            .iter()
            .map(|(name, text)| {
                let path = folder.path().join(format!("{name}.txt"));
                fs_err::write(&path, text).expect("written");
                SplitFiles {
                    name: (*name).to_owned(),
                    files: vec![((*name).to_owned(), path)],
                }
            })
            .collect();
        let prepared = prepare(&splits, settings, folder.path(), &mut |_| {})?;
        let mut examples = Vec::new();
        for split in &splits {
            let path = folder.path().join(format!("{}.jsonl", split.name));
            jsonl::read(&path, &mut |example| {
                examples.push(example);
                Ok(())
            })?;
        }
        Ok((prepared, examples))
    }

    fn tags(example: &Example) -> &[String] {
        match example {
            Example::Tagging(example) => &example.tags,
            other => panic!("not a sentence: {other:?}"),
        }
    }

    #[test]
    fn writes_tags_in_the_style_wanted() {
        let text = "a I-X\nb I-Y\nc I-Y\n";
        let mut settings = settings("conll");
        settings.rename_labels = [("Y".to_owned(), "X".to_owned())].into();
        let (prepared, examples) = run(&settings, &[("train", text)]).expect("prepared");
        assert_eq!(tags(&examples[0]), ["B-X", "B-X", "I-X"]);
        assert_eq!(prepared.labels.labels, ["B-X", "I-X"]);
        assert_eq!(prepared.oddities["irregular_tags"].count, 2);
        settings.tags = TagStyle::Iobes;
        let (_, examples) = run(&settings, &[("train", text)]).expect("prepared");
        assert_eq!(tags(&examples[0]), ["S-X", "B-X", "E-X"]);
        settings.tags = TagStyle::AsRead;
        settings
            .rename_labels
            .insert("Z".to_owned(), "X".to_owned());
        let (prepared, examples) = run(&settings, &[("train", text)]).expect("prepared");
        assert_eq!(tags(&examples[0]), ["I-X", "I-X", "I-X"]);
        assert_eq!(prepared.unused, ["rename_labels.Z"]);
    }

    #[test]
    fn makes_ids_unique_and_counts_them() {
        let text = "index\tsentence\tlabel\na\tx\ty\na\tx\tz\na#2\tv\ty\n";
        let mut settings = settings("tsv");
        settings.options.columns.id = Some(crate::readers::Column::Index(0));
        let (prepared, examples) = run(&settings, &[("dev", text)]).expect("prepared");
        let ids: Vec<&str> = examples.iter().map(Example::id).collect();
        assert_eq!(ids, ["a", "a#2", "a#2#2"]);
        assert_eq!(prepared.oddities["duplicate_ids"].count, 2);
    }

    #[test]
    fn refuses_unknown_labels_and_empty_splits() {
        let mut settings = settings("conll");
        settings.labels = vec!["B-Disease".to_owned(), "O".to_owned()];
        let error = run(&settings, &[("train", "a B-Disese\n")]).expect_err("a fault");
        assert_eq!(
            error.to_string(),
            "the label `B-Disese` of example `train-1` in split `train` is not in `labels`"
        );
        assert_eq!(
            error.help(),
            Some("add it to `labels`, or set `rename_labels: {Disese: Disease}`")
        );
        let error = run(&settings, &[("dev", "\n\n")]).expect_err("a fault");
        assert_eq!(error.to_string(), "split `dev` has no examples in `dev`");
    }

    /// 60 sentences of 20 documents, the last two sentences of each alike in all of them.
    fn twenty_documents() -> String {
        let mut text = String::new();
        for document in 0..20 {
            for sentence in 0..3 {
                let word = if sentence == 0 {
                    document
                } else {
                    100 + sentence
                };
                text.push_str(&format!("d{document}.s{sentence}\tword {word}\tx\n"));
            }
        }
        text
    }

    fn divided() -> Settings {
        let mut settings = settings("tsv");
        settings.options.header = Some(false);
        settings.options.columns =
            serde_json::from_str(r#"{"id":0,"text":1,"label":2}"#).expect("columns");
        settings.document_id_end = Some(".s".to_owned());
        settings.divide = Some(
            serde_json::from_str(
                r#"{"split":"all","into":{"dev":0.1,"train":0.7,"test":0.2},"seed":3}"#,
            )
            .expect("a division"),
        );
        settings
    }

    /// `run` reads back the inputs; of a divided one the parts are read instead.
    fn parts(settings: &Settings, text: &str) -> Result<(Prepared, Vec<Vec<String>>), DataError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("all.tsv");
        fs_err::write(&path, text).expect("written");
        let split = SplitFiles {
            name: "all".to_owned(),
            files: vec![("all".to_owned(), path)],
        };
        let prepared = prepare(&[split], settings, folder.path(), &mut |_| {})?;
        let parts = ["train", "dev", "test"].map(|name| {
            let mut ids = Vec::new();
            let path = folder.path().join(format!("{name}.jsonl"));
            jsonl::read(&path, &mut |example| {
                ids.push(example.id().to_owned());
                Ok(())
            })
            .expect("written");
            ids
        });
        Ok((prepared, parts.into()))
    }

    #[test]
    fn documents_stay_together_wherever_they_stand_in_the_file() {
        let text = twenty_documents();
        let (prepared, found) = parts(&divided(), &text).expect("it divides");
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [42, 6, 12]);
        let documents = |ids: &[String]| -> BTreeSet<String> {
            ids.iter()
                .map(|id| id[..id.find('.').expect("a dot")].to_owned())
                .collect()
        };
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            assert!(documents(&found[a]).is_disjoint(&documents(&found[b])));
        }
        let number = |metric: &str, split: &str, class: &str| {
            let row = prepared.rows.iter().find(|row| {
                row.metric == metric
                    && row.split.as_deref() == Some(split)
                    && row.class.as_deref() == Some(class)
            });
            row.map(|row| row.value)
        };
        assert_eq!(number("shared_documents", "test", "train"), Some(0.0));
        assert_eq!(number("shared_examples", "dev", "train"), Some(4.0));

        let mut documents_turned: Vec<&str> = text.lines().collect();
        documents_turned.reverse();
        documents_turned.sort_by_key(|line| {
            line.split(".s").nth(1).map(|rest| rest.starts_with('0')) != Some(true)
        });
        let (_, turned) =
            parts(&divided(), &(documents_turned.join("\n") + "\n")).expect("it divides");
        for (a, b) in found.iter().zip(&turned) {
            assert_eq!(documents(a), documents(b));
        }
    }

    #[test]
    fn examples_alike_are_not_parted_when_examples_are_divided() {
        let mut settings = divided();
        settings.duplicates = Duplicates::Refuse;
        let error = parts(&settings, &twenty_documents()).expect_err("documents share sentences");
        let error = error.to_string();
        assert!(
            error.starts_with("4 examples of `dev` also stand in `train`, the first is `d"),
            "{error}"
        );
        assert!(
            error.ends_with(", 8 of `test` in `dev`, 8 of `test` in `train`"),
            "{error}"
        );
        settings.divide.as_mut().expect("given").by = Unit::Example;
        settings.divide.as_mut().expect("given").into =
            [("train", 0.5), ("dev", 0.1), ("test", 0.4)]
                .map(|(name, share)| (name.to_owned(), share))
                .into();
        let (_, found) = parts(&settings, &twenty_documents()).expect("nothing is shared");
        assert_eq!(found.iter().map(Vec::len).sum::<usize>(), 60);
    }
}
