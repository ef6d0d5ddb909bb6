//! A file's bytes without reading it: the one memory map of this crate. Knows nothing of what the bytes mean.

use std::path::Path;

use memmap2::Mmap;

/// The bytes of a mapped file.
#[derive(Debug)]
pub struct Mapped(Mmap);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Maps a file read-only.
///
/// # Errors
/// The file system's; the text names the path.
pub(super) fn open(path: &Path) -> std::io::Result<Mapped> {
    let file = fs_err::File::open(path)?;
    #[expect(unsafe_code, reason = "the one memory map of this crate; see SAFETY")]
    // SAFETY: the map is read-only and its bytes are only ever seen as integers, for which every pattern is valid. A
    // file that another process changes while it is mapped would break Rust's rules for shared slices: packed examples
    // are objects of the store, mode 0444 and never written again once they have their name, and the runner checks
    // after a stage that its inputs are unchanged. A file cut short meanwhile ends the process with SIGBUS.
    let map = unsafe { Mmap::map(file.file()) };
    map.map(Mapped)
}
