//! `dvc.yaml` to a pipeline file that runs the same commands on the same files. Knows nothing of running either.
//!
//! DVC runs a stage in the project's folder; here it has a folder of its own. The bridge is that everything a stage
//! names lies at the same relative place there: inputs by `as:`, outputs by their paths, parameters in files of the
//! same names that hold what the stage declares and nothing else. What DVC would have found beside that (scripts that a
//! command names, modules that they import) is looked for and added; what has no counterpart is listed.
//!
//! `stages` understands the file as DVC does, `plan` finds who makes what, `convert` says it in our words.

use std::path::Path;

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::source::{Sources, Span};
use flow::spec::node::Node;

mod assigned;
mod convert;
mod names;
mod numbers;
mod parameters;
mod plan;
mod project;
mod pyyaml;
mod scope;
mod shell;
mod stages;
mod text;
mod write;

use scope::Files;

/// The largest `dvc.yaml` that is read.
const MAX_BYTES: u64 = 16 << 20;

/// What an import came to.
#[derive(Debug)]
pub struct Imported {
    /// The pipeline file.
    pub text: String,
    /// What is not carried over, or was added; each with its place and what to do.
    pub notes: Vec<Diagnostic>,
    /// How many stages of DVC are in it.
    pub stages: usize,
    /// The texts that notes point into.
    pub sources: Sources,
}

/// Makes a pipeline file of `file`, for a pipeline whose root is `root` and which will be called `as_file`.
///
/// # Errors
/// When the file cannot be read, or DVC would refuse it; with the texts that the messages point into.
pub fn import(file: &Path, root: &Path, as_file: &str) -> Result<Imported, (Failure, Sources)> {
    let mut files = Files::default();
    match convert_file(file, root, as_file, &mut files) {
        Ok((text, notes, stages)) => Ok(Imported {
            text,
            notes,
            stages,
            sources: files.sources,
        }),
        Err(problems) => Err((Failure::input(problems), files.sources)),
    }
}

fn convert_file(
    file: &Path,
    root: &Path,
    as_file: &str,
    files: &mut Files,
) -> Result<(String, Vec<Diagnostic>, usize), Vec<Diagnostic>> {
    let name = file.display().to_string();
    let cannot = |why: String, help: &str| {
        vec![Diagnostic::error("import::dvc", format!("`{name}` cannot be read: {why}")).help(help)]
    };
    let metadata = fs_err::metadata(file).map_err(|error| {
        cannot(
            error.kind().to_string(),
            "name the project's `dvc.yaml`: `pipeline import-dvc PATH/dvc.yaml`",
        )
    })?;
    if metadata.len() > MAX_BYTES {
        return Err(cannot("it is larger than 16 MiB".to_owned(), "split it"));
    }
    let text = fs_err::read_to_string(file)
        .map_err(|error| cannot(error.kind().to_string(), "it has to be a text in UTF-8"))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let normal = |path: &Path| {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        fs_err::canonicalize(path)
            .ok()
            .and_then(|path| path.to_str().map(str::to_owned))
    };
    let (Some(folder_path), Some(root)) = (normal(folder), normal(root)) else {
        return Err(cannot(
            "its folder has no plain name".to_owned(),
            "rename the folder",
        ));
    };
    let tree = files
        .yaml(&name, file, &text)
        .map_err(|problem| vec![problem])?;
    let unpacking = unpacking(Path::new(&folder_path));
    let read = stages::read(&tree, folder, files, unpacking)?;
    let mut notes = read.notes;
    let plans = plan::plan(&read.groups, &folder_path, &mut notes)?;
    let stages = plans
        .iter()
        .flatten()
        .filter(|plan| !plan.is_left_out)
        .count();
    let project = convert::Project {
        file: &name,
        as_file,
        folder: &folder_path,
        root: &root,
        shown_folder: folder,
    };
    let text = convert::convert(
        &project,
        &read.groups,
        &plans,
        &read.global,
        files,
        &mut notes,
    )?;
    Ok((text, notes, stages))
}

/// How `.dvc/config` of the project has lists and booleans unpacked: `parsing.list = append`, and
/// `parsing.bool = boolean_optional`.
fn unpacking(folder: &Path) -> (bool, bool) {
    let config = folder
        .ancestors()
        .map(|folder| folder.join(".dvc/config"))
        .find_map(|path| fs_err::read_to_string(path).ok())
        .unwrap_or_default();
    let mut section = String::new();
    let (mut append, mut named) = (false, false);
    for line in config.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').trim().to_owned();
        } else if let ("parsing", Some((key, value))) = (section.as_str(), line.split_once('=')) {
            match (key.trim(), value.trim()) {
                ("list", value) => append = value == "append",
                ("bool", value) => named = value == "boolean_optional",
                _ => {}
            }
        }
    }
    (append, named)
}

/// A failure that is not the fault of any line.
#[must_use]
pub fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    let diagnostic = Diagnostic::error(
        "import::write",
        format!("`{}` cannot be written", path.display()),
    )
    .detail(error.to_string())
    .help("name another place with `--out`");
    Failure::one(Class::Environment, diagnostic)
}

/// `dvc.yaml:12`.
fn line(sources: &Sources, span: Span) -> String {
    let name = &sources.get(span.source).name;
    let name = name.rsplit('/').next().unwrap_or(name);
    format!("{name}:{}", span.line)
}

/// The values of a node's map, if it is one with entries.
fn is_filled(node: &Node) -> bool {
    !node.entries().is_empty()
}
