//! A stage as it is told to others: all that its manifest was made of, without where its inputs lie, so that strangers
//! can make the manifest again and carry the stage out. Knows nothing of how it travels.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::content::Content;
use crate::diagnostic::Diagnostic;
use crate::digest::Digest;
use crate::exec::job::{Force, Job, JobInput, JobItem, JobSource};
use crate::key::{ItemRecord, Manifest, PlannedItem, PortContent};
use crate::kind::{Bound, KindEntry};
use crate::notes::Notes;
use crate::plan::Planner;
use crate::source::{SourceId, Span};
use crate::spec::{
    Axis, CheckpointSpec, EnvVar, Input, Launch, Origin, OutputSpec, Policy, Resources, StageId,
    StageSpec, manifest_lines,
};

/// A stage without where its inputs lie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restated {
    /// Its display name.
    pub name: String,
    /// Its name in the file.
    pub stage: String,
    /// Its axes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub axes: Vec<Axis>,
    /// The kind's name.
    pub kind: String,
    /// The bound configuration; `None` where it may hold what the manifest does not show, such as a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
    /// Variables with their values; of secrets the names only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Metric files of a program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<String>,
    /// Declared outputs.
    pub outputs: Vec<OutputSpec>,
    /// Inputs, sorted by port.
    pub inputs: Vec<RestatedInput>,
    /// Cores, memory, device, micro-batch.
    pub resources: Resources,
    /// A folder that a program keeps its state in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointSpec>,
}

/// One input of such a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestatedInput {
    /// The port.
    pub port: String,
    /// Its place in the folder; empty where it is in the key only.
    pub place: String,
    /// The name each file has in its instance's folder, for fan-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Whether it is fan-in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub many: bool,
    /// What it is made of.
    pub items: Vec<RestatedItem>,
}

/// One thing an input is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestatedItem {
    /// What it holds.
    pub content: Content,
    /// Axes of the producing stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub axes: Vec<Axis>,
    /// The record it comes from; `None` for files of the author's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// The device of that record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Notes of that record and of everything upstream of it.
    #[serde(default, skip_serializing_if = "Notes::is_empty")]
    pub notes: Notes,
}

/// Lines of a manifest that no restatement has: they are taken from the record as they are.
const TAKEN: [&str; 4] = ["environment.record[", "kind", "numerics", "device"];

impl Restated {
    /// A stage whose upstream is known; `None` where it is not.
    ///
    /// # Errors
    /// As [`Planner::decide`].
    pub fn of(
        planner: &mut Planner<'_>,
        kinds: &[KindEntry],
        id: StageId,
    ) -> Result<Option<Self>, Diagnostic> {
        let Some(contents) = planner.contents(id)? else {
            return Ok(None);
        };
        let stage = planner.stage(id);
        let inputs = stage.inputs.iter().zip(contents);
        let numbers = match &stage.launch {
            Launch::Program(program) => program.numbers.clone(),
            Launch::Builtin => Vec::new(),
        };
        Ok(Some(Self {
            name: stage.name.clone(),
            stage: stage.stage.clone(),
            axes: stage.axes.clone(),
            kind: stage.kind.clone(),
            config: open_config(kinds, stage),
            env: (stage.policy.env.iter().cloned())
                .map(|variable| EnvVar {
                    value: variable.value.filter(|_| !variable.secret),
                    ..variable
                })
                .collect(),
            numbers,
            outputs: stage.outputs.clone(),
            inputs: inputs
                .map(|(input, content)| restated(input, content))
                .collect(),
            resources: stage.policy.resources.clone(),
            checkpoint: stage.policy.checkpoint.clone(),
        }))
    }

    /// What this program makes of the configuration; `None` where it is not told, or is none of this program's.
    #[must_use]
    pub fn bound(&self, kinds: &[KindEntry]) -> Option<(KindEntry, Bound)> {
        let kind = kinds.iter().find(|kind| kind.name == self.kind)?;
        let bound = (kind.rebind)(&self.config.as_ref()?.to_string())?;
        Some((*kind, bound))
    }

    /// Whether a record's manifest is that of this stage, whatever version of its kind made it; else the first line that
    /// is another. Where the configuration is not told, its lines are the record's.
    ///
    /// # Errors
    /// The line, in words.
    pub fn agrees(&self, kinds: &[KindEntry], manifest: &Manifest) -> Result<(), String> {
        let kind_line = manifest.lines().find(|(path, _)| *path == "kind");
        let made_by = kind_line.and_then(|(_, value)| value.split_whitespace().next());
        if made_by != Some(self.kind.as_str()) {
            return Err(format!("kind = {}", self.kind));
        }
        let bound = self.bound(kinds);
        if self.config.is_some()
            && bound.is_none()
            && kinds.iter().any(|kind| kind.name == self.kind)
        {
            return Err("its configuration does not decode".to_owned());
        }
        let with_records = kinds
            .iter()
            .find(|kind| kind.name == self.kind)
            .is_some_and(|kind| kind.reads_records);
        let config = bound.as_ref().map(|(_, bound)| &bound.manifest_config);
        let taken = |path: &str| {
            TAKEN
                .iter()
                .any(|begins| path == *begins || begins.ends_with('[') && path.starts_with(begins))
                || config.is_none() && (path == "config" || path.starts_with("config."))
        };
        let stage = self.spec(config);
        let contents: Vec<PortContent> = self.inputs.iter().map(content).collect();
        let remade = Manifest::new(&stage, &contents, &[], with_records);
        let mut stated: Vec<(&str, &str)> =
            manifest.lines().filter(|(path, _)| !taken(path)).collect();
        let mut made: Vec<(&str, &str)> = remade.lines().collect();
        stated.sort_unstable();
        made.sort_unstable();
        match made
            .iter()
            .zip(&stated)
            .find(|(made, stated)| made != stated)
        {
            Some(((path, value), _)) => Err(format!("{path} = {}", crate::key::shorten(value))),
            None if made.len() != stated.len() => {
                let more = if made.len() > stated.len() {
                    &made
                } else {
                    &stated
                };
                let (path, value) = more[made.len().min(stated.len())];
                Err(format!("{path} = {}", crate::key::shorten(value)))
            }
            None => Ok(()),
        }
    }

    fn spec(&self, config: Option<&serde_json::Value>) -> StageSpec {
        let nowhere = Span {
            source: SourceId(0),
            offset: 0,
            len: 0,
            line: 1,
            column: 1,
        };
        let origin = |input: &RestatedInput| {
            if input.place.is_empty() && input.port.starts_with("put/") {
                Origin::Put(String::new())
            } else {
                Origin::KeyOnly(String::new())
            }
        };
        let (lines_before, lines_after) =
            manifest_lines(config, &self.env, &self.outputs, &self.numbers);
        StageSpec {
            name: self.name.clone(),
            stage: self.stage.clone(),
            axes: self.axes.clone(),
            doc: None,
            kind: self.kind.clone(),
            version: 0,
            config: String::new(),
            lines_before,
            lines_after,
            inputs: self
                .inputs
                .iter()
                .map(|input| Input {
                    port: input.port.clone(),
                    place: if input.place.is_empty() {
                        input.port.clone()
                    } else {
                        input.place.clone()
                    },
                    origin: origin(input),
                    span: nowhere,
                })
                .collect(),
            outputs: self.outputs.clone(),
            launch: Launch::Builtin,
            policy: Policy::default(),
            chooses: Vec::new(),
            choices: Vec::new(),
            variants: Vec::new(),
            departures: Vec::new(),
            span: nowhere,
        }
    }

    /// The order to carry it out with all its inputs in a store. Programs are held to their folder.
    #[must_use]
    pub fn job(
        &self,
        kind: &KindEntry,
        bound: &Bound,
        manifest: &Manifest,
        cache: PathBuf,
        root: PathBuf,
    ) -> Job {
        let mut launch = bound.launch.clone();
        if let Launch::Program(program) = &mut launch {
            program.numbers.clone_from(&self.numbers);
        }
        let item = |item: &RestatedItem| JobItem {
            source: JobSource::Object,
            content: item.content,
            axes: item.axes.clone(),
            key: item.key,
            device: item.device.clone(),
            notes: item.notes.clone(),
        };
        let inputs = self.inputs.iter().filter(|input| !input.place.is_empty());
        Job {
            key: manifest.key(),
            manifest: manifest.0.clone(),
            stage: self.name.clone(),
            pipeline: "bundle".to_owned(),
            root,
            cache,
            kind: self.kind.clone(),
            config: bound.config.clone(),
            inputs: inputs
                .map(|input| JobInput {
                    port: input.port.clone(),
                    place: input.place.clone(),
                    file: input.file.clone(),
                    many: input.many,
                    items: input.items.iter().map(item).collect(),
                })
                .collect(),
            outputs: self.outputs.clone(),
            policy: Policy {
                resources: Resources {
                    gpus: 0,
                    processes: 1,
                    ..self.resources.clone()
                },
                env: self.env.clone(),
                checkpoint: self.checkpoint.clone(),
                sandbox: matches!(launch, Launch::Program(_)),
                ..Policy::default()
            },
            launch,
            gpus: None,
            offline: true,
            cooperates: false,
            force: Force::Always,
            with_records: kind.reads_records,
        }
    }
}

/// The configuration, where all of it stands in the manifest anyway.
fn open_config(kinds: &[KindEntry], stage: &StageSpec) -> Option<serde_json::Value> {
    let kind = kinds.iter().find(|kind| kind.name == stage.kind)?;
    let config: serde_json::Value = serde_json::from_str(&stage.config).ok()?;
    let bound = (kind.rebind)(&stage.config)?;
    (bound.manifest_config == config).then_some(config)
}

fn restated(input: &Input, content: PortContent) -> RestatedInput {
    let (many, file, items, place) = match content {
        PortContent::One(item) => (false, None, vec![item], input.place.clone()),
        PortContent::KeyOnly(item) => (false, None, vec![item], String::new()),
        PortContent::Many { file, items } => (true, file, items, input.place.clone()),
    };
    RestatedInput {
        port: input.port.clone(),
        place,
        file,
        many,
        items: items
            .into_iter()
            .map(|item| {
                let (key, device, notes) = match item.record {
                    Some(record) => (Some(record.key), Some(record.device), record.notes),
                    None => (None, None, Notes::new()),
                };
                RestatedItem {
                    content: item.content,
                    axes: item.axes,
                    key,
                    device,
                    notes,
                }
            })
            .collect(),
    }
}

fn content(input: &RestatedInput) -> PortContent {
    let item = |item: &RestatedItem| PlannedItem {
        content: item.content,
        axes: item.axes.clone(),
        record: item.key.map(|key| ItemRecord {
            key,
            device: item.device.clone().unwrap_or_default(),
            notes: item.notes.clone(),
        }),
    };
    let mut items: Vec<PlannedItem> = input.items.iter().map(item).collect();
    if input.many || items.len() != 1 {
        return PortContent::Many {
            file: input.file.clone(),
            items,
        };
    }
    let one = items.swap_remove(0);
    if input.place.is_empty() {
        PortContent::KeyOnly(one)
    } else {
        PortContent::One(one)
    }
}
