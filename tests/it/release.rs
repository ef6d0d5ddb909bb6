//! What a binary asks of the machine it runs on: versions of symbols in its dynamic section.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The newest glibc that a release may need: that of RHEL 8 and Debian 10.
const MOST: (u32, u32) = (2, 28);

/// Names of versions that an ELF file of 64 bits, little-endian, needs of its libraries.
fn needed(file: &[u8]) -> Option<Vec<String>> {
    let number = |at: usize, len: usize| -> Option<usize> {
        let bytes = file.get(at..at + len)?;
        let folded = bytes
            .iter()
            .rev()
            .fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
        usize::try_from(folded).ok()
    };
    if file.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (number(0x28, 8)?, number(0x3a, 2)?, number(0x3c, 2)?);
    let header = |index: usize| table + index * size;
    let mut names = Vec::new();
    for section in (0..count).map(header) {
        const VERSIONS_NEEDED: usize = 0x6fff_fffe;
        if number(section + 4, 4)? != VERSIONS_NEEDED {
            continue;
        }
        let (mut library, libraries) = (number(section + 0x18, 8)?, number(section + 0x2c, 4)?);
        let texts = number(header(number(section + 0x28, 4)?) + 0x18, 8)?;
        for _ in 0..libraries {
            let mut version = library + number(library + 8, 4)?;
            for _ in 0..number(library + 2, 2)? {
                let text = file.get(texts + number(version + 8, 4)?..)?;
                let end = text.iter().position(|byte| *byte == 0)?;
                names.push(String::from_utf8_lossy(&text[..end]).into_owned());
                version += number(version + 12, 4)?;
            }
            library += number(library + 12, 4)?;
        }
    }
    Some(names)
}

/// `(2, 28)` of `GLIBC_2.28`; `None` of other versions.
fn glibc(name: &str) -> Option<(u32, u32)> {
    let mut parts = name.strip_prefix("GLIBC_")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Those that `./release` and `./test` made, or the one that a variable names.
fn releases() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("PIPELINE_RELEASE") {
        return vec![PathBuf::from(path)];
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/x86_64-unknown-linux-gnu");
    let made = ["release/pipeline", "release/gpu-check", "debug/gpu-check"];
    let mut made: Vec<PathBuf> = made.iter().map(|name| target.join(name)).collect();
    made.retain(|path| path.is_file());
    made
}

#[test]
fn a_release_needs_no_newer_glibc() {
    let releases = releases();
    if releases.is_empty() {
        let mut errors = std::io::stderr();
        let words = "skipped: neither `./release` nor `./test` made a binary here";
        let _ = writeln!(errors, "{words}");
    }
    for path in releases {
        let needed = needed(&fs_err::read(&path).expect("readable")).expect("an ELF file");
        let versions: Vec<(u32, u32)> = needed.iter().filter_map(|name| glibc(name)).collect();
        let newest = versions.into_iter().max().expect("it needs one");
        assert!(newest <= MOST, "{}: {needed:?}", path.display());
        let ran = Command::new(&path).arg("--help").output().expect("runs");
        assert!(ran.status.success(), "{}: {ran:?}", path.display());
    }
}

/// Of a binary that the system linked there is always something to read.
#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
fn versions_of_this_build_are_read() {
    let file = fs_err::read(env!("CARGO_BIN_EXE_pipeline")).expect("the program");
    let names = needed(&file).expect("an ELF file");
    let versions: Vec<(u32, u32)> = names.iter().filter_map(|name| glibc(name)).collect();
    // The first of this architecture, and one that every program of Rust's needs.
    assert!(
        versions.contains(&(2, 2)) && versions.iter().max() >= Some(&(2, 17)),
        "{names:?}"
    );
    assert_eq!(needed(b"#!/bin/sh\n"), None);
    for end in [0, 5, 63, 1000, file.len() - 1] {
        // Cut off, it is refused or read, and never more.
        let _ = needed(&file[..end]);
    }
}
