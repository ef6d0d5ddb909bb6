//! A folder that holds what an archive does: copied within the same bounds. Knows nothing of mirrors.

use std::path::Path;

use flow::kind::StageError;
use walkdir::WalkDir;

use super::extract::{Budget, Limits, Selection};

/// Copies the regular files below `from` to `to`, which must not exist: those that `only` chooses, where it is given.
///
/// # Errors
/// For links and other things that are no files, and when a bound is passed.
pub(super) fn copy(
    from: &Path,
    to: &Path,
    selection: &Selection,
    limits: &Limits,
) -> Result<(), StageError> {
    // What is copied is as large as it is: no ratio to watch.
    let limits = Limits {
        ratio: u64::MAX,
        ..*limits
    };
    let budget = Budget::new(limits, u64::MAX);
    fs_err::create_dir(to)?;
    let mut entries = 0_u64;
    for entry in WalkDir::new(from).min_depth(1).sort_by_file_name() {
        let entry = entry.map_err(std::io::Error::from)?;
        let inside = entry
            .path()
            .strip_prefix(from)
            .expect("a walk stays below its root");
        let place = to.join(inside);
        if entry.path_is_symlink() && !entry.path().exists() {
            let message = format!("`{}` is a link that leads nowhere", entry.path().display());
            return Err(StageError::new("fetch::mirror", message)
                .help("put the files themselves into the mirror's folder"));
        }
        // The folder itself may be a link of the user's; what it holds may not lead elsewhere unseen.
        let kind = fs_err::metadata(entry.path())?.file_type();
        if entry.path_is_symlink() && !kind.is_file() {
            let message = format!("`{}` is a link, but not to a file", entry.path().display());
            return Err(StageError::new("fetch::mirror", message)
                .help("put the files themselves into the mirror's folder"));
        }
        if kind.is_dir() {
            continue;
        }
        if !kind.is_file() {
            let message = format!("`{}` is no file", entry.path().display());
            return Err(StageError::new("fetch::mirror", message)
                .help("a mirror's folder holds files and folders only"));
        }
        let is_chosen = selection.only.is_empty()
            || (selection.only.iter()).any(|pattern| pattern.matches_path(inside));
        if !is_chosen {
            continue;
        }
        entries += 1;
        if entries > limits.entries {
            let message = format!(
                "`{}` holds more than {} files",
                from.display(),
                limits.entries
            );
            return Err(StageError::new("fetch::size", message)
                .help("if that is right, raise `max_entries` of the stage"));
        }
        budget.spend(
            fs_err::metadata(entry.path())?.len(),
            &inside.to_string_lossy(),
        )?;
        fs_err::create_dir_all(place.parent().expect("below `to`"))?;
        reflink_copy::reflink_or_copy(entry.path(), &place)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs_err::set_permissions(&place, std::fs::Permissions::from_mode(0o644))?;
        }
    }
    if entries == 0 {
        let message = format!("`{}` holds no file that is wanted", from.display());
        return Err(
            StageError::new("fetch::mirror", message).help("name another folder, or a file")
        );
    }
    Ok(())
}
