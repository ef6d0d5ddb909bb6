//! Folders of finished keys, removed together when their supervisor ends. Knows nothing of what was in them.
//!
//! Ext4 hands out a freed inode again only after a minute and looks past it until then, so removing a handful of files
//! after every stage makes each next stage dearer: 4 ms a stage were measured, 0 with this.

use std::path::{Path, PathBuf};

use crate::store::{Store, remove_tree};

/// A folder with more input bytes than this is removed at once.
const KEPT_BYTES: u64 = 1 << 20;
/// Together the folders hold no more than this.
const ALL_BYTES: u64 = 64 << 20;

/// Folders to be removed.
#[derive(Debug, Default)]
pub(super) struct Litter {
    folders: Vec<PathBuf>,
    bytes: u64,
}

impl Litter {
    /// Takes a finished key's folder out of `work/`: moved to `tmp/` if it is small, else removed now. A runner that
    /// asks for the key meanwhile makes the folder anew; what cannot be moved or removed is left to the next sweep.
    pub(super) fn take(&mut self, store: &Store, work: &Path, bytes: u64) {
        let aside = store.temporary_path();
        if bytes > KEPT_BYTES || fs_err::rename(work, &aside).is_err() {
            let _ = remove_tree(work);
            return;
        }
        self.folders.push(aside);
        self.bytes += bytes;
        if self.bytes > ALL_BYTES {
            self.clear();
        }
    }

    fn clear(&mut self) {
        for folder in self.folders.drain(..) {
            let _ = remove_tree(&folder);
        }
        self.bytes = 0;
    }
}

impl Drop for Litter {
    fn drop(&mut self) {
        self.clear();
    }
}
