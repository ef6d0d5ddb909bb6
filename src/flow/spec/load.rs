//! From a file on disk to a [`Workflow`]: reads the texts, merges them, expands the result. Knows no stage kind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::expand::{self, Context, STAGE_KEYS, TOP_KEYS, tidy};
use super::merge::{overlay, overlay_entries};
use super::node::{Entry, Node, Value};
use super::paths::check_origins;
use super::suggest;
use super::{Workflow, yaml};
use crate::diagnostic::{Class, Diagnostic, Failure};
use crate::digest::{Digest, Use};
use crate::kind::KindEntry;
use crate::source::{SourceId, Sources, Span};

/// What to load and with which settings.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions<'a> {
    /// The pipeline file.
    pub file: &'a Path,
    /// `--profile`.
    pub profile: Option<&'a str>,
    /// `--set NAME=VALUE`, in order.
    pub set: &'a [String],
    /// The program's table of kinds.
    pub kinds: &'a [KindEntry],
    /// `--mirror` and `--mirrors`: URL prefix and what stands in for it.
    pub mirrors: &'a [(String, String)],
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
/// How many files may extend each other in a row.
const MAX_EXTENDS: usize = 32;

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
///
/// # Errors
/// Every problem of every stage, class input.
pub fn load(options: &LoadOptions<'_>) -> Result<Loaded, LoadFailure> {
    let root = root_of(options.file);
    let mut loader = Loader::new(&root, true);
    let document = loader.document(options);
    let locked = loader.lock(&lock_path(options.file));
    let context = Context {
        root: &root,
        kinds: options.kinds,
        mirrors: options.mirrors,
        locked: &locked,
        limit: MAX_STAGES,
    };
    loader.finish(document, options.file, context)
}

/// The whole way from a text to concrete stages without touching any file: every file it names is missing.
pub(super) fn load_text(text: &str, kinds: &[KindEntry]) -> Result<Loaded, LoadFailure> {
    let file = Path::new("/fuzz.yaml");
    let mut loader = Loader::new(Path::new("/"), false);
    let document = loader
        .parse("fuzz.yaml", file, text)
        .map(|node| loader.settle(node, file, None, &[]));
    let locked = BTreeMap::new();
    let context = Context {
        root: Path::new("/"),
        kinds,
        mirrors: &[],
        locked: &locked,
        limit: MAX_TEXT_STAGES,
    };
    loader.finish(document, file, context)
}

struct Loader<'a> {
    root: &'a Path,
    /// Whether files may be read at all.
    reads: bool,
    sources: Sources,
    read: Vec<(PathBuf, Option<Digest>)>,
    problems: Vec<Diagnostic>,
    recipes: BTreeMap<PathBuf, Option<Node>>,
}

impl<'a> Loader<'a> {
    fn new(root: &'a Path, reads: bool) -> Self {
        Self {
            root,
            reads,
            sources: Sources::default(),
            read: Vec::new(),
            problems: Vec::new(),
            recipes: BTreeMap::new(),
        }
    }

    fn finish(
        mut self,
        document: Option<Node>,
        file: &Path,
        context: Context<'_>,
    ) -> Result<Loaded, LoadFailure> {
        let expanded = document
            .map(|document| expand::expand(&document, context))
            .unwrap_or_default();
        self.problems.extend(expanded.problems);
        if !self.problems.is_empty() {
            if self.reads {
                let inputs = expanded.stages.iter().flat_map(|stage| {
                    stage
                        .inputs
                        .iter()
                        .map(|input| (stage.stage.as_str(), &input.origin, input.span))
                });
                self.problems.extend(check_origins(self.root, inputs));
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
                stages: expanded.stages,
                environment: expanded.environment,
            },
            sources: self.sources,
            warnings: expanded.warnings,
            read: self.read,
        })
    }

    /// The name a file is shown by.
    fn shown(&self, path: &Path) -> String {
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
        let bytes = if self.reads {
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

    fn node(&mut self, path: &Path, what: &str, asked: Option<Span>) -> Option<Node> {
        let text = self.text(path, what, asked)?;
        let shown = self.shown(path);
        self.parse(&shown, path, &text)
    }

    /// The document with everything merged in.
    fn document(&mut self, options: &LoadOptions<'_>) -> Option<Node> {
        let node = self.node(options.file, "the pipeline file", None)?;
        Some(self.settle(node, options.file, options.profile, options.set))
    }

    fn settle(&mut self, node: Node, file: &Path, profile: Option<&str>, set: &[String]) -> Node {
        let mut node = self.extend(node, file);
        node = self.apply_profile(node, profile);
        for (index, setting) in set.iter().enumerate() {
            self.apply_setting(&mut node, setting, index);
        }
        self.apply_recipes(&mut node);
        node
    }

    /// Lays the file over the chain it extends.
    fn extend(&mut self, node: Node, file: &Path) -> Node {
        let mut layers = vec![node];
        let mut chain = vec![normal(file)];
        loop {
            let top = layers.last_mut().expect("begins with one layer");
            let Some(entry) = top.find("extends").cloned() else {
                break;
            };
            if let Value::Map(entries) = &mut top.value {
                entries.retain(|entry| entry.key != "extends");
            }
            let span = entry.value.span;
            let Some(name) = entry.value.as_str().filter(|name| !name.is_empty()) else {
                self.problems.push(
                    Diagnostic::error(
                        "spec::wrong_type",
                        format!("`extends` is {}, not a path", entry.value.type_name()),
                    )
                    .at(span, "")
                    .help("write the path of one file, relative to this one"),
                );
                break;
            };
            let current = chain.last().expect("begins with one file");
            let path = normal(&current.parent().unwrap_or(Path::new("")).join(name));
            if chain.contains(&path) || chain.len() >= MAX_EXTENDS {
                let begin = chain.iter().position(|p| *p == path).unwrap_or(0);
                let mut names: Vec<String> = chain[begin..].iter().map(|p| self.shown(p)).collect();
                names.push(self.shown(&path));
                self.problems.push(
                    Diagnostic::error(
                        "spec::extends_cycle",
                        format!("files extend each other: {}", names.join(" -> ")),
                    )
                    .at(span, "")
                    .help("remove one of these `extends`"),
                );
                break;
            }
            let Some(base) = self.node(&path, "the extended file", Some(span)) else {
                break;
            };
            layers.push(base);
            chain.push(path);
        }
        let mut merged = layers.pop().expect("begins with one layer");
        while let Some(layer) = layers.pop() {
            // An empty text extends to the base itself.
            if layer.value != Value::Null {
                merged = overlay(merged, layer);
            }
        }
        merged
    }

    fn apply_profile(&mut self, mut node: Node, profile: Option<&str>) -> Node {
        let profiles = node.find("profiles").cloned();
        let entries = profiles
            .as_ref()
            .map_or(&[] as &[Entry], |p| p.value.entries());
        for entry in entries {
            self.check_profile(entry);
        }
        let Some(name) = profile else {
            return node;
        };
        match entries.iter().find(|entry| entry.key == name) {
            Some(chosen) => {
                if let (Value::Map(base), Value::Map(over)) = (&mut node.value, &chosen.value.value)
                {
                    *base = overlay_entries(std::mem::take(base), over.clone());
                }
            }
            None => {
                let names = entries.iter().map(|entry| entry.key.as_str());
                let span = profiles.as_ref().map(|profiles| profiles.key_span);
                self.problems.push(
                    Diagnostic::error("spec::unknown_profile", format!("unknown profile `{name}`"))
                        .at_if(span, "the profiles stand here")
                        .help(suggest::help(
                            name,
                            names,
                            "the file has no profiles; leave `--profile` out",
                        )),
                );
            }
        }
        node
    }

    fn check_profile(&mut self, entry: &Entry) {
        if !matches!(entry.value.value, Value::Map(_) | Value::Null) {
            self.problems.push(
                Diagnostic::error(
                    "spec::wrong_type",
                    format!(
                        "profile `{}` is {}, not a map",
                        entry.key,
                        entry.value.type_name()
                    ),
                )
                .at(entry.value.span, "")
                .help("write what it changes: `{ params: { epochs: 1 } }`"),
            );
        }
        for key in entry.value.entries() {
            let allowed = TOP_KEYS
                .iter()
                .copied()
                .filter(|key| !matches!(*key, "extends" | "profiles"));
            if !allowed.clone().any(|known| known == key.key) {
                self.problems.push(
                    Diagnostic::error(
                        "spec::unknown_key",
                        format!("unknown key `{}` in profile `{}`", key.key, entry.key),
                    )
                    .at(key.key_span, "not a key of a profile")
                    .help(suggest::help(&key.key, allowed, "remove it")),
                );
            }
        }
    }

    /// `--set NAME=VALUE`: the value is YAML, the name may lead into maps with dots.
    fn apply_setting(&mut self, document: &mut Node, setting: &str, _index: usize) {
        let source = self.sources.add("--set", None, setting);
        let place = |len: usize| Span {
            source,
            offset: 0,
            len: u32::try_from(len).unwrap_or(u32::MAX),
            line: 1,
            column: 1,
        };
        let Some((name, value)) = setting.split_once('=') else {
            self.problems.push(
                Diagnostic::error("spec::setting", format!("`--set {setting}` has no value"))
                    .at(place(setting.len()), "")
                    .help("write `--set NAME=VALUE`"),
            );
            return;
        };
        let skip = setting.len() - value.len();
        let parsed = yaml::parse_from(setting, skip, source);
        self.problems.extend(parsed.problems);
        let Some(value) = parsed.node else { return };
        let name = name.trim();
        let params = match &mut document.value {
            Value::Map(entries) => entries.iter_mut().find(|entry| entry.key == "params"),
            _ => None,
        };
        let Err((unknown, known)) = put(params.map(|entry| &mut entry.value), name, value) else {
            return;
        };
        let help = suggest::help(
            &unknown,
            known.iter().map(String::as_str),
            "the file has no parameters to set",
        );
        self.problems.push(
            Diagnostic::error(
                "spec::unknown_parameter",
                format!("unknown parameter `{name}`"),
            )
            .at(place(name.len()), "not under `params:`")
            .help(help),
        );
    }

    fn apply_recipes(&mut self, document: &mut Node) {
        let Value::Map(entries) = &mut document.value else {
            return;
        };
        let Some(stages) = entries.iter_mut().find(|entry| entry.key == "stages") else {
            return;
        };
        let Value::Map(stages) = &mut stages.value.value else {
            return;
        };
        for stage in stages {
            if let Some(recipe) = stage.value.find("use").cloned() {
                self.apply_recipe(stage, &recipe);
            }
        }
    }

    fn apply_recipe(&mut self, stage: &mut Entry, recipe: &Entry) {
        let span = recipe.value.span;
        if let Some(kind) = stage.value.find("kind") {
            self.problems.push(
                Diagnostic::error(
                    "spec::two_kinds",
                    format!("stage `{}` has both `kind` and `use`", stage.key),
                )
                .at(recipe.key_span, "the recipe says the kind")
                .at(kind.key_span, "here too")
                .help("remove one of the two"),
            );
            return;
        }
        let Some(name) = recipe.value.as_str().filter(|name| !name.is_empty()) else {
            self.problems.push(
                Diagnostic::error(
                    "spec::wrong_type",
                    format!(
                        "`use` of stage `{}` is {}, not a path",
                        stage.key,
                        recipe.value.type_name()
                    ),
                )
                .at(span, "")
                .help("write the path of a recipe: `use: stages/NAME.yaml`"),
            );
            return;
        };
        let path = self.root.join(name);
        let node = match self.recipes.get(&path) {
            Some(known) => known.clone(),
            None => {
                let read = self.node(&path, "the recipe", Some(span));
                let read = read.filter(|node| self.check_recipe(node, &path, span));
                self.recipes.insert(path, read.clone());
                read
            }
        };
        if let Some(node) = node {
            let own = std::mem::replace(
                &mut stage.value,
                Node {
                    value: Value::Null,
                    span,
                    defined: None,
                },
            );
            stage.value = overlay(node, own);
        }
    }

    fn check_recipe(&mut self, node: &Node, path: &Path, asked: Span) -> bool {
        let shown = self.shown(path);
        let problem = if !matches!(node.value, Value::Map(_)) {
            Diagnostic::error(
                "spec::recipe",
                format!("the recipe `{shown}` is {}, not a map", node.type_name()),
            )
            .at(node.span, "")
        } else if let Some(entry) = node.find("use").or_else(|| node.find("extends")) {
            Diagnostic::error(
                "spec::recipe",
                format!("the recipe `{shown}` has the key `{}`", entry.key),
            )
            .at(entry.key_span, "")
        } else if node.find("kind").is_none() {
            Diagnostic::error("spec::recipe", format!("the recipe `{shown}` says no kind"))
                .at(node.span, "")
        } else if node.find("stages").is_some() {
            Diagnostic::error(
                "spec::recipe",
                format!("`{shown}` is a pipeline, not a recipe"),
            )
            .at(node.span, "")
        } else {
            return true;
        };
        let keys: Vec<&str> = STAGE_KEYS
            .iter()
            .map(|(key, _)| *key)
            .filter(|key| *key != "use")
            .collect();
        self.problems
            .push(problem.at(asked, "used here").help(format!(
                "a recipe is one stage with `kind`; its keys are {}",
                suggest::list(&keys)
            )));
        false
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

/// A path without `.` and `..` where that can be said without looking at the disk.
fn normal(path: &Path) -> PathBuf {
    use std::path::Component;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut result = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::ParentDir => {
                result.pop();
            }
            Component::CurDir => {}
            other => result.push(other),
        }
    }
    result
}

/// Replaces the value at a dotted name; the error is the step that is unknown and what there is.
fn put(params: Option<&mut Node>, name: &str, value: Node) -> Result<(), (String, Vec<String>)> {
    let Some(params) = params else {
        return Err((name.to_owned(), Vec::new()));
    };
    let Value::Map(entries) = &mut params.value else {
        return Err((name.to_owned(), Vec::new()));
    };
    if let Some(entry) = entries.iter_mut().find(|entry| entry.key == name) {
        entry.value = value;
        return Ok(());
    }
    let known = || entries.iter().map(|entry| entry.key.clone()).collect();
    let Some((first, rest)) = name.split_once('.') else {
        return Err((name.to_owned(), known()));
    };
    let Some(position) = entries.iter().position(|entry| entry.key == first) else {
        return Err((first.to_owned(), known()));
    };
    put(Some(&mut entries[position].value), rest, value)
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
