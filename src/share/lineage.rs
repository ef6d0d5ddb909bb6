//! What a result was made from, at the beginning of the chain: sources with their terms, data sets, weights of others.
//! Knows nothing of cards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use flow::notes::{Notes, of_output};
use flow::plan::{Planner, inputs_of};
use flow::spec::{Origin, StageId, StageSpec};
use report::card::Source;
use serde_json::Value;

/// Ports by which a model begins from another, or from its files.
const BEGINNINGS: [&str; 3] = ["start", "state", "weights"];

/// Everything that is upstream of a stage, looked at once.
pub(crate) struct Lineage<'a, 'p> {
    planner: &'p Planner<'a>,
    /// The stage and all that it needs, in order.
    stages: Vec<StageId>,
}

impl<'a, 'p> Lineage<'a, 'p> {
    /// The lineage of a stage whose upstream is known.
    pub(crate) fn of(planner: &'p Planner<'a>, stage: StageId) -> Self {
        Self::of_all(planner, &[stage])
    }

    /// The lineage of several stages whose upstream is known.
    pub(crate) fn of_all(planner: &'p Planner<'a>, wanted: &[StageId]) -> Self {
        let stages = flow::graph::upstream(planner.workflow, wanted);
        // Under its choices a stage needs less than the file says it may.
        let mut needed: BTreeSet<StageId> = wanted.iter().copied().collect();
        for id in stages.iter().rev() {
            if needed.contains(id) {
                needed.extend(inputs_of(planner.stage(*id)).map(|output| output.stage));
            }
        }
        let stages = stages.into_iter().filter(|id| needed.contains(id));
        Self {
            planner,
            stages: stages.collect(),
        }
    }

    /// The stages themselves and all that they need, in order.
    pub(crate) fn stages(&self) -> &[StageId] {
        &self.stages
    }

    fn specs(&self) -> impl Iterator<Item = &'a StageSpec> + '_ {
        self.stages.iter().map(|id| self.planner.stage(*id))
    }

    /// Stages that bring something in, and files of the user's that stages read, in the order of the pipeline.
    pub(crate) fn sources(&self) -> Vec<Source> {
        let mut readers: BTreeMap<StageId, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
        for stage in self.specs() {
            for output in inputs_of(stage) {
                let (names, outputs) = readers.entry(output.stage).or_default();
                names.insert(&stage.stage);
                outputs.insert(&output.output);
            }
        }
        let mut sources: Vec<Source> = Vec::new();
        for id in &self.stages {
            let stage = self.planner.stage(*id);
            for input in &stage.inputs {
                let path = match &input.origin {
                    Origin::Path(path) | Origin::Glob(path) => path,
                    Origin::Stage(_) | Origin::Many(_) | Origin::KeyOnly(_) | Origin::Put(_) => {
                        continue;
                    }
                };
                let source = Source {
                    name: shown(path),
                    read_by: vec![stage.stage.clone()],
                    origins: vec!["a file beside the pipeline".to_owned()],
                    ..Source::default()
                };
                add(&mut sources, source);
            }
            let notes = self.own_notes(*id);
            if stage.kind != "fetch" && !notes.contains_key("licence") {
                continue;
            }
            let none = Default::default();
            let (read_by, outputs) = readers.get(id).unwrap_or(&none);
            // Of several files only those count that were read.
            let mut facts = Notes::new();
            for output in outputs {
                flow::notes::inherit(&mut facts, &of_output(&notes, output));
            }
            let source = Source {
                name: stage.name.clone(),
                read_by: read_by.iter().map(|&name| name.to_owned()).collect(),
                licences: lines(facts.get("licence")),
                origins: origins(notes.get("origin"), outputs),
                stand_ins: lines(facts.get("stand_in")),
                is_restricted: facts.get("redistribute") == Some(&Value::Bool(false)),
            };
            add(&mut sources, source);
        }
        sources
    }

    fn own_notes(&self, id: StageId) -> Notes {
        let record = self
            .planner
            .known(id)
            .filter(|known| known.entry.has_notes)
            .and_then(|known| self.planner.store.find_record(&known.key));
        record.map(|record| record.notes).unwrap_or_default()
    }

    /// Names of the data sets: of the hub where they come from there, else those that stages give them.
    pub(crate) fn datasets(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for stage in self.specs() {
            let name = match stage.kind.as_str() {
                "fetch" => hub_repository(stage)
                    .and_then(|name| Some(name.strip_prefix("datasets/")?.to_owned())),
                "dataset" if self.comes_from_hub(stage) => None,
                "dataset" => text(stage, "name"),
                _ => None,
            };
            names.extend(name.filter(|name| !names.contains(name)));
        }
        names
    }

    fn comes_from_hub(&self, stage: &StageSpec) -> bool {
        inputs_of(stage).any(|output| {
            let name = hub_repository(self.planner.stage(output.stage));
            name.is_some_and(|name| name.starts_with("datasets/"))
        })
    }

    /// The stage that a stage begins from, and the repository of the hub whose weights it goes back to.
    pub(crate) fn beginning(&self, stage: &'a StageSpec) -> (Option<String>, Option<String>) {
        let start = begins_from(self.planner, stage);
        let mut at = start;
        let mut repository = None;
        while let Some(stage) = at {
            repository = hub_repository(stage).filter(|name| !name.starts_with("datasets/"));
            at = begins_from(self.planner, stage);
        }
        (start.map(|stage| stage.name.clone()), repository)
    }
}

fn begins_from<'a>(planner: &Planner<'a>, stage: &StageSpec) -> Option<&'a StageSpec> {
    let input = stage
        .inputs
        .iter()
        .find(|input| BEGINNINGS.contains(&input.port.as_str()))?;
    match &input.origin {
        Origin::Stage(output) => Some(planner.stage(output.stage)),
        _ => None,
    }
}

fn text(stage: &StageSpec, name: &str) -> Option<String> {
    let config: Value = serde_json::from_str(&stage.config).ok()?;
    config[name].as_str().map(str::to_owned)
}

/// The repository that a stage fetches, such as `owner/name` or `datasets/owner/name`; `None` of all else.
fn hub_repository(stage: &StageSpec) -> Option<String> {
    if stage.kind != "fetch" {
        return None;
    }
    let of_url = |url: String| {
        let path = url.strip_prefix("https://huggingface.co/")?;
        let (name, _) = path.split_once("/resolve/")?;
        Some(name.to_owned())
    };
    text(stage, "hf").or_else(|| of_url(text(stage, "url")?))
}

/// Adds a source; one that is read by several stages stands once.
fn add(sources: &mut Vec<Source>, source: Source) {
    let Some(known) = sources.iter_mut().find(|known| known.name == source.name) else {
        sources.push(source);
        return;
    };
    for reader in source.read_by {
        if !known.read_by.contains(&reader) {
            known.read_by.push(reader);
        }
    }
}

/// A path as strangers may see it: of one that begins at the machine's root the last part.
fn shown(path: &str) -> String {
    match Path::new(path) {
        path if path.is_absolute() => path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        _ => path.trim_start_matches("./").to_owned(),
    }
}

/// Where a source came from: of several files those that were read.
fn origins(note: Option<&Value>, outputs: &BTreeSet<&str>) -> Vec<String> {
    let Some(Value::Object(parts)) = note else {
        return lines(note);
    };
    let is_read = |name: &str| outputs.contains(name);
    let any = parts.keys().any(|name| is_read(name));
    let parts = parts.iter().filter(|(name, _)| !any || is_read(name));
    parts.flat_map(|(_, origin)| lines(Some(origin))).collect()
}

/// The single texts of a note.
pub(crate) fn lines(note: Option<&Value>) -> Vec<String> {
    match note {
        None | Some(Value::Null | Value::Bool(false)) => Vec::new(),
        Some(Value::Bool(true)) => vec!["yes".to_owned()],
        Some(Value::String(text)) => vec![without_roots(text)],
        Some(Value::Array(items)) => items.iter().flat_map(|item| lines(Some(item))).collect(),
        Some(Value::Object(parts)) => parts.values().flat_map(|part| lines(Some(part))).collect(),
        Some(Value::Number(number)) => vec![number.to_string()],
    }
}

/// A text whose paths from the machine's root lose their folders: words, and what stands between backticks.
fn without_roots(text: &str) -> String {
    let bare = |text: &str| match text.strip_prefix("file://").unwrap_or(text) {
        path if path.starts_with('/') && path != "/" => shown(path),
        _ => text.to_owned(),
    };
    let parts = text.split('`').enumerate().map(|(at, part)| match at % 2 {
        0 => part.split(' ').map(bare).collect::<Vec<_>>().join(" "),
        _ => bare(part),
    });
    parts.collect::<Vec<_>>().join("`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn folders_of_the_machine_are_not_told() {
        assert_eq!(shown("/home/me/data/a.txt"), "a.txt");
        assert_eq!(shown("./data/a.txt"), "data/a.txt");
        let note = json!([
            "`/home/me/our data/a.txt` in place of https://example.org/a.txt",
            "file:///home/b.txt",
            "a / b"
        ]);
        let told = [
            "`a.txt` in place of https://example.org/a.txt",
            "b.txt",
            "a / b",
        ];
        assert_eq!(lines(Some(&note)), told);
    }

    #[test]
    fn of_several_files_the_origins_of_those_that_were_read() {
        let note = json!({ "train": "https://a/", "test": "https://b/" });
        assert_eq!(origins(Some(&note), &["train"].into()), ["https://a/"]);
        assert_eq!(origins(Some(&note), &["data"].into()).len(), 2);
    }
}
