//! From a file on disk to a [`Workflow`]: reads the texts, merges them, expands the result. Knows no stage kind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::conditions::LeftOut;
use super::expand::{self, Context, tidy};
use super::node::Node;
use super::paths::check_origins;
use super::{Workflow, departures, flat, yaml};
use crate::diagnostic::{Class, Diagnostic, Failure};
use crate::digest::{Digest, Use};
use crate::kind::KindEntry;
use crate::source::{SourceId, Sources, Span};

/// What to load and with which settings.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions<'a> {
    /// The pipeline file.
    pub file: &'a Path,
    /// `--profile`, in order; later ones win.
    pub profiles: &'a [String],
    /// `--set NAME=VALUE`, in order.
    pub set: &'a [String],
    /// The program's table of kinds.
    pub kinds: &'a [KindEntry],
    /// `--mirror` and `--mirrors`: URL prefix and what stands in for it.
    pub mirrors: &'a [(String, String)],
    /// `--device`, over what stages say.
    pub device: Option<&'a str>,
}

/// A workflow with what is needed to talk about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The concrete stages.
    pub workflow: Workflow,
    /// Every text that was read, for messages.
    pub sources: Sources,
    /// What is worth saying but stops nothing.
    pub warnings: Vec<Diagnostic>,
    /// Every text file that was read, with the digest of its bytes; the lock file even when it is absent (`None`).
    pub read: Vec<(PathBuf, Option<Digest>)>,
    /// The parameters that `when:` of some stage looks at, as `--set` would say them.
    pub(super) alternatives: Vec<String>,
}

/// Why a file could not be loaded, with the texts that the places point into.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{failure}")]
pub struct LoadFailure {
    /// All problems that were found.
    pub failure: Failure,
    /// The texts.
    pub sources: Sources,
}

/// `NAME.lock` beside a pipeline: what unpinned downloads turned out to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// 1.
    pub version: u32,
    /// By name of the concrete stage.
    pub stages: BTreeMap<String, LockEntry>,
}

/// One download of the lock file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockEntry {
    /// The URL of the specification.
    pub url: String,
    /// `sha256:…` or `blake3:…`.
    pub digest: String,
    /// Size in bytes as downloaded.
    pub bytes: u64,
    /// When it was first fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
}

/// How many concrete stages one file may have.
const MAX_STAGES: usize = 200_000;
/// How many concrete stages a text without files may have.
const MAX_TEXT_STAGES: usize = 500;

/// Where the root of a pipeline file is: its folder, or the parent when that is called `pipelines`. Absolute.
#[must_use]
pub fn root_of(file: &Path) -> PathBuf {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    let folder = file.parent().unwrap_or(Path::new("/"));
    match (folder.file_name(), folder.parent()) {
        (Some(name), Some(parent)) if name == "pipelines" => parent.to_path_buf(),
        _ => folder.to_path_buf(),
    }
}

/// The lock file of a pipeline file: its name with the ending `.lock`, beside it.
#[must_use]
pub fn lock_path(file: &Path) -> PathBuf {
    file.with_extension("lock")
}

/// Reads a pipeline file and everything it refers to, and expands it. Whether input files exist is asked only when
/// something else is wrong too, so that all problems come at once; see [`super::paths::check_paths`] for a good file.
/// With a profile or `--set` the file is also read as it is written, for [`super::StageSpec::departures`].
///
/// # Errors
/// Every problem of every stage, class input.
pub fn load(options: &LoadOptions<'_>) -> Result<Loaded, LoadFailure> {
    load_marked(options, false)
}

/// The same of a file of a stranger's that stands alone: neither files that it extends or uses nor those that its stages
/// read are looked at; its lock is, beside it.
///
/// # Errors
/// As [`load`], and where it refers to another text.
pub fn load_alone(options: &LoadOptions<'_>) -> Result<Loaded, LoadFailure> {
    load_marked(options, true)
}

fn load_marked(options: &LoadOptions<'_>, alone: bool) -> Result<Loaded, LoadFailure> {
    let mut loaded = load_with(options, alone)?;
    if options.profiles.is_empty() && options.set.is_empty() {
        return Ok(loaded);
    }
    // A value that `when:` asks for is another part of the file, not another value in the same.
    let as_written = LoadOptions {
        profiles: &[],
        set: &loaded.alternatives,
        ..*options
    };
    match load_with(&as_written, alone) {
        Ok(written) => {
            departures::mark(&mut loaded.workflow, &written.workflow);
            // A plan that is kept must go when anything it was compared with changes.
            for text in written.read {
                if !loaded.read.contains(&text) {
                    loaded.read.push(text);
                }
            }
            for variable in written.workflow.environment {
                if !loaded.workflow.environment.contains(&variable) {
                    loaded.workflow.environment.push(variable);
                }
            }
        }
        Err(_) => {
            let settings = options.profiles.iter().chain(options.set);
            let settings: Vec<&str> = settings.map(String::as_str).collect();
            departures::mark_all(&mut loaded.workflow, &settings.join(", "));
        }
    }
    Ok(loaded)
}

fn load_with(options: &LoadOptions<'_>, alone: bool) -> Result<Loaded, LoadFailure> {
    let root = root_of(options.file);
    let mut loader = Loader::new(&root, true);
    loader.only = alone.then(|| options.file.to_path_buf());
    let document = loader.document(options);
    let locked = loader.lock(&lock_path(options.file));
    let context = Context {
        root: &root,
        kinds: options.kinds,
        mirrors: options.mirrors,
        device: options.device,
        locked: &locked,
        limit: MAX_STAGES,
    };
    loader.finish(document, options.file, context)
}

/// A pipeline file as one text: what it extends, the settings and recipes merged in, references as they are. Without
/// settings its profiles stay, so that it can be run with them. Keys at the top that `leave_out` names are not in it.
///
/// # Errors
/// As [`load`], of reading and merging.
pub fn flatten(options: &LoadOptions<'_>, leave_out: &[&str]) -> Result<String, LoadFailure> {
    let root = root_of(options.file);
    let mut loader = Loader::new(&root, true);
    match loader.document(options) {
        Some(document) if loader.problems.is_empty() => {
            let is_merged = !options.profiles.is_empty() || !options.set.is_empty();
            let merged: &[&str] = if is_merged { &["profiles"] } else { &[] };
            Ok(flat::text(&document, &[leave_out, merged].concat()))
        }
        _ => Err(LoadFailure {
            failure: Failure::input(tidy(loader.problems)),
            sources: loader.sources,
        }),
    }
}

/// The whole way from a text to concrete stages without touching any file: every file it names is missing.
pub(super) fn load_text(text: &str, kinds: &[KindEntry]) -> Result<Loaded, LoadFailure> {
    let file = Path::new("/fuzz.yaml");
    let mut loader = Loader::new(Path::new("/"), false);
    let document = loader
        .parse("fuzz.yaml", file, text)
        .map(|node| loader.settle(node, file, &[], &[]));
    let locked = BTreeMap::new();
    let context = Context {
        root: Path::new("/"),
        kinds,
        mirrors: &[],
        device: None,
        locked: &locked,
        limit: MAX_TEXT_STAGES,
    };
    loader.finish(document, file, context)
}

/// Reads texts and collects problems.
pub(super) struct Loader<'a> {
    pub(super) root: &'a Path,
    /// Whether files may be read at all.
    reads: bool,
    /// The one text that may be read, where it is a stranger's.
    only: Option<PathBuf>,
    pub(super) sources: Sources,
    read: Vec<(PathBuf, Option<Digest>)>,
    pub(super) problems: Vec<Diagnostic>,
    pub(super) recipes: BTreeMap<PathBuf, Option<Node>>,
    /// Stages that `when:` leaves out.
    pub(super) left_out: LeftOut,
}

impl<'a> Loader<'a> {
    fn new(root: &'a Path, reads: bool) -> Self {
        Self {
            root,
            reads,
            only: None,
            sources: Sources::default(),
            read: Vec::new(),
            problems: Vec::new(),
            recipes: BTreeMap::new(),
            left_out: LeftOut::default(),
        }
    }

    fn finish(
        mut self,
        document: Option<Node>,
        file: &Path,
        context: Context<'_>,
    ) -> Result<Loaded, LoadFailure> {
        let alternatives = (document.as_ref())
            .map(|document| self.left_out.alternatives(document))
            .unwrap_or_default();
        let expanded = document
            .map(|document| expand::expand(&document, context, &self.left_out))
            .unwrap_or_default();
        let mut found = expanded.problems;
        if !self.problems.is_empty() {
            // What could not be read may have had them.
            found.retain(|problem| problem.code != "spec::no_stages");
        }
        self.problems.extend(found);
        if !self.problems.is_empty() {
            if self.reads && self.only.is_none() {
                let inputs = expanded.stages.iter().flat_map(|stage| {
                    stage
                        .inputs
                        .iter()
                        .map(|input| (stage.stage.as_str(), &input.origin, input.span))
                });
                let loose = expanded
                    .loose
                    .iter()
                    .map(|(stage, origin, span)| (stage.as_str(), origin, *span));
                self.problems
                    .extend(check_origins(self.root, inputs.chain(loose)));
            }
            return Err(LoadFailure {
                failure: Failure {
                    class: Class::Input,
                    diagnostics: tidy(self.problems),
                },
                sources: self.sources,
            });
        }
        let name = file
            .file_stem()
            .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        Ok(Loaded {
            workflow: Workflow {
                name,
                file: file.to_path_buf(),
                root: self.root.to_path_buf(),
                doc: expanded.doc,
                about: expanded.about,
                claims: expanded.claims,
                left_out: self.left_out.stages,
                stages: expanded.stages,
                environment: expanded.environment,
            },
            sources: self.sources,
            warnings: expanded.warnings,
            read: self.read,
            alternatives,
        })
    }

    /// The name a file is shown by.
    pub(super) fn shown(&self, path: &Path) -> String {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        absolute
            .strip_prefix(self.root)
            .unwrap_or(path)
            .display()
            .to_string()
    }

    /// Reads a text file; `asked` is where the specification names it.
    fn text(&mut self, path: &Path, what: &str, asked: Option<Span>) -> Option<String> {
        let shown = self.shown(path);
        let may_read = self.reads && self.only.as_ref().is_none_or(|only| only == path);
        let bytes = if may_read {
            fs_err::read(path).map_err(|error| (error.kind(), error.to_string()))
        } else {
            Err((std::io::ErrorKind::NotFound, String::new()))
        };
        let problem = match bytes {
            Ok(bytes) => {
                self.read
                    .push((path.to_path_buf(), Some(Use::File.digest(&bytes))));
                match String::from_utf8(bytes) {
                    Ok(text) => return Some(text),
                    Err(_) => Diagnostic::error(
                        "spec::read",
                        format!("{what} `{shown}` is not UTF-8 text"),
                    )
                    .help("save it as UTF-8"),
                }
            }
            Err((std::io::ErrorKind::NotFound, _)) => Diagnostic::error(
                "spec::missing_file",
                format!("{what} `{shown}` is missing"),
            )
            .help("check the path; recipes are relative to the root, `extends` to its own file"),
            Err((_, error)) => {
                Diagnostic::error("spec::read", format!("{what} `{shown}` cannot be read"))
                    .detail(error)
                    .help("name a file that can be read")
            }
        };
        self.problems
            .push(problem.at_if(asked, format!("looked for {}", path.display())));
        None
    }

    fn parse(&mut self, shown: &str, path: &Path, text: &str) -> Option<Node> {
        let source = self.sources.add(shown, Some(path), text);
        let parsed = yaml::parse(text, source);
        self.problems.extend(parsed.problems);
        parsed.node
    }

    pub(super) fn node(&mut self, path: &Path, what: &str, asked: Option<Span>) -> Option<Node> {
        let text = self.text(path, what, asked)?;
        let shown = self.shown(path);
        self.parse(&shown, path, &text)
    }

    /// The document with everything merged in.
    fn document(&mut self, options: &LoadOptions<'_>) -> Option<Node> {
        let node = self.node(options.file, "the pipeline file", None)?;
        Some(self.settle(node, options.file, options.profiles, options.set))
    }

    /// The digests of the lock file; nothing when there is none.
    fn lock(&mut self, path: &Path) -> BTreeMap<String, String> {
        let bytes = match fs_err::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.read.push((path.to_path_buf(), None));
                if error.kind() != std::io::ErrorKind::NotFound {
                    let shown = self.shown(path);
                    self.problems.push(
                        Diagnostic::error(
                            "spec::read",
                            format!("the lock file `{shown}` cannot be read"),
                        )
                        .detail(error.to_string())
                        .help("make it readable, or remove it"),
                    );
                }
                return BTreeMap::new();
            }
        };
        self.read
            .push((path.to_path_buf(), Some(Use::File.digest(&bytes))));
        match serde_json::from_slice::<Lock>(&bytes) {
            Ok(lock) if lock.version == 1 => lock
                .stages
                .into_iter()
                .map(|(stage, entry)| (stage, entry.digest))
                .collect(),
            outcome => {
                let shown = self.shown(path);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let source = self.sources.add(shown.as_str(), Some(path), text.as_str());
                let (message, span) = match outcome {
                    Ok(lock) => (
                        format!(
                            "the lock file `{shown}` has version {}, not 1",
                            lock.version
                        ),
                        point(source, &text, 1, 1),
                    ),
                    Err(error) => (
                        format!(
                            "the lock file `{shown}` cannot be understood: {}",
                            reason(&error)
                        ),
                        point(source, &text, error.line(), error.column()),
                    ),
                };
                self.problems.push(
                    Diagnostic::error("spec::lock", message).at(span, "").help(
                        "restore it from version control, or remove it and run `pipeline lock`",
                    ),
                );
                BTreeMap::new()
            }
        }
    }
}

fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

fn point(source: SourceId, text: &str, line: usize, column: usize) -> Span {
    let start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let mut offset = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    Span {
        source,
        offset: u32::try_from(offset).unwrap_or(u32::MAX),
        len: 0,
        line: u32::try_from(line.max(1)).unwrap_or(u32::MAX),
        column: u32::try_from(text[start.min(offset)..offset].chars().count() + 1)
            .unwrap_or(u32::MAX),
    }
}
