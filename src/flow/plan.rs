//! Which stages have a result already, which have none, and why. Starts no stage and changes nothing but the index.

#![expect(
    clippy::disallowed_types,
    reason = "maps here are looked up by name only"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use globset::GlobBuilder;
use rayon::prelude::*;
use serde::Serialize;

use crate::content::{
    Content, Form, Ignore, Stamp, Tree, TreeEntry, hash_file, is_executable, read_tree, walk,
};
use crate::diagnostic::Diagnostic;
use crate::digest::Digest;
use crate::exec::environment;
use crate::exec::job::{JobInput, JobItem, JobSource};
use crate::key::{Change, ItemRecord, Manifest, PlannedItem, PortContent};
use crate::kind::KindEntry;
use crate::notes::{self, ByInput, Notes};
use crate::spec::{Input, METRICS, Origin, OutputRef, StageId, StageSpec, Workflow};
use crate::store::index::{Index, IndexEntry};
use crate::store::record::Record;
use crate::store::{Store, StoreError};

/// Stages a core looks at in one go.
const PREFETCH_AT_ONCE: usize = 256;

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
    /// Notes of known stages, inherited ones included; empty for most.
    notes: Vec<Notes>,
    paths: HashMap<String, Content>,
    published: HashMap<String, Digest>,
    globs: BTreeMap<String, (PathBuf, Vec<String>)>,
    surroundings: BTreeMap<String, String>,
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
            ignore: Ignore::load(&workflow.root)?,
            clock_ns: store.server_clock_ns()?,
            known: vec![None; workflow.stages.len()],
            notes: vec![Notes::new(); workflow.stages.len()],
            paths: HashMap::new(),
            published: HashMap::new(),
            globs: BTreeMap::new(),
            surroundings: BTreeMap::new(),
            pipeline_id: pipeline_id(workflow),
        })
    }

    /// Looks at the files the stages name, and at those they published, on all cores. Only what stands as it stood
    /// when it was hashed is kept; the rest is looked at when its stage is decided.
    pub fn prefetch(&mut self, selected: &[StageId]) {
        let (root, index, workflow) = (&self.workflow.root, &self.index, self.workflow);
        type Found<'f> = (Vec<(&'f str, Content)>, Vec<(String, Digest)>);
        let found: Vec<Found<'_>> = selected
            .par_iter()
            .with_min_len(PREFETCH_AT_ONCE)
            .map(|id| {
                let stage = &workflow.stages[id.index()];
                let files = stage.inputs.iter().filter_map(|input| match &input.origin {
                    Origin::Path(path) | Origin::KeyOnly(path) => {
                        Some((path.as_str(), remembered(index, &root.join(path))?))
                    }
                    _ => None,
                });
                let published = stage.policy.publish.iter().flat_map(|folder| {
                    let folder = root.join(folder);
                    stage.outputs.iter().filter_map(move |output| {
                        let to = folder.join(&output.path);
                        let metadata = fs_err::symlink_metadata(&to)
                            .ok()
                            .filter(std::fs::Metadata::is_file)?;
                        let name = to.to_str()?.to_owned();
                        let digest = index.file(&name, &Stamp::of(&metadata))?;
                        Some((name, digest))
                    })
                });
                (files.collect(), published.collect())
            })
            .collect();
        for (files, published) in found {
            self.paths.extend(
                files
                    .into_iter()
                    .map(|(path, content)| (path.to_owned(), content)),
            );
            self.published.extend(published);
        }
    }

    /// The digest of a published file as [`Planner::prefetch`] found it; each is given once, since it may change.
    pub fn take_published(&mut self, name: &str) -> Option<Digest> {
        self.published.remove(name)
    }

    /// A stage.
    #[must_use]
    pub fn stage(&self, id: StageId) -> &'a StageSpec {
        &self.workflow.stages[id.index()]
    }

    /// The result of a stage, if it is known.
    #[must_use]
    pub fn known(&self, id: StageId) -> Option<&Known> {
        self.known[id.index()].as_ref()
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
        for input in &self.stage(id).inputs {
            for output in outputs_of(input) {
                let upstream = &self.notes[output.stage.index()];
                if !upstream.is_empty() {
                    let upstream = notes::of_output(upstream, &output.output);
                    notes::inherit(&mut notes, &upstream);
                    by_input.add(&input.port, &upstream);
                }
            }
        }
        by_input.finish(&mut notes);
        self.notes[id.index()] = notes;
        self.known[id.index()] = Some(known);
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
        let stage = self.stage(id);
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
        match entry {
            Some(entry) => {
                let known = Known { key, entry };
                self.set_known(id, known.clone());
                Ok(Decision::Hit(known))
            }
            None => Ok(Decision::Miss { key, manifest }),
        }
    }

    /// Whether this kind's output is a report to be placed under `reports/`.
    #[must_use]
    pub fn is_report(&self, kind: &str) -> bool {
        self.kinds
            .iter()
            .any(|entry| entry.name == kind && entry.is_report)
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

    fn port_content(
        &mut self,
        stage: &StageSpec,
        input: &Input,
    ) -> Result<Option<PortContent>, Diagnostic> {
        let plain = |content| PlannedItem {
            content,
            axes: Vec::new(),
            record: None,
        };
        Ok(match &input.origin {
            Origin::Path(path) => Some(PortContent::One(plain(
                self.path_content(stage, input, path)?,
            ))),
            Origin::KeyOnly(path) => Some(PortContent::KeyOnly(plain(
                self.path_content(stage, input, path)?,
            ))),
            Origin::Glob(pattern) => Some(PortContent::One(plain(
                self.glob_content(stage, input, pattern)?,
            ))),
            Origin::Stage(output) => self.output_item(input, output)?.map(PortContent::One),
            Origin::Many(outputs) => {
                let mut items = Vec::with_capacity(outputs.len());
                for output in outputs {
                    match self.output_item(input, output)? {
                        Some(item) => items.push(item),
                        None => return Ok(None),
                    }
                }
                let file = outputs
                    .first()
                    .and_then(|output| file_name(self.workflow, output, items.first()));
                Some(PortContent::Many { file, items })
            }
        })
    }

    fn output_item(
        &self,
        input: &Input,
        output: &OutputRef,
    ) -> Result<Option<PlannedItem>, Diagnostic> {
        let producer = self.stage(output.stage);
        let Some(known) = self.known(output.stage) else {
            return Ok(None);
        };
        let Some(content) = known.entry.output(&output.output) else {
            let has: Vec<_> = known
                .entry
                .outputs
                .iter()
                .map(|(name, _)| format!("`{name}`"))
                .collect();
            return Err(Diagnostic::error(
                "run::no_such_output",
                format!(
                    "the result of `{}` has no output `{}`",
                    producer.name, output.output
                ),
            )
            .at(input.span, "needed here")
            .help(format!(
                "it has {}; numbers of a command come from its `numbers:` key",
                has.join(", ")
            )));
        };
        Ok(Some(PlannedItem {
            content: *content,
            axes: producer.axes.clone(),
            record: Some(ItemRecord {
                key: known.key,
                device: known.entry.device.clone(),
                notes: notes::of_output(&self.notes[output.stage.index()], &output.output),
            }),
        }))
    }

    /// Whether a file input is there and can be read; hashes it on the way.
    ///
    /// # Errors
    /// At its place in the file.
    pub fn check_file(&mut self, stage: &StageSpec, input: &Input) -> Result<(), Diagnostic> {
        match &input.origin {
            Origin::Path(path) | Origin::KeyOnly(path) => {
                self.path_content(stage, input, path).map(drop)
            }
            Origin::Glob(pattern) => self.glob_content(stage, input, pattern).map(drop),
            Origin::Stage(_) | Origin::Many(_) => Ok(()),
        }
    }

    fn path_content(
        &mut self,
        stage: &StageSpec,
        input: &Input,
        path: &str,
    ) -> Result<Content, Diagnostic> {
        if let Some(content) = self.paths.get(path) {
            return Ok(*content);
        }
        let full = self.workflow.root.join(path);
        let content = self
            .read_path(&full)
            .map_err(|error| self.unreadable(stage, input, path, &error))?;
        self.paths.insert(path.to_owned(), content);
        Ok(content)
    }

    fn unreadable(
        &self,
        stage: &StageSpec,
        input: &Input,
        path: &str,
        error: &io::Error,
    ) -> Diagnostic {
        if error.kind() == io::ErrorKind::NotFound {
            return Diagnostic::error(
                "spec::missing_file",
                format!("input file `{path}` of stage `{}` is missing", stage.name),
            )
            .at(
                input.span,
                format!("looked in {}", self.workflow.root.display()),
            )
            .help("no stage produces it; add a `fetch` stage or copy it there");
        }
        Diagnostic::error(
            "spec::unreadable",
            format!("input `{path}` of stage `{}` cannot be read", stage.name),
        )
        .at(input.span, "")
        .detail(error.to_string())
        .help("check that it may be read, and that its links lead somewhere")
    }

    fn read_path(&mut self, full: &Path) -> io::Result<Content> {
        let metadata = std::fs::metadata(full)?;
        if metadata.is_file() {
            let digest = self.file_digest(full, &metadata)?;
            let form = if is_executable(&metadata) {
                Form::Exec
            } else {
                Form::File
            };
            return Ok(Content {
                form,
                digest,
                bytes: metadata.len(),
            });
        }
        if !metadata.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is neither a file nor a folder",
            ));
        }
        let fresh = Mutex::new(Vec::new());
        let index = &self.index;
        let tree = read_tree(full, &self.ignore, |path, metadata| {
            remembered_or_hashed(index, &fresh, path, metadata)
        })?;
        self.remember_all(fresh);
        Ok(tree.content())
    }

    fn file_digest(&mut self, full: &Path, metadata: &std::fs::Metadata) -> io::Result<Digest> {
        let fresh = Mutex::new(Vec::new());
        let digest = remembered_or_hashed(&self.index, &fresh, full, metadata)?;
        self.remember_all(fresh);
        Ok(digest)
    }

    fn remember_all(&mut self, fresh: Mutex<Vec<(String, Stamp, Digest)>>) {
        let fresh = fresh
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for (path, stamp, digest) in fresh {
            self.index
                .remember(&path, stamp, self.clock_ns, digest, false);
        }
    }

    fn glob_content(
        &mut self,
        stage: &StageSpec,
        input: &Input,
        pattern: &str,
    ) -> Result<Content, Diagnostic> {
        let (base, files) = self
            .glob_files(pattern)
            .map_err(|error| self.unreadable(stage, input, pattern, &error))?;
        if files.is_empty() {
            return Err(Diagnostic::error(
                "spec::empty_glob",
                format!("no file matches `{pattern}`, an input of stage `{}`", stage.name),
            )
            .at(input.span, format!("looked in {}", self.workflow.root.display()))
            .help("`*` stays within one folder, `**` goes below; copy the files there or add a `fetch` stage"));
        }
        let mut entries = Vec::with_capacity(files.len());
        for path in files {
            let full = base.join(&path);
            let content = self
                .read_path(&full)
                .map_err(|error| self.unreadable(stage, input, pattern, &error))?;
            entries.push(TreeEntry {
                path,
                content: Some(content),
            });
        }
        Ok(Tree::new(entries).content())
    }

    /// The folder a pattern starts in and the files it matches, by their paths below that folder.
    fn glob_files(&mut self, pattern: &str) -> io::Result<(PathBuf, Vec<String>)> {
        if let Some(found) = self.globs.get(pattern) {
            return Ok(found.clone());
        }
        let fixed: Vec<&str> = pattern
            .split('/')
            .take_while(|part| !part.contains(['*', '?', '[', '{']))
            .collect();
        let base_text = fixed.join("/");
        let base = if pattern.starts_with('/') && base_text.is_empty() {
            PathBuf::from("/")
        } else {
            self.workflow.root.join(&base_text)
        };
        let rest = pattern[base_text.len()..].trim_start_matches('/');
        let matcher = GlobBuilder::new(rest)
            .literal_separator(true)
            .build()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
            .compile_matcher();
        let files = if base.is_dir() {
            walk(&base, &self.ignore)?
                .into_iter()
                .filter(|(path, _, metadata)| metadata.is_some() && matcher.is_match(path))
                .map(|(path, _, _)| path)
                .collect()
        } else {
            Vec::new()
        };
        self.globs
            .insert(pattern.to_owned(), (base.clone(), files.clone()));
        Ok((base, files))
    }

    fn strict_surroundings(&mut self, stage: &StageSpec) -> Vec<(String, String)> {
        if !stage.policy.record_strict {
            return Vec::new();
        }
        let root = &self.workflow.root;
        let mut lines = Vec::new();
        for argv in &stage.policy.record {
            let words = argv.join(" ");
            let text = self.surroundings.entry(words.clone()).or_insert_with(|| {
                let record =
                    environment::record(std::slice::from_ref(argv), &stage.policy.env, root);
                record.into_values().next().unwrap_or_default()
            });
            let path = format!("environment.record[{words}]");
            lines.push((
                path,
                serde_json::to_string(text).expect("strings serialise"),
            ));
        }
        lines
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

    /// The inputs of a stage whose upstream is known, as its supervisor takes them.
    ///
    /// # Errors
    /// As [`Planner::decide`].
    pub fn job_inputs(&mut self, id: StageId) -> Result<Vec<JobInput>, Diagnostic> {
        let stage = self.stage(id);
        let with_records = self.reads_records(&stage.kind);
        let mut inputs = Vec::new();
        for input in &stage.inputs {
            let Some(content) = self.port_content(stage, input)? else {
                continue;
            };
            let root = &self.workflow.root;
            let source = match &input.origin {
                Origin::Path(path) | Origin::KeyOnly(path) => JobSource::Path(root.join(path)),
                Origin::Glob(pattern) => {
                    let (base, files) = self
                        .glob_files(pattern)
                        .map_err(|error| self.unreadable(stage, input, pattern, &error))?;
                    JobSource::Files { base, files }
                }
                Origin::Stage(_) | Origin::Many(_) => JobSource::Object,
            };
            let (many, file, items, place) = match content {
                PortContent::One(item) => (false, None, vec![item], input.place.clone()),
                PortContent::KeyOnly(item) => (false, None, vec![item], String::new()),
                PortContent::Many { file, items } => (true, file, items, input.place.clone()),
            };
            let items = items
                .into_iter()
                .map(|item| Self::job_item(item, source.clone(), with_records))
                .collect();
            inputs.push(JobInput {
                port: input.port.clone(),
                place,
                file,
                many,
                items,
            });
        }
        Ok(inputs)
    }

    fn job_item(item: PlannedItem, source: JobSource, with_records: bool) -> JobItem {
        let (mut key, mut device, mut notes) = (None, None, Notes::new());
        if let Some(record) = item.record {
            (key, device) = (Some(record.key), Some(record.device));
            // What does not travel is for kinds whose key knows of it.
            notes = if with_records {
                record.notes
            } else {
                notes::travelling(&record.notes)
            };
        }
        JobItem {
            source,
            content: item.content,
            axes: item.axes,
            key,
            device,
            notes,
        }
    }

    /// Whether an object can be read as it is: there, of the right size, and if large, not touched since it was hashed.
    #[must_use]
    pub fn is_sound(&mut self, content: &Content) -> Soundness {
        let parts: Vec<Content> = match content.form {
            Form::Tree => match self.store.load_tree(&content.digest) {
                Ok(tree) => tree
                    .entries
                    .into_iter()
                    .filter_map(|entry| entry.content)
                    .collect(),
                Err(StoreError::Corrupt {
                    digest, size_bytes, ..
                }) => return Soundness::Damaged(digest, size_bytes),
                Err(_) => return Soundness::Missing,
            },
            _ => vec![*content],
        };
        for part in parts {
            let path = self.store.object_path(&part.digest);
            let Ok(metadata) = std::fs::symlink_metadata(&path) else {
                return Soundness::Missing;
            };
            if metadata.len() != part.bytes {
                return Soundness::Damaged(part.digest, metadata.len());
            }
            if part.bytes < crate::store::object::LINK_OBJECT_FROM_BYTES {
                continue;
            }
            match self.file_digest(&path, &metadata) {
                Ok(digest) if digest == part.digest => {}
                _ => return Soundness::Damaged(part.digest, metadata.len()),
            }
        }
        Soundness::Sound
    }

    /// Writes what was learnt to the index.
    ///
    /// # Errors
    /// When the disk or the file system refuses.
    pub fn flush(&mut self) -> io::Result<()> {
        self.index.flush()
    }
}

/// Whether an object can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Soundness {
    /// Yes.
    Sound,
    /// It is not there.
    Missing,
    /// This part of it has other bytes (and so many of them).
    Damaged(Digest, u64),
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
    let file = workflow
        .file
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    match workflow.file.parent().and_then(Path::file_name) {
        Some(folder) if folder == "pipelines" => format!("pipelines/{file}"),
        _ => file,
    }
}

fn file_name(
    workflow: &Workflow,
    output: &OutputRef,
    first: Option<&PlannedItem>,
) -> Option<String> {
    if first.is_some_and(|item| item.content.form == Form::Tree) {
        return None;
    }
    if output.output == METRICS {
        return Some("metrics.jsonl".to_owned());
    }
    let producer = &workflow.stages[output.stage.index()];
    let path = producer
        .outputs
        .iter()
        .find(|declared| declared.name == output.output)
        .map(|declared| &declared.path)?;
    Path::new(path)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
}

/// The content of a file that stands as it stood when it was hashed.
fn remembered(index: &Index, path: &Path) -> Option<Content> {
    let metadata = fs_err::metadata(path)
        .ok()
        .filter(std::fs::Metadata::is_file)?;
    let digest = index.file(path.to_str()?, &Stamp::of(&metadata))?;
    let form = if is_executable(&metadata) {
        Form::Exec
    } else {
        Form::File
    };
    Some(Content {
        form,
        digest,
        bytes: metadata.len(),
    })
}

fn remembered_or_hashed(
    index: &Index,
    fresh: &Mutex<Vec<(String, Stamp, Digest)>>,
    path: &Path,
    metadata: &std::fs::Metadata,
) -> io::Result<Digest> {
    let stamp = Stamp::of(metadata);
    let name = path.to_str();
    if let Some(digest) = name.and_then(|name| index.file(name, &stamp)) {
        return Ok(digest);
    }
    let digest = hash_file(path, metadata.len())?;
    if let Some(name) = name {
        let mut fresh = fresh
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        fresh.push((name.to_owned(), stamp, digest));
    }
    Ok(digest)
}

/// A row of `pipeline plan`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanRow {
    /// Display name.
    pub stage: String,
    /// What a run would do.
    pub state: PlanState,
    /// Why, in a few words.
    pub because: String,
    /// Expected wall seconds, from past records.
    pub seconds: Option<f64>,
    /// Expected floating-point operations, for kinds that know.
    pub flop: Option<f64>,
    /// Bytes its outputs take or took.
    pub bytes: Option<u64>,
}

/// What a run would do with a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// Nothing: it has a record.
    Cached,
    /// Run it, certainly.
    WillRun,
    /// Run it, unless what runs before it gives the same bytes as last time.
    MayRun,
}

/// Plans the stages of `selected` (in workflow order): what would run, certainly or possibly, and why.
///
/// # Errors
/// All missing or unreadable inputs at once.
pub fn plan_rows(
    planner: &mut Planner<'_>,
    selected: &[StageId],
    forced: &BTreeSet<StageId>,
) -> Result<Vec<PlanRow>, Vec<Diagnostic>> {
    let mut rows: Vec<PlanRow> = Vec::with_capacity(selected.len());
    let mut problems = Vec::new();
    let mut misses: Vec<StageId> = Vec::new();
    let mut remade: BTreeMap<StageId, String> = BTreeMap::new();
    for id in selected {
        let stage = planner.stage(*id);
        let row = match planner.decide(*id) {
            Err(problem) => {
                problems.push(problem);
                continue;
            }
            Ok(Decision::Hit(_)) if forced.contains(id) => {
                planner.forget(*id);
                misses.push(*id);
                row(planner, stage, PlanState::WillRun, "forced".to_owned())
            }
            Ok(Decision::Hit(known)) => PlanRow {
                stage: stage.name.clone(),
                state: PlanState::Cached,
                because: String::new(),
                seconds: None,
                flop: None,
                bytes: Some(bytes_of(&known.entry)),
            },
            Ok(Decision::Miss { key, manifest }) => {
                misses.push(*id);
                let because = planner.why(stage, &key, &manifest).words();
                row(planner, stage, PlanState::WillRun, because)
            }
            Ok(Decision::Open) => {
                let upstream = open_upstream(planner, stage);
                row(
                    planner,
                    stage,
                    PlanState::MayRun,
                    format!("depends on {upstream}"),
                )
            }
        };
        rows.push(row);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    // What runs reads objects; a cached producer whose object is gone runs too.
    let mut wanted = misses;
    while let Some(id) = wanted.pop() {
        for output in inputs_of(planner.stage(id)) {
            let Some(known) = planner.known(output.stage) else {
                continue;
            };
            let is_there = known
                .entry
                .output(&output.output)
                .is_some_and(|content| planner.store.has(content));
            if !is_there && !remade.contains_key(&output.stage) {
                remade.insert(
                    output.stage,
                    format!(
                        "`{}` needs its output `{}`, which is not in the cache",
                        planner.stage(id).name,
                        output.output
                    ),
                );
                wanted.push(output.stage);
            }
        }
    }
    for (row, id) in rows.iter_mut().zip(selected) {
        if let Some(because) = remade.remove(id) {
            let stage = planner.stage(*id);
            let seconds = planner.known(*id).map(|known| known.entry.seconds);
            *row = PlanRow {
                stage: stage.name.clone(),
                state: PlanState::WillRun,
                because,
                seconds,
                flop: None,
                bytes: row.bytes,
            };
        }
    }
    Ok(rows)
}

fn row(planner: &mut Planner<'_>, stage: &StageSpec, state: PlanState, because: String) -> PlanRow {
    let last = planner
        .last_key(stage)
        .and_then(|key| planner.index.find(&key));
    PlanRow {
        stage: stage.name.clone(),
        state,
        because,
        seconds: last.as_ref().map(|entry| entry.seconds),
        flop: None,
        bytes: last.as_ref().map(bytes_of),
    }
}

fn bytes_of(entry: &IndexEntry) -> u64 {
    entry.outputs.iter().map(|(_, content)| content.bytes).sum()
}

/// Every stage output a stage reads.
pub fn inputs_of(stage: &StageSpec) -> impl Iterator<Item = &OutputRef> {
    stage.inputs.iter().flat_map(outputs_of)
}

/// Every stage output an input is made of.
fn outputs_of(input: &Input) -> &[OutputRef] {
    match &input.origin {
        Origin::Stage(output) => std::slice::from_ref(output),
        Origin::Many(outputs) => outputs.as_slice(),
        Origin::Path(_) | Origin::Glob(_) | Origin::KeyOnly(_) => &[],
    }
}

fn open_upstream(planner: &Planner<'_>, stage: &StageSpec) -> String {
    let mut open: Vec<&str> = inputs_of(stage)
        .filter(|output| planner.known(output.stage).is_none())
        .map(|output| planner.stage(output.stage).name.as_str())
        .collect();
    open.dedup();
    match open.as_slice() {
        [] => "its inputs".to_owned(),
        [one] => format!("`{one}`"),
        [first, rest @ ..] => format!("`{first}` and {} more", rest.len()),
    }
}
