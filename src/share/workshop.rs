//! Stages of a bundle carried out again, in a temporary folder and by a supervisor as a run has them. Programs are held
//! to their folder. Knows nothing of what is made of the outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use flow::amounts;
use flow::content::{Content, Form, Tree};
use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::digest::Digest;
use flow::exec::job::{Answer, Order, Outcome};
use flow::key::Manifest;
use flow::kind::KindEntry;
use flow::restate::{Restated, RestatedInput};
use flow::store::index::IndexEntry;
use flow::store::record::Record;
use flow::store::{Store, StoreError};
use tempfile::TempDir;

use super::bundle::BundleStage;
use super::import::{SPARE_BYTES, free_bytes};
use super::opened::{MOST_FILES, Opened};
use crate::kinds::KINDS;

/// The most bytes that the inputs of a stage may have beyond those of the files that they name, each once: listings of
/// honest folders repeat little but small files.
const MOST_REPEATED_BYTES: u64 = 64 << 20;

/// Which files of an input's folder a stage reads: the port and the path below it.
pub(super) type Reads<'a> = &'a dyn Fn(&str, &str) -> bool;

/// A temporary cache, and somebody who works in it.
pub(super) struct Workshop<'a> {
    opened: &'a Opened,
    /// A cache of the reader's, for what is not in the bundle; only read.
    cache: Option<Store>,
    store: Store,
    supervisor: Option<Supervisor>,
    // The last field: what works in it is gone before the folder goes.
    folder: TempDir,
}

struct Supervisor {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // It kills its stage when this pipe closes.
        self.orders = None;
        let _ = self.child.wait();
    }
}

/// What came of carrying a stage out again.
pub(super) enum Again {
    /// Its outputs.
    Made(IndexEntry),
    /// It was not tried: something is not here, or this program makes something else.
    Cannot(Reason),
    /// It was tried, and failed.
    Failed(Diagnostic),
}

/// Why a stage is not carried out again.
pub(super) struct Reason {
    /// In words that are the same for all stages with this reason.
    pub(super) why: String,
    /// What is to be said of this stage alone; may be empty.
    pub(super) detail: String,
}

impl Reason {
    fn new(why: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            detail: detail.into(),
        }
    }

    fn plain(why: impl Into<String>) -> Self {
        Self::new(why, "")
    }
}

/// Why what another version of a kind made is not made again. That it was made so is the author's word: nothing that
/// rests on it holds.
fn other_version(made_by: &str, kind: &KindEntry) -> Reason {
    let stated = made_by.split_once(' ');
    let version = stated.and_then(|(_, version)| version.parse::<u32>().ok());
    let (there, what_to_do) = match version {
        Some(version) if version > kind.version => (
            format!("version {version}"),
            "verify it with a program that has that version",
        ),
        Some(version) => (
            format!("version {version}"),
            "ask the author to run and export it anew, or verify it with the program that wrote it",
        ),
        None => (
            format!("`{}`", made_by.escape_debug()),
            "ask the author to run and export it anew",
        ),
    };
    Reason::plain(format!(
        "made by {there} of the kind `{}`, as the bundle says, and this program has version {}; {what_to_do}",
        kind.name, kind.version
    ))
}

impl<'a> Workshop<'a> {
    /// An empty one.
    pub(super) fn new(opened: &'a Opened, cache: Option<PathBuf>) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("pipeline-verify-")
            .tempdir()
            .map_err(|error| trouble(&error))?;
        let store = Store::open(&folder.path().join("cache")).map_err(|error| trouble(&error))?;
        Ok(Self {
            opened,
            cache: cache.map(|cache| Store::to_read(&cache)),
            store,
            supervisor: None,
            folder,
        })
    }

    /// The record of a stage of the bundle.
    pub(super) fn record(&self, entry: &BundleStage) -> Record {
        self.opened.records[&entry.key].clone()
    }

    /// The record of what was made here last under a key.
    pub(super) fn made(&self, key: &Digest) -> Option<Record> {
        self.store.find_record(key)
    }

    /// The bytes of a small object, made here or in the bundle.
    pub(super) fn text(&self, content: &Content) -> Option<String> {
        let here = self.store.object_path(&content.digest);
        let theirs = self.opened.object(&content.digest);
        let path = [Some(here), theirs]
            .into_iter()
            .flatten()
            .find(|path| path.is_file())?;
        fs_err::read_to_string(path).ok()
    }

    /// The listing of a folder, made here or in the bundle.
    pub(super) fn tree(&self, content: &Content) -> Option<Tree> {
        let here = self.store.load_tree(&content.digest).ok();
        here.or_else(|| self.opened.tree(&content.digest))
    }

    /// The inputs of a stage of which something is neither in the bundle nor in the reader's cache.
    pub(super) fn missing(&self, stage: &Restated) -> BTreeSet<String> {
        let is_here = |content: &Content| {
            self.opened.has(content)
                || (self.cache.as_ref())
                    .is_some_and(|cache| cache.object_path(&content.digest).is_file())
        };
        let is_whole = |content: &Content| match content.form {
            Form::Tree => (self.listed(content)).is_some_and(|tree| {
                (tree.entries.iter())
                    .filter_map(|entry| entry.content.as_ref())
                    .all(is_here)
            }),
            _ => is_here(content),
        };
        let inputs = stage.inputs.iter().filter(|input| !input.place.is_empty());
        inputs
            .filter(|input| !input.items.iter().all(|item| is_whole(&item.content)))
            .map(|input| input.port.clone())
            .collect()
    }

    /// Carries a stage out again, with the files of its inputs that `reads` says it reads.
    pub(super) fn again(
        &mut self,
        stage: &Restated,
        manifest: &Manifest,
        reads: Reads<'_>,
    ) -> Result<Again, Failure> {
        let Some((kind, bound)) = stage.bound(KINDS) else {
            let why = match stage.config {
                None => "its configuration is not in the bundle",
                Some(_) => "this program does not know its kind or its configuration",
            };
            return Ok(Again::Cannot(Reason::plain(why)));
        };
        let line = |name: &str| {
            let mut lines = manifest.lines();
            lines
                .find(|(path, _)| *path == name)
                .map(|(_, value)| value.to_owned())
        };
        let made_by = line("kind").unwrap_or_default();
        if made_by != format!("{} {}", kind.name, kind.version) {
            return Ok(Again::Cannot(other_version(&made_by, &kind)));
        }
        let numerics = bound.numerics.as_ref();
        if line("numerics")
            != numerics.map(|text| serde_json::Value::from(text.as_str()).to_string())
        {
            return Ok(Again::Cannot(Reason::plain(
                "this program computes such numbers in another way",
            )));
        }
        if let Some(why) = self.too_much(stage, reads) {
            return Ok(Again::Cannot(why));
        }
        let mut stage = stage.clone();
        for input in stage
            .inputs
            .iter_mut()
            .filter(|input| !input.place.is_empty())
        {
            if let Some(why) = self.bring(input, reads)? {
                return Ok(Again::Cannot(why));
            }
        }
        if kind.reads_records {
            // Such kinds look at what made their inputs.
            let keys = stage.inputs.iter().flat_map(|input| &input.items);
            for record in keys.filter_map(|item| self.opened.records.get(&item.key?)) {
                let written = self.store.write_record(record);
                written.map_err(|error| trouble(&error))?;
            }
        }
        let root = self.folder.path().join("root");
        fs_err::create_dir_all(&root).map_err(|error| trouble(&error))?;
        let cache = self.store.dir().to_path_buf();
        let job = stage.job(&kind, &bound, manifest, cache, root);
        let outcome = self
            .carry_out(&Order::Run(Box::new(job)))
            .map_err(|error| trouble(&error))?;
        Ok(match outcome {
            Outcome::Recorded { entry, .. } | Outcome::Shared { entry } => Again::Made(entry),
            Outcome::Failed { diagnostic, .. } if diagnostic.code == "run::sandbox" => {
                Again::Cannot(Reason::plain(
                    "programs are run in a sandbox only, and there is none here",
                ))
            }
            Outcome::Failed { diagnostic, .. } => Again::Failed(diagnostic),
            Outcome::InputMissing { .. } => {
                Again::Cannot(Reason::plain("an input went away meanwhile"))
            }
            Outcome::Stopped { .. } | Outcome::Busy { .. } | Outcome::InputChanged { .. } => {
                Again::Cannot(Reason::plain("it was stopped"))
            }
        })
    }

    /// Why the inputs of a stage are not brought: a listing may name one object any number of times, and each name is a
    /// file in the stage's folder. Sizes are those of the files that are there, whatever a listing says of them.
    fn too_much(&self, stage: &Restated, reads: Reads<'_>) -> Option<Reason> {
        let (mut files, mut bytes, mut repeated) = (0_usize, 0_u64, 0_u64);
        let mut seen = BTreeSet::new();
        for input in stage.inputs.iter().filter(|input| !input.place.is_empty()) {
            for item in &input.items {
                let mut parts = vec![item.content];
                if item.content.form == Form::Tree {
                    let tree = self.listed(&item.content);
                    files =
                        files.saturating_add(tree.as_ref().map_or(0, |tree| tree.entries.len()));
                    let entries = tree.map(|tree| tree.entries).unwrap_or_default();
                    let read = entries
                        .into_iter()
                        .filter(|entry| reads(&input.port, &entry.path));
                    parts = read.filter_map(|entry| entry.content).collect();
                }
                for part in parts {
                    let size = self.size_of(&part);
                    bytes = bytes.saturating_add(size);
                    if !seen.insert(part.digest) {
                        repeated = repeated.saturating_add(size);
                    }
                }
            }
        }
        let free = free_bytes(self.folder.path());
        if files > MOST_FILES {
            return Some(Reason::plain(format!(
                "its inputs list more than {MOST_FILES} files"
            )));
        }
        if repeated > MOST_REPEATED_BYTES {
            return Some(Reason::new(
                format!(
                    "its inputs repeat the same files over more than {}",
                    amounts::bytes(MOST_REPEATED_BYTES)
                ),
                amounts::bytes(repeated),
            ));
        }
        // Once in the temporary cache, once in the stage's folder.
        (bytes.saturating_mul(2).saturating_add(SPARE_BYTES) > free).then(|| {
            Reason::new(
                "the temporary folder has no room for its inputs",
                format!(
                    "they have {}, and there are {}",
                    amounts::bytes(bytes),
                    amounts::bytes(free)
                ),
            )
        })
    }

    /// The listing of a folder, in the bundle or in the reader's cache.
    fn listed(&self, content: &Content) -> Option<Tree> {
        self.opened.tree(&content.digest).or_else(|| {
            let cache = self.cache.as_ref()?;
            cache.load_tree(&content.digest).ok()
        })
    }

    /// The size of the file that holds a content; 0 where it is nowhere.
    fn size_of(&self, content: &Content) -> u64 {
        if let Some(place) = self.opened.bundle.objects.get(&content.digest) {
            return place.bytes;
        }
        let ours = self
            .cache
            .as_ref()
            .map(|cache| cache.object_path(&content.digest));
        ours.and_then(|path| fs_err::metadata(path).ok())
            .map_or(0, |metadata| metadata.len())
    }

    /// Brings what an input is made of into the temporary cache; why that cannot be done.
    fn bring(
        &self,
        input: &mut RestatedInput,
        reads: Reads<'_>,
    ) -> Result<Option<Reason>, Failure> {
        for item in &mut input.items {
            let content = item.content;
            let producer = item
                .key
                .and_then(|key| Some(&self.opened.records.get(&key)?.stage));
            let what = producer.map_or_else(
                || format!("the author's file for `{}`", input.port),
                |stage| format!("`{stage}`"),
            );
            let missing = || {
                Ok(Some(Reason::new(
                    "an input is neither in the bundle nor in a cache here",
                    format!("what it reads of {what}"),
                )))
            };
            if content.form != Form::Tree {
                if !self.adopt(&content)? {
                    return missing();
                }
                continue;
            }
            let Some(tree) = self.listed(&content) else {
                return missing();
            };
            let mut part = Tree::default();
            for entry in tree.entries {
                let Some(content) = &entry.content else {
                    part.entries.push(entry);
                    continue;
                };
                if self.adopt(content)? {
                    part.entries.push(entry);
                } else if reads(&input.port, &entry.path) {
                    return missing();
                }
            }
            // A part of a folder is a folder of its own; the key stays that of the whole one.
            item.content = self
                .store
                .put_tree(&part)
                .map_err(|error| trouble(&error))?;
        }
        Ok(None)
    }

    fn adopt(&self, content: &Content) -> Result<bool, Failure> {
        let theirs = self.opened.object(&content.digest);
        let ours = self
            .cache
            .as_ref()
            .map(|cache| cache.object_path(&content.digest));
        for path in [theirs, ours]
            .into_iter()
            .flatten()
            .filter(|path| path.is_file())
        {
            match self.store.adopt(&path, content) {
                Ok(()) => return Ok(true),
                Err(StoreError::Io(error)) => return Err(trouble(&error)),
                // Damaged here or changed since: as good as absent.
                Err(StoreError::Corrupt { .. } | StoreError::Missing { .. }) => {}
            }
        }
        Ok(false)
    }

    fn carry_out(&mut self, order: &Order) -> io::Result<Outcome> {
        let supervisor = match &mut self.supervisor {
            Some(supervisor) => supervisor,
            none => none.insert(Supervisor::start(&self.folder)?),
        };
        let mut line = serde_json::to_vec(order).map_err(io::Error::other)?;
        line.push(b'\n');
        let orders = supervisor
            .orders
            .as_mut()
            .ok_or(io::ErrorKind::BrokenPipe)?;
        orders.write_all(&line)?;
        orders.flush()?;
        loop {
            let mut line = String::new();
            if supervisor.answers.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Answer::Done(outcome) = serde_json::from_str(&line).map_err(io::Error::other)? {
                return Ok(*outcome);
            }
        }
    }
}

impl Supervisor {
    fn start(folder: &TempDir) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("supervise")
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            // Its own group: an interrupt at the terminal is ours, and the closed pipe tells it.
            .process_group(0)
            .spawn()?;
        let orders = child.stdin.take();
        let answers = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            child,
            orders,
            answers: BufReader::new(answers),
        })
    }
}

/// The temporary folder cannot be worked in.
pub(super) fn trouble(error: &io::Error) -> Failure {
    let diagnostic = Diagnostic::error("share::temporary", "the temporary folder cannot be used")
        .detail(error.to_string())
        .help("free some space, or name another place with `TMPDIR`");
    Failure::one(Class::Environment, diagnostic)
}

/// Outputs by name.
pub(super) fn outputs(entry: &IndexEntry) -> BTreeMap<&str, &Content> {
    entry
        .outputs
        .iter()
        .map(|(name, content)| (name.as_str(), content))
        .collect()
}
