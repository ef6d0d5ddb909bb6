//! Results where people look for them: `publish:` folders and placed reports. Never overwrites what it did not write.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::Run;
use crate::content::{Content, Form, Ignore, Stamp, Tree, hash_file, read_tree};
use crate::diagnostic::Diagnostic;
use crate::digest::Digest;
use crate::event::ReportPlace;
use crate::graph;
use crate::plan::Known;
use crate::spec::{METRICS, StageId, StageSpec, Workflow};
use crate::store::{Store, StoreError, remove_tree};

/// Stages that would publish to one place, or one into what another publishes.
#[must_use]
pub fn conflicts(workflow: &Workflow) -> Vec<Diagnostic> {
    // By their names and not by their letters, so that what lies in a folder follows it.
    let mut places: BTreeMap<Vec<String>, &StageSpec> = BTreeMap::new();
    let mut problems = Vec::new();
    for stage in &workflow.stages {
        let Some(folder) = &stage.policy.publish else {
            continue;
        };
        for output in &stage.outputs {
            let path = format!("{folder}/{}", output.path);
            let place: Vec<String> = path
                .split('/')
                .filter(|name| !name.is_empty() && *name != ".")
                .map(str::to_owned)
                .collect();
            if let Some((other_place, other)) = in_the_way(&places, &place) {
                problems.push(conflict((other_place, other), (&place, stage), folder));
            }
            places.entry(place).or_insert(stage);
        }
    }
    problems.truncate(10);
    problems
}

/// What is published at a place, around it, or inside it.
fn in_the_way<'p, 'w>(
    places: &'p BTreeMap<Vec<String>, &'w StageSpec>,
    place: &[String],
) -> Option<(&'p [String], &'w StageSpec)> {
    let around = (1..=place.len()).find_map(|length| places.get_key_value(&place[..length]));
    let inside = || {
        let after = (std::ops::Bound::Excluded(place), std::ops::Bound::Unbounded);
        (places.range::<[String], _>(after).next()).filter(|(other, _)| other.starts_with(place))
    };
    around
        .or_else(inside)
        .map(|(other, stage)| (other.as_slice(), *stage))
}

fn conflict(
    (first_place, first): (&[String], &StageSpec),
    (place, stage): (&[String], &StageSpec),
    folder: &str,
) -> Diagnostic {
    let help = match stage.axes.first() {
        Some(axis) => format!(
            "put the axes into `publish`, such as `{folder}/${{matrix.{}}}`",
            axis.name
        ),
        None => "give one of them another folder".to_owned(),
    };
    let (first_path, path) = (first_place.join("/"), place.join("/"));
    let message = if first_place == place {
        format!(
            "`{}` and `{}` would both publish to `{path}`",
            first.name, stage.name
        )
    } else if place.starts_with(first_place) {
        format!(
            "`{}` would publish to `{path}`, inside `{first_path}` of `{}`",
            stage.name, first.name
        )
    } else {
        format!(
            "`{}` would publish to `{path}`, around `{first_path}` of `{}`",
            stage.name, first.name
        )
    };
    Diagnostic::error("spec::publish_conflict", message)
        .at(stage.span, "publishes there too")
        .help(help)
}

impl Run<'_, '_> {
    /// Brings a stage's published outputs up to date. Returns why the stage must be remade when their bytes are gone.
    pub(super) fn publish(&mut self, id: StageId, known: &Known) -> Option<String> {
        let stage = self.planner.stage(id);
        let folder = self
            .planner
            .workflow
            .root
            .join(stage.policy.publish.as_ref()?);
        for output in &stage.outputs {
            let Some(content) = known.entry.output(&output.name) else {
                continue;
            };
            match self.publish_one(content, &folder.join(&output.path)) {
                Ok(None) => {}
                Ok(Some(warning)) => self.warn(Some(id), warning),
                Err(StoreError::Missing { .. }) => {
                    return Some("its published output is gone".to_owned());
                }
                Err(StoreError::Corrupt {
                    digest, size_bytes, ..
                }) => {
                    let warning =
                        crate::exec::supervisor::corrupt(self.planner.store, &digest, size_bytes);
                    self.warn(Some(id), warning);
                    return Some("its published output is gone".to_owned());
                }
                Err(StoreError::Io(error)) => {
                    let name = &stage.name;
                    let warning = Diagnostic::warning(
                        "run::publish",
                        format!("an output of `{name}` cannot be published"),
                    )
                    .detail(error.to_string());
                    self.warn(Some(id), warning);
                }
            }
        }
        None
    }

    fn publish_one(
        &mut self,
        content: &Content,
        to: &Path,
    ) -> Result<Option<Diagnostic>, StoreError> {
        let name = to.to_string_lossy().into_owned();
        let store = self.planner.store;
        if self.planner.take_published(&name) == Some(content.digest) {
            return Ok(None);
        }
        if let Ok(metadata) = std::fs::symlink_metadata(to) {
            if metadata.is_file()
                && self.planner.index.file(&name, &Stamp::of(&metadata)) == Some(content.digest)
            {
                return Ok(None);
            }
            // Earlier versions left links to objects here; what they led to may be gone, and they are replaced.
            if !is_link_to_object(to) {
                let there = what_lies_at(to)?;
                if there.digest() == Some(content.digest) {
                    self.remember_published(&name, to, content)?;
                    return Ok(None);
                }
                if there.holds(content, store) {
                    return Ok(None);
                }
                // Bytes that are an object here were made here, wherever the project lay then, and are not lost.
                let is_ours = there.digest().is_some_and(|digest| {
                    self.planner.index.published(&name) == Some(digest)
                        || store.object_path(&digest).exists()
                });
                if !is_ours {
                    return Ok(Some(
                        Diagnostic::warning("run::not_published", format!("`{name}` was not written by this program, or was changed since"))
                            .help("it is left as it is; move it away and run again to have the result there"),
                    ));
                }
            }
        }
        if !store.has(content) {
            return Err(StoreError::Missing {
                digest: content.digest,
            });
        }
        if let Some(parent) = to.parent() {
            fs_err::create_dir_all(parent)?;
        }
        put(store, to, |temporary| store.copy_out(content, temporary))?;
        self.remember_published(&name, to, content)?;
        Ok(None)
    }

    fn remember_published(&mut self, name: &str, to: &Path, content: &Content) -> io::Result<()> {
        let metadata = fs_err::symlink_metadata(to)?;
        // The stamp of a person's own link says nothing of the bytes behind it.
        if !metadata.is_symlink() {
            let clock_ns = self.planner.clock_ns();
            self.planner
                .index
                .remember(name, Stamp::of(&metadata), clock_ns, content.digest, true);
        }
        Ok(())
    }

    /// Copies each report of the run to `reports/<pipeline>/<key>/` and points `latest` at the one that rests on the most
    /// stages, the last of those.
    pub(super) fn place_reports(&mut self) {
        let workflow = self.planner.workflow;
        let folder = workflow.root.join("reports").join(&workflow.name);
        let reports: Vec<StageId> = self
            .selected
            .iter()
            .copied()
            .filter(|id| {
                self.planner.is_report(&self.planner.stage(*id).kind)
                    && self.planner.known(*id).is_some()
            })
            .collect();
        let mut placed = Vec::new();
        for id in &reports {
            let stage = self.planner.stage(*id);
            let Some(known) = self.planner.known(*id).cloned() else {
                continue;
            };
            let Some((_, content)) = known.entry.outputs.iter().find(|(name, _)| name != METRICS)
            else {
                continue;
            };
            let to = folder.join(known.key.short());
            if let Err(error) = self.place_report(content, &to) {
                let warning = Diagnostic::warning(
                    "run::report",
                    format!("the report of `{}` cannot be placed", stage.name),
                )
                .detail(error.to_string())
                .help(format!(
                    "`pipeline run FILE '{}' --force '{}'` makes it again",
                    stage.name, stage.name
                ));
                self.warn(Some(*id), warning);
                continue;
            }
            let path = to
                .strip_prefix(&workflow.root)
                .unwrap_or(&to)
                .to_string_lossy()
                .into_owned();
            placed.push((graph::upstream(workflow, &[*id]).len(), known.key));
            self.summary.reports.push(ReportPlace {
                stage: stage.name.clone(),
                path,
                key: known.key,
            });
        }
        if let Some((_, main)) = placed.into_iter().max_by_key(|(n_stages, _)| *n_stages) {
            let _ = point(&folder.join("latest"), &main.short());
        }
        // By its name where the file has several, whichever of them this run was asked for.
        let is_report = |stage: &&crate::spec::StageSpec| self.planner.is_report(&stage.kind);
        if workflow.stages.iter().filter(is_report).count() > 1 {
            for report in &self.summary.reports {
                let _ = point(
                    &folder.join(report.stage.replace('/', "_")),
                    &report.key.short(),
                );
            }
        }
    }

    fn place_report(&mut self, content: &Content, to: &Path) -> Result<(), StoreError> {
        if to.join("index.html").exists() {
            return Ok(());
        }
        if let Some(parent) = to.parent() {
            fs_err::create_dir_all(parent)?;
        }
        let store = self.planner.store;
        put(store, to, |temporary| store.copy_out(content, temporary))
    }
}

/// Makes something under a temporary name and puts it in its place. The name is in the cache, so that a killed run
/// leaves nothing among a person's results; where the cache is on another disk it is beside the place.
fn put(
    store: &Store,
    to: &Path,
    make: impl Fn(&Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let put = |temporary: &Path| {
        let put = make(temporary).and_then(|()| Ok(replace(temporary, to)?));
        if put.is_err() {
            let _ = remove_tree(temporary);
        }
        put
    };
    match put(&store.temporary_path()) {
        Err(StoreError::Io(error)) if error.kind() == io::ErrorKind::CrossesDevices => {
            put(&beside(to))
        }
        other => other,
    }
}

/// A name beside a path, hidden and this process's own.
fn beside(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

/// Puts `from` in the place of `to`, which may be a file, a link, or a folder.
fn replace(from: &Path, to: &Path) -> io::Result<()> {
    if std::fs::symlink_metadata(to).is_ok_and(|metadata| metadata.is_dir()) || from.is_dir() {
        remove_tree(to)?;
    }
    fs_err::rename(from, to)
}

fn point(link: &Path, target: &str) -> io::Result<()> {
    if fs_err::read_link(link).is_ok_and(|now| now == Path::new(target)) {
        return Ok(());
    }
    let temporary = beside(link);
    fs_err::os::unix::fs::symlink(target, &temporary)?;
    fs_err::rename(&temporary, link)
}

/// What lies where something is to be published.
enum There {
    /// A link that leads nowhere.
    Nowhere,
    File(Digest),
    Folder(Tree),
}

impl There {
    fn digest(&self) -> Option<Digest> {
        match self {
            Self::Nowhere => None,
            Self::File(digest) => Some(*digest),
            Self::Folder(tree) => Some(tree.content().digest),
        }
    }

    /// Whether it is the folder that was published, with more in it that somebody added.
    fn holds(&self, content: &Content, store: &Store) -> bool {
        let Self::Folder(there) = self else {
            return false;
        };
        content.form == Form::Tree
            && store.load_tree(&content.digest).is_ok_and(|tree| {
                tree.entries.iter().all(|entry| {
                    let place = there
                        .entries
                        .binary_search_by(|found| found.path.as_bytes().cmp(entry.path.as_bytes()));
                    match place {
                        Ok(at) => there.entries[at].content == entry.content,
                        // An empty folder may have been filled.
                        Err(_) => entry.content.is_none(),
                    }
                })
            })
    }
}

/// Reads what lies at a path, whatever it is called: a name that no digest of an input would count may be a person's work.
fn what_lies_at(path: &Path) -> io::Result<There> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nowhere),
        Err(error) => return Err(error),
    };
    if metadata.is_dir() {
        let tree = read_tree(path, &Ignore::nothing(), |path, metadata| {
            hash_file(path, metadata.len())
        })?;
        return Ok(There::Folder(tree));
    }
    hash_file(path, metadata.len()).map(There::File)
}

/// Whether a path is a link to an object of a cache, wherever that lies or lay.
fn is_link_to_object(path: &Path) -> bool {
    fs_err::read_link(path).is_ok_and(|target| {
        let mut names = target
            .components()
            .rev()
            .map(|name| name.as_os_str().to_string_lossy().into_owned());
        let (Some(rest), Some(first), Some(folder)) = (names.next(), names.next(), names.next())
        else {
            return false;
        };
        folder == "objects-v1" && format!("{first}{rest}").parse::<Digest>().is_ok()
    })
}
