//! A pipeline file with its settings and its store, as most subcommands need them.

use std::io::ErrorKind;
use std::path::PathBuf;

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::plan::Planner;
use flow::plan_cache::{Ready, load_cached};
use flow::select::select;
use flow::spec::load::{LoadOptions, root_of};
use flow::spec::{StageId, Workflow};
use flow::store::Store;

use super::args::{PipelineArgs, SelectionArgs};
use crate::console::Console;
use crate::kinds::KINDS;

/// A loaded pipeline.
pub(super) struct Session {
    /// The workflow and the texts behind it.
    pub(super) ready: Ready,
    /// Its store.
    pub(super) store: Store,
}

impl Session {
    /// Loads a pipeline and opens its store; prints warnings.
    pub(super) fn open(args: &PipelineArgs, console: &mut Console) -> Result<Self, Failure> {
        let (_, cache) = find(args)?;
        let store = Store::open(&cache).or_else(|error| match error.kind() {
            // Looking needs no place of its own; what works says so when it cannot write.
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Ok(Store::to_read(&cache))
            }
            _ => Err(error),
        });
        let store = store.map_err(|error| {
            let message = format!("the cache `{}` cannot be used", cache.display());
            let diagnostic = Diagnostic::error("run::cache", message)
                .detail(error.to_string())
                .help("choose another place with `--cache`, or make this one writable and leave it some space");
            Failure::one(Class::Environment, diagnostic)
        })?;
        let session = Self::load(args, store, Some(console))?;
        if !session.ready.warnings.is_empty() {
            console.set_sources(&session.ready.sources());
            console.report(&session.ready.warnings);
        }
        Ok(session)
    }

    /// Loads a pipeline to look at it: nothing is written anywhere. Says what is wrong with its lines where it may speak.
    pub(super) fn look(
        args: &PipelineArgs,
        console: Option<&mut Console>,
    ) -> Result<Self, Failure> {
        let (_, cache) = find(args)?;
        Self::load(args, Store::to_read(&cache), console)
    }

    fn load(
        args: &PipelineArgs,
        store: Store,
        console: Option<&mut Console>,
    ) -> Result<Self, Failure> {
        store.prefetch_index();
        let (root, _) = places(args);
        let mirrors = mirrors(args, &root)?;
        let set: Vec<String> = args
            .settings
            .iter()
            .map(|setting| format!("{}={}", setting.name, setting.value))
            .collect();
        let options = LoadOptions {
            file: &args.file,
            profiles: &args.profiles,
            set: &set,
            kinds: KINDS,
            mirrors: &mirrors,
            device: args.device.as_deref(),
        };
        match load_cached(&options, &store) {
            Ok(ready) => Ok(Self { ready, store }),
            Err(failure) => {
                if let Some(console) = console {
                    console.set_sources(&failure.sources);
                }
                Err(failure.failure)
            }
        }
    }

    /// The workflow.
    pub(super) fn workflow(&self) -> &Workflow {
        &self.ready.workflow
    }

    /// A planner over the workflow.
    pub(super) fn planner(&self) -> Result<Planner<'_>, Failure> {
        Planner::new(self.workflow(), &self.store, KINDS).map_err(|error| {
            let diagnostic = Diagnostic::error("run::cache", "the plan cannot be made")
                .detail(error.to_string());
            Failure::one(Class::Environment, diagnostic)
        })
    }

    /// The stages that selectors mean.
    pub(super) fn stages(
        &self,
        selectors: &[String],
        console: &mut Console,
    ) -> Result<Vec<StageId>, Failure> {
        select(self.workflow(), selectors).map_err(|problems| self.failure(problems, console))
    }

    /// The one stage a selector means.
    pub(super) fn one_stage(
        &self,
        selector: &str,
        console: &mut Console,
    ) -> Result<StageId, Failure> {
        let found = self.stages(&[selector.to_owned()], console)?;
        match found.as_slice() {
            [one] => Ok(*one),
            many => {
                let names: Vec<String> = many
                    .iter()
                    .take(5)
                    .map(|id| format!("'{}'", self.workflow().stages[id.index()].name))
                    .collect();
                let diagnostic = Diagnostic::error(
                    "cli::many_stages",
                    format!("`{selector}` means {} stages", many.len()),
                )
                .help(format!("name one, such as {}", names.join(", ")));
                Err(Failure::one(Class::Input, diagnostic))
            }
        }
    }

    /// The stages to bring about: those named, of the kinds named; what they need comes with them.
    pub(super) fn targets(
        &self,
        selection: &SelectionArgs,
        console: &mut Console,
    ) -> Result<Vec<StageId>, Failure> {
        for kind in &selection.kinds {
            if !KINDS.iter().any(|entry| entry.name == kind) {
                let names = KINDS.iter().map(|entry| entry.name);
                let diagnostic =
                    Diagnostic::error("cli::unknown_kind", format!("there is no kind `{kind}`"))
                        .help(flow::spec::suggest::help(kind, names, "there are no kinds"));
                return Err(Failure::one(Class::Input, diagnostic));
            }
        }
        if selection.stages.is_empty() && selection.kinds.is_empty() {
            return Ok(Vec::new());
        }
        let mut targets = self.stages(&selection.stages, console)?;
        if !selection.kinds.is_empty() {
            targets.retain(|id| {
                selection
                    .kinds
                    .contains(&self.workflow().stages[id.index()].kind)
            });
            if targets.is_empty() {
                let kinds = selection.kinds.join("`, `");
                let diagnostic = Diagnostic::error(
                    "cli::no_stage",
                    format!("no selected stage is of kind `{kinds}`"),
                )
                .help("`pipeline graph FILE` shows the stages");
                return Err(Failure::one(Class::Input, diagnostic));
            }
        }
        Ok(targets)
    }

    /// Problems as a failure, with their texts at hand.
    pub(super) fn failure(&self, problems: Vec<Diagnostic>, console: &mut Console) -> Failure {
        console.set_sources(&self.ready.sources());
        Failure::input(problems)
    }
}

/// [`places`] of a file that is there, in words that results can name.
fn find(args: &PipelineArgs) -> Result<(PathBuf, PathBuf), Failure> {
    let (root, cache) = places(args);
    if !args.file.is_file() {
        return Err(Failure::one(Class::Input, missing_file(args)));
    }
    for (what, path) in [("pipeline", &args.file), ("cache", &cache)] {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        if whole.to_str().is_none() {
            let message = format!(
                "the path of the {what}, `{}`, is not UTF-8",
                whole.display()
            );
            let diagnostic = Diagnostic::error("cli::path", message)
                .help("rename the folder, or work in another one");
            return Err(Failure::one(Class::Input, diagnostic));
        }
    }
    Ok((root, cache))
}

/// The root of a pipeline and its cache, whether they are there or not.
pub(super) fn places(args: &PipelineArgs) -> (PathBuf, PathBuf) {
    let root = root_of(&args.file);
    let cache = args.cache.clone().unwrap_or_else(|| root.join("cache"));
    let cache = std::path::absolute(&cache).unwrap_or(cache);
    (root, cache)
}

pub(super) fn missing_file(args: &PipelineArgs) -> Diagnostic {
    let file = args.file.display();
    let diagnostic = Diagnostic::error(
        "cli::no_file",
        format!("there is no pipeline file `{file}`"),
    );
    let folder = args.file.parent().map(PathBuf::from).unwrap_or_default();
    let folder = if folder.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        folder
    };
    let candidates: Vec<String> = [folder.clone(), folder.join("pipelines")]
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|ending| ending == "yaml" || ending == "yml")
        })
        .map(|path| {
            path.strip_prefix("./")
                .unwrap_or(&path)
                .display()
                .to_string()
        })
        .collect();
    let nearest =
        flow::spec::suggest::nearest(&file.to_string(), candidates.iter().map(String::as_str))
            .map(str::to_owned);
    match (nearest, candidates.first()) {
        (Some(name), _) => diagnostic.help(format!("did you mean `{name}`?")),
        (None, Some(name)) => diagnostic.help(format!("there is `{name}`")),
        (None, None) => diagnostic.help("`pipeline init` writes a starter that runs"),
    }
}

/// `--mirror` before `--mirrors`, each file's lines in order; relative folders start at the pipeline's root.
pub(super) fn mirrors(
    args: &PipelineArgs,
    root: &std::path::Path,
) -> Result<Vec<(String, String)>, Failure> {
    let mut mirrors: Vec<(String, String)> = args
        .mirrors
        .iter()
        .map(|mirror| (mirror.prefix.clone(), mirror.target.clone()))
        .collect();
    let Some(file) = &args.mirrors_file else {
        return Ok(mirrors);
    };
    let path = if file.exists() {
        file.clone()
    } else {
        root.join(file)
    };
    let text = fs_err::read_to_string(&path).map_err(|error| {
        let diagnostic = Diagnostic::error(
            "cli::mirrors",
            format!("the mirrors file `{}` cannot be read", file.display()),
        )
        .detail(error.to_string());
        Failure::one(Class::Input, diagnostic)
    })?;
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.parse::<super::values::Mirror>() {
            Ok(mirror) => mirrors.push((mirror.prefix, mirror.target)),
            Err(error) => {
                let message = format!("{}:{}: {error}", file.display(), number + 1);
                problems.push(
                    Diagnostic::error("cli::mirrors", message)
                        .help("a line is `URL_PREFIX=DIR_OR_URL`"),
                );
            }
        }
    }
    if problems.is_empty() {
        Ok(mirrors)
    } else {
        Err(Failure::input(problems))
    }
}
