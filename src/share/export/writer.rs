//! Files on their way into a bundle: objects by their digests, sums of all of them. Knows nothing of what they mean.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flow::content::{Content, Form, Ignore, Tree, TreeEntry, hash_file, is_executable, walk};
use flow::digest::{Digest, Use};
use flow::exec::job::JobSource;
use flow::store::{Store, StoreError};
use walkdir::WalkDir;

use super::super::bundle::{B3SUMS, Place, SHA256SUMS, TREES};
use super::super::sums::{self, Sum};

/// A folder that becomes a bundle.
pub(super) struct Writer<'a> {
    root: PathBuf,
    store: &'a Store,
    /// The project, whose `.pipelineignore` counts.
    project: &'a Path,
    objects: BTreeMap<Digest, Place>,
    count: usize,
    bytes: u64,
}

/// A file of the bundle, for those who list it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Listed {
    /// Path in the bundle.
    pub(super) path: String,
    /// Size in bytes.
    pub(super) bytes: u64,
    /// SHA-256, 64 hex digits.
    pub(super) sha256: String,
}

impl<'a> Writer<'a> {
    pub(super) fn new(root: &Path, store: &'a Store, project: &'a Path) -> io::Result<Self> {
        flow::store::remove_tree(root)?;
        fs_err::create_dir_all(root)?;
        Ok(Self {
            root: root.to_path_buf(),
            store,
            project,
            objects: BTreeMap::new(),
            count: 0,
            bytes: 0,
        })
    }

    /// Where the bytes of objects lie.
    pub(super) fn objects(&self) -> &BTreeMap<Digest, Place> {
        &self.objects
    }

    /// How many files there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether something lies at a place.
    pub(super) fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Writes a file of ours.
    pub(super) fn file(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let to = self.place(path)?;
        fs_err::write(&to, bytes)?;
        self.written(&to)
    }

    fn place(&self, path: &str) -> io::Result<PathBuf> {
        let to = self.root.join(path);
        if let Some(parent) = to.parent() {
            fs_err::create_dir_all(parent)?;
        }
        Ok(to)
    }

    fn written(&mut self, to: &Path) -> io::Result<()> {
        // The same for everybody, and no result is to be executed.
        fs_err::set_permissions(to, std::fs::Permissions::from_mode(0o644))?;
        self.count += 1;
        self.bytes += fs_err::metadata(to)?.len();
        Ok(())
    }

    /// Copies an output, or those files of it that are named. Whether all of it was in the cache; what was, is there.
    pub(super) fn output(
        &mut self,
        content: &Content,
        path: &str,
        only: Option<&[String]>,
    ) -> io::Result<bool> {
        if content.form != Form::Tree {
            return self.object(content, path);
        }
        let tree = match self.store.load_tree(&content.digest) {
            Ok(tree) => tree,
            Err(StoreError::Io(error)) => return Err(error),
            Err(StoreError::Missing { .. } | StoreError::Corrupt { .. }) => return Ok(false),
        };
        self.listing(&tree)?;
        let mut is_whole = true;
        for entry in &tree.entries {
            let is_meant = only.is_none_or(|only| only.contains(&entry.path));
            if let (Some(content), true) = (&entry.content, is_meant) {
                is_whole &= self.object(content, &format!("{path}/{}", entry.path))?;
            }
        }
        Ok(is_whole)
    }

    fn listing(&mut self, tree: &Tree) -> io::Result<()> {
        let digest = tree.content().digest;
        if self.objects.contains_key(&digest) {
            return Ok(());
        }
        let text = tree.listing();
        let path = format!("{TREES}/{digest}");
        self.file(&path, text.as_bytes())?;
        self.note(digest, &path, text.len() as u64);
        Ok(())
    }

    fn note(&mut self, digest: Digest, path: &str, bytes: u64) {
        self.objects.entry(digest).or_insert_with(|| Place {
            path: path.to_owned(),
            bytes,
        });
    }

    fn object(&mut self, content: &Content, path: &str) -> io::Result<bool> {
        if !sums::is_plain(path) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("`{}` cannot be a name in a bundle", path.escape_debug()),
            ));
        }
        let to = self.place(path)?;
        if to.exists() {
            return Ok(true);
        }
        let file = Content {
            form: Form::File,
            ..*content
        };
        match self.store.copy_out(&file, &to) {
            Ok(()) => {}
            Err(StoreError::Io(error)) => return Err(error),
            Err(StoreError::Missing { .. } | StoreError::Corrupt { .. }) => {
                let _ = fs_err::remove_file(&to);
                // No folder stays for the sake of what is not there.
                let mut folder = to.parent();
                while let Some(at) = folder.filter(|at| **at != self.root) {
                    if fs_err::remove_dir(at).is_err() {
                        break;
                    }
                    folder = at.parent();
                }
                return Ok(false);
            }
        }
        self.written(&to)?;
        self.note(content.digest, path, content.bytes);
        Ok(true)
    }

    /// Copies a file or a folder of the author's to where the pipeline of the bundle finds it.
    pub(super) fn author_file(
        &mut self,
        path: &str,
        content: &Content,
        from: &JobSource,
    ) -> io::Result<()> {
        let top = match path {
            "" => "pipeline".to_owned(),
            path => format!("pipeline/{path}"),
        };
        match from {
            JobSource::Object => {}
            JobSource::Path(file) if content.form != Form::Tree => {
                self.author_one(&top, file)?;
            }
            JobSource::Path(folder) => {
                let found = walk(folder, &Ignore::load(self.project, self.store.dir())?)?;
                let mut entries = Vec::new();
                for one in found {
                    let content = match one.metadata {
                        Some(_) => {
                            self.author_one(&format!("{top}/{}", one.relative), &one.path)?
                        }
                        None => None,
                    };
                    entries.push(TreeEntry {
                        path: one.relative,
                        content,
                    });
                }
                self.author_tree(entries, content)?;
            }
            JobSource::Files { base, files } => {
                let mut entries = Vec::new();
                for relative in files {
                    let content =
                        self.author_one(&format!("{top}/{relative}"), &base.join(relative))?;
                    entries.push(TreeEntry {
                        path: relative.clone(),
                        content,
                    });
                }
                self.author_tree(entries, content)?;
            }
        }
        Ok(())
    }

    /// The listing of a folder of the author's, where it is what the stage read.
    fn author_tree(&mut self, entries: Vec<TreeEntry>, content: &Content) -> io::Result<()> {
        let tree = Tree::new(entries);
        if tree.content().digest == content.digest {
            self.listing(&tree)?;
        }
        Ok(())
    }

    fn author_one(&mut self, path: &str, from: &Path) -> io::Result<Option<Content>> {
        let to = self.place(path)?;
        let metadata = fs_err::metadata(from)?;
        if !to.exists() {
            reflink_copy::reflink_or_copy(from, &to)?;
            self.written(&to)?;
            if is_executable(&metadata) {
                // Whether a file may be executed is in the key of what reads it.
                fs_err::set_permissions(&to, std::fs::Permissions::from_mode(0o755))?;
            }
        }
        let bytes = fs_err::metadata(&to)?.len();
        let content = Content {
            form: if is_executable(&metadata) {
                Form::Exec
            } else {
                Form::File
            },
            digest: hash_file(&to, bytes)?,
            bytes,
        };
        self.note(content.digest, path, bytes);
        Ok(Some(content))
    }

    /// Every file so far, sorted by path.
    pub(super) fn listed(&self) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for entry in WalkDir::new(&self.root).sort_by_file_name() {
            let entry = entry?;
            if entry.file_type().is_file() {
                let path = entry
                    .path()
                    .strip_prefix(&self.root)
                    .unwrap_or(entry.path());
                let bytes = entry.metadata().map_err(io::Error::from)?.len();
                listed.push(Listed {
                    path: path.to_string_lossy().into_owned(),
                    bytes,
                    sha256: Sum::Sha256.of(entry.path(), bytes)?,
                });
            }
        }
        listed.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(listed)
    }

    /// Writes both lists of digests; the digest of the second stands for all of it.
    pub(super) fn sums(&mut self) -> io::Result<Digest> {
        for (name, sum) in [(B3SUMS, Sum::Blake3), (SHA256SUMS, Sum::Sha256)] {
            let mut sums = BTreeMap::new();
            for file in self.listed()? {
                let hex = match sum {
                    Sum::Sha256 => file.sha256,
                    Sum::Blake3 => sum.of(&self.root.join(&file.path), file.bytes)?,
                };
                sums.insert(file.path, hex);
            }
            self.file(name, sums::write(&sums).as_bytes())?;
        }
        let text = fs_err::read(self.root.join(SHA256SUMS))?;
        Ok(Use::File.digest(&text))
    }
}
