//! What a watched stage read, held against what it declares. Knows nothing of how it was watched.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Seen;
use crate::exec::job::Job;
use crate::spec::in_letters_of_a_name;

/// Folders of the system.
const SYSTEM: &[&str] = &[
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/proc",
    "/sys", "/dev", "/run", "/var", "/nix", "/gnu",
];
/// Names of folders in which languages keep what they install and remember.
const LIBRARIES: &[&str] = &[
    "site-packages",
    "dist-packages",
    "node_modules",
    "__pycache__",
    ".cache",
    ".pyenv",
    ".venv",
    "venv",
    ".conda",
    "miniconda3",
    "anaconda3",
    ".cargo",
    ".rustup",
    ".npm",
    ".nvm",
    ".julia",
    ".local",
];

/// Where an undeclared file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the pipeline's root.
    Project,
    /// In the user's home.
    Home,
    /// Anywhere else.
    Elsewhere,
}

/// A file that was read, or looked for, and is not declared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Undeclared {
    /// Where it lies.
    pub place: Place,
    /// The file; relative to the root in the project.
    pub path: String,
    /// Whether it was looked for in the stage's folder, where it is not.
    pub only_looked_for: bool,
    /// The line for `needs:`.
    pub line: String,
}

/// What came of watching a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Whether the command ended well.
    pub ended_well: bool,
    /// The last lines it printed.
    pub last_lines: Vec<String>,
    /// Undeclared files, those of the project first.
    pub undeclared: Vec<Undeclared>,
    /// Inputs that were declared and never read: port and place.
    pub unread: Vec<(String, String)>,
    /// Names in the stage's folder that were looked for and are nowhere.
    pub missing: Vec<String>,
    /// Files that languages keep for themselves.
    pub libraries: Vec<String>,
    /// Files of the system.
    pub system: Vec<String>,
}

pub(super) fn sort(
    job: &Job,
    folder: &Path,
    home: Option<&Path>,
    seen: &[Seen],
    ended_well: bool,
    last_lines: Vec<String>,
) -> Traced {
    let mut traced = Traced {
        ended_well,
        last_lines,
        undeclared: Vec::new(),
        unread: Vec::new(),
        missing: Vec::new(),
        libraries: Vec::new(),
        system: Vec::new(),
    };
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let mut found: BTreeSet<(Place, String, bool)> = BTreeSet::new();
    for seen in seen {
        let path = seen.path.as_path();
        if let Ok(below) = path.strip_prefix(folder) {
            let below = below.to_string_lossy().into_owned();
            for input in &job.inputs {
                let is_it = Path::new(&below).starts_with(&input.place);
                if seen.read && !input.place.is_empty() && is_it {
                    used.insert(&input.port);
                }
            }
            if seen.missing && !seen.written && !below.is_empty() && !is_made(job, &below) {
                if job.root.join(&below).is_file() {
                    found.insert((Place::Project, below, true));
                } else if !is_library(Path::new(&below)) {
                    traced.missing.push(below);
                }
            }
            continue;
        }
        let is_file = seen.read && path.is_file();
        if !is_file || path.starts_with(&job.cache) {
            continue;
        }
        let text = path.to_string_lossy().into_owned();
        let in_project = path.strip_prefix(&job.root).ok();
        if SYSTEM.iter().any(|system| path.starts_with(system)) && in_project.is_none() {
            traced.system.push(text);
        } else if is_library(in_project.unwrap_or(path)) || is_of_program(path, home) {
            traced.libraries.push(text);
        } else if let Some(below) = in_project {
            found.insert((Place::Project, below.to_string_lossy().into_owned(), false));
        } else if home.is_some_and(|home| path.starts_with(home)) {
            found.insert((Place::Home, text, false));
        } else {
            found.insert((Place::Elsewhere, text, false));
        }
    }
    found.extend(modules(job, &traced.last_lines));
    let mut ports: BTreeSet<String> = job.inputs.iter().map(|input| input.port.clone()).collect();
    let mut before: Option<(Place, String)> = None;
    for (place, path, only_looked_for) in found {
        // Read where it lies and looked for in the folder: one file.
        if before
            .as_ref()
            .is_some_and(|(p, q)| *p == place && *q == path)
        {
            continue;
        }
        before = Some((place, path.clone()));
        let line = line(&path, place, &mut ports);
        traced.undeclared.push(Undeclared {
            place,
            path,
            only_looked_for,
            line,
        });
    }
    for input in &job.inputs {
        if !input.place.is_empty() && !used.contains(input.port.as_str()) {
            traced
                .unread
                .push((input.port.clone(), input.place.clone()));
        }
    }
    traced
}

/// Modules of the project that Python looked for. It lists folders and asks for no file, so only its last words tell.
fn modules(job: &Job, lines: &[String]) -> Vec<(Place, String, bool)> {
    let mut found = Vec::new();
    for line in lines {
        let Some((_, rest)) = line.split_once("ModuleNotFoundError: No module named '") else {
            continue;
        };
        let module = rest
            .split('\'')
            .next()
            .unwrap_or_default()
            .replace('.', "/");
        let scripts = job.inputs.iter().map(|input| Path::new(&input.place));
        for folder in scripts.filter_map(Path::parent).chain([Path::new("")]) {
            for file in [format!("{module}.py"), format!("{module}/__init__.py")] {
                let path = folder.join(file);
                if job.root.join(&path).is_file() {
                    found.push((Place::Project, path.to_string_lossy().into_owned(), true));
                }
            }
        }
    }
    found
}

/// Whether the stage writes a path itself, or the runner does.
fn is_made(job: &Job, below: &str) -> bool {
    let path = Path::new(below);
    job.outputs
        .iter()
        .any(|output| path.starts_with(&output.path))
}

fn is_library(path: &Path) -> bool {
    path.components().any(|step| {
        let name = step.as_os_str().to_string_lossy();
        LIBRARIES.contains(&&*name) || name.ends_with(".pyc")
    })
}

/// Whether a path lies where a program of `PATH` is installed: beside the folder `bin` that holds it.
fn is_of_program(path: &Path, home: Option<&Path>) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|bin| {
        let is_bin = bin.file_name().is_some_and(|name| name == "bin");
        let prefix: PathBuf = match bin.parent() {
            Some(parent) if is_bin && Some(parent) != home && parent.parent().is_some() => {
                parent.into()
            }
            _ => bin,
        };
        path.starts_with(&prefix)
    })
}

/// `name: { file: PATH, as: PLACE }`; a file outside the project is placed by its name.
fn line(path: &str, place: Place, ports: &mut BTreeSet<String>) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name
        .split('.')
        .find(|part| !part.is_empty())
        .unwrap_or("input");
    let mut port = in_letters_of_a_name(stem);
    if !port.starts_with(|c: char| c.is_ascii_lowercase()) {
        port.insert_str(0, "input-");
    }
    let mut unique = port.clone();
    let mut count = 1;
    while !ports.insert(unique.clone()) {
        count += 1;
        unique = format!("{port}-{count}");
    }
    let quoted = |text: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
        if text.chars().all(is_plain) {
            text.to_owned()
        } else {
            serde_json::Value::from(text).to_string()
        }
    };
    let at = if place == Place::Project { path } else { name };
    format!("{unique}: {{ file: {}, as: {} }}", quoted(path), quoted(at))
}
