//! What a profile and `--set` make of the stages: each concrete stage beside that of the file as written. Knows no kind.
//!
//! Compared is what decides a result: configuration, environment, kind, outputs, and where inputs come from. The axis of
//! repetition is an axis like the others: who may choose the seeds chooses the result.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Input, Origin, OutputRef, StageSpec, Workflow};

/// A setting that is not that of the file as written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Departure {
    /// The name of the stage in the file.
    pub stage: String,
    /// The setting: `steps`, `needs.data`.
    pub what: String,
    /// Its value here.
    pub here: String,
    /// Its value in the file.
    pub written: String,
}

/// A departure beside an item of an input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Told {
    #[serde(flatten)]
    departure: Departure,
    /// Of which input of the reader itself this is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<String>,
}

impl Departure {
    /// What is told beside an item of an input: what its producer, and all that it was made from, has otherwise, what
    /// the reader itself has, and what those have that chose for the reader.
    pub(super) fn beside<'a>(
        reader: &StageSpec,
        producer: &'a [Self],
        choosers: impl Iterator<Item = &'a [Self]>,
    ) -> Vec<Told> {
        let upstream = producer.iter().chain(choosers.flatten());
        let mut all: Vec<Told> = upstream
            .map(|one| Told {
                departure: one.clone(),
                port: None,
            })
            .collect();
        // What is read, and what is asked of it, is the reader's; which result it reads may hang on a choice. Inputs that
        // are a person's files have no record to tell it by, so every item has all of it.
        all.extend(reader.departures.iter().map(|one| Told {
            departure: one.clone(),
            port: one.what.strip_prefix("needs.").map(str::to_owned),
        }));
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Characters of a value that are shown.
const SHOWN: usize = 60;
/// Between the number of instances of a fan-in and their names.
const MANY: &str = " of them: ";
/// What stands for a field that is left out of manifests.
const DEFAULT: &str = "its default";

/// Marks each stage of `workflow` with what it has otherwise than in `written`.
pub(super) fn mark(workflow: &mut Workflow, written: &Workflow) {
    let mut cells: BTreeMap<Cell, Vec<&StageSpec>> = BTreeMap::new();
    for stage in &written.stages {
        cells.entry(cell_of(stage)).or_default().push(stage);
    }
    let lost = workflow.stages.iter();
    let lost: BTreeSet<&str> = lost
        .filter(|stage| !cells.contains_key(&cell_of(stage)))
        .map(|stage| stage.stage.as_str())
        .collect();
    let mut like: BTreeMap<&str, Like> = BTreeMap::new();
    for stage in &written.stages {
        if lost.contains(stage.stage.as_str()) {
            like.entry(&stage.stage).or_default().add(stage, written);
        }
    }
    let mut found: Vec<(Vec<Departure>, Vec<Vec<Departure>>)> = Vec::new();
    for stage in &workflow.stages {
        let like = like.get(stage.stage.as_str());
        let siblings = cells.get(&cell_of(stage)).map_or(&[][..], Vec::as_slice);
        let compare = |one: &StageSpec, chosen: &[String]| {
            own(one, chosen, workflow, (siblings, like), written)
        };
        found.push(match stage.variants.is_empty() {
            true => (compare(stage, &[]), Vec::new()),
            false => {
                let variants = stage
                    .variants
                    .iter()
                    .map(|variant| compare(&variant.stage, &variant.values));
                (Vec::new(), variants.collect())
            }
        });
    }
    for (stage, (own, of_variants)) in workflow.stages.iter_mut().zip(found) {
        stage.departures = own;
        for (variant, own) in stage.variants.iter_mut().zip(of_variants) {
            variant.stage.departures = own;
        }
    }
}

/// Marks every stage, where the file does not load without the settings.
pub(super) fn mark_all(workflow: &mut Workflow, settings: &str) {
    for stage in &mut workflow.stages {
        let departure = Departure {
            stage: stage.stage.clone(),
            what: "settings".to_owned(),
            here: cut(settings),
            written: "nothing that loads without them".to_owned(),
        };
        for variant in &mut stage.variants {
            variant.stage.departures = vec![departure.clone()];
        }
        stage.departures = vec![departure];
    }
}

/// The stage's name and its axes.
type Cell = (String, Vec<(String, String)>);

fn cell_of(stage: &StageSpec) -> Cell {
    let axes = (stage.axes.iter()).map(|axis| (axis.name.clone(), axis.text.clone()));
    (stage.stage.clone(), axes.collect())
}

/// What `stage` has otherwise than its like among `siblings`, the stages of its cell in the file as written.
/// `chosen` are the values of other stages' choices that it stands for. Where its cell is empty, `like` tells of the others.
fn own(
    stage: &StageSpec,
    chosen: &[String],
    workflow: &Workflow,
    (siblings, like): (&[&StageSpec], Option<&Like>),
    written: &Workflow,
) -> Vec<Departure> {
    let departure = |what: String, here: &str, there: &str| {
        let (here, there) = match (here.split_once(MANY), there.split_once(MANY)) {
            // Of many instances their number tells more than the first few names.
            (Some((ours, _)), Some((theirs, _))) if ours == theirs => {
                (format!("{ours} instances"), "as many others".to_owned())
            }
            (Some((ours, _)), Some((theirs, _))) => {
                (format!("{ours} instances"), format!("{theirs} instances"))
            }
            _ => (cut(here), cut(there)),
        };
        Departure {
            stage: stage.stage.clone(),
            what,
            // Long texts may begin alike.
            here: if here == there {
                "another text".to_owned()
            } else {
                here
            },
            written: there,
        }
    };
    let Some(first) = siblings.first() else {
        return unlike(stage, workflow, like, departure);
    };
    let Some(there) = of_variant(first, chosen) else {
        return vec![departure(
            "choice".to_owned(),
            "another",
            "others to choose from",
        )];
    };
    let (ours, theirs) = (described(stage, workflow), described(there, written));
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let mut found = Vec::new();
    for path in paths {
        let value = |of: &BTreeMap<String, String>| {
            of.get(path).cloned().unwrap_or_else(|| DEFAULT.to_owned())
        };
        let (here, there) = (value(&ours), value(&theirs));
        if here != there {
            let what = path.strip_prefix("config.").unwrap_or(path);
            found.push(departure(what.to_owned(), &here, &there));
        }
    }
    found
}

/// What the instances of a stage are in the file as written: of each axis and each setting every value.
#[derive(Default)]
struct Like {
    axes: BTreeMap<String, Vec<String>>,
    settings: BTreeMap<String, Vec<String>>,
    /// How many instances write each setting.
    writers: BTreeMap<String, usize>,
    count: usize,
}

impl Like {
    fn add(&mut self, stage: &StageSpec, written: &Workflow) {
        self.count += 1;
        for axis in &stage.axes {
            let values = self.axes.entry(axis.name.clone()).or_default();
            if !values.contains(&axis.text) {
                values.push(axis.text.clone());
            }
        }
        for (path, value) in without_axes(stage, written) {
            *self.writers.entry(path.clone()).or_default() += 1;
            let values = self.settings.entry(path).or_default();
            if !values.contains(&value) {
                values.push(value);
            }
        }
    }

    /// Every value of a setting, its default among them where an instance does not write it.
    fn values(&self, path: &str) -> Vec<&str> {
        let written = self.settings.get(path).into_iter().flatten();
        let is_left_out = self
            .writers
            .get(path)
            .is_none_or(|count| *count < self.count);
        let default = is_left_out.then_some(DEFAULT);
        written.map(String::as_str).chain(default).collect()
    }
}

/// [`described`] with the names of the stages that inputs come from: which of their instances follows from the axes.
fn without_axes(stage: &StageSpec, workflow: &Workflow) -> BTreeMap<String, String> {
    let mut all = described(stage, workflow);
    for input in &stage.inputs {
        let name = |output: &OutputRef| {
            let stage = &workflow.stages[output.stage.index()].stage;
            format!("{stage}.{}", output.output)
        };
        let from = match &input.origin {
            Origin::Stage(output) => name(output),
            Origin::Many(outputs) => {
                let names: BTreeSet<String> = outputs.iter().map(name).collect();
                names.into_iter().collect::<Vec<_>>().join(" ")
            }
            _ => continue,
        };
        all.insert(format!("needs.{}", input.port), from);
    }
    all
}

/// What an instance has that the file as written has not: values of axes, and settings that no instance of its stage has
/// there; or none in common, or the stage itself.
fn unlike(
    stage: &StageSpec,
    workflow: &Workflow,
    like: Option<&Like>,
    departure: impl Fn(String, &str, &str) -> Departure,
) -> Vec<Departure> {
    let Some(like) = like else {
        return vec![departure("stage".to_owned(), "added", "no such stage")];
    };
    let (_, axes) = cell_of(stage);
    let mut found = Vec::new();
    for (name, value) in &axes {
        let values = like.axes.get(name).map_or(&[][..], Vec::as_slice);
        if !values.contains(value) {
            let there = match values.is_empty() {
                true => "no such axis".to_owned(),
                false => values.join(", "),
            };
            found.push(departure(name.clone(), value, &there));
        }
    }
    if found.is_empty() {
        let (names, values): (Vec<_>, Vec<_>) = axes.iter().cloned().unzip();
        let there = match names.is_empty() {
            true => "instances on axes",
            false => "no such instance",
        };
        found.push(departure(names.join(", "), &values.join(", "), there));
    }
    let ours = without_axes(stage, workflow);
    let paths: BTreeSet<&String> = ours.keys().chain(like.settings.keys()).collect();
    for path in paths {
        let what = path.strip_prefix("config.").unwrap_or(path);
        // A setting that an axis gives is told by the axis.
        if axes.iter().any(|(name, _)| name == what) {
            continue;
        }
        let here = ours.get(path).map_or(DEFAULT, String::as_str);
        let values = like.values(path);
        if !values.contains(&here) {
            found.push(departure(what.to_owned(), here, &values.join(", ")));
        }
    }
    found
}

/// The variant of `written` of these chosen values; itself where nothing is chosen.
fn of_variant<'a>(written: &'a StageSpec, chosen: &[String]) -> Option<&'a StageSpec> {
    if chosen.is_empty() && written.variants.is_empty() {
        return Some(written);
    }
    let variant = written
        .variants
        .iter()
        .find(|variant| variant.values == chosen);
    variant.map(|variant| &variant.stage)
}

/// Everything that decides the result of a stage, but the content of what it reads, by name.
fn described(stage: &StageSpec, workflow: &Workflow) -> BTreeMap<String, String> {
    let lines = stage.lines_before.lines().chain(stage.lines_after.lines());
    let mut all: BTreeMap<String, String> = lines
        .map(|line| line.split_once(" = ").unwrap_or((line, "")))
        .map(|(path, value)| (path.to_owned(), value.to_owned()))
        .collect();
    for input in &stage.inputs {
        all.insert(format!("needs.{}", input.port), source(input, workflow));
    }
    all
}

/// Where an input comes from.
fn source(input: &Input, workflow: &Workflow) -> String {
    let instance = |output: &OutputRef| {
        let stage = &workflow.stages[output.stage.index()];
        let (name, axes) = cell_of(stage);
        let axes: Vec<String> = axes
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        match axes.is_empty() {
            true => format!("{name}.{}", output.output),
            false => format!("{name}[{}].{}", axes.join(","), output.output),
        }
    };
    match &input.origin {
        Origin::Path(path) | Origin::Glob(path) | Origin::KeyOnly(path) | Origin::Put(path) => {
            path.clone()
        }
        Origin::Stage(output) => instance(output),
        Origin::Many(outputs) => {
            let distinct: BTreeSet<String> = outputs.iter().map(instance).collect();
            let names: Vec<String> = distinct.into_iter().collect();
            format!("{}{MANY}{}", names.len(), names.join(" "))
        }
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    let mut shown: String = text.chars().take(SHOWN - 1).collect();
    shown.push('…');
    shown
}
