//! A stage's folder: inputs brought in before it, looked at again after it. Knows nothing of processes.
//!
//! The user's files are copied (reflinked where the file system can), from [`LINK_FILE_FROM_BYTES`] on linked; never
//! hard-linked, never changed. Objects come from the store. Whatever is brought in must have the planned digest.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::job::{Job, JobInput, JobItem, JobSource, same_bytes};
use crate::content::{
    Content, Form, Ignore, Stamp, Tree, TreeEntry, hash_file, is_executable, read_tree, walk,
};
use crate::digest::Digest;
use crate::key::{Manifest, axes_text};
use crate::kind::{InputItem, StageInput};
use crate::made_by::MadeBy;
use crate::store::object::{LINK_FILE_FROM_BYTES, Watched};
use crate::store::{Store, StoreError};

/// A folder with its inputs in place.
#[derive(Debug)]
pub struct Placed {
    /// What kinds see of it, by port.
    pub inputs: BTreeMap<String, StageInput>,
    watched: Vec<Watched>,
    /// The user's files with their digests and their stamps when they were read.
    originals: Vec<Original>,
}

#[derive(Debug)]
struct Original {
    port: String,
    path: PathBuf,
    stamp: Stamp,
    digest: Digest,
}

/// Why a folder could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// A file of the user's is not what it was when the plan was made.
    #[error("input `{port}` changed while the plan was made")]
    Changed {
        /// The port.
        port: String,
    },
    /// An object is missing or damaged.
    #[error(transparent)]
    Store(StoreError),
    /// The disk refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<StoreError> for PlaceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Io(error) => Self::Io(error),
            other => Self::Store(other),
        }
    }
}

/// Fills an empty folder with a job's inputs.
///
/// # Errors
/// See [`PlaceError`]; the folder may be half-filled then, and is to be removed.
pub fn place_inputs(
    job: &Job,
    store: &Store,
    ignore: &Ignore,
    folder: &Path,
) -> Result<Placed, PlaceError> {
    let mut placed = Placed {
        inputs: BTreeMap::new(),
        watched: Vec::new(),
        originals: Vec::new(),
    };
    for input in &job.inputs {
        let mut items = Vec::new();
        let mut index = String::new();
        let mut names = std::collections::BTreeSet::new();
        for item in &input.items {
            let place = if input.many {
                instance_place(input, item, &mut names)
            } else {
                input.place.clone()
            };
            let to = folder.join(&place);
            if !input.place.is_empty()
                && let Some(parent) = to.parent()
            {
                fs_err::create_dir_all(parent)?;
            }
            place_item(
                &input.port,
                input.place.is_empty(),
                item,
                store,
                ignore,
                &to,
                &mut placed,
            )?;
            if input.many {
                index.push_str(&index_line(&place, input, item, job.with_records));
            }
            items.push(InputItem {
                path: place,
                axes: item.axes.clone(),
                digest: item.content.digest,
                key: item.key,
                device: item.device.clone(),
                notes: item.notes.clone(),
                made_by: made_by(job, store, item),
            });
        }
        if input.many {
            fs_err::create_dir_all(folder.join(&input.place))?;
            fs_err::write(folder.join(&input.place).join("index.jsonl"), index)?;
        }
        placed.inputs.insert(
            input.port.clone(),
            StageInput {
                place: input.place.clone(),
                items,
                many: input.many,
            },
        );
    }
    Ok(placed)
}

/// What the record of an item says of how it was made, for kinds whose key holds the record's.
fn made_by(job: &Job, store: &Store, item: &JobItem) -> Option<MadeBy> {
    let key = item.key.filter(|_| job.with_records)?;
    MadeBy::of(&Manifest(store.find_record(&key)?.manifest))
}

/// `scores/task=ddi,seed=1`, or with the file's name below it; safe as a path, unique within the port.
fn instance_place(
    input: &JobInput,
    item: &JobItem,
    names: &mut std::collections::BTreeSet<String>,
) -> String {
    let mut name: String = axes_text(&item.axes)
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || matches!(c, '=' | ',' | '-' | '_' | '.') {
                c
            } else {
                '_'
            }
        })
        .take(150)
        .collect();
    if name.trim_matches('.').is_empty() {
        name = "all".to_owned();
    }
    let mut unique = name.clone();
    let mut count = 1;
    while !names.insert(unique.clone()) {
        count += 1;
        unique = format!("{name}.{count}");
    }
    match &input.file {
        Some(file) => format!("{}/{unique}/{file}", input.place),
        None => format!("{}/{unique}", input.place),
    }
}

fn index_line(place: &str, input: &JobInput, item: &JobItem, with_records: bool) -> String {
    let path = place
        .strip_prefix(&format!("{}/", input.place))
        .unwrap_or(place);
    let axes: serde_json::Map<String, serde_json::Value> = item
        .axes
        .iter()
        .map(|axis| {
            let value =
                serde_json::from_str(&axis.json).unwrap_or_else(|_| axis.text.clone().into());
            (axis.name.clone(), value)
        })
        .collect();
    let replicate = item
        .axes
        .iter()
        .find(|axis| axis.replicate)
        .map(|axis| axis.name.clone());
    let mut line = serde_json::json!({ "path": path, "axes": axes, "replicate": replicate });
    // Only for kinds whose key says so: else the folder would hold what its digest does not know.
    if with_records && let Some(map) = line.as_object_mut() {
        map.insert("key".into(), serde_json::json!(item.key));
        map.insert("device".into(), serde_json::json!(item.device));
        map.insert("notes".into(), serde_json::json!(item.notes));
    }
    format!("{line}\n")
}

fn place_item(
    port: &str,
    key_only: bool,
    item: &JobItem,
    store: &Store,
    ignore: &Ignore,
    to: &Path,
    placed: &mut Placed,
) -> Result<(), PlaceError> {
    let changed = || PlaceError::Changed {
        port: port.to_owned(),
    };
    match &item.source {
        JobSource::Object => {
            if !key_only {
                store.hand_out(&item.content, to, &mut placed.watched)?;
            }
        }
        JobSource::Path(path) if item.content.form != Form::Tree => {
            let got = bring_file(port, path, (!key_only).then_some(to), placed)
                .map_err(|error| gone(error, port))?;
            if !same_bytes(&got, &item.content) {
                return Err(changed());
            }
        }
        JobSource::Path(path) => {
            let files = walk(path, ignore).map_err(|error| gone(error, port))?;
            let mut entries = Vec::new();
            for found in files {
                let target = to.join(&found.relative);
                let is_file = found.metadata.is_some();
                let content = bring_entry(port, &found.path, is_file, &target, placed)?;
                entries.push(TreeEntry {
                    path: found.relative,
                    content,
                });
            }
            fs_err::create_dir_all(to)?;
            if Tree::new(entries).content() != item.content {
                return Err(changed());
            }
        }
        JobSource::Files { base, files } => {
            let mut entries = Vec::new();
            for relative in files {
                let content =
                    bring_entry(port, &base.join(relative), true, &to.join(relative), placed)?;
                entries.push(TreeEntry {
                    path: relative.clone(),
                    content,
                });
            }
            if Tree::new(entries).content() != item.content {
                return Err(changed());
            }
        }
    }
    Ok(())
}

/// A file that went away between plan and start is a change, not a fault of the disk.
fn gone(error: io::Error, port: &str) -> PlaceError {
    if error.kind() == io::ErrorKind::NotFound {
        PlaceError::Changed {
            port: port.to_owned(),
        }
    } else {
        PlaceError::Io(error)
    }
}

fn bring_entry(
    port: &str,
    full: &Path,
    is_file: bool,
    target: &Path,
    placed: &mut Placed,
) -> Result<Option<Content>, PlaceError> {
    if !is_file {
        fs_err::create_dir_all(target)?;
        return Ok(None);
    }
    if let Some(parent) = target.parent() {
        fs_err::create_dir_all(parent)?;
    }
    bring_file(port, full, Some(target), placed)
        .map(Some)
        .map_err(|error| gone(error, port))
}

fn bring_file(
    port: &str,
    path: &Path,
    to: Option<&Path>,
    placed: &mut Placed,
) -> io::Result<Content> {
    let metadata = fs_err::metadata(path)?;
    let (stamp, executable) = (Stamp::of(&metadata), is_executable(&metadata));
    let bytes = metadata.len();
    let digest = match to {
        Some(to) if bytes < LINK_FILE_FROM_BYTES => {
            if bytes < (1 << 20) {
                let content = fs_err::read(path)?;
                fs_err::write(to, &content)?;
                crate::digest::Use::File.digest(&content)
            } else {
                reflink_copy::reflink_or_copy(path, to)?;
                hash_file(to, bytes)?
            }
        }
        Some(to) => {
            fs_err::os::unix::fs::symlink(fs_err::canonicalize(path)?, to)?;
            hash_file(path, bytes)?
        }
        None => hash_file(path, bytes)?,
    };
    if let Some(to) = to
        && bytes < LINK_FILE_FROM_BYTES
    {
        let mode = if executable { 0o755 } else { 0o644 };
        fs_err::set_permissions(to, std::fs::Permissions::from_mode(mode))?;
    }
    let form = if executable { Form::Exec } else { Form::File };
    placed.originals.push(Original {
        port: port.to_owned(),
        path: path.to_path_buf(),
        stamp,
        digest,
    });
    Ok(Content {
        form,
        digest,
        bytes,
    })
}

/// What a stage, or somebody else meanwhile, did to its inputs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Inputs that are not what they were, as `port: path`.
    pub changed: Vec<String>,
    /// Objects that were written through a link.
    pub objects: Vec<Digest>,
}

impl Placed {
    /// The files behind links, which a sandbox must let the stage read.
    #[must_use]
    pub fn link_targets(&self) -> Vec<PathBuf> {
        let large = self
            .originals
            .iter()
            .filter(|original| original.stamp.size >= LINK_FILE_FROM_BYTES);
        let files = large.filter_map(|original| fs_err::canonicalize(&original.path).ok());
        self.watched
            .iter()
            .map(|watched| watched.path.clone())
            .chain(files)
            .collect()
    }

    /// Looks at every input again. Reads only what moved.
    #[must_use]
    pub fn damage(&self, job: &Job, ignore: &Ignore) -> Damage {
        let mut damage = Damage::default();
        for watched in self.watched.iter().filter(|watched| watched.has_changed()) {
            damage.objects.push(watched.digest);
        }
        for original in &self.originals {
            let stands = fs_err::metadata(&original.path).is_ok_and(|metadata| {
                Stamp::of(&metadata) == original.stamp
                    || hash_file(&original.path, metadata.len())
                        .is_ok_and(|digest| digest == original.digest)
            });
            if !stands {
                damage
                    .changed
                    .push(format!("{}: {}", original.port, original.path.display()));
            }
        }
        // Files that were added to a folder have no stamp to compare: walk it once more.
        for input in &job.inputs {
            for item in &input.items {
                if let JobSource::Path(path) = &item.source
                    && item.content.form == Form::Tree
                    && damage.changed.is_empty()
                {
                    let known: BTreeMap<&Path, Digest> = self
                        .originals
                        .iter()
                        .map(|original| (original.path.as_path(), original.digest))
                        .collect();
                    let now = read_tree(path, ignore, |path, metadata| match known.get(path) {
                        Some(digest) => Ok(*digest),
                        None => hash_file(path, metadata.len()),
                    });
                    if !now.is_ok_and(|tree| tree.content() == item.content) {
                        damage
                            .changed
                            .push(format!("{}: {}", input.port, path.display()));
                    }
                }
            }
        }
        damage
    }
}
