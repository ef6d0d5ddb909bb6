//! Large objects on the disk, not only on their way to it. Knows nothing of records.
//!
//! An object below [`LINK_OBJECT_FROM_BYTES`] is hashed whenever it is used. A larger one is trusted while its stamp
//! stands still, and after a power cut a file may have its size and its time but not its bytes: so it is written
//! through before a record names it and before its stamp is remembered.

use std::io;

use super::Store;
use super::object::LINK_OBJECT_FROM_BYTES;
use crate::content::{Content, Form};
use crate::digest::Digest;

impl Store {
    /// Waits until the large objects among some contents, and in their trees, are on the disk; says which they are.
    ///
    /// # Errors
    /// When an object is not there, a listing cannot be read, or the disk refuses.
    pub fn sync_large<'c>(
        &self,
        contents: impl IntoIterator<Item = &'c Content>,
    ) -> io::Result<Vec<Digest>> {
        let mut synced = Vec::new();
        for content in contents {
            if content.form != Form::Tree {
                self.sync_object(content, &mut synced)?;
                continue;
            }
            // The bytes of a tree are those of all its files together.
            if content.bytes < LINK_OBJECT_FROM_BYTES {
                continue;
            }
            let tree = self.load_tree(&content.digest).map_err(io::Error::other)?;
            for content in tree.entries.iter().filter_map(|entry| entry.content) {
                self.sync_object(&content, &mut synced)?;
            }
        }
        Ok(synced)
    }

    fn sync_object(&self, content: &Content, synced: &mut Vec<Digest>) -> io::Result<()> {
        if content.bytes < LINK_OBJECT_FROM_BYTES || synced.contains(&content.digest) {
            return Ok(());
        }
        synced.push(content.digest);
        let object = fs_err::File::open(self.object_path(&content.digest))?;
        match object.sync_data() {
            // A file system that has nothing to write through says so.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput
                ) =>
            {
                Ok(())
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Tree, TreeEntry};
    use crate::store::StoreError;

    #[test]
    fn large_objects_are_written_through_and_small_ones_are_left() {
        let folder = tempfile::tempdir().expect("temp");
        let store = Store::open(folder.path()).expect("opens");
        let large = usize::try_from(LINK_OBJECT_FROM_BYTES).expect("fits");
        let put = |bytes: Vec<u8>| store.put_bytes(&bytes).expect("puts");
        let (small, one, two) = (
            put(vec![1; large - 1]),
            put(vec![2; large]),
            put(vec![3; large + 1]),
        );
        let entry = |path: &str, content| TreeEntry {
            path: path.into(),
            content: Some(content),
        };
        let tree = Tree::new(vec![entry("a", small), entry("b", two), entry("c", two)]);
        let tree = store.put_tree(&tree).expect("puts");
        assert_eq!(
            store.sync_large([&small, &one, &tree]).expect("syncs"),
            [one.digest, two.digest]
        );
        // Nothing is said to be on the disk that is not there at all.
        fs_err::remove_file(store.object_path(&two.digest)).expect("removed");
        assert!(matches!(
            store.verify(&two),
            Err(StoreError::Missing { .. })
        ));
        assert!(store.sync_large([&tree]).is_err());
    }
}
