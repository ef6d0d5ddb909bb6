//! `pipeline init`: a commented starter that runs.

use std::path::{Path, PathBuf};

use flow::diagnostic::{Class, Diagnostic, Failure};

use super::Done;
use crate::console::Console;

/// The starter's files. Tests run it as it is.
const FILES: &[(&str, &str)] = &[
    (
        "pipelines/starter.yaml",
        include_str!("starter/starter.yaml"),
    ),
    (
        "stages/count-words.yaml",
        include_str!("starter/count-words.yaml"),
    ),
    ("data/words.txt", include_str!("starter/words.txt")),
    (
        "cache/CACHEDIR.TAG",
        "Signature: 8a477f597d28d172789f06886806bc55\n",
    ),
    (".gitignore", "/cache/*\n!/cache/CACHEDIR.TAG\n/reports/*\n"),
];

/// Writes the starter into a folder; refuses before writing anything if one of its files is there.
pub(super) fn init(folder: &Path, console: &mut Console) -> Done {
    let there: Vec<String> = FILES
        .iter()
        .filter(|(name, _)| !is_shared(name) && folder.join(name).exists())
        .map(|(name, _)| format!("`{}`", shown(folder, name).display()))
        .collect();
    if !there.is_empty() {
        let diagnostic = Diagnostic::error(
            "init::exists",
            format!(
                "{} {} there already",
                there.join(", "),
                if there.len() > 1 { "are" } else { "is" }
            ),
        )
        .help("name another folder: `pipeline init DIR`");
        return Err(Failure::one(Class::Input, diagnostic));
    }
    for (name, text) in FILES {
        let path = folder.join(name);
        if is_shared(name) && path.exists() {
            continue;
        }
        let written = path
            .parent()
            .map_or(Ok(()), fs_err::create_dir_all)
            .and_then(|()| fs_err::write(&path, text));
        written.map_err(|error| {
            let diagnostic = Diagnostic::error("init::write", "the starter cannot be written")
                .detail(error.to_string());
            Failure::one(Class::Environment, diagnostic)
        })?;
        console.note(&format!("wrote {}", shown(folder, name).display()));
    }
    let file = shown(folder, "pipelines/starter.yaml");
    console.note(&format!("next: pipeline run {}", file.display()));
    Ok(0)
}

/// A file of the starter as people would type it.
fn shown(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    path.strip_prefix(".")
        .map_or(path.clone(), Path::to_path_buf)
}

/// Files a project may have of its own; they are left as they are.
fn is_shared(name: &str) -> bool {
    matches!(name, ".gitignore" | "cache/CACHEDIR.TAG")
}
