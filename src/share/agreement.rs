//! The pipeline file of a bundle against its records: whether the stages are those that the file has, and the pages that
//! follow from both. Reads no file but that one and its lock, and runs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use flow::digest::Digest;
use flow::exec::job::entry_of;
use flow::notes::{DEPARTURES, Notes, VARIABLES, of_output};
use flow::plan::{Known, Planner};
use flow::restate::RestatedInput;
use flow::spec::load::{LoadFailure, LoadOptions, load_alone};
use flow::spec::{Input, Origin, OutputRef, StageId, StageSpec, Upstream, Workflow};
use flow::store::Store;
use flow::store::record::Record;
use report::card::Source;
use serde_json::json;

use super::bundle::{Bundle, BundleStage};
use super::lineage::{Lineage, lines};
use crate::kinds::KINDS;

/// Lines of a manifest that machines and versions of this program decide, and those of inputs, which are looked at apart.
const APART: [&str; 5] = ["environment.", "input.", "kind", "numerics", "device"];

/// The pipeline of a bundle below its folder, with the settings that it was run with.
///
/// # Errors
/// Where it is no pipeline, or does not stand alone.
pub(super) fn pipeline(root: &Path, bundle: &Bundle) -> Result<Workflow, LoadFailure> {
    let options = LoadOptions {
        file: &root.join(&bundle.file),
        profiles: &bundle.settings.profiles,
        set: &bundle.settings.set,
        kinds: KINDS,
        mirrors: &bundle.settings.mirror_pairs(),
        device: bundle.settings.device.as_deref(),
    };
    load_alone(&options).map(|loaded| loaded.workflow)
}

/// The bundle's stages beside those of its pipeline file.
struct Sides<'a> {
    workflow: &'a Workflow,
    bundle: &'a Bundle,
    records: &'a BTreeMap<Digest, Record>,
    by_name: BTreeMap<&'a str, &'a BundleStage>,
    /// What the plan tells of each stage and all that it rests on.
    upstream: BTreeMap<&'a str, Upstream>,
    /// Of a stage of which nothing is known.
    nothing: Upstream,
}

/// Names of stages of a bundle that its pipeline file has otherwise or not at all, in the order of the bundle.
pub(super) fn unlike(
    workflow: &Workflow,
    bundle: &Bundle,
    records: &BTreeMap<Digest, Record>,
) -> Vec<String> {
    let by_name = bundle.stages.iter();
    let mut sides = Sides {
        workflow,
        bundle,
        records,
        by_name: by_name
            .map(|entry| (entry.stage.name.as_str(), entry))
            .collect(),
        upstream: BTreeMap::new(),
        nothing: Upstream::default(),
    };
    let specs: BTreeMap<&str, &StageSpec> = workflow
        .stages
        .iter()
        .map(|spec| (spec.name.as_str(), spec))
        .collect();
    let mut unlike = Vec::new();
    for entry in &bundle.stages {
        let name = entry.stage.name.as_str();
        let spec = specs.get(name).and_then(|spec| sides.chosen(spec));
        let is_so = spec.is_some_and(|spec| {
            let upstream = sides.upstream_of(spec);
            sides.upstream.insert(name, upstream);
            sides.agrees(spec, entry)
        });
        if !is_so {
            unlike.push(name.to_owned());
        }
    }
    unlike
}

impl<'a> Sides<'a> {
    fn name_of(&self, output: &OutputRef) -> &'a str {
        &self.workflow.stages[output.stage.index()].name
    }

    /// What a stage is under the choices of the records.
    fn chosen(&self, spec: &'a StageSpec) -> Option<&'a StageSpec> {
        if spec.variants.is_empty() {
            return Some(spec);
        }
        let values: Option<Vec<&String>> = spec
            .choices
            .iter()
            .map(|choice| {
                let chooser = &self.workflow.stages[choice.stage.index()].name;
                let entry = self.by_name.get(chooser.as_str())?;
                self.records.get(&entry.key)?.choice.get(&choice.axis)
            })
            .collect();
        let values = values?;
        let mut variants = spec.variants.iter();
        let found = variants.find(|variant| variant.values.iter().eq(values.iter().copied()))?;
        Some(&found.stage)
    }

    /// As the planner gathers them.
    fn upstream_of(&self, spec: &StageSpec) -> Upstream {
        let choosers = spec
            .choices
            .iter()
            .map(|choice| self.workflow.stages[choice.stage.index()].name.as_str());
        let outputs = spec.inputs.iter().flat_map(outputs_of);
        let names = choosers.chain(outputs.map(|output| self.name_of(output)));
        Upstream::of(spec, names.map(|name| self.told_of(name)))
    }

    fn told_of(&self, name: &str) -> &Upstream {
        self.upstream.get(name).unwrap_or(&self.nothing)
    }

    fn agrees(&self, spec: &StageSpec, entry: &BundleStage) -> bool {
        let stage = &entry.stage;
        let manifest = &self.records[&entry.key].manifest;
        let of_file = format!("{}{}", spec.lines_before, spec.lines_after);
        let lines = |text: &'_ str| -> BTreeSet<String> {
            let kept = |line: &&str| {
                let path = line.split(" = ").next().unwrap_or_default();
                let is_apart = APART
                    .iter()
                    .any(|apart| path == *apart || apart.ends_with('.') && path.starts_with(apart));
                let variable = path.strip_prefix("env.").unwrap_or_default();
                // What the environment of the author said stands in the record alone.
                let is_theirs = self
                    .workflow
                    .environment
                    .iter()
                    .any(|(name, _)| name == variable);
                !(is_apart || is_theirs)
            };
            text.lines().filter(kept).map(str::to_owned).collect()
        };
        spec.kind == stage.kind
            && spec.stage == stage.stage
            && spec.axes == stage.axes
            && lines(&of_file) == lines(manifest)
            && spec.inputs.len() == stage.inputs.len()
            && spec
                .inputs
                .iter()
                .zip(&stage.inputs)
                .all(|(input, restated)| self.is_same_input(spec, input, restated))
    }

    fn is_same_input(&self, reader: &StageSpec, input: &Input, restated: &RestatedInput) -> bool {
        if input.port != restated.port {
            return false;
        }
        let outputs = outputs_of(input);
        if outputs.is_empty() {
            return restated.items.iter().all(|item| item.key.is_none())
                && match &input.origin {
                    Origin::Path(path) => self.is_source(path, restated),
                    _ => true,
                };
        }
        outputs.len() == restated.items.len()
            && outputs.iter().zip(&restated.items).all(|(output, item)| {
                let name = self.name_of(output);
                let Some(entry) = self.by_name.get(name) else {
                    return false;
                };
                let made = self.records[&entry.key].outputs.get(&output.output);
                let choosers = reader.choices.iter().map(|choice| choice.stage.index());
                let choosers: Vec<&Upstream> = choosers
                    .map(|chooser| self.told_of(&self.workflow.stages[chooser].name))
                    .collect();
                let told = Upstream::beside(reader, self.told_of(name), &choosers);
                let is_told = [DEPARTURES, VARIABLES]
                    .iter()
                    .all(|note| item.notes.get(*note) == told.get(*note));
                item.key == Some(entry.key)
                    && made.is_some_and(|made| made.digest == item.content.digest)
                    && is_told
            })
    }

    /// Whether a file of the author's by that name is what a stage read.
    fn is_source(&self, path: &str, restated: &RestatedInput) -> bool {
        let path = path.trim_start_matches("./");
        let mut sources = self.bundle.sources.iter();
        // One from outside of the project is told by its last name.
        Path::new(path).is_absolute()
            || path.starts_with("..")
            || restated.items.iter().all(|item| {
                sources.any(|source| source.path == path && source.content == item.content)
            })
    }
}

fn outputs_of(input: &Input) -> &[OutputRef] {
    match &input.origin {
        Origin::Stage(output) => std::slice::from_ref(output),
        Origin::Many(outputs) => outputs.as_slice(),
        Origin::Path(_) | Origin::Glob(_) | Origin::KeyOnly(_) | Origin::Put(_) => &[],
    }
}

/// What the results of a bundle were made from, by its pipeline file and its records alone.
///
/// # Errors
/// Where the temporary folder refuses.
pub(super) fn sources(
    workflow: &Workflow,
    bundle: &Bundle,
    records: &BTreeMap<Digest, Record>,
) -> std::io::Result<Vec<Source>> {
    let folder = tempfile::Builder::new()
        .prefix("pipeline-pages-")
        .tempdir()?;
    let store = Store::open(folder.path())?;
    for record in records.values() {
        store.write_record(record)?;
    }
    let keys: BTreeMap<&str, Digest> = bundle
        .stages
        .iter()
        .map(|entry| (entry.stage.name.as_str(), entry.key))
        .collect();
    let mut planner = Planner::new(workflow, &store, KINDS)?;
    let mut selected = Vec::new();
    for (at, spec) in workflow.stages.iter().enumerate() {
        let Some(key) = keys.get(spec.name.as_str()) else {
            continue;
        };
        let id = StageId(u32::try_from(at).expect("stages are counted in 32 bits"));
        let entry = entry_of(&records[key]);
        planner.learn(id, Known { key: *key, entry });
        selected.push(id);
    }
    Ok(Lineage::of_all(&planner, &selected).sources())
}

/// The same by the records alone, for a bundle whose file has other stages than they.
pub(super) fn sources_of_records(
    bundle: &Bundle,
    records: &BTreeMap<Digest, Record>,
) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    let mut named: BTreeMap<Digest, usize> = BTreeMap::new();
    for entry in &bundle.stages {
        let reader = &entry.stage.stage;
        for item in entry.stage.inputs.iter().flat_map(|input| &input.items) {
            match item.key.and_then(|key| named.get(&key)) {
                Some(at) => read_by(&mut sources[*at], reader),
                None if item.key.is_some() => {}
                None => {
                    let mut files = bundle.sources.iter();
                    if let Some(file) = files.find(|file| file.content == item.content) {
                        let at = source(&mut sources, &file.path);
                        sources[at].origins = vec!["a file beside the pipeline".to_owned()];
                        read_by(&mut sources[at], reader);
                    }
                }
            }
        }
        let notes = &records[&entry.key].notes;
        if entry.stage.kind != "fetch" && !notes.contains_key("licence") {
            continue;
        }
        let mut facts = Notes::new();
        for output in &entry.stage.outputs {
            flow::notes::inherit(&mut facts, &of_output(notes, &output.name));
        }
        let at = source(&mut sources, &entry.stage.name);
        named.insert(entry.key, at);
        sources[at].licences = lines(facts.get("licence"));
        sources[at].origins = lines(notes.get("origin"));
        sources[at].stand_ins = lines(facts.get("stand_in"));
        sources[at].is_restricted = facts.get("redistribute") == Some(&json!(false));
    }
    sources
}

/// The place of the source with a name, which is added where it is not known.
fn source(sources: &mut Vec<Source>, name: &str) -> usize {
    let known = sources.iter().position(|source| source.name == name);
    known.unwrap_or_else(|| {
        sources.push(Source {
            name: name.to_owned(),
            ..Source::default()
        });
        sources.len() - 1
    })
}

fn read_by(source: &mut Source, reader: &str) {
    if !source.read_by.iter().any(|known| known == reader) {
        source.read_by.push(reader.to_owned());
    }
}
