//! Bringing files into the store: outputs of stages are read first and moved when all of them are right, files of others
//! are copied. Hands nothing out.

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::content::{Content, Form, Ignore, Tree, TreeEntry, hash_file, is_executable, walk};
use crate::digest::{Digest, Use};
use crate::store::{Store, StoreError, rename_into};

/// An output that was read and is not yet in the store.
#[derive(Debug)]
pub struct Intake {
    /// What it is.
    pub content: Content,
    tree: Option<Tree>,
    moves: Vec<Move>,
}

#[derive(Debug)]
struct Move {
    from: PathBuf,
    digest: Digest,
}

impl Store {
    /// Reads an output, a file or a folder at `path` below `home`, and copies into the store what is not the stage's
    /// own: what a link leads to, and files with a second name. Nothing below `home` is changed; [`Store::settle`] moves
    /// the rest. Nothing is left out, whatever its name.
    ///
    /// # Errors
    /// Unreadable or special files, link loops, names that are not UTF-8, a refusing disk.
    pub fn take_in(&self, home: &Path, path: &Path) -> io::Result<Intake> {
        let metadata = fs_err::metadata(path)?;
        let is_behind_link = is_behind_link(home, path);
        let mut intake = Intake {
            content: Content {
                form: Form::File,
                digest: Use::File.digest(b""),
                bytes: 0,
            },
            tree: None,
            moves: Vec::new(),
        };
        if metadata.is_file() {
            intake.content = self.take_file(path, is_behind_link, &mut intake.moves)?;
            return Ok(intake);
        }
        if !metadata.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("`{}` is neither a file nor a folder", path.display()),
            ));
        }
        let mut entries = Vec::new();
        for found in walk(path, &Ignore::nothing())? {
            let is_behind_link = is_behind_link || found.is_behind_link;
            let content = match found.metadata {
                Some(_) => Some(self.take_file(&found.path, is_behind_link, &mut intake.moves)?),
                None => None,
            };
            entries.push(TreeEntry {
                path: found.relative,
                content,
            });
        }
        let tree = Tree::new(entries);
        intake.content = tree.content();
        intake.tree = Some(tree);
        Ok(intake)
    }

    fn take_file(
        &self,
        path: &Path,
        is_behind_link: bool,
        moves: &mut Vec<Move>,
    ) -> io::Result<Content> {
        let metadata = fs_err::metadata(path)?;
        let form = if is_executable(&metadata) {
            Form::Exec
        } else {
            Form::File
        };
        if !is_behind_link && metadata.nlink() == 1 {
            let bytes = metadata.len();
            let digest = hash_file(path, bytes)?;
            moves.push(Move {
                from: path.to_path_buf(),
                digest,
            });
            return Ok(Content {
                form,
                digest,
                bytes,
            });
        }
        let (digest, bytes) = self.copy_in(path)?;
        Ok(Content {
            form,
            digest,
            bytes,
        })
    }

    /// Makes an object of a copy of somebody else's file, which must hold what is said of it: the copy is looked at, not
    /// the file. One that is there already and right stays.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the bytes are others; a refusing disk. Nothing is left behind then.
    pub fn adopt(&self, path: &Path, content: &Content) -> Result<(), StoreError> {
        let object = self.object_path(&content.digest);
        let there = std::fs::symlink_metadata(&object);
        if there.is_ok_and(|metadata| metadata.is_file() && metadata.len() == content.bytes)
            && hash_file(&object, content.bytes)? == content.digest
        {
            return Ok(());
        }
        let copy = self.temporary_path();
        let put = || {
            reflink_copy::reflink_or_copy(path, &copy)?;
            fs_err::set_permissions(&copy, std::fs::Permissions::from_mode(0o444))?;
            let size_bytes = fs_err::metadata(&copy)?.len();
            if size_bytes != content.bytes || hash_file(&copy, size_bytes)? != content.digest {
                return Err(StoreError::Corrupt {
                    digest: content.digest,
                    path: path.to_path_buf(),
                    size_bytes,
                });
            }
            Ok(rename_into(&copy, &object)?)
        };
        let put = put();
        if put.is_err() {
            let _ = fs_err::remove_file(&copy);
        }
        put
    }

    /// Makes an object of a copy; its digest and size.
    fn copy_in(&self, path: &Path) -> io::Result<(Digest, u64)> {
        let copy = self.temporary_path();
        let put = || {
            reflink_copy::reflink_or_copy(path, &copy)?;
            fs_err::set_permissions(&copy, std::fs::Permissions::from_mode(0o444))?;
            let bytes = fs_err::metadata(&copy)?.len();
            let digest = hash_file(&copy, bytes)?;
            rename_into(&copy, &self.object_path(&digest))?;
            Ok((digest, bytes))
        };
        let put = put();
        if put.is_err() {
            // Half a copy would keep a full disk full.
            let _ = fs_err::remove_file(&copy);
        }
        put
    }

    /// Moves what [`Store::take_in`] read into the store.
    ///
    /// # Errors
    /// A refusing disk.
    pub fn settle(&self, intake: &Intake) -> io::Result<Content> {
        for Move { from, digest } in &intake.moves {
            let object = self.object_path(digest);
            let moved = fs_err::set_permissions(from, std::fs::Permissions::from_mode(0o444))
                // Over what is there, too: it may be damaged, and this is known to be right.
                .and_then(|()| rename_into(from, &object));
            match moved {
                Ok(()) => {}
                // A folder without its write bit lets nothing go.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    self.copy_in(from)?;
                }
                Err(error) => return Err(error),
            }
        }
        match &intake.tree {
            Some(tree) => self.put_tree(tree),
            None => Ok(intake.content),
        }
    }

    /// [`Store::take_in`] and [`Store::settle`] for a single output.
    ///
    /// # Errors
    /// As both.
    pub fn ingest(&self, home: &Path, path: &Path) -> io::Result<Content> {
        self.settle(&self.take_in(home, path)?)
    }
}

/// Whether a link stands on the way from `home` down to `path`, its last name included. What is not below `home` is
/// taken for somebody else's.
fn is_behind_link(home: &Path, path: &Path) -> bool {
    let Ok(below) = path.strip_prefix(home) else {
        return true;
    };
    let mut at = home.to_path_buf();
    below.components().any(|part| {
        at.push(part);
        !matches!(part, std::path::Component::Normal(_))
            || std::fs::symlink_metadata(&at).is_ok_and(|metadata| metadata.is_symlink())
    })
}
