//! Reads the splits of a data set, writes them in canonical form with their labels, and counts. Knows nothing of stages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::divide::{Divide, Group, Groups, Unit};
use crate::error::{DataError, Place, excerpt, listed};
use crate::example::Example;
use crate::jsonl::Writer;
use crate::labels::{LabelSet, ordered};
use crate::readers::{Oddity, Options, Reader, Tally, read_file};
use crate::statistics::{self, Counting, Row, Statistics};

mod labels;
#[cfg(test)]
mod tests;

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
