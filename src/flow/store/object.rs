//! Contents by digest: bringing them in, handing them out, noticing damage. Knows nothing of keys.
//!
//! Format `objects-v1`: the bytes of a file under its plain BLAKE3 digest, mode 0444; a tree is the text of its
//! listing (`content.rs`) under the tree digest. Small objects are copied out and hashed on the way, so damage is
//! found before use. Large ones are linked; they are trusted while their stamp stands still and checked after use.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Store, StoreError, rename_into};
use crate::content::{Content, Form, Stamp, Tree, hash_file};
use crate::digest::{Digest, Use};

mod intake;

pub use intake::Intake;

/// Objects from this size on are handed out as links.
pub const LINK_OBJECT_FROM_BYTES: u64 = 1 << 20;
/// The user's files from this size on are handed out as links.
pub const LINK_FILE_FROM_BYTES: u64 = 64 << 20;

/// A file handed out as a link, as it stood before the stage.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The file behind the link.
    pub path: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// Whether it is an object of the store, not a file of the user's.
    pub is_object: bool,
    stamp: Stamp,
}

impl Watched {
    fn new(path: PathBuf, digest: Digest, is_object: bool) -> io::Result<Self> {
        let metadata = fs_err::metadata(&path)?;
        Ok(Self {
            stamp: Stamp::of(&metadata),
            path,
            digest,
            is_object,
        })
    }

    /// Whether the file has other bytes now, or is gone. Reads it only if its stamp moved.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        let Ok(metadata) = fs_err::metadata(&self.path) else {
            return true;
        };
        if Stamp::of(&metadata) == self.stamp {
            return false;
        }
        hash_file(&self.path, metadata.len()).map_or(true, |digest| digest != self.digest)
    }
}

impl Store {
    /// Whether an object and all its parts are there with the right sizes. Does not read them.
    #[must_use]
    pub fn has(&self, content: &Content) -> bool {
        match content.form {
            Form::File | Form::Exec => std::fs::symlink_metadata(self.object_path(&content.digest))
                .is_ok_and(|m| m.len() == content.bytes),
            Form::Tree => self.load_tree(&content.digest).is_ok_and(|tree| {
                tree.entries
                    .iter()
                    .filter_map(|entry| entry.content.as_ref())
                    .all(|c| self.has(c))
            }),
        }
    }

    /// The listing of a tree object.
    ///
    /// # Errors
    /// [`StoreError::Missing`], or [`StoreError::Corrupt`] when its text does not match its digest.
    pub fn load_tree(&self, digest: &Digest) -> Result<Tree, StoreError> {
        let path = self.object_path(digest);
        let bytes = read_object(&path, digest)?;
        let corrupt = || StoreError::Corrupt {
            digest: *digest,
            path: path.clone(),
            size_bytes: bytes.len() as u64,
        };
        if Use::Tree.digest(&bytes) != *digest {
            return Err(corrupt());
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| corrupt())?;
        Tree::parse(text).map_err(|_| corrupt())
    }

    /// Stores bytes as a file object.
    ///
    /// # Errors
    /// When the disk or the file system refuses.
    pub fn put_bytes(&self, bytes: &[u8]) -> io::Result<Content> {
        let content = Content {
            form: Form::File,
            digest: Use::File.digest(bytes),
            bytes: bytes.len() as u64,
        };
        self.put_object(&content, bytes)?;
        Ok(content)
    }

    fn put_object(&self, content: &Content, bytes: &[u8]) -> io::Result<()> {
        let target = self.object_path(&content.digest);
        // Compared, not believed: what is there may be damaged, and is replaced then.
        if std::fs::symlink_metadata(&target)
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes.len() as u64)
            && read_object(&target, &content.digest).is_ok_and(|there| there == bytes)
        {
            return Ok(());
        }
        let temporary = self.temporary_path();
        let put = fs_err::write(&temporary, bytes).and_then(|()| {
            fs_err::set_permissions(&temporary, std::fs::Permissions::from_mode(0o444))?;
            rename_into(&temporary, &target)
        });
        if put.is_err() {
            let _ = fs_err::remove_file(&temporary);
        }
        put
    }

    /// Stores the listing of a tree whose files are objects already.
    ///
    /// # Errors
    /// When the disk or the file system refuses.
    pub fn put_tree(&self, tree: &Tree) -> io::Result<Content> {
        let content = tree.content();
        self.put_object(&content, tree.listing().as_bytes())?;
        Ok(content)
    }

    /// Hands out an object at `to`, which must not exist. What was linked is added to `watched`.
    ///
    /// # Errors
    /// [`StoreError::Missing`] or [`StoreError::Corrupt`] for damage found on the way; the disk.
    pub fn hand_out(
        &self,
        content: &Content,
        to: &Path,
        watched: &mut Vec<Watched>,
    ) -> Result<(), StoreError> {
        if content.form == Form::Tree {
            let tree = self.load_tree(&content.digest)?;
            fs_err::create_dir_all(to)?;
            let mut made = PathBuf::new();
            for entry in &tree.entries {
                let target = to.join(&entry.path);
                let folder = if entry.content.is_some() {
                    target.parent().unwrap_or(to)
                } else {
                    &target
                };
                if made != folder {
                    fs_err::create_dir_all(folder)?;
                    made = folder.to_path_buf();
                }
                if let Some(content) = &entry.content {
                    self.hand_out(content, &target, watched)?;
                }
            }
            return Ok(());
        }
        let object = self.object_path(&content.digest);
        let corrupt = |size_bytes| StoreError::Corrupt {
            digest: content.digest,
            path: object.clone(),
            size_bytes,
        };
        if content.bytes < LINK_OBJECT_FROM_BYTES {
            let bytes = read_object(&object, &content.digest)?;
            if Use::File.digest(&bytes) != content.digest {
                return Err(corrupt(bytes.len() as u64));
            }
            fs_err::write(to, &bytes)?;
        } else {
            let metadata = match std::fs::metadata(&object) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(StoreError::Missing {
                        digest: content.digest,
                    });
                }
                Err(error) => return Err(error.into()),
            };
            if metadata.len() != content.bytes {
                return Err(corrupt(metadata.len()));
            }
            if content.form == Form::Exec {
                fs_err::copy(&object, to)?;
                if hash_file(to, content.bytes)? != content.digest {
                    return Err(corrupt(metadata.len()));
                }
            } else {
                fs_err::os::unix::fs::symlink(&object, to)?;
                watched.push(Watched::new(object, content.digest, true)?);
                return Ok(());
            }
        }
        if content.form == Form::Exec {
            fs_err::set_permissions(to, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// Writes an output for a person or a folder of theirs: always a copy (or a reflink), never a link into the cache.
    ///
    /// # Errors
    /// As [`Store::hand_out`].
    pub fn copy_out(&self, content: &Content, to: &Path) -> Result<(), StoreError> {
        let mut watched = Vec::new();
        self.hand_out(content, to, &mut watched)?;
        if watched.is_empty() {
            return Ok(());
        }
        let links: Vec<PathBuf> = if content.form == Form::Tree {
            walkdir::WalkDir::new(to)
                .into_iter()
                .filter_map(Result::ok)
                .filter(walkdir::DirEntry::path_is_symlink)
                .map(walkdir::DirEntry::into_path)
                .collect()
        } else {
            vec![to.to_path_buf()]
        };
        let digests: BTreeMap<&Path, Digest> = watched
            .iter()
            .map(|linked| (linked.path.as_path(), linked.digest))
            .collect();
        for link in links {
            let object = fs_err::read_link(&link)?;
            fs_err::remove_file(&link)?;
            reflink_copy::reflink_or_copy(&object, &link)?;
            fs_err::set_permissions(&link, std::fs::Permissions::from_mode(0o644))?;
            // Unlike a stage's input nobody looks at this again: what a person gets is read once.
            let size_bytes = fs_err::metadata(&link)?.len();
            let found = hash_file(&link, size_bytes)?;
            if let Some(digest) = digests.get(object.as_path())
                && *digest != found
            {
                return Err(StoreError::Corrupt {
                    digest: *digest,
                    path: object,
                    size_bytes,
                });
            }
        }
        Ok(())
    }

    /// Reads an object and compares it with its name.
    ///
    /// # Errors
    /// [`StoreError::Missing`] or [`StoreError::Corrupt`], also of a tree's parts.
    pub fn verify(&self, content: &Content) -> Result<(), StoreError> {
        if content.form == Form::Tree {
            for entry in self.load_tree(&content.digest)?.entries {
                if let Some(content) = entry.content {
                    self.verify(&content)?;
                }
            }
            return Ok(());
        }
        let path = self.object_path(&content.digest);
        let Ok(metadata) = std::fs::metadata(&path) else {
            return Err(StoreError::Missing {
                digest: content.digest,
            });
        };
        if metadata.len() != content.bytes || hash_file(&path, metadata.len())? != content.digest {
            return Err(StoreError::Corrupt {
                digest: content.digest,
                path,
                size_bytes: metadata.len(),
            });
        }
        Ok(())
    }

    /// The objects a content is made of, its listing included; what cannot be listed counts as itself only.
    #[must_use]
    pub fn parts(&self, content: &Content) -> Vec<Digest> {
        let mut parts = vec![content.digest];
        if content.form == Form::Tree
            && let Ok(tree) = self.load_tree(&content.digest)
        {
            parts.extend(
                tree.entries
                    .iter()
                    .filter_map(|entry| entry.content)
                    .map(|content| content.digest),
            );
        }
        parts
    }

    /// Moves a damaged object out of the way and says where to; what uses it finds it missing from now on.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn quarantine(&self, digest: &Digest) -> io::Result<PathBuf> {
        let to = self
            .dir()
            .join("quarantine")
            .join(format!("{digest}-{}", crate::clock::now_ns()));
        rename_into(&self.object_path(digest), &to)?;
        Ok(to)
    }
}

fn read_object(path: &Path, digest: &Digest) -> Result<Vec<u8>, StoreError> {
    match std::fs::File::open(path) {
        Ok(mut file) => {
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut file, &mut bytes)?;
            Ok(bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(StoreError::Missing { digest: *digest })
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::is_executable;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("temp");
        let store = Store::open(&folder.path().join("cache")).expect("opens");
        (folder, store)
    }

    #[test]
    fn what_goes_in_comes_out() {
        let (folder, store) = store();
        let out = folder.path().join("out");
        fs_err::create_dir_all(out.join("deep/empty")).expect("mkdir");
        fs_err::write(out.join("a"), "small").expect("write");
        fs_err::write(out.join("deep/big"), vec![7; 2 << 20]).expect("write");
        fs_err::write(out.join("run.sh"), "#!/bin/sh\n").expect("write");
        fs_err::set_permissions(out.join("run.sh"), std::fs::Permissions::from_mode(0o755))
            .expect("chmod");
        let content = store.ingest(folder.path(), &out).expect("ingests");
        assert!(store.has(&content));
        store.verify(&content).expect("whole");

        let (again, mut watched) = (folder.path().join("again"), Vec::new());
        store
            .hand_out(&content, &again, &mut watched)
            .expect("hands out");
        assert_eq!(
            fs_err::read_to_string(again.join("a")).expect("read"),
            "small"
        );
        assert!(again.join("deep/empty").is_dir());
        assert!(is_executable(
            &fs_err::metadata(again.join("run.sh")).expect("stat")
        ));
        assert_eq!(watched.len(), 1);
        assert!(!watched[0].has_changed());
        assert_eq!(
            store.ingest(folder.path(), &again).expect("ingests again"),
            content
        );

        let copy = folder.path().join("copy");
        store.copy_out(&content, &copy).expect("copies");
        assert!(
            !fs_err::symlink_metadata(copy.join("deep/big"))
                .expect("stat")
                .is_symlink()
        );
    }

    #[test]
    fn damage_is_found_before_use_and_after() {
        let (folder, store) = store();
        let small = store.put_bytes(b"small").expect("puts");
        let path = store.object_path(&small.digest);
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        fs_err::write(&path, "smalL").expect("flip");
        let error = store
            .hand_out(&small, &folder.path().join("x"), &mut Vec::new())
            .expect_err("damaged");
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        store.quarantine(&small.digest).expect("moves");
        assert!(!store.has(&small));

        let big = store.put_bytes(&vec![1; 3 << 20]).expect("puts");
        let mut watched = Vec::new();
        store
            .hand_out(&big, &folder.path().join("y"), &mut watched)
            .expect("links");
        fs_err::set_permissions(
            store.object_path(&big.digest),
            std::fs::Permissions::from_mode(0o644),
        )
        .expect("chmod");
        fs_err::write(folder.path().join("y"), vec![2; 3 << 20]).expect("writes through the link");
        assert!(watched[0].has_changed());
        assert!(matches!(
            store.verify(&big),
            Err(StoreError::Corrupt { .. })
        ));
    }

    #[test]
    fn a_damaged_object_is_replaced_by_what_is_right() {
        let (folder, store) = store();
        let small = store.put_bytes(b"small").expect("puts");
        let out = folder.path().join("out");
        fs_err::write(&out, "output").expect("write");
        let output = store.ingest(folder.path(), &out).expect("ingests");
        for content in [small, output] {
            let path = store.object_path(&content.digest);
            fs_err::remove_file(&path).expect("removes");
            fs_err::write(
                &path,
                vec![b'?'; usize::try_from(content.bytes).expect("small")],
            )
            .expect("damages");
        }
        store.put_bytes(b"small").expect("puts again");
        fs_err::write(&out, "output").expect("write");
        store.ingest(folder.path(), &out).expect("ingests again");
        store.verify(&small).expect("right again");
        store.verify(&output).expect("right again");
    }

    #[test]
    fn a_hard_link_of_the_users_is_copied_not_taken() {
        let (folder, store) = store();
        let mine = folder.path().join("mine");
        fs_err::write(&mine, "precious").expect("write");
        fs_err::hard_link(&mine, folder.path().join("out")).expect("link");
        let content = store
            .ingest(folder.path(), &folder.path().join("out"))
            .expect("ingests");
        fs_err::write(&mine, "changed!").expect("still writable");
        store.verify(&content).expect("a copy of its own");
    }

    #[test]
    fn what_a_link_leads_to_is_copied_and_stays() {
        use fs_err::os::unix::fs::symlink;
        let (folder, store) = store();
        let (mine, home) = (folder.path().join("mine"), folder.path().join("home"));
        fs_err::create_dir_all(mine.join("deep")).expect("mkdir");
        fs_err::write(mine.join("deep/precious"), "precious").expect("write");
        fs_err::create_dir_all(home.join("out/step5")).expect("mkdir");
        fs_err::write(home.join("out/step5/model"), "model").expect("write");
        symlink("step5", home.join("out/best")).expect("link");
        symlink("step5/model", home.join("out/latest")).expect("link");
        symlink(&mine, home.join("out/mine")).expect("link");
        symlink(&mine, home.join("whole")).expect("link");
        let tree = store.ingest(&home, &home.join("out")).expect("ingests");
        let whole = store.ingest(&home, &home.join("whole")).expect("ingests");
        let inner = store
            .ingest(&home, &home.join("whole/deep/precious"))
            .expect("ingests");
        for content in [tree, whole, inner] {
            store.verify(&content).expect("whole");
        }
        let text = fs_err::read_to_string(mine.join("deep/precious")).expect("still there");
        assert_eq!(text, "precious");
        let metadata = fs_err::metadata(mine.join("deep/precious")).expect("stat");
        assert_eq!(
            metadata.permissions().mode() & 0o200,
            0o200,
            "still writable"
        );
        let listed: Vec<String> = store
            .load_tree(&tree.digest)
            .expect("a tree")
            .entries
            .into_iter()
            .map(|entry| entry.path)
            .collect();
        assert_eq!(
            listed,
            ["best/model", "latest", "mine/deep/precious", "step5/model"]
        );
    }

    #[test]
    fn an_output_is_kept_whole_whatever_its_names() {
        let (folder, store) = store();
        let out = folder.path().join("out");
        fs_err::create_dir_all(out.join(".git")).expect("mkdir");
        fs_err::write(out.join(".git/HEAD"), "x").expect("write");
        fs_err::write(out.join("notes~"), "y").expect("write");
        let content = store.ingest(folder.path(), &out).expect("ingests");
        assert_eq!(
            store
                .load_tree(&content.digest)
                .expect("a tree")
                .entries
                .len(),
            2
        );
    }
}
