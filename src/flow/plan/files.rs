//! What the files that stages name hold, each hashed once while its stamp stands still. Decides nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use globset::GlobBuilder;
use rayon::prelude::*;

use super::Planner;
use crate::content::{
    Content, Form, Stamp, Tree, TreeEntry, hash_file, is_executable, read_tree, walk,
};
use crate::diagnostic::Diagnostic;
use crate::digest::Digest;
use crate::spec::{Input, Origin, StageId, StageSpec};
use crate::store::StoreError;
use crate::store::index::Index;

/// Stages a core looks at in one go.
const PREFETCH_AT_ONCE: usize = 256;

impl Planner<'_> {
    /// Looks at the files the stages name, and at those they published, on all cores. Only what stands as it stood
    /// when it was hashed is kept; the rest is looked at when its stage is decided.
    pub fn prefetch(&mut self, selected: &[StageId]) {
        let (root, index, workflow) = (&self.workflow.root, &self.index, self.workflow);
        type Found<'f> = (Vec<(&'f str, Content)>, Vec<(String, Digest)>);
        let found: Vec<Found<'_>> = selected
            .par_iter()
            .with_min_len(PREFETCH_AT_ONCE)
            .map(|id| {
                let stage = &workflow.stages[id.index()];
                let files = stage.inputs.iter().filter_map(|input| match &input.origin {
                    Origin::Path(path) | Origin::KeyOnly(path) | Origin::Put(path) => {
                        Some((path.as_str(), remembered(index, &root.join(path))?))
                    }
                    _ => None,
                });
                let published = stage.policy.publish.iter().flat_map(|folder| {
                    let folder = root.join(folder);
                    stage.outputs.iter().filter_map(move |output| {
                        let to = folder.join(&output.path);
                        let metadata = fs_err::symlink_metadata(&to)
                            .ok()
                            .filter(std::fs::Metadata::is_file)?;
                        let name = to.to_str()?.to_owned();
                        let digest = index.file(&name, &Stamp::of(&metadata))?;
                        Some((name, digest))
                    })
                });
                (files.collect(), published.collect())
            })
            .collect();
        for (files, published) in found {
            self.paths.extend(
                files
                    .into_iter()
                    .map(|(path, content)| (path.to_owned(), content)),
            );
            self.published.extend(published);
        }
    }

    /// The digest of a published file as [`Planner::prefetch`] found it; each is given once, since it may change.
    pub fn take_published(&mut self, name: &str) -> Option<Digest> {
        self.published.remove(name)
    }

    /// Whether a file input is there and can be read; hashes it on the way.
    ///
    /// # Errors
    /// At its place in the file.
    pub fn check_file(&mut self, stage: &StageSpec, input: &Input) -> Result<(), Diagnostic> {
        match &input.origin {
            Origin::Path(path) | Origin::KeyOnly(path) => {
                self.path_content(stage, input, path).map(drop)
            }
            Origin::Glob(pattern) => self.glob_content(stage, input, pattern).map(drop),
            Origin::Stage(_) | Origin::Many(_) | Origin::Put(_) => Ok(()),
        }
    }

    pub(super) fn path_content(
        &mut self,
        stage: &StageSpec,
        input: &Input,
        path: &str,
    ) -> Result<Content, Diagnostic> {
        if let Some(content) = self.paths.get(path) {
            return Ok(*content);
        }
        let full = self.workflow.root.join(path);
        let content = self
            .read_path(&full)
            .map_err(|error| self.unreadable(stage, input, path, &error))?;
        self.paths.insert(path.to_owned(), content);
        Ok(content)
    }

    pub(super) fn unreadable(
        &self,
        stage: &StageSpec,
        input: &Input,
        path: &str,
        error: &io::Error,
    ) -> Diagnostic {
        let is_absent = std::fs::symlink_metadata(self.workflow.root.join(path)).is_err();
        if error.kind() == io::ErrorKind::NotFound && is_absent {
            return Diagnostic::error(
                "spec::missing_file",
                format!("input file `{path}` of stage `{}` is missing", stage.name),
            )
            .at(
                input.span,
                format!("looked in {}", self.workflow.root.display()),
            )
            .help("no stage produces it; add a `fetch` stage or copy it there");
        }
        Diagnostic::error(
            "spec::unreadable",
            format!("input `{path}` of stage `{}` cannot be read", stage.name),
        )
        .at(input.span, "")
        .detail(error.to_string())
        .help("check that it may be read, and that its links lead somewhere")
    }

    fn read_path(&mut self, full: &Path) -> io::Result<Content> {
        let metadata = std::fs::metadata(full)?;
        if metadata.is_file() {
            let digest = self.file_digest(full, &metadata)?;
            let form = if is_executable(&metadata) {
                Form::Exec
            } else {
                Form::File
            };
            return Ok(Content {
                form,
                digest,
                bytes: metadata.len(),
            });
        }
        if !metadata.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is neither a file nor a folder",
            ));
        }
        let fresh = Mutex::new(Vec::new());
        let index = &self.index;
        let tree = read_tree(full, &self.ignore, |path, metadata| {
            remembered_or_hashed(index, &fresh, path, metadata)
        })?;
        self.remember_all(fresh);
        Ok(tree.content())
    }

    fn file_digest(&mut self, full: &Path, metadata: &std::fs::Metadata) -> io::Result<Digest> {
        let fresh = Mutex::new(Vec::new());
        let digest = remembered_or_hashed(&self.index, &fresh, full, metadata)?;
        self.remember_all(fresh);
        Ok(digest)
    }

    fn remember_all(&mut self, fresh: Mutex<Vec<(String, Stamp, Digest)>>) {
        let fresh = fresh
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for (path, stamp, digest) in fresh {
            self.index
                .remember(&path, stamp, self.clock_ns, digest, false);
        }
    }

    pub(super) fn glob_content(
        &mut self,
        stage: &StageSpec,
        input: &Input,
        pattern: &str,
    ) -> Result<Content, Diagnostic> {
        let (base, files) = self
            .glob_files(pattern)
            .map_err(|error| self.unreadable(stage, input, pattern, &error))?;
        if files.is_empty() {
            return Err(Diagnostic::error(
                "spec::empty_glob",
                format!("no file matches `{pattern}`, an input of stage `{}`", stage.name),
            )
            .at(input.span, format!("looked in {}", self.workflow.root.display()))
            .help("`*` stays within one folder, `**` goes below; copy the files there or add a `fetch` stage"));
        }
        let mut entries = Vec::with_capacity(files.len());
        for path in files {
            let full = base.join(&path);
            let content = self
                .read_path(&full)
                .map_err(|error| self.unreadable(stage, input, pattern, &error))?;
            entries.push(TreeEntry {
                path,
                content: Some(content),
            });
        }
        Ok(Tree::new(entries).content())
    }

    /// The folder a pattern starts in and the files it matches, by their paths below that folder.
    pub(super) fn glob_files(&mut self, pattern: &str) -> io::Result<(PathBuf, Vec<String>)> {
        if let Some(found) = self.globs.get(pattern) {
            return Ok(found.clone());
        }
        let fixed: Vec<&str> = pattern
            .split('/')
            .take_while(|part| !part.contains(['*', '?', '[', '{']))
            .collect();
        let base_text = fixed.join("/");
        let base = if pattern.starts_with('/') && base_text.is_empty() {
            PathBuf::from("/")
        } else {
            self.workflow.root.join(&base_text)
        };
        let rest = pattern[base_text.len()..].trim_start_matches('/');
        let matcher = GlobBuilder::new(rest)
            .literal_separator(true)
            .build()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
            .compile_matcher();
        let files = if base.is_dir() {
            walk(&base, &self.ignore)?
                .into_iter()
                .filter(|found| found.metadata.is_some() && matcher.is_match(&found.relative))
                .map(|found| found.relative)
                .collect()
        } else {
            Vec::new()
        };
        self.globs
            .insert(pattern.to_owned(), (base.clone(), files.clone()));
        Ok((base, files))
    }

    /// Whether an object can be read as it is: there, of the right size, and if large, not touched since it was hashed.
    #[must_use]
    pub fn is_sound(&mut self, content: &Content) -> Soundness {
        let parts: Vec<Content> = match content.form {
            Form::Tree => match self.store.load_tree(&content.digest) {
                Ok(tree) => tree
                    .entries
                    .into_iter()
                    .filter_map(|entry| entry.content)
                    .collect(),
                Err(StoreError::Corrupt {
                    digest, size_bytes, ..
                }) => return Soundness::Damaged(digest, size_bytes),
                Err(_) => return Soundness::Missing,
            },
            _ => vec![*content],
        };
        for part in parts {
            let path = self.store.object_path(&part.digest);
            let Ok(metadata) = std::fs::symlink_metadata(&path) else {
                return Soundness::Missing;
            };
            if metadata.len() != part.bytes {
                return Soundness::Damaged(part.digest, metadata.len());
            }
            if part.bytes < crate::store::object::LINK_OBJECT_FROM_BYTES {
                continue;
            }
            match self.file_digest(&path, &metadata) {
                Ok(digest) if digest == part.digest => {}
                _ => return Soundness::Damaged(part.digest, metadata.len()),
            }
        }
        Soundness::Sound
    }
}

/// Whether an object can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Soundness {
    /// Yes.
    Sound,
    /// It is not there.
    Missing,
    /// This part of it has other bytes (and so many of them).
    Damaged(Digest, u64),
}

/// The content of a file that stands as it stood when it was hashed.
fn remembered(index: &Index, path: &Path) -> Option<Content> {
    let metadata = fs_err::metadata(path)
        .ok()
        .filter(std::fs::Metadata::is_file)?;
    let digest = index.file(path.to_str()?, &Stamp::of(&metadata))?;
    let form = if is_executable(&metadata) {
        Form::Exec
    } else {
        Form::File
    };
    Some(Content {
        form,
        digest,
        bytes: metadata.len(),
    })
}

fn remembered_or_hashed(
    index: &Index,
    fresh: &Mutex<Vec<(String, Stamp, Digest)>>,
    path: &Path,
    metadata: &std::fs::Metadata,
) -> io::Result<Digest> {
    let stamp = Stamp::of(metadata);
    let name = path.to_str();
    if let Some(digest) = name.and_then(|name| index.file(name, &stamp)) {
        return Ok(digest);
    }
    let digest = hash_file(path, metadata.len())?;
    if let Some(name) = name {
        let mut fresh = fresh
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        fresh.push((name.to_owned(), stamp, digest));
    }
    Ok(digest)
}
