//! Which build a shared library is, by what it holds: the same file at another place and time is the same build. Knows no
//! library by name.
//!
//! Linkers write a digest of what they linked, the build id, into a note of an ELF file. Reading it takes a few KB, where
//! the whole of NVRTC is 100 MB. Sections are asked before segments: tools that edit a finished library move the note, and
//! in wheels of NVRTC the segment was left pointing at where it used to be.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// More entries of a table, or bytes of a note, than libraries have.
const MOST_ENTRIES: u16 = 4096;
const MOST_NOTES: u64 = 64 << 10;

/// A table of an ELF file of 64 bits: where the header says where it lies and how many entries of what size it has, and
/// where an entry has its type, its place in the file, its size and its alignment.
struct Table {
    at: usize,
    entry: usize,
    len: u16,
    kind: (usize, u32),
    offset: usize,
    size: usize,
    alignment: usize,
}

const SECTIONS: Table = Table {
    at: 40,
    entry: 58,
    len: 64,
    kind: (4, 7),
    offset: 24,
    size: 32,
    alignment: 48,
};
const SEGMENTS: Table = Table {
    at: 32,
    entry: 54,
    len: 56,
    kind: (0, 4),
    offset: 8,
    size: 32,
    alignment: 48,
};

/// The size of a file with its build id or, if it has none, with a digest of all of it, which takes as long as reading it.
pub(super) fn identity(path: &Path) -> std::io::Result<String> {
    let mut file = fs_err::File::open(path)?;
    let len = file.metadata()?.len();
    if let Some(id) = build_id(&mut file) {
        let digits: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        return Ok(format!("{len} bytes of build {digits}"));
    }
    file.rewind()?;
    let digest = blake3::Hasher::new().update_reader(file)?.finalize();
    Ok(format!("{len} bytes of digest {}", digest.to_hex()))
}

/// The build id of an ELF file of 64 bits with the least byte first, if it has one.
fn build_id<F: Read + Seek>(file: &mut F) -> Option<Vec<u8>> {
    let header = read(file, 0, 64)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    [SECTIONS, SEGMENTS]
        .iter()
        .find_map(|table| of_table(file, &header, table))
}

fn of_table<F: Read + Seek>(file: &mut F, header: &[u8], table: &Table) -> Option<Vec<u8>> {
    let (len, count) = (
        u16_at(header, table.entry)?,
        u16_at(header, table.entry + 2)?,
    );
    if len != table.len || count > MOST_ENTRIES {
        return None;
    }
    let entries = read(
        file,
        u64_at(header, table.at)?,
        u64::from(len) * u64::from(count),
    )?;
    entries.chunks_exact(usize::from(len)).find_map(|entry| {
        let (at, kind) = table.kind;
        let size = u64_at(entry, table.size)?;
        if u32_at(entry, at)? != kind || size > MOST_NOTES {
            return None;
        }
        let notes = read(file, u64_at(entry, table.offset)?, size)?;
        let alignment = match u64_at(entry, table.alignment)? {
            8 => 8,
            _ => 4,
        };
        of_notes(&notes, alignment)
    })
}

/// Of notes one after another: each has the sizes of its owner's name and of what it says, its type, then both of them.
fn of_notes(mut notes: &[u8], alignment: usize) -> Option<Vec<u8>> {
    const BUILD_ID: u32 = 3;
    loop {
        let sizes = [u32_at(notes, 0)?, u32_at(notes, 4)?];
        let [owner, said] = sizes.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        let from = 12_usize.checked_add(owner)?;
        let from = from.checked_next_multiple_of(alignment)?;
        let to = from.checked_add(said)?;
        let text = notes.get(from..to)?;
        let is_one = u32_at(notes, 8)? == BUILD_ID && notes.get(12..12 + owner)? == b"GNU\0";
        // A linker may leave room for an id that another tool fills, or does not.
        if is_one && text.iter().any(|byte| *byte != 0) {
            return Some(text.to_vec());
        }
        notes = notes.get(to.checked_next_multiple_of(alignment)?..)?;
    }
}

fn read<F: Read + Seek>(file: &mut F, at: u64, len: u64) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(at)).ok()?;
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == len).then_some(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(array(bytes, at)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(array(bytes, at)?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(array(bytes, at)?))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const ID: [u8; 20] = *b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0abcdefghijk";

    fn note(owner: &[u8], kind: u32, said: &[u8], alignment: usize) -> Vec<u8> {
        let mut note: Vec<u8> = [owner.len() as u32, said.len() as u32, kind]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        for part in [owner, said] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(alignment), 0);
        }
        note
    }

    /// A file with notes and one entry about them in a table, at the end.
    fn file(table: &Table, notes: &[u8], size: usize, alignment: u64) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01".to_vec();
        file.resize(64, 0);
        file.extend(notes);
        let mut set = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        set(table.at, &(64 + notes.len() as u64).to_le_bytes());
        set(table.entry, &table.len.to_le_bytes());
        // The first entry is an empty one.
        set(table.entry + 2, &2_u16.to_le_bytes());
        file.resize(file.len() + usize::from(table.len), 0);
        let mut entry = vec![0; usize::from(table.len)];
        let mut set = |at: usize, bytes: &[u8]| entry[at..at + bytes.len()].copy_from_slice(bytes);
        set(table.kind.0, &table.kind.1.to_le_bytes());
        set(table.offset, &64_u64.to_le_bytes());
        set(table.size, &(size as u64).to_le_bytes());
        set(table.alignment, &alignment.to_le_bytes());
        file.extend(entry);
        file
    }

    fn found(file: Vec<u8>) -> Option<Vec<u8>> {
        build_id(&mut Cursor::new(file))
    }

    #[test]
    fn a_build_id_is_found_among_notes() {
        for table in [SECTIONS, SEGMENTS] {
            for alignment in [4, 8] {
                let mut notes = note(b"stapsdt\0", 3, b"another's", alignment);
                notes.extend(note(b"GNU\0", 1, b"another", alignment));
                notes.extend(note(b"GNU\0", 3, &[0; 20], alignment));
                let before = notes.len();
                notes.extend(note(b"GNU\0", 3, &ID, alignment));
                let file = |size| file(&table, &notes, size, alignment as u64);
                assert_eq!(found(file(notes.len())), Some(ID.to_vec()));
                // Wheels of NVRTC say 8 and have no padding at the end.
                assert_eq!(found(file(before + 36)), Some(ID.to_vec()));
                assert_eq!(found(file(before + 35)), None);
                assert_eq!(found(file(before)), None);
            }
        }
    }

    #[test]
    fn what_is_no_library_has_none_whatever_it_says() {
        let whole = file(&SECTIONS, &note(b"GNU\0", 3, &ID, 4), 36, 4);
        assert_eq!(found(whole.clone()), Some(ID.to_vec()));
        for len in 0..whole.len() {
            assert_eq!(found(whole[..len].to_vec()), None, "cut at {len}");
        }
        // Numbers of all sizes, anywhere.
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                for len in [1, 2, 4, 8] {
                    let mut file = whole.clone();
                    let to = (at + len).min(file.len());
                    file[at..to].fill(byte);
                    let found = found(file);
                    assert!(found.is_none_or(|found| found.len() <= 36), "{at}");
                }
            }
        }
    }

    #[test]
    fn the_same_bytes_are_the_same_build_anywhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs_err::write(&path, bytes).expect("written");
            super::identity(&path).expect("read")
        };
        let library = file(&SECTIONS, &note(b"GNU\0", 3, &ID, 4), 36, 4);
        let told = identity("a", &library);
        assert!(
            told.ends_with("of build 0102030405060708090a62636465666768696a6b"),
            "{told}"
        );
        assert_eq!(identity("b", &library), told);
        // Beside the id the size counts, and of a file without one every byte.
        let longer = [&library[..], b"x"].concat();
        assert_ne!(identity("b", &longer), told);
        let text = identity("a", b"INPUT(libnvrtc.so.12)");
        assert!(text.starts_with("21 bytes of digest "), "{text}");
        assert_eq!(identity("b", b"INPUT(libnvrtc.so.12)"), text);
        assert_ne!(identity("b", b"INPUT(libnvrtc.so.13)"), text);
        assert!(super::identity(&folder.path().join("nothing")).is_err());
    }
}
