//! Which stages have a result already, which have none, and why. Starts no stage and changes nothing but the index.

#![expect(
    clippy::disallowed_types,
    reason = "maps here are looked up by name only"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use self::inputs::outputs_of;
use crate::content::{Content, Form, Ignore};
use crate::diagnostic::Diagnostic;
use crate::digest::Digest;
use crate::exec::environment;
use crate::key::{Change, Manifest};
use crate::kind::KindEntry;
use crate::notes::{self, ByInput, ByNumber, Notes};
use crate::spec::{ChoiceRef, StageId, StageSpec, Upstream, Variant, Workflow};
use crate::store::Store;
use crate::store::index::{Index, IndexEntry};
use crate::store::record::Record;

/// What stands in the key for a file that is not there yet.
const ABSENT: Content = Content {
    form: Form::Tree,
    digest: Digest::ZERO,
    bytes: 0,
};

mod bill;
mod files;
mod inputs;
mod offer;
mod rows;

pub use files::Soundness;
pub use inputs::inputs_of;
pub use offer::{Offer, OfferState};
pub use rows::{PlanRow, PlanState, SecondsBy, plan_rows};

/// A stage whose result is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Its key.
    pub key: Digest,
    /// Its result.
    pub entry: IndexEntry,
}

/// What is known of a stage now.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Something it needs is not known yet.
    Open,
    /// There is a record.
    Hit(Known),
    /// There is none.
    Miss {
        /// The key it would be recorded under.
        key: Digest,
        /// The text of that key.
        manifest: Manifest,
    },
}

/// Looks up stages in order, hashing each file once.
#[derive(Debug)]
pub struct Planner<'a> {
    /// The stages.
    pub workflow: &'a Workflow,
    /// Where results are.
    pub store: &'a Store,
    /// What is known fast.
    pub index: Index,
    kinds: &'static [KindEntry],
    ignore: Ignore,
    clock_ns: i64,
    known: Vec<Option<Known>>,
    /// What stages chose when they were last known, by axis.
    choices: HashMap<StageId, BTreeMap<String, String>>,
    /// Notes of known stages, inherited ones included; empty for most.
    notes: Vec<Notes>,
    /// What the plan tells of known stages and everything they rest on; empty for most.
    upstream: Vec<Upstream>,
    paths: HashMap<String, Content>,
    published: HashMap<String, Digest>,
    globs: BTreeMap<String, (PathBuf, Vec<String>)>,
    pipeline_id: String,
}

impl<'a> Planner<'a> {
    /// Opens the index and reads the file server's clock.
    ///
    /// # Errors
    /// When the cache or `.pipelineignore` cannot be read, or the cache cannot be written.
    pub fn new(
        workflow: &'a Workflow,
        store: &'a Store,
        kinds: &'static [KindEntry],
    ) -> io::Result<Self> {
        Ok(Self {
            workflow,
            store,
            index: store.load_index()?,
            kinds,
            ignore: Ignore::load(&workflow.root, store.dir())?,
            // Without a place to ask, nothing that is hashed now is trusted later. A run has a place, or has failed.
            clock_ns: store.server_clock_ns().unwrap_or(i64::MIN),
            known: vec![None; workflow.stages.len()],
            choices: HashMap::new(),
            notes: vec![Notes::new(); workflow.stages.len()],
            upstream: vec![Upstream::default(); workflow.stages.len()],
            paths: HashMap::new(),
            published: HashMap::new(),
            globs: BTreeMap::new(),
            pipeline_id: pipeline_id(workflow),
        })
    }

    /// A stage; of one that hangs on choices what it is under those that are known.
    #[must_use]
    pub fn stage(&self, id: StageId) -> &'a StageSpec {
        let stage = &self.workflow.stages[id.index()];
        self.variant(stage).unwrap_or(stage)
    }

    /// What a stage is under the choices it hangs on; `None` where it hangs on none or they are not known.
    fn variant(&self, stage: &'a StageSpec) -> Option<&'a StageSpec> {
        if stage.variants.is_empty() {
            return None;
        }
        let values: Option<Vec<&String>> = stage
            .choices
            .iter()
            .map(|choice| self.choices.get(&choice.stage)?.get(&choice.axis))
            .collect();
        let values = values?;
        let is_chosen = |variant: &&Variant| variant.values.iter().eq(values.iter().copied());
        Some(&stage.variants.iter().find(is_chosen)?.stage)
    }

    /// The first stage that has yet to choose what this one is.
    #[must_use]
    pub fn undecided(&self, id: StageId) -> Option<StageId> {
        let choices = &self.workflow.stages[id.index()].choices;
        let open = |choice: &&ChoiceRef| self.known(choice.stage).is_none();
        choices.iter().find(open).map(|choice| choice.stage)
    }

    /// What others chose for this stage: the stage that chose, the axis, the value.
    #[must_use]
    pub fn chosen(&self, id: StageId) -> Vec<(&'a StageSpec, &'a str, &str)> {
        let choices = self.workflow.stages[id.index()].choices.iter();
        choices
            .filter_map(|choice| {
                let value = self.choices.get(&choice.stage)?.get(&choice.axis)?;
                Some((
                    self.stage(choice.stage),
                    choice.axis.as_str(),
                    value.as_str(),
                ))
            })
            .collect()
    }

    /// The result of a stage, if it is known.
    #[must_use]
    pub fn known(&self, id: StageId) -> Option<&Known> {
        self.known[id.index()].as_ref()
    }

    /// The facts that travel with a known stage: its own, and those of everything that it was made from.
    #[must_use]
    pub fn notes(&self, id: StageId) -> &Notes {
        &self.notes[id.index()]
    }

    /// Notes the result of a stage.
    pub fn learn(&mut self, id: StageId, known: Known) {
        self.index.learn(known.key, known.entry.clone());
        self.set_known(id, known);
    }

    /// Notes are gathered as stages become known: upstream comes first, so one look at each input is enough.
    fn set_known(&mut self, id: StageId, known: Known) {
        let mut notes = Notes::new();
        if known.entry.has_notes {
            notes = self
                .store
                .find_record(&known.key)
                .map(|record| record.notes)
                .unwrap_or_default();
        }
        let mut by_input = ByInput::new(&notes);
        let mut by_number = ByNumber::new(&mut notes);
        for input in &self.stage(id).inputs {
            if outputs_of(input).is_empty() {
                by_number.add(&input.port, &Notes::new());
            }
            for output in outputs_of(input) {
                let upstream = &self.notes[output.stage.index()];
                let upstream = notes::of_output(upstream, &output.output);
                notes::inherit(&mut notes, &upstream);
                by_input.add(&input.port, &upstream);
                by_number.add(&input.port, &upstream);
            }
        }
        by_input.finish(&mut notes);
        by_number.finish(&mut notes);
        self.notes[id.index()] = notes;
        self.upstream[id.index()] = self.upstream_of(id);
        if !self.stage(id).chooses.is_empty() {
            let choice = self.choice_of(&known.key).unwrap_or_default();
            self.choices.insert(id, choice);
        }
        self.known[id.index()] = Some(known);
    }

    fn upstream_of(&self, id: StageId) -> Upstream {
        let stage = self.stage(id);
        let choosers = stage.choices.iter().map(|choice| choice.stage);
        let producers = inputs_of(stage).map(|output| output.stage);
        let upstream = choosers.chain(producers);
        Upstream::of(stage, upstream.map(|one| &self.upstream[one.index()]))
    }

    fn choice_of(&self, key: &Digest) -> Option<BTreeMap<String, String>> {
        self.store.find_record(key).map(|record| record.choice)
    }

    /// Forgets the result of a stage, so that it is decided anew.
    pub fn forget(&mut self, id: StageId) {
        self.known[id.index()] = None;
    }

    /// Forgets the digests of the user's files, so that they are looked at anew.
    pub fn forget_paths(&mut self) -> io::Result<()> {
        self.paths.clear();
        self.globs.clear();
        self.clock_ns = self.store.server_clock_ns()?;
        Ok(())
    }

    /// Decides a stage whose upstream was decided before; a hit is noted.
    ///
    /// # Errors
    /// A missing or unreadable input, at its place in the file.
    pub fn decide(&mut self, id: StageId) -> Result<Decision, Diagnostic> {
        if self.undecided(id).is_some() {
            return Ok(Decision::Open);
        }
        let stage = self.stage(id);
        if !stage.variants.is_empty() {
            return Err(self.unforeseen(stage));
        }
        let mut contents = Vec::with_capacity(stage.inputs.len());
        for input in &stage.inputs {
            match self.port_content(stage, input)? {
                Some(content) => contents.push(content),
                None => return Ok(Decision::Open),
            }
        }
        let extra = self.strict_surroundings(stage);
        let manifest = Manifest::new(stage, &contents, &extra, self.reads_records(&stage.kind));
        let key = manifest.key();
        let entry = match self.index.find(&key) {
            Some(entry) => Some(entry),
            None => self
                .store
                .find_record(&key)
                .map(|record| crate::exec::job::entry_of(&record)),
        };
        // The index may know of a record that is gone; what it chose stands in the record alone.
        let is_gone = !stage.chooses.is_empty() && self.choice_of(&key).is_none();
        match entry.filter(|_| !is_gone) {
            Some(entry) => {
                let known = Known { key, entry };
                self.set_known(id, known.clone());
                Ok(Decision::Hit(known))
            }
            None => Ok(Decision::Miss { key, manifest }),
        }
    }

    /// A choice among values that are not in the pipeline: an old or accepted result of the stage that chose.
    fn unforeseen(&self, stage: &StageSpec) -> Diagnostic {
        let mut problem = Diagnostic::error(
            "run::unforeseen_choice",
            format!(
                "`{}` hangs on a choice that cannot be made here",
                stage.name
            ),
        );
        let mut who = None;
        for choice in &stage.choices {
            let chooser = self.stage(choice.stage);
            let value = self
                .choices
                .get(&choice.stage)
                .and_then(|one| one.get(&choice.axis));
            let text = match value {
                Some(value) => format!("`{}` chose {} = {value}", chooser.name, choice.axis),
                None => format!("the result of `{}` names no {}", chooser.name, choice.axis),
            };
            problem = problem.at(choice.span, text);
            who = who.or(Some(&chooser.name));
        }
        let who = who.map_or("STAGE", String::as_str);
        problem.help(format!(
            "the result of `{who}` was kept or accepted from other values; make it again with `--force '{who}'`"
        ))
    }

    /// Whether this kind's output is a report to be placed under `reports/`.
    #[must_use]
    pub fn is_report(&self, kind: &str) -> bool {
        self.kinds
            .iter()
            .any(|entry| entry.name == kind && entry.is_report)
    }

    /// Whether this kind computes on a device that is chosen.
    #[must_use]
    pub fn uses_device(&self, kind: &str) -> bool {
        self.kinds
            .iter()
            .any(|entry| entry.name == kind && entry.uses_device)
    }

    /// Kinds that compute on a device that is chosen.
    #[must_use]
    pub fn kinds_with_device(&self) -> BTreeSet<String> {
        let using = self.kinds.iter().filter(|entry| entry.uses_device);
        using.map(|entry| entry.name.to_owned()).collect()
    }

    /// The file server's time when planning began, in nanoseconds.
    #[must_use]
    pub fn clock_ns(&self) -> i64 {
        self.clock_ns
    }

    /// Whether keys and devices of producing records are part of this kind's key.
    #[must_use]
    pub fn reads_records(&self, kind: &str) -> bool {
        self.kinds
            .iter()
            .any(|entry| entry.name == kind && entry.reads_records)
    }

    fn strict_surroundings(&self, stage: &StageSpec) -> Vec<(String, String)> {
        if !stage.policy.record_strict {
            return Vec::new();
        }
        let policy = &stage.policy;
        environment::record(&policy.record, &policy.env, &self.workflow.root, None)
            .into_iter()
            .map(|(words, text)| {
                let text = serde_json::to_string(&text).expect("strings serialise");
                (format!("environment.record[{words}]"), text)
            })
            .collect()
    }

    /// The last key of a stage, from any earlier run.
    pub fn last_key(&mut self, stage: &StageSpec) -> Option<Digest> {
        self.index.last_key(&self.pipeline_id, &stage.name)
    }

    /// Notes the present key of a stage for later questions.
    pub fn note_key(&mut self, stage: &StageSpec, key: Digest) {
        self.index.set_last_key(&self.pipeline_id, &stage.name, key);
    }

    /// The last record of a stage under another key.
    pub fn last_record(&mut self, stage: &StageSpec, key: &Digest) -> Option<Record> {
        let last = self.last_key(stage).filter(|last| last != key)?;
        self.store.find_record(&last)
    }

    /// Seconds the stage took the last time it ran.
    pub fn past_seconds(&mut self, stage: &StageSpec) -> Option<f64> {
        let last = self.last_key(stage)?;
        self.index.find(&last).map(|entry| entry.seconds)
    }

    /// Why a stage without a record runs: what changed since its last record.
    pub fn why(&mut self, stage: &StageSpec, key: &Digest, manifest: &Manifest) -> Why {
        match self.last_record(stage, key) {
            Some(record) => Why::Changed(manifest.changes_from(&Manifest(record.manifest))),
            None if self.last_key(stage) == Some(*key) => Why::Lost,
            None => Why::New,
        }
    }

    /// Writes what was learnt to the index.
    ///
    /// # Errors
    /// When the disk or the file system refuses.
    pub fn flush(&mut self) -> io::Result<()> {
        self.index.flush()
    }
}

/// Why a stage has no record.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// It never ran in this pipeline.
    New,
    /// It ran under this key; the record is gone.
    Lost,
    /// These lines changed since its last record.
    Changed(Vec<Change>),
}

impl Why {
    /// In a few words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::New => "new".to_owned(),
            Self::Lost => "its record is gone".to_owned(),
            Self::Changed(changes) => match changes.as_slice() {
                [] => "new".to_owned(),
                [one] => one.words(),
                [first, rest @ ..] => format!("{} and {} more", first.words(), rest.len()),
            },
        }
    }
}

/// A pipeline's name in the index: its file relative to its root, so that a moved project keeps its history.
#[must_use]
pub fn pipeline_id(workflow: &Workflow) -> String {
    pipeline_id_of(&workflow.file)
}

/// The same from the path of its file, which need not be readable.
#[must_use]
pub fn pipeline_id_of(path: &Path) -> String {
    let file = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    match path.parent().and_then(Path::file_name) {
        Some(folder) if folder == "pipelines" => format!("pipelines/{file}"),
        _ => file,
    }
}
