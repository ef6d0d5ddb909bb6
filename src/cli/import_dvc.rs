//! `pipeline import-dvc`: a pipeline file from a `dvc.yaml`.

use std::path::{Path, PathBuf};

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::spec::load::root_of;

use super::Done;
use super::args::ImportDvcArgs;
use crate::console::{Console, format};
use crate::import::dvc::{cannot_write, import};

/// Writes the pipeline file and lists what it could not carry over.
pub(super) fn import_dvc(args: &ImportDvcArgs, console: &mut Console) -> Done {
    let out = args.out.clone().unwrap_or_else(|| default_out(&args.file));
    if std::fs::symlink_metadata(&out).is_ok() {
        let diagnostic = Diagnostic::error(
            "import::exists",
            format!("`{}` is there already", out.display()),
        )
        .help("move it away, or name another file with `--out`");
        return Err(Failure::one(Class::Input, diagnostic));
    }
    let shown = out.display().to_string();
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    let root = root_of(&out);
    // Without a `dvc.yaml` nothing is made, not even a folder.
    if args.file.is_file() {
        fs_err::create_dir_all(folder.unwrap_or(Path::new(".")))
            .map_err(|error| cannot_write(&out, &error))?;
    }
    let imported = import(&args.file, &root, &shown).map_err(|(failure, sources)| {
        console.set_sources(&sources);
        failure
    })?;
    fs_err::write(&out, &imported.text).map_err(|error| cannot_write(&out, &error))?;
    if !imported.notes.is_empty() {
        console.set_sources(&imported.sources);
        console.report(&imported.notes);
    }
    let stages = format::counted(imported.stages, "stage");
    console.note(&format!("wrote {shown}: {stages} of DVC"));
    console.note(&format!("next: pipeline run {shown}"));
    Ok(0)
}

/// `pipelines/NAME.yaml` beside the `dvc.yaml`, with the name of its folder.
fn default_out(file: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    let whole = whole.parent().unwrap_or(Path::new("/"));
    let name = whole
        .file_name()
        .and_then(|name| name.to_str())
        .map(|name| name.trim_start_matches('.').to_lowercase())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "dvc".to_owned());
    folder.join("pipelines").join(format!("{name}.yaml"))
}
